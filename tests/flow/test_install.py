"""`rootshift install` and asmcli against an API server alone: what is wrong is refused in one line that names it, with the
exit code of its kind, and nothing in the cluster has changed."""
import datetime
import json
import os
import subprocess

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apiserver import ApiServer

pytestmark = pytest.mark.timeout(120)
CITADEL = ("--fleet_id", "acme", "--ca", "citadel", "--revision_name", "r1", "--enable_all")
MESH_CA = ("--fleet_id", "acme", "--ca", "mesh_ca", "--revision_name", "r1", "--enable_all")


@pytest.fixture(scope="module")
def api(bin_dir, kubectl, tmp_path_factory):
    server = ApiServer(bin_dir, kubectl, tmp_path_factory.mktemp("install")).start()
    yield server
    server.close()


@pytest.fixture
def install(api, bin_dir, tmp_path):
    def run(*args, program="rootshift", verb="install", kubeconfig=None, output=tmp_path / "out"):
        command = [str(bin_dir / program), verb, *map(str, args), "--kubeconfig", str(kubeconfig or api.kubeconfig)]
        if output:
            command += ["--output_dir", str(output)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(os.environ, HOME=str(tmp_path)))
    return run


def state(api):
    kinds = "namespaces,secrets,configmaps,deployments,services,serviceaccounts,mutatingwebhookconfigurations,validatingwebhookconfigurations,crd"
    return sorted((o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"], o["metadata"]["resourceVersion"])
                  for o in json.loads(api.kubectl("get", kinds, "-A", "-o", "json"))["items"])


@pytest.fixture
def refused(api, install):
    def run(code, words, *args, **options):
        before = state(api)
        done = install(*args, **options)
        assert done.returncode == code, done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert words in last, done.stderr
        assert state(api) == before
        return last
    return run


# --- command line ---

@pytest.mark.parametrize("args, words", [
    (("--nonsense",), "--nonsense"),
    (("--fleet_id", "a", "--fleet_id", "b"), "--fleet_id is given twice"),
    (("--ca", "citadel"), "--fleet_id is missing"),
    (("--fleet_id", "Acme"), "Acme"),
    (("--fleet_id", "acme", "--ca", "vault"), "vault"),
    (("--fleet_id", "acme", "--revision_name", "1abc"), "1abc"),
    (("--fleet_id", "acme", "--revision_name", "a" * 57), "56"),
    (("--fleet_id", "acme", "stray"), "stray"),
    (("--fleet_id", "acme", "--only_validate", "--enable_all"), "validation cannot be run with any --enable* flag"),
    ((*CITADEL, "--option", "ca-migration-migration"), "Couldn't find yaml file ca-migration-migration"),
    ((*CITADEL, "--option", "ca-migration-meshca"), "belongs to --ca mesh_ca"),
    ((*CITADEL, "--custom_overlay", "/nonexistent.yaml"), "/nonexistent.yaml"),
    ((*MESH_CA, "--root_cert", "/r", "--cert_chain", "/c"), "You must select Citadel as the CA"),
    ((*CITADEL, "--root_cert", "/r"), "All four certificate options"),
    (("--fleet_id", "acme", "--ca", "citadel"), "--enable_namespace_creation"),
])
def test_bad_usage(refused, args, words):
    refused(2, words, *args)


def test_asmcli_style(refused):
    line = refused(2, "unknown option --nonsense", "--nonsense", program="asmcli")
    assert line.startswith("asmcli: [ERROR]: ")


def test_asmcli_version(bin_dir):
    done = subprocess.run([str(bin_dir / "asmcli"), "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "1.15.7-asm.23+config1\n"
    assert subprocess.run([str(bin_dir / "asmcli")], capture_output=True).returncode == 2


# --- cluster ---

def test_no_cluster(refused, api, tmp_path):
    refused(2, "/nonexistent", *CITADEL, kubeconfig="/nonexistent")
    config = yaml.safe_load(open(api.kubeconfig))
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "nobody").write_text(yaml.safe_dump(config))
    refused(3, "127.0.0.1:1", *CITADEL, kubeconfig=tmp_path / "nobody")
    config = yaml.safe_load(open(api.kubeconfig))
    config["users"][0]["user"] = {"token": "wrong"}
    (tmp_path / "stranger").write_text(yaml.safe_dump(config))
    refused(3, "can't be used", *CITADEL, kubeconfig=tmp_path / "stranger")


def test_both_labels(refused, api):
    api.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "both", "labels": {"istio.io/rev": "x", "istio-injection": "enabled"}}}))
    try:
        refused(2, "namespace both carries both labels", *CITADEL)
    finally:
        api.kubectl("label", "namespace", "both", "istio-injection-")


