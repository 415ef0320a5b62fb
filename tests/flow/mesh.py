"""A mesh under traffic for flow tests: embedded cluster, control plane, Mesh CA, sample. One per test module."""
import json
import pathlib
import sys
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "demo"))
import sample  # noqa: E402
from cluster import Cluster, Failed, Traffic  # noqa: E402,F401

FLEET = "test-fleet"
FLEET_DOMAIN = f"{FLEET}.svc.id.goog"
REVISION = "asm-1157-23"
REVISION_1 = "asm-1157-23-distribute-root"
REVISION_2 = "asm-1157-23-meshca-ca-migration"


class Mesh:
    """Cluster, revision (or "default"), Mesh CA and sample; traffic runs once start_traffic was called."""

    def __init__(self, bin_dir, work_dir, revision=REVISION):
        self.cluster = Cluster("t" + uuid.uuid4().hex[:8], bin_dir, work_dir, kubectl=str(ROOT / "build" / "deps" / "kubectl"))
        self.work = pathlib.Path(work_dir)
        self.revision = revision
        self.injection = {"istio-injection": "enabled"} if revision == "default" else {"istio.io/rev": revision}
        self.traffic = Traffic(self.cluster)

    def set_up(self, with_sample=True):
        c = self.cluster
        c.create()
        c.run("rootshift", "install", "--fleet_id", FLEET, "--ca", "citadel", "--revision_name", self.revision, "--enable_all",
              "--output_dir", self.work / self.revision)
        c.run("rootshift", "mesh-ca", "install", "--fleet_id", FLEET, "--output_dir", self.work / "mesh-ca")
        if with_sample:
            c.apply(sample.objects(self.injection))
            c.wait_rollouts(sample.deployments())
        return self

    def start_traffic(self):
        self.traffic.wait(lambda s: len(s["pairs"]) >= 12 * 12, "every client reports")
        self.traffic.run()
        return self.traffic.wait(lambda s: all(p.get("lastOK") for p in s["pairs"].values()), "every pair gets an answer")

    def assert_no_failures(self):
        s = self.traffic.summary()
        assert s["failed"] == 0 and not s["silent"], json.dumps({"failed": s["failed"], "failures": s["failures"][:10], "silent": s["silent"][:10]}, indent=1)
        assert s["requests"] > 0

    def rootshift(self, *args, check=True, timeout=600):
        return self.cluster.run("rootshift", *args, check=check, timeout=timeout)

    def migrate(self, phase, check=True, wait="2m"):
        return self.rootshift("migrate", "--to", "mesh_ca", "--fleet_id", FLEET, "--phase", phase, "--wait", wait,
                              "--output_dir", self.work / "migration", check=check)

    def pod(self, namespace, app):
        pods = [p for p in self.cluster.pods(namespace, f"app%3D{app}") if not p["metadata"].get("deletionTimestamp")]
        return pods[0]["metadata"]["name"]

    def exec(self, namespace, pod, *command, container="istio-proxy", check=True):
        return self.cluster.kubectl("exec", "-n", namespace, pod, "-c", container, "--", *command, check=check)

    def envoy(self, namespace, pod, path):
        """Answer of the pod's Envoy admin port, as text."""
        return self.exec(namespace, pod, "curl", "-s", f"http://127.0.0.1:15000{path}").stdout

    def delete(self):
        self.cluster.delete()


def host_pid(program, pod):
    """Pid, as the host counts, of a program that runs in this pod: pid 1 of a container ignores signals from inside."""
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (proc / "exe").resolve().name == program and f"POD_NAME={pod}".encode() in (proc / "environ").read_bytes().split(b"\0"):
                return int(proc.name)
        except OSError:
            continue
    raise AssertionError(f"no {program} in pod {pod}")


def eventually(condition, what, timeout=60, pause=0.3):
    """First true value of condition()."""
    end = time.monotonic() + timeout
    last = None
    while time.monotonic() < end:
        try:
            value = condition()
            if value:
                return value
        except (Failed, AssertionError, OSError) as error:
            last = error
        time.sleep(pause)
    raise AssertionError(f"{what}: not within {timeout} s ({last})")
