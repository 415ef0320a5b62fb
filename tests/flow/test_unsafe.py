"""What Rootshift is for: the same sample switched without distributing the root first fails visibly, while a mesh beside it
that is left alone does not. A test harness that could not see failed requests would fail here."""
import re

import pytest

from mesh import FLEET, REVISION_2, Mesh, eventually
import sample

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def verify_errors(mesh, namespace, app):
    stats = mesh.envoy(namespace, mesh.pod(namespace, app), "/stats?filter=ssl.fail_verify_error")
    return sum(int(n) for n in re.findall(r": (\d+)$", stats, re.M))


def test_switch_without_distribution_breaks(bin_dir, tmp_path):
    broken, control = Mesh(bin_dir, tmp_path / "broken"), Mesh(bin_dir, tmp_path / "control")
    try:
        broken.set_up()
        control.set_up()
        broken.start_traffic()
        control.start_traffic()
        assert verify_errors(broken, "storefront", "catalog") == 0
        refused = broken.rootshift("install", "--fleet_id", FLEET, "--ca", "mesh_ca", "--option", "ca-migration-meshca", "--revision_name", REVISION_2,
                                   "--enable_all", "--output_dir", broken.work / "rev2", check=False)
        assert refused.returncode == 4
        broken.rootshift("install", "--fleet_id", FLEET, "--ca", "mesh_ca", "--option", "ca-migration-meshca", "--revision_name", REVISION_2,
                         "--enable_all", "--output_dir", broken.work / "rev2", "--unsafe-skip-gates")
        c = broken.cluster
        c.kubectl("label", "namespace", "orders", f"istio.io/rev={REVISION_2}", "--overwrite")
        c.kubectl("rollout", "restart", "deployment", "-n", "orders")
        for name in sample.WORKLOADS["orders"]:
            c.kubectl("rollout", "status", "deployment", name, "-n", "orders", "--timeout=240s")
        seen = eventually(lambda: (lambda s: s if s["failed"] > 20 else None)(broken.traffic.summary()), "requests fail", timeout=60)
        assert any("orders/" in f["to"] or f["from"].startswith("orders/") for f in seen["failures"])
        eventually(lambda: verify_errors(broken, "storefront", "catalog") > 0, "Envoy counts ssl.fail_verify_error")
        control.assert_no_failures()
    finally:
        broken.delete()
        control.delete()