def test_no_mesh_ca(refused):
    refused(4, "mesh-ca install", *MESH_CA)
    refused(4, "mesh-ca install", *CITADEL, "--option", "ca-migration-citadel")


# --- certificates ---

def pair(subject, issuer=None, ca=True, days=365, key=None):
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(issuer[0].subject if issuer else name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=400)).not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), critical=True)
            .sign(issuer[1] if issuer else key, hashes.SHA256()))
    return cert, key


def pem(*certs):
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certs)


@pytest.fixture
def files(tmp_path):
    root = pair("root")
    good = pair("intermediate", root)

    def write(ca=good[0], key=good[1], root_cert=root[0], chain=None, raw=None):
        key_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        contents = {"ca_cert": pem(ca), "ca_key": key_pem, "root_cert": pem(root_cert), "cert_chain": chain or pem(ca, root_cert), **(raw or {})}
        args = []
        for name, text in contents.items():
            path = tmp_path / f"{name}.pem"
            path.write_bytes(text)
            args += [f"--{name}", str(path)]
        return args
    write.root, write.good = root, good
    return write


def test_bad_certificates(refused, files):
    other = pair("another root")
    refused(2, "ca_cert.pem", *CITADEL, *files(*pair("old", files.root, days=-10)))
    refused(2, "ca_cert.pem", *CITADEL, *files(*pair("soon over", files.root, days=1)))
    refused(2, "ca_cert.pem", *CITADEL, *files(*pair("leaf", files.root, ca=False)))
    refused(2, "ca_key.pem", *CITADEL, *files(key=other[1]))
    refused(2, "root", *CITADEL, *files(root_cert=other[0], chain=pem(files.good[0])))
    refused(2, "cert_chain.pem", *CITADEL, *files(chain=pem(files.root[0], files.good[0])))
    refused(2, "ca_cert.pem", *CITADEL, *files(raw={"ca_cert": b"no certificate\n"}))
    refused(2, "Couldn't find file", *CITADEL, *files()[:-1], "/nonexistent.pem")


def test_all_is_well(install, api, files, refused):
    before = state(api)
    done = install("--fleet_id", "acme", "--ca", "citadel", "--revision_name", "r1", *files(), verb="validate", program="asmcli")
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "asmcli: Successfully validated all requirements to install ASM."
    done = install(*CITADEL, *files(), "--dry_run")
    assert done.returncode == 0 and "would create Deployment istiod-r1" in done.stderr
    done = install("--fleet_id", "acme", "--ca", "citadel", verb="print-config", program="asmcli", output=None)
    assert yaml.safe_load(done.stdout)["spec"]["meshConfig"]["trustDomain"] == "cluster.local"
    assert state(api) == before


# --- files ---

def test_other_directory(refused, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".asm_settings").write_text("0 mesh_ca r9\n")
    refused(2, "belongs to another installation", *CITADEL)


def test_overlay(refused, tmp_path):
    (tmp_path / "o.yaml").write_text("kind: ConfigMap\napiVersion: v1\n")
    refused(2, "not an IstioOperator", *CITADEL, "--custom_overlay", tmp_path / "o.yaml")
    (tmp_path / "o.yaml").write_text("a: [\n")
    refused(2, "o.yaml", *CITADEL, "--custom_overlay", tmp_path / "o.yaml")


# --- in the cluster ---

def test_objects(install, api, files):
    """No node runs here, so the control plane can't become available; everything before that is there, and a second run
    with the same input changes nothing."""
    done = install(*CITADEL, *files(), "--timeout", "1s")
    assert done.returncode == 1 and "Deployment istio-system/istiod-r1 is not available after 1 s" in done.stderr
    before = state(api)
    done = install(*CITADEL, *files(), "--timeout", "1s")
    assert "is not available" in done.stderr
    assert state(api) == before
    service = json.loads(api.kubectl("get", "service", "istiod", "-n", "istio-system", "-o", "json"))
    assert service["spec"]["selector"] == {"app": "istiod", "istio.io/rev": "r1"}
    done = install("--fleet_id", "acme", "--ca", "citadel", "--revision_name", "r1", *files(key=None or files.good[1], ca=pair("i2", files.root, key=files.good[1])[0]))
    assert done.returncode == 2 and "Custom certificates already exist" in done.stderr
