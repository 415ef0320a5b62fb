"""rootshift-ca, spoken to with grpcio as Istio's agents do."""
import concurrent.futures
import datetime
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

import pb
import pki
from api import Api

TD = "fleet.svc.id.goog"
pytestmark = [pytest.mark.timeout(60), pytest.mark.sanitize]


class Ca:
    """A running rootshift-ca with root and intermediate, and a channel to it."""

    def __init__(self, bin_dir, folder, *more):
        self.api = Api()
        self.root_key, middle_key = pki.key("RSA2048"), pki.key()
        self.root = pki.ca("mesh root", self.root_key)
        self.middle = pki.ca("mesh intermediate", middle_key, self.root, self.root_key, path_length=0)
        (folder / "kubeconfig").write_text(self.api.kubeconfig())
        for name, text in {"ca-cert.pem": pki.pem(self.middle), "ca-key.pem": pki.pem(middle_key), "cert-chain.pem": pki.pem(self.middle),
                           "root-cert.pem": pki.pem(self.root)}.items():
            (folder / name).write_text(text)
        self.log = open(folder / "log", "w+")
        self.process = subprocess.Popen(
            [bin_dir / "rootshift-ca", "serve", "--trust_domain", TD, "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--issuer_dir", folder,
             "--kubeconfig", folder / "kubeconfig", "--name", "localhost", "--drain", "100ms", *more], stderr=self.log)
        ports = self.wait_for(r"port=(\d+)", 2)
        self.status = f"http://127.0.0.1:{ports[0]}"
        self.wait_for("serving ", 1)
        roots = grpc.ssl_channel_credentials(pki.pem(self.root).encode())
        self.channel = grpc.secure_channel(f"localhost:{ports[1]}", roots, [("grpc.enable_retries", 0)])

    def wait_for(self, pattern, count):
        for _ in range(500):
            found = re.findall(pattern, open(self.log.name).read())
            if len(found) >= count:
                return found
            assert self.process.poll() is None, open(self.log.name).read()
            time.sleep(0.02)
        raise AssertionError(open(self.log.name).read())

    def token(self, **more):
        return pki.token(self.api.key, self.api.issuer, TD, **more)

    def metadata(self, token):
        return [("authorization", f"Bearer {token}")] if token is not None else []

    def mesh(self, csr=None, token=..., request_id=None, validity=None):
        request = pb.MeshRequest(request_id=request_id or str(uuid.uuid4()), csr=csr or pki.csr(pki.key()))
        if validity is not None:
            request.validity.seconds = validity
        return pb.stub(self.channel, pb.MESH)(request, metadata=self.metadata(self.token() if token is ... else token), timeout=15)

    def istio(self, csr=None, token=..., validity=0, **metadata):
        request = pb.IstioRequest(csr=csr or pki.csr(pki.key()), validity_duration=validity)
        request.metadata.update(metadata)
        return pb.stub(self.channel, pb.ISTIO)(request, metadata=self.metadata(self.token() if token is ... else token), timeout=15)

    def close(self):
        self.channel.close()
        self.process.kill()
        self.process.wait()
        self.api.close()


@pytest.fixture
def ca(bin_dir, tmp_path):
    ca = Ca(bin_dir, tmp_path)
    yield ca
    ca.close()


def refused(code, text, call):
    with pytest.raises(grpc.RpcError) as e:
        call()
    assert e.value.code() == code and text in e.value.details(), e.value


def load(text):
    return x509.load_pem_x509_certificate(text.encode())


def uri_of(cert):
    return cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.UniformResourceIdentifier)


def sha(cert):
    return cert.fingerprint(hashes.SHA256()).hex()


@pytest.mark.parametrize("service", ["mesh", "istio"])
@pytest.mark.parametrize("kind", ["P256", "P384", "RSA2048"])
def test_chain_and_profile(ca, service, kind):
    own = pki.key(kind)
    chain = getattr(ca, service)(pki.csr(own)).cert_chain
    leaf, middle, root = map(load, chain)
    leaf.verify_directly_issued_by(ca.middle)
    assert (middle, root) == (ca.middle, ca.root)
    assert leaf.public_key() == own.public_key()
    assert uri_of(leaf) == [f"spiffe://{TD}/ns/shop/sa/web"]       # the CA's trust domain and the token's account, not the CSR's
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert san.critical and leaf.subject == x509.Name([]) and all(text.endswith("-----END CERTIFICATE-----\n") for text in chain)
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert life == datetime.timedelta(hours=24, minutes=2)


