"""The guide's commands as printed (facts: its typos corrected), with Debian's kubectl 1.20, under load: both starting cases,
both rollbacks, both completions, removal of the CA's secrets."""
import re

import pytest

from mesh import FLEET, REVISION, REVISION_1, REVISION_2, Mesh, eventually
import sample

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]
NAMESPACES = list(sample.WORKLOADS)


class Guide:
    """One reader of the guide: types its commands and compares what they print."""

    def __init__(self, mesh):
        self.mesh, self.c = mesh, mesh.cluster
        self.bin, self.kubeconfig = self.c.bin, str(self.c.kubeconfig)

    def asmcli(self, *args, check=True):
        return self.c.run(str(self.bin / "asmcli"), *args, check=check)

    def kubectl(self, *args, check=True):
        return self.c.kubectl(*args, check=check).stdout

    def migrate_ca(self, check_name):
        done = self.c.run(str(self.bin / "migrate_ca"), check_name, check=False)
        return done.returncode, done.stdout

    def install(self, revision, *args):
        return self.asmcli("install", "--fleet_id", FLEET, "--kubeconfig", self.kubeconfig, "--output_dir", str(self.mesh.work / revision),
                           "--enable_all", "--revision_name", revision, *args)

    def revisions(self):
        """The REV column of `kubectl get pod -n istio-system -L istio.io/rev`."""
        lines = self.kubectl("get", "pod", "-n", "istio-system", "-L", "istio.io/rev").splitlines()
        assert lines[0].split()[-1] == "REV"
        return {line.split()[-1] for line in lines[1:]}

    def relabel(self, *labels):
        for ns in NAMESPACES:
            out = self.kubectl("label", "namespace", ns, *labels, "--overwrite")
            assert f"namespace/{ns} labeled" in out
            self.kubectl("rollout", "restart", "deployment", "-n", ns)
            for name in sample.WORKLOADS[ns]:
                self.kubectl("rollout", "status", "deployment", name, "-n", ns, "--timeout=240s")

    def gateway_canary(self, revision):
        """Canary upgrade (advanced): a second Deployment behind the same Service, then the old one steps aside."""
        old = self.c.api("/apis/apps/v1/namespaces/istio-system/deployments/istio-ingressgateway")
        new = sample._gateway(revision)[2]
        new["metadata"]["name"] = "istio-ingressgateway-canary"
        new["spec"]["selector"]["matchLabels"]["gateway"] = "canary"
        new["spec"]["template"]["metadata"]["labels"]["gateway"] = "canary"
        assert old["spec"]["template"]["metadata"]["annotations"]["inject.istio.io/templates"] == "gateway"
        self.c.apply([new])
        self.kubectl("rollout", "status", "deployment", "istio-ingressgateway-canary", "-n", "istio-system", "--timeout=120s")

    def gateway_in_place(self, revision):
        patch = '{"metadata":{"labels":{"istio.io/rev":"%s"}},"spec":{"template":{"metadata":{"labels":{"istio.io/rev":"%s"}}}}}' % (revision, revision)
        self.kubectl("patch", "deployment", "istio-ingressgateway-canary", "-n", "istio-system", "-p", patch)
        self.kubectl("rollout", "status", "deployment", "istio-ingressgateway-canary", "-n", "istio-system", "--timeout=120s")

    def delete_control_plane(self, revision, service=True):
        kinds = "Service,Deployment,HorizontalPodAutoscaler,PodDisruptionBudget" if service else "Deployment,HorizontalPodAutoscaler,PodDisruptionBudget"
        name = "istiod" if revision == "default" else f"istiod-{revision}"
        self.kubectl("delete", kinds, name, "-n", "istio-system", "--ignore-not-found=true")
        state = "installed-state" if revision == "default" else f"installed-state-{revision}"
        out = self.kubectl("delete", "IstioOperator", state, "-n", "istio-system")
        assert f'istiooperator.install.istio.io "{state}" deleted' in out

    def apply_istiod_service(self, revision):
        self.kubectl("apply", "-f", str(self.mesh.work / revision / "asm" / "istio" / "istiod-service.yaml"))
        service = self.c.api("/api/v1/namespaces/istio-system/services/istiod")
        assert service["spec"]["selector"]["istio.io/rev"] == revision

    def all_pods(self, check_name, words):
        def right():
            code, out = self.migrate_ca(check_name)
            lines = [l for l in out.splitlines() if l.startswith(" - ") or ("trust domain" in l and not l.startswith("Checking"))]
            return out if lines and all(words in l for l in lines) else None
        out = eventually(right, f"{check_name} says {words} for every pod", timeout=60, pause=1)
        assert re.search(r"^Namespace: storefront$", out, re.M)
        return out


