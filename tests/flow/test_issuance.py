"""Both CAs in a real cluster, called with the token of a real pod: chains, issuance records, and the keeper that ends them."""
import json
import pathlib
import re
import subprocess
import sys
import uuid

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mesh import FLEET_DOMAIN, REVISION, ROOT, Mesh, eventually

sys.path.insert(0, str(pathlib.Path(ROOT) / "tests" / "interop"))
import pb  # noqa: E402
import pki  # noqa: E402

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def mesh(bin_dir, tmp_path_factory):
    mesh = Mesh(bin_dir, tmp_path_factory.mktemp("issuance"))
    try:
        yield mesh.set_up(with_sample=False)
    finally:
        mesh.delete()


def get(mesh, *args):
    return json.loads(mesh.cluster.kubectl("get", *args, "-o", "json").stdout)


def start_pod(mesh, name):
    """A pod that does nothing but hold a token for both CAs."""
    sources = [{"serviceAccountToken": {"audience": audience, "path": path, "expirationSeconds": 3600}} for audience, path in (("istio-ca", "istio"), (FLEET_DOMAIN, "mesh"))]
    mesh.cluster.apply([{
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": {
            "terminationGracePeriodSeconds": 5, "volumes": [{"name": "t", "projected": {"sources": sources}}],
            "containers": [{"name": "c", "image": "any", "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"], "volumeMounts": [{"name": "t", "mountPath": "/t"}]}]}}])
    mesh.cluster.kubectl("wait", "pod", name, "--for=condition=Ready", "--timeout=60s")
    tokens = [mesh.cluster.kubectl("exec", name, "--", "cat", f"/t/{path}").stdout.strip() for path in ("istio", "mesh")]
    return get(mesh, "pod", name)["metadata"]["uid"], *tokens


class Channel:
    """gRPC to a port of a Deployment through kubectl port-forward, verified by the roots of a ConfigMap."""

    def __init__(self, mesh, namespace, deployment, port, name, *roots_in):
        self.forward = subprocess.Popen([mesh.cluster.kubectl_path, "--context", mesh.cluster.context, "-n", namespace, "port-forward", f"deployment/{deployment}", f":{port}"],
                                        env=mesh.cluster.env, stdout=subprocess.PIPE, text=True)
        local = re.search(r"127.0.0.1:(\d+)", self.forward.stdout.readline())[1]
        roots = get(mesh, "configmap", *roots_in)["data"]["root-cert.pem"]
        self.channel = grpc.secure_channel(f"127.0.0.1:{local}", grpc.ssl_channel_credentials(roots.encode()), [("grpc.ssl_target_name_override", name)])

    def __enter__(self):
        return self.channel

    def __exit__(self, *args):
        self.channel.close()
        self.forward.kill()
        self.forward.wait()


def istio_ca(mesh):
    return Channel(mesh, "istio-system", f"istiod-{REVISION}", 15012, f"istiod-{REVISION}.istio-system.svc", "istio-ca-root-cert")


def mesh_ca(mesh):
    return Channel(mesh, "mesh-ca", "mesh-ca", 8443, "mesh-ca.mesh-ca.svc", "-n", "mesh-ca", "mesh-ca-root")


def issue(channel, service, token):
    request = pb.MeshRequest(request_id=str(uuid.uuid4()), csr=pki.csr(pki.key())) if service is pb.MESH else pb.IstioRequest(csr=pki.csr(pki.key()))
    chain = pb.stub(channel, service)(request, metadata=[("authorization", f"Bearer {token}"), ("clusterid", "Kubernetes")], timeout=20).cert_chain
    return [x509.load_pem_x509_certificate(c.encode()) for c in chain]


def name_of(leaf):
    return leaf.fingerprint(hashes.SHA256()).hex()[:40]


def record(mesh, leaf):
    return get(mesh, "issuancerecord", "-n", "istio-system", name_of(leaf))


def check_record(r, chain, uid, domain):
    leaf, root = chain[0], chain[-1]
    assert r["spec"]["identity"] == f"spiffe://{domain}/ns/default/sa/default"
    assert r["spec"]["podUID"] == uid == r["metadata"]["labels"]["rootshift.dev/pod-uid"]
    assert r["spec"]["rootSHA256"] == root.fingerprint(hashes.SHA256()).hex()
    assert int(r["spec"]["serial"], 16) == leaf.serial_number
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.UniformResourceIdentifier) == [r["spec"]["identity"]]
    for below, above in zip(chain, chain[1:]):
        below.verify_directly_issued_by(above)
    assert not r.get("status")


def test_life_and_end_of_a_certificate(mesh):
    uid, istio_token, mesh_token = start_pod(mesh, "good")
    forced_uid, forced_token, _ = start_pod(mesh, "forced")
    with istio_ca(mesh) as i, mesh_ca(mesh) as m:
        citadel, external, forced = issue(i, pb.ISTIO, istio_token), issue(m, pb.MESH, mesh_token), issue(i, pb.ISTIO, forced_token)
        with pytest.raises(grpc.RpcError) as e:                        # each CA wants its own audience
            issue(m, pb.MESH, istio_token)
        assert e.value.code() == grpc.StatusCode.UNAUTHENTICATED and e.value.details() == "request authenticate failure"
    assert [len(citadel), len(external)] == [2, 3]
    check_record(record(mesh, citadel[0]), citadel, uid, "cluster.local")
    check_record(record(mesh, external[0]), external, uid, FLEET_DOMAIN)
    check_record(record(mesh, forced[0]), forced, forced_uid, "cluster.local")

    # Records outlive the control plane's pods; the keeper of the new one ends those whose pod is seen to stop.
    mesh.cluster.kubectl("delete", "pod", "-n", "istio-system", "-l", "app=istiod", "--wait=true")
    mesh.cluster.kubectl("rollout", "status", "deployment", "-n", "istio-system", f"istiod-{REVISION}", "--timeout=60s")
    mesh.cluster.kubectl("delete", "pod", "forced", "--force", "--grace-period=0")
    mesh.cluster.kubectl("delete", "pod", "good")
    for leaf in (citadel[0], external[0]):
        ended = eventually(lambda: record(mesh, leaf).get("status"), "the record ends with its pod", timeout=30)
        assert ended["endedAt"] and "good" in ended["evidence"]
    assert not record(mesh, forced[0]).get("status")                   # nobody saw its containers stop