def test_record_is_written_before_the_answer_leaves(ca):
    ca.api.open.clear()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(ca.mesh)
        assert ca.api.waiting.wait(10)
        with pytest.raises(concurrent.futures.TimeoutError):
            answer.result(0.5)
        assert not ca.api.records
        ca.api.open.set()
        leaf = load(answer.result(10).cert_chain[0])
    (record,) = ca.api.records.values()
    spec = record["spec"]
    assert record["metadata"]["name"] == sha(leaf)[:40]
    assert record["metadata"]["labels"] == {"rootshift.dev/root": sha(ca.root)[:40], "rootshift.dev/pod-uid": "1b4e28ba-2fa1-11d2-883f-0016d3cca427"}
    assert spec["leafSHA256"] == sha(leaf) and spec["rootSHA256"] == sha(ca.root) and spec["issuerSHA256"] == sha(ca.middle)
    assert int(spec["serial"], 16) == leaf.serial_number and spec["ca"] == "mesh-ca"
    assert (spec["namespace"], spec["serviceAccount"], spec["podName"]) == ("shop", "web", "web-1")
    assert spec["identity"] == uri_of(leaf)[0]
    assert spec["notAfter"] == leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_no_record_no_certificate(ca):
    ca.api.fail = [403]
    refused(grpc.StatusCode.UNAVAILABLE, "could not be recorded", ca.mesh)
    assert not ca.api.records
    ca.api.fail = [503, 503]
    ca.mesh()                               # tried again until it stands
    assert len(ca.api.records) == 1


def test_request_id_is_an_idempotency_key(ca):
    csr, token, one = pki.csr(pki.key()), ca.token(), str(uuid.uuid4())
    first = ca.mesh(csr, token, one)
    assert list(ca.mesh(csr, token, one.upper()).cert_chain) == list(first.cert_chain) and len(ca.api.records) == 1
    refused(grpc.StatusCode.INVALID_ARGUMENT, "another request", lambda: ca.mesh(request_id=one, token=token))
    refused(grpc.StatusCode.INVALID_ARGUMENT, "another request", lambda: ca.mesh(csr, ca.token(account="other"), one))
    for bad in ("", "x", str(uuid.UUID(int=0)), one + "0", one.replace("-", "0")):
        refused(grpc.StatusCode.INVALID_ARGUMENT, "request_id", lambda: pb.stub(ca.channel, pb.MESH)(pb.MeshRequest(request_id=bad, csr=csr), metadata=ca.metadata(token)))
    # A failed one may be tried again under its id.
    two = str(uuid.uuid4())
    ca.api.fail = [403]
    refused(grpc.StatusCode.UNAVAILABLE, "recorded", lambda: ca.mesh(csr, token, two))
    ca.mesh(csr, token, two)
    assert len(ca.api.records) == 2


