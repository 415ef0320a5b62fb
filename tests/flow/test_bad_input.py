"""Bad input is refused before anything is touched: one line that names the thing and what to do, and the right exit status."""
import json
import subprocess

import pytest

from mesh import FLEET, Mesh

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def mesh(bin_dir, tmp_path_factory):
    mesh = Mesh(bin_dir, tmp_path_factory.mktemp("bad"))
    try:
        mesh.cluster.create()
        yield mesh
    finally:
        mesh.delete()


def openssl(*args, cwd):
    subprocess.run(["openssl", *args], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A good set root > intermediate, and its spoiled variants."""
    d = tmp_path_factory.mktemp("certs")
    (d / "ca.ext").write_text("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n")
    (d / "leaf.ext").write_text("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "root-key.pem", "-out", "root.pem", "-subj", "/O=Root", "-days", "3650", cwd=d)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "other-key.pem", "-out", "other-root.pem", "-subj", "/O=Other", "-days", "3650", cwd=d)
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "ca.csr", "-subj", "/O=Intermediate", cwd=d)
    sign = ["x509", "-req", "-in", "ca.csr", "-CA", "root.pem", "-CAkey", "root-key.pem", "-CAcreateserial"]
    openssl(*sign, "-extfile", "ca.ext", "-days", "730", "-out", "ca.pem", cwd=d)
    openssl(*sign, "-extfile", "leaf.ext", "-days", "730", "-out", "leaf.pem", cwd=d)
    openssl(*sign, "-extfile", "ca.ext", "-days", "-1", "-out", "expired.pem", cwd=d)
    (d / "chain.pem").write_text((d / "ca.pem").read_text() + (d / "root.pem").read_text())
    (d / "garbage.pem").write_text("this is not PEM\n")
    return d


def install(mesh, *args):
    return mesh.rootshift("install", "--fleet_id", FLEET, "--ca", "citadel", "--revision_name", "bad-input", "--enable_all",
                          "--output_dir", mesh.work / "bad", *args, check=False)


def certificates(files, **other):
    names = {"ca_cert": "ca.pem", "ca_key": "key.pem", "root_cert": "root.pem", "cert_chain": "chain.pem", **other}
    return [a for option, name in names.items() if name for a in (f"--{option}", str(files / name))]


def untouched(mesh):
    found = mesh.cluster.kubectl("get", "deployments,secrets,configmaps", "-n", "istio-system", "-o", "name", check=False).stdout
    return "bad-input" not in found and "cacerts" not in found


def assert_refused(mesh, done, *words, code=2):
    assert done.returncode == code, (done.returncode, done.stderr)
    line = done.stderr.strip().splitlines()[-1]
    for word in words:
        assert word in line, line
    assert "Assertion" not in done.stderr and "abort" not in done.stderr.lower()
    assert untouched(mesh)


@pytest.mark.parametrize("spoiled,words", [
    ({"ca_cert": "expired.pem"}, ("expired",)),
    ({"ca_cert": "leaf.pem"}, ("leaf.pem", "CA")),
    ({"ca_key": "other-key.pem"}, ("key",)),
    ({"root_cert": "other-root.pem"}, ("root",)),
    ({"ca_cert": "garbage.pem"}, ("garbage.pem",)),
    ({"ca_key": "garbage.pem"}, ("garbage.pem",)),
    ({"cert_chain": "missing.pem"}, ("missing.pem",)),
    ({"ca_key": None}, ("four",)),
])
def test_certificates(mesh, files, spoiled, words):
    assert_refused(mesh, install(mesh, *certificates(files, **spoiled)), *words)


@pytest.mark.parametrize("name", ["1abc", "Upper", "under_score", "ends-", "a" * 57])
def test_revision_names(mesh, name):
    done = mesh.rootshift("install", "--fleet_id", FLEET, "--ca", "citadel", "--revision_name", name, "--enable_all",
                          "--output_dir", mesh.work / "bad", check=False)
    assert done.returncode == 2 and name[:20] in done.stderr


def test_options(mesh):
    assert_refused(mesh, install(mesh, "--no-such-option"), "--no-such-option")
    assert_refused(mesh, install(mesh, "--ca", "citadel"), "--ca", "twice")


def test_both_labels(mesh):
    mesh.cluster.kubectl("create", "namespace", "both")
    mesh.cluster.kubectl("label", "namespace", "both", "istio.io/rev=x", "istio-injection=enabled")
    try:
        assert_refused(mesh, install(mesh), "both")
    finally:
        mesh.cluster.kubectl("delete", "namespace", "both")


def test_unreachable_and_forbidden(mesh, tmp_path):
    import yaml
    config = yaml.safe_load(mesh.cluster.kubeconfig.read_text())
    down = json.loads(json.dumps(config))
    for cluster in down["clusters"]:
        cluster["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "down").write_text(yaml.safe_dump(down))
    wrong = json.loads(json.dumps(config))
    for user in wrong["users"]:
        user["user"] = {"token": "wrong"}
    (tmp_path / "wrong").write_text(yaml.safe_dump(wrong))
    for name in ("down", "wrong"):
        for verb in (["status"], ["check-root-cert"]):
            done = mesh.rootshift(*verb, "--kubeconfig", tmp_path / name, check=False)
            assert done.returncode == 3, (name, verb, done.stderr)
            assert len(done.stderr.strip().splitlines()) == 1
    done = mesh.rootshift("status", "--kubeconfig", tmp_path / "missing", check=False)
    assert done.returncode in (2, 3) and "missing" in done.stderr


def test_migrate_without_a_mesh(mesh):
    done = mesh.rootshift("migrate", "--to", "mesh_ca", "--fleet_id", FLEET, check=False)
    assert done.returncode in (2, 4) and done.stderr.strip()
    done = mesh.rootshift("migrate", "--to", "vault", "--fleet_id", FLEET, check=False)
    assert done.returncode == 2 and "vault" in done.stderr
    done = mesh.rootshift("rollback", check=False)
    assert done.returncode == 4
