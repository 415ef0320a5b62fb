"""The switch gate stays shut and names the pod while one proxy is behind, stale or unreadable; released, it opens."""
import json
import os
import signal

import pytest
import yaml

from mesh import FLEET, REVISION_1, Mesh, eventually, host_pid

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def mesh(bin_dir, tmp_path_factory):
    mesh = Mesh(bin_dir, tmp_path_factory.mktemp("gates"))
    try:
        yield mesh.set_up()
    finally:
        mesh.delete()


def switch_gate(mesh):
    return json.loads(mesh.rootshift("status", "-o", "json").stdout)["gates"]["switch"]


def assert_shut_by(mesh, pod):
    gate = switch_gate(mesh)
    assert not gate["open"]
    assert any(pod in reason["object"] for reason in gate["reasons"]), gate
    return gate


def wait_open(mesh):
    return eventually(lambda: switch_gate(mesh)["open"], "the switch gate opens", timeout=90)


def test_install_of_mesh_ca_is_refused_before_distribution(mesh):
    done = mesh.rootshift("install", "--fleet_id", FLEET, "--ca", "mesh_ca", "--option", "ca-migration-meshca", "--revision_name", "too-early",
                          "--enable_all", "--output_dir", mesh.work / "too-early", check=False)
    assert done.returncode == 4, done.stderr
    assert "has not loaded" in done.stderr or "gate" in done.stderr
    assert "istiod-too-early" not in mesh.cluster.kubectl("get", "deployments", "-n", "istio-system").stdout


def test_a_deployment_that_was_never_restarted(mesh):
    mesh.migrate("distribute")
    assert switch_gate(mesh)["open"]
    # Someone moves one workload back: its pods run under the old revision again and hold one root only.
    c = mesh.cluster
    c.kubectl("label", "namespace", "orders", f"istio.io/rev={mesh.revision}", "--overwrite")
    c.kubectl("rollout", "restart", "deployment", "payment", "-n", "orders")
    c.kubectl("rollout", "status", "deployment", "payment", "-n", "orders", "--timeout=120s")
    behind = mesh.pod("orders", "payment")
    assert_shut_by(mesh, behind)
    refused = mesh.migrate("switch", check=False, wait="3s")
    assert refused.returncode == 4 and behind in refused.stderr, refused.stderr
    c.kubectl("label", "namespace", "orders", f"istio.io/rev={REVISION_1}", "--overwrite")
    c.kubectl("rollout", "restart", "deployment", "payment", "-n", "orders")
    c.kubectl("rollout", "status", "deployment", "payment", "-n", "orders", "--timeout=120s")
    wait_open(mesh)


def test_an_agent_that_stopped_before_a_third_root_came(mesh):
    pod = mesh.pod("storefront", "catalog")
    agent = host_pid("rootshift-agent", pod)
    os.kill(agent, signal.SIGSTOP)
    third = mesh.cluster.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null",
                             "-subj", "/O=third", "-days", "10").stdout
    name = f"istio-{REVISION_1}"
    config = mesh.cluster.api(f"/api/v1/namespaces/istio-system/configmaps/{name}")
    parsed = yaml.safe_load(config["data"]["mesh"])
    parsed.setdefault("caCertificates", []).append({"pem": third})
    mesh.cluster.api(f"/api/v1/namespaces/istio-system/configmaps/{name}", method="PATCH", content_type="application/merge-patch+json",
                     body={"data": {"mesh": yaml.safe_dump(parsed)}})
    # Everyone else takes the third root; the stopped one is named, alone.
    gate = eventually(lambda: (lambda g: g if not g["open"] and [r["object"] for r in g["reasons"]] == [f"storefront/{pod}"] else None)(switch_gate(mesh)),
                      "only the stopped agent's pod shuts the gate", timeout=90)
    assert gate["ready"] == gate["total"] - 1
    os.kill(agent, signal.SIGCONT)
    wait_open(mesh)


def test_an_envoy_that_stopped_while_being_read(mesh):
    pod = mesh.pod("logistics", "stock")
    envoy = host_pid("envoy", pod)
    os.kill(envoy, signal.SIGSTOP)
    gate = assert_shut_by(mesh, pod)
    assert any("unknown" in r["reason"] for r in gate["reasons"] if pod in r["object"])
    os.kill(envoy, signal.SIGCONT)
    wait_open(mesh)