def bundle(mesh, revision):
    return get(mesh, "configmap", "-n", "istio-system", f"istio-trust-bundle-{revision}")["data"]


def roots(mesh, revision):
    return x509.load_pem_x509_certificates(bundle(mesh, revision)["roots.pem"].encode())


def test_old_root_retires_once_nothing_under_it_lives(mesh):
    """A.5 seen from a control plane whose CA is off: kept while a pod may present a leaf under it, then retired and named."""
    _, token, _ = start_pod(mesh, "old")
    with istio_ca(mesh) as channel:
        old_root = issue(channel, pb.ISTIO, token)[-1]
    mesh.rootshift("install", "--fleet_id", FLEET_DOMAIN.split(".")[0], "--ca", "mesh_ca", "--option", "ca-migration-meshca", "--revision_name", "r2", "--unsafe-skip-gates",
                   "--output_dir", mesh.work / "r2")
    assert old_root in eventually(lambda: roots(mesh, "r2"), "r2 records its bundle") and len(roots(mesh, "r2")) == 2
    secret = get(mesh, "secret", "-n", "istio-system", "istio-ca-secret")
    mesh.cluster.kubectl("delete", "deployment", "-n", "istio-system", f"istiod-{REVISION}")
    eventually(lambda: "NotFound" in mesh.cluster.kubectl("get", "configmap", "-n", "istio-system", f"istio-trust-bundle-{REVISION}", check=False).stderr,
               "the old revision's record goes with it")
    mesh.cluster.kubectl("delete", "secret", "-n", "istio-system", "istio-ca-secret")
    mesh.cluster.kubectl("rollout", "restart", "deployment", "-n", "istio-system", "istiod-r2")
    mesh.cluster.kubectl("rollout", "status", "deployment", "-n", "istio-system", "istiod-r2", "--timeout=60s")
    kept = eventually(lambda: bundle(mesh, "r2").get("kept"), "the old root is kept")
    fingerprint = old_root.fingerprint(hashes.SHA256()).hex()
    assert fingerprint in kept and old_root in roots(mesh, "r2")
    # The pod of before this test's first (forced away) may hold a leaf too: nobody saw it end, so it counts to its expiry.
    for item in get(mesh, "issuancerecord", "-n", "istio-system")["items"]:
        if item["spec"]["podName"] == "forced":
            mesh.cluster.kubectl("delete", "issuancerecord", "-n", "istio-system", item["metadata"]["name"])
    assert "default/old" in eventually(lambda: (lambda k: k if "default/old" in k else None)(bundle(mesh, "r2").get("kept", "")), "the reason names the pod")
    mesh.cluster.kubectl("delete", "pod", "old")
    eventually(lambda: old_root not in roots(mesh, "r2"), "the old root is retired", timeout=30)
    assert [r["sha256"] for r in json.loads(bundle(mesh, "r2")["retired"])] == [fingerprint] and "kept" not in bundle(mesh, "r2")
    reasons = [e["reason"] for e in get(mesh, "events", "-n", "istio-system")["items"]]
    assert "RootKept" in reasons and "RootRetired" in reasons
    eventually(lambda: old_root not in x509.load_pem_x509_certificates(get(mesh, "configmap", "istio-ca-root-cert")["data"]["root-cert.pem"].encode()),
               "and leaves istio-ca-root-cert")

    # Undo: the Secret restored and the control plane restarted, the root is trusted again.
    for field in ("resourceVersion", "uid", "creationTimestamp"):
        secret["metadata"].pop(field, None)
    mesh.cluster.apply([secret])
    mesh.cluster.kubectl("rollout", "restart", "deployment", "-n", "istio-system", "istiod-r2")
    mesh.cluster.kubectl("rollout", "status", "deployment", "-n", "istio-system", "istiod-r2", "--timeout=60s")
    eventually(lambda: old_root in roots(mesh, "r2"), "the old root is back")
    assert bundle(mesh, "r2")["retired"] == "[]"


def test_no_second_root_without_the_secret(mesh):
    """The key is lost while its root is distributed: a control plane that should sign makes no other one, and says so."""
    before = bundle(mesh, "r2")["roots.pem"]
    mesh.cluster.kubectl("delete", "secret", "-n", "istio-system", "istio-ca-secret")
    mesh.cluster.kubectl("set", "env", "-n", "istio-system", "deployment/istiod-r2", "ENABLE_CA_SERVER=true")

    def said():
        events = get(mesh, "events", "-n", "istio-system")["items"]
        return any(e["reason"] == "CANotStarted" and "mesh has roots already" in e["message"] for e in events)
    eventually(said, "an Event says why", timeout=60)
    assert "istio-ca-secret" not in [s["metadata"]["name"] for s in get(mesh, "secret", "-n", "istio-system")["items"]]
    assert bundle(mesh, "r2")["roots.pem"] == before
