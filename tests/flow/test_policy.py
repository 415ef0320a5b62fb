"""Who is refused stays refused, in both phases and between old and new workloads: plain text from outside the mesh, and
principals that no AuthorizationPolicy allows."""
import pytest

from mesh import REVISION_1, REVISION_2, FLEET, Mesh, eventually
import sample

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


def caller(namespace, name, injected):
    labels = {"app": name}
    annotations = {} if injected else {"sidecar.istio.io/inject": "false"}
    if not injected:
        labels["sidecar.istio.io/inject"] = "false"
    return [
        sample._object("v1", "ServiceAccount", name, namespace),
        sample._object("apps/v1", "Deployment", name, namespace, spec={
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels, "annotations": annotations},
                         "spec": {"serviceAccountName": name, "containers": [{"name": "caller", "image": "rootshift/echo", "args": ["serve"]}]}}})]


@pytest.fixture(scope="module")
def mesh(bin_dir, tmp_path_factory):
    mesh = Mesh(bin_dir, tmp_path_factory.mktemp("policy"))
    try:
        mesh.set_up()
        mesh.cluster.apply(caller("orders", "intruder", True) + caller("orders", "outsider", False))
        mesh.cluster.wait_rollouts([("orders", "intruder"), ("orders", "outsider")])
        yield mesh
    finally:
        mesh.delete()


def curl(mesh, app, url):
    pod = mesh.pod("orders", app)
    done = mesh.exec("orders", pod, "curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url, container="caller", check=False)
    return done.stdout.strip() or "000"


def tcp(mesh, app, host):
    """Answer of the TCP echo, or '' when the connection was closed without one."""
    pod = mesh.pod("orders", app)
    script = f"exec 3<>/dev/tcp/{host}/9000; echo 'ping 1' >&3; timeout 5 head -n1 <&3"
    return mesh.exec("orders", pod, "bash", "-c", script, container="caller", check=False).stdout.strip()


def assert_refusals(mesh):
    web, ledger = "http://web.storefront.svc.cluster.local/", "ledger.orders.svc.cluster.local"
    # An injected workload whose principal is on no list: 403 over HTTP, a closed connection over TCP.
    eventually(lambda: curl(mesh, "intruder", web) == "403", "the intruder gets 403")
    assert tcp(mesh, "intruder", ledger) == ""
    # Plain text from outside the mesh.
    assert curl(mesh, "outsider", web) == "000"
    assert tcp(mesh, "outsider", ledger) == ""


def test_refusals_in_every_phase(mesh):
    mesh.start_traffic()
    assert_refusals(mesh)
    mesh.migrate("distribute")
    assert_refusals(mesh)
    # Between old and new: one namespace switched, the others not yet.
    c = mesh.cluster
    mesh.rootshift("install", "--fleet_id", FLEET, "--ca", "mesh_ca", "--option", "ca-migration-meshca", "--revision_name", REVISION_2,
                   "--enable_all", "--output_dir", mesh.work / "rev2")
    for ns, rev in (("orders", REVISION_2), ("storefront", REVISION_1)):
        c.kubectl("label", "namespace", ns, f"istio.io/rev={rev}", "--overwrite")
    for name in [*sample.WORKLOADS["orders"], "intruder"]:
        c.kubectl("rollout", "restart", "deployment", name, "-n", "orders")
        c.kubectl("rollout", "status", "deployment", name, "-n", "orders", "--timeout=240s")
    assert_refusals(mesh)
    mesh.assert_no_failures()
