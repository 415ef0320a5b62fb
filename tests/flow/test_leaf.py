"""Chains are read from Envoy's secrets and from a real handshake, and agree with Envoy's /certs; renewal loses nothing."""
import base64
import json
import re

import pytest
from cryptography import x509

from mesh import Mesh, eventually
import sample

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def mesh(bin_dir, tmp_path_factory):
    """Leaves live 20 s here: renewal happens all the time."""
    mesh = Mesh(bin_dir, tmp_path_factory.mktemp("leaf"))
    overlay = mesh.work / "short.yaml"
    overlay.write_text("apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec:\n  meshConfig:\n    defaultConfig:\n"
                       "      proxyMetadata:\n        SECRET_TTL: 20s\n")
    try:
        mesh.set_up(with_sample=False)
        mesh.rootshift("install", "--fleet_id", "test-fleet", "--ca", "citadel", "--revision_name", "short", "--enable_all", "--custom_overlay", overlay,
                       "--output_dir", mesh.work / "short")
        mesh.injection = {"istio.io/rev": "short"}
        mesh.cluster.apply(sample.objects(mesh.injection))
        mesh.cluster.wait_rollouts(sample.deployments())
        yield mesh
    finally:
        mesh.delete()


def chain(mesh, namespace, pod):
    dump = json.loads(mesh.envoy(namespace, pod, "/config_dump?mask=dynamic_active_secrets"))
    for config in dump["configs"]:
        for secret in config.get("dynamic_active_secrets", []):
            if secret["name"] == "default":
                pem = base64.b64decode(secret["secret"]["tls_certificate"]["certificate_chain"]["inline_bytes"])
                return x509.load_pem_x509_certificates(pem)
    raise AssertionError("no default secret")


def test_serial_agrees_everywhere(mesh):
    pod = mesh.pod("orders", "payment")

    def agree():
        mine = chain(mesh, "orders", pod)[0].serial_number
        certs = json.loads(mesh.envoy("orders", pod, "/certs"))
        envoy = {int(d["serial_number"], 16) for c in certs["certificates"] for d in c["cert_chain"]}
        address = next(p["status"]["podIP"] for p in mesh.cluster.pods("orders") if p["metadata"]["name"] == pod)
        # A real handshake: the client certificate is missing, so it ends in an alert, but the server has shown its chain.
        shown = mesh.exec("traffic", mesh.cluster.pods("traffic")[0]["metadata"]["name"], "bash", "-c",
                          f"openssl s_client -connect {address}:8080 -alpn istio -showcerts </dev/null 2>/dev/null | openssl x509 -noout -serial",
                          container="collector", check=False).stdout
        handshake = int(re.search(r"serial=([0-9A-F]+)", shown)[1], 16)
        return mine in envoy and handshake == mine and chain(mesh, "orders", pod)[0].serial_number == mine
    assert eventually(agree, "secret, /certs and handshake show the same serial", timeout=60)
    records = mesh.cluster.api("/apis/rootshift.dev/v1/namespaces/istio-system/issuancerecords")["items"]
    assert any(r["spec"]["podName"] == pod for r in records)


def test_renewal_under_traffic(mesh):
    mesh.start_traffic()
    pods = [(ns, p["metadata"]["name"]) for ns in sample.WORKLOADS for p in mesh.cluster.pods(ns)]
    serials = {p: set() for p in pods}

    def five_each():
        for ns, pod in pods:
            serials[ns, pod].add(chain(mesh, ns, pod)[0].serial_number)
        return all(len(s) >= 6 for s in serials.values())
    eventually(five_each, "five renewals in every pod", timeout=240, pause=3)
    mesh.assert_no_failures()
