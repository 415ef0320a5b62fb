"""Any one of our processes killed during a migration: it goes on, or a second run of the same command does; traffic that
does not depend on the killed pod does not fail."""
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

from mesh import FLEET, Mesh, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]


def processes(name):
    """Host pids of processes with this executable name."""
    found = []
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (proc / "exe").resolve().name == name:
                found.append((int(proc.name), (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
        except OSError:
            continue
    return found


def kill_one(name, *containing):
    """Kills one process of this name whose command line holds all of these: ours, not another cluster's."""
    pids = [pid for pid, cmdline in processes(name) if all(part in cmdline for part in containing)]
    assert pids, f"no process {name} {containing}"
    os.kill(pids[0], signal.SIGKILL)
    return pids[0]


@pytest.fixture()
def mesh(bin_dir, tmp_path):
    mesh = Mesh(bin_dir, tmp_path)
    try:
        mesh.set_up()
        mesh.start_traffic()
        yield mesh
    finally:
        mesh.delete()


def migrate_command(mesh):
    return [str(mesh.cluster.bin / "rootshift"), "migrate", "--to", "mesh_ca", "--fleet_id", FLEET, "--output_dir", str(mesh.work / "migration")]


def step_states(mesh):
    try:
        return {s["name"]: s["state"] for s in json.loads(mesh.rootshift("status", "-o", "json").stdout).get("steps", [])}
    except Exception:
        return {}


def test_operator_killed_at_every_phase(mesh):
    """The same command, killed while a step is under way, goes on from the record in the cluster; status agrees with it."""
    for stop_at in ("install-distribute", "distribute/orders", "install-switch", "switch/storefront"):
        child = subprocess.Popen(migrate_command(mesh), env=mesh.cluster.env, cwd=mesh.work, stderr=subprocess.DEVNULL)
        eventually(lambda: step_states(mesh).get(stop_at) in ("under way", "done") or child.poll() is not None, f"step {stop_at} begins", timeout=240, pause=0.1)
        child.kill()
        child.wait()
    # The lease of the killed run ends by itself; until then the next run says who holds it.
    held = mesh.rootshift(*migrate_command(mesh)[1:], check=False)
    assert held.returncode in (0, 4), held.stderr
    eventually(lambda: mesh.rootshift(*migrate_command(mesh)[1:], check=False).returncode == 0, "the migration ends", timeout=300, pause=2)
    states = step_states(mesh)
    assert states["prove-switch"] == "done"
    mesh.assert_no_failures()


@pytest.mark.parametrize("program,containing", [("rootshift-cluster", "apiserver"), ("rootshift-cluster", "controllers"), ("rootshift-node", "--kubeconfig")])
def test_cluster_process_killed_during_switch(mesh, program, containing):
    mesh.migrate("distribute")
    child = subprocess.Popen(migrate_command(mesh), env=mesh.cluster.env, cwd=mesh.work, stderr=subprocess.PIPE, text=True)
    eventually(lambda: step_states(mesh).get("switch/orders") == "under way", "the switch is under way", timeout=120, pause=0.1)
    kill_one(program, containing, mesh.cluster.name)
    _, errors = child.communicate(timeout=400)
    if child.returncode != 0:
        assert errors.strip(), "a failed run must say why"
        eventually(lambda: mesh.rootshift(*migrate_command(mesh)[1:], check=False).returncode == 0, "a second run ends it", timeout=300, pause=2)
    assert step_states(mesh)["prove-switch"] == "done"
    mesh.assert_no_failures()


def test_control_plane_and_ca_killed(mesh):
    """istiod and Mesh CA die in the middle: existing connections and certificates go on."""
    mesh.migrate("distribute")
    kill_one("rootshift-control")
    time.sleep(0.5)                      # not readiness: another moment of the outage, under traffic
    kill_one("rootshift-ca")
    eventually(lambda: mesh.migrate("switch", check=False).returncode == 0, "the switch ends", timeout=400, pause=2)
    mesh.assert_no_failures()


def test_sidecar_killed_hurts_only_its_pod(mesh):
    """An Envoy that is killed costs its own pod's requests and nobody else's; the pod recovers."""
    victim = "packing"
    pod = mesh.pod("logistics", victim)
    mesh.exec("logistics", pod, "pkill", "-9", "-x", "envoy")
    mesh.cluster.wait_rollouts([("logistics", victim)])
    eventually(lambda: (lambda a: mesh.traffic.summary()["failed"] == a)(mesh.traffic.summary()["failed"]), "failures end")
    summary = mesh.traffic.summary()
    for failure in summary["failures"]:
        assert victim in failure["from"] or victim in failure["to"], failure
