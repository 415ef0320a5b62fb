import os
import pathlib
import shutil

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitize: short enough to run with sanitizers too")
    config.addinivalue_line("markers", "cluster: needs an embedded cluster")


@pytest.fixture(scope="session")
def bin_dir():
    """Folder of the programs under test."""
    path = pathlib.Path(os.environ.get("ROOTSHIFT_BIN", ROOT / "build" / "bin"))
    if not (path / "rootshift").exists():
        pytest.fail(f"{path} holds no programs; run `make build` first")
    return path


@pytest.fixture(scope="session")
def kubectl():
    """Debian's kubectl 1.20."""
    path = ROOT / "build" / "deps" / "kubectl"
    return str(path) if path.exists() else shutil.which("kubectl")
