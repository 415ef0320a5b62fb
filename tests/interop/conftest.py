import os
import pathlib
import shutil

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def peer():
    """Path of a test program built from this folder (see meson.build)."""
    build = pathlib.Path(os.environ.get("ROOTSHIFT_BUILD", ROOT / "build" / "main"))

    def path(name):
        program = build / "tests" / "interop" / name
        if not program.exists():
            pytest.fail(f"{program} is missing; run `make build` first")
        return str(program)

    return path


@pytest.fixture(scope="session")
def envoy():
    for path in (ROOT / "build" / "deps" / "envoy", shutil.which("envoy")):
        if path and pathlib.Path(path).exists():
            return str(path)
    pytest.fail("no Envoy; run `make deps` first")