def phase_1(g):
    g.install(REVISION_1, "--ca", "citadel", "--option", "ca-migration-citadel")
    assert REVISION_1 in g.revisions()
    g.relabel(f"istio.io/rev={REVISION_1}", "istio-injection-")
    g.gateway_canary(REVISION_1)
    g.kubectl("scale", "deployment", "istio-ingressgateway", "--replicas=0", "-n", "istio-system")
    g.all_pods("check-root-cert", "trusts [CITADEL MESHCA]")


def phase_1_rollback(g, old):
    g.kubectl("scale", "deployment", "istio-ingressgateway", "--replicas=1", "-n", "istio-system")
    g.kubectl("rollout", "status", "deployment", "istio-ingressgateway", "-n", "istio-system", "--timeout=120s")
    g.kubectl("delete", "deployment", "istio-ingressgateway-canary", "-n", "istio-system")
    if old == "default":
        g.relabel("istio.io/rev-", "istio-injection=enabled")
    else:
        g.relabel(f"istio.io/rev={old}")
        assert f"istio.io/rev={old}" in g.kubectl("get", "ns", "orders", "--show-labels")
    g.delete_control_plane(REVISION_1)
    g.all_pods("check-root-cert", "trusts [CITADEL]")


def phase_1_complete(g, old):
    g.apply_istiod_service(REVISION_1)
    if old == "default":
        g.kubectl("delete", "deploy/istio-ingressgateway", "-n", "istio-system")
    else:
        g.kubectl("delete", "deploy", "-l", f"app=istio-ingressgateway,istio.io/rev={old}", "-n", "istio-system", "--ignore-not-found=true")
    # From Istio the guide deletes Service istiod, which it has just re-pointed (its order bug): the Service stays here.
    g.delete_control_plane(old, service=old != "default")


def phase_2(g):
    g.install(REVISION_2, "--ca", "mesh_ca", "--option", "ca-migration-meshca")
    assert REVISION_2 in g.revisions()
    g.relabel(f"istio.io/rev={REVISION_2}")
    g.gateway_in_place(REVISION_2)
    g.all_pods("check-workload-cert", "issued by [MESHCA]")
    g.all_pods("check-trustdomain", "trusts trust domains for [CITADEL MESHCA]")


def phase_2_rollback(g):
    g.gateway_in_place(REVISION_1)
    g.relabel(f"istio.io/rev={REVISION_1}")
    g.delete_control_plane(REVISION_2)
    g.all_pods("check-workload-cert", "issued by [CITADEL]")


def phase_2_complete(g):
    g.apply_istiod_service(REVISION_2)
    g.delete_control_plane(REVISION_1)


def remove_secrets(g):
    for name in ("cacerts", "istio-ca-secret"):
        out = g.c.kubectl("get", f"secret/{name}", "-n", "istio-system", "-o", "yaml", check=False).stdout
        (g.mesh.work / f"save-{name}").write_text(out)
    g.kubectl("delete", "secret", "cacerts", "istio-ca-secret", "-n", "istio-system", "--ignore-not-found")
    g.kubectl("rollout", "restart", "deployment", "-n", "istio-system")
    for d in (f"istiod-{REVISION_2}", "istio-ingressgateway-canary"):
        g.kubectl("rollout", "status", "deployment", d, "-n", "istio-system", "--timeout=240s")
    g.all_pods("check-root-cert", "trusts [MESHCA]")
    # The control plane's own trust did not depend on what was removed: new pods are injected and get certificates.
    g.kubectl("rollout", "restart", "deployment", "cart", "-n", "storefront")
    g.kubectl("rollout", "status", "deployment", "cart", "-n", "storefront", "--timeout=240s")


@pytest.mark.parametrize("start", [REVISION, "default"])
def test_guide(bin_dir, tmp_path, start):
    mesh = Mesh(bin_dir, tmp_path, revision=start)
    try:
        g = Guide(mesh.set_up())
        mesh.start_traffic()
        phase_1(g)
        if start == REVISION:
            phase_2(g)
            phase_2_rollback(g)
        phase_1_rollback(g, start)
        mesh.assert_no_failures()
        phase_1(g)
        phase_1_complete(g, start)
        phase_2(g)
        phase_2_complete(g)
        remove_secrets(g)
        mesh.assert_no_failures()
    finally:
        mesh.delete()


def test_version(bin_dir, tmp_path):
    mesh = Mesh(bin_dir, tmp_path)
    done = mesh.cluster.run(str(bin_dir / "asmcli"), "--version")
    assert re.match(r"1\.(1[1-9]|[2-9]\d)\.", done.stdout)