def test_callers_that_are_not_accepted(ca):
    claims = {"iss": ca.api.issuer, "aud": [TD], "exp": 9999999999, "sub": "system:serviceaccount:shop:web", "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "web"}}}
    other = pki.key()
    none = pki.b64(b'{"alg":"none"}') + "." + pki.b64(b"{}") + "."
    bad = [None, "x", none, ca.token(ttl=-120), pki.token(ca.api.key, ca.api.issuer, "istio-ca"), pki.token(ca.api.key, "https://elsewhere", TD),
           pki.sign(other, {"alg": "ES256", "kid": pki.kid(ca.api.key)}, claims), pki.sign(ca.api.key, {"alg": "HS256", "kid": pki.kid(ca.api.key)}, claims),
           pki.sign(ca.api.key, {"alg": "ES256", "kid": pki.kid(ca.api.key)}, claims | {"sub": "system:serviceaccount:shop:admin"}),
           pki.sign(ca.api.key, {"alg": "ES256", "kid": pki.kid(ca.api.key)}, claims | {"sub": "me", "kubernetes.io": {}})]
    for token in bad:
        refused(grpc.StatusCode.UNAUTHENTICATED, "request authenticate failure", lambda: ca.mesh(token=token))
        refused(grpc.StatusCode.UNAUTHENTICATED, "request authenticate failure", lambda: ca.istio(token=token))
    assert not ca.api.records
    ca.mesh(token=pki.sign(ca.api.key, {"alg": "ES256", "kid": pki.kid(ca.api.key)}, claims))


def test_new_signing_key_of_the_cluster(ca):
    new = pki.key()
    ca.mesh()
    ca.api.keys.append(new)
    deadline = time.monotonic() + 15
    while True:                             # asked for again when a key is unknown, but not for every such token
        try:
            ca.mesh(token=pki.token(new, ca.api.issuer, TD))
            break
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.UNAUTHENTICATED and time.monotonic() < deadline
            time.sleep(0.2)


def test_bad_requests(ca):
    for call in (ca.mesh, ca.istio):
        for csr in ("junk", pki.pem(ca.root), pki.csr(pki.key("RSA1024")), pki.csr(pki.key("P521")), "x" * 20000):
            refused(grpc.StatusCode.INVALID_ARGUMENT, "CSR signing error", lambda: call(csr))
        refused(grpc.StatusCode.INVALID_ARGUMENT, "CSR signing error", lambda: call(validity=91 * 86400))
        leaf = load(call(validity=3600).cert_chain[0])
        assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == datetime.timedelta(hours=1, minutes=2)
    refused(grpc.StatusCode.UNAUTHENTICATED, "impersonation", lambda: ca.istio(ImpersonatedIdentity="spiffe://x/ns/a/sa/b"))
    ca.istio(CertSigner="")
    raw = ca.channel.unary_unary(pb.MESH[0])
    refused(grpc.StatusCode.INVALID_ARGUMENT, "not a MeshCertificateRequest", lambda: raw(b"\xff\xff\xff", metadata=ca.metadata(ca.token())))
    refused(grpc.StatusCode.UNIMPLEMENTED, "", lambda: ca.channel.unary_unary("/x/Y")(b""))


def test_stop_lets_the_running_call_end(ca):
    assert urllib.request.urlopen(ca.status + "/ready").status == 200
    ca.api.open.clear()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(ca.mesh)
        assert ca.api.waiting.wait(10)
        ca.process.send_signal(signal.SIGTERM)
        with pytest.raises(urllib.error.HTTPError):
            for _ in range(500):
                urllib.request.urlopen(ca.status + "/ready")
        ca.api.open.set()
        assert len(answer.result(10).cert_chain) == 3
    assert ca.process.wait(10) == 0


def test_metrics(ca):
    ca.mesh()
    refused(grpc.StatusCode.UNAUTHENTICATED, "", lambda: ca.mesh(token=None))
    text = urllib.request.urlopen(ca.status + "/metrics").read().decode()
    assert 'rootshift_ca_answers_total{result="issued"} 1' in text and 'rootshift_ca_answers_total{result="refused"} 1' in text


def test_bad_start(bin_dir, tmp_path):
    def run(*args):
        r = subprocess.run([bin_dir / "rootshift-ca", *args], capture_output=True, text=True, timeout=20)
        return r.returncode, r.stderr
    api = Api()
    (tmp_path / "kubeconfig").write_text(api.kubeconfig())
    key = pki.key()
    root = pki.ca("r", key)
    files = {"ca-cert.pem": pki.pem(root), "ca-key.pem": pki.pem(key), "cert-chain.pem": pki.pem(root), "root-cert.pem": pki.pem(root)}
    args = ["serve", "--trust_domain", TD, "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--kubeconfig", str(tmp_path / "kubeconfig")]
    assert run("serve")[0] == 2 and "--trust_domain" in run("serve")[1]
    assert run()[0] == 2
    code, text = run(*args)
    assert code != 0 and "mesh-ca/mesh-ca-issuer" in text
    for name, content, part in [("ca-key.pem", pki.pem(pki.key()), "does not belong"), ("ca-cert.pem", "junk", "no certificate"), ("root-cert.pem", "", "root-cert.pem"),
                                ("root-cert.pem", pki.pem(pki.ca("other", pki.key())), "does not verify")]:
        for n, t in (files | {name: content}).items():
            (tmp_path / n).write_text(t)
        code, text = run(*args, "--issuer_dir", str(tmp_path))
        assert code in (2, 4) and part in text and len(text.splitlines()) < 4, text
    api.close()
