"""rootshift cluster create | delete | list | kubeconfig: nothing is left behind, whatever is killed."""
import os
import pathlib
import random
import signal
import stat
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from ground import Ground, alive, answers, links, ordinary_user, wait_for  # noqa: E402

pytestmark = pytest.mark.cluster

FOREIGN = """apiVersion: v1
kind: Config
current-context: work
clusters:
- name: work
  cluster: {server: "https://work:6443"}
contexts:
- name: work
  context: {cluster: work, user: me}
users:
- name: me
  user: {token: abc}
"""


@pytest.fixture(params=["self", "ordinary"])
def ground(request, bin_dir):
    user = None
    if request.param == "ordinary":
        user, why = ordinary_user()
        if not user:
            pytest.skip(why)
    before = links()
    g = Ground(bin_dir, user)
    yield g
    g.close()
    assert links() == before


@pytest.fixture
def mine(bin_dir):
    before = links()
    g = Ground(bin_dir)
    yield g
    g.close()
    assert links() == before


def ready(g, name, part):
    return g.parts(name).get(part, {}).get("state") == "ready"


def test_create_and_delete(ground):
    ground.config.write_text(FOREIGN)
    ground.config.chmod(0o644)
    if ground.user:
        os.chown(ground.config, ground.user.pw_uid, ground.user.pw_gid)
    out = ground.ok("create", "demo")
    row = ground.list()["demo"]
    assert row["status"] == "running" and row["context"] == "rootshift-demo" and row["server"] in out
    assert "200" in answers(row["server"])
    merged = ground.config.read_text()
    assert "current-context: rootshift-demo" in merged and "name: work" in merged and "token: abc" in merged
    assert stat.S_IMODE(ground.config.stat().st_mode) == 0o600
    assert stat.S_IMODE(ground.state("demo").stat().st_mode) == 0o700
    assert row["server"] in ground.ok("kubeconfig", "demo")
    again = ground.run("create", "demo")
    assert again.returncode == 1 and "runs already" in again.err and again.err.count("\n") == 1
    assert "demo" in ground.ok("list")
    ground.ok("delete", "demo")
    ground.assert_clean()
    merged = ground.config.read_text()
    assert "current-context: work" in merged and "token: abc" in merged
    gone = ground.run("delete", "demo")
    assert gone.returncode == 1 and "there is no cluster demo" in gone.err


def test_files_of_pods_are_removed_too(bin_dir):
    """What a pod's user wrote belongs to a subordinate id, over which an ordinary user has no right outside."""
    user, why = ordinary_user()
    if not user:
        pytest.skip(why)
    g = Ground(bin_dir, user)
    try:
        g.ok("create", "demo")
        first = next(int(l.split(":")[1]) for l in pathlib.Path("/etc/subuid").read_text().splitlines() if l.startswith(user.pw_name + ":"))
        volume = g.state("demo") / "node" / "volume"
        volume.mkdir()
        (volume / "file").write_text("x")
        for path in (volume / "file", volume):
            os.chown(path, first + 1336, first + 1336)
        volume.chmod(0o700)
        g.ok("delete", "demo")
        g.assert_clean()
    finally:
        g.close()


POD = """apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  volumes: [{name: v, emptyDir: {}}]
  containers:
  - name: c
    image: any
    command: [sh, -c, "echo x > /v/file; exec sleep infinity"]
    securityContext: {runAsUser: 1337}
    volumeMounts: [{name: v, mountPath: /v}]
"""


@pytest.mark.parametrize("how", ["delete", "kill"])
def test_pods_go_with_their_cluster(ground, kubectl, how):
    ground.ok("create", "demo")
    env = ground.env | {"PATH": os.environ["PATH"]}
    subprocess.run([kubectl, "apply", "-f", "-"], env=env, input=POD, text=True, check=True, timeout=60)
    subprocess.run([kubectl, "wait", "--for=condition=Ready", "pod/web", "--timeout=60s"], env=env, check=True, timeout=90)
    ground.note()
    assert any("sleep infinity" in text for text in ground.processes().values())
    if how == "kill":
        os.kill(ground.pid("demo"), signal.SIGKILL)
        wait_for("all but files to be gone", lambda: not ground.processes())
    ground.ok("delete", "demo")
    ground.assert_clean()


def test_two_clusters_at_once(ground):
    makers = [ground.start("create", name) for name in ("one", "two")]
    for p in makers:
        _, err = p.communicate(timeout=60)
        assert p.returncode == 0, err + ground.logs()
    ground.note()
    rows = ground.list()
    assert rows["one"]["server"] != rows["two"]["server"]
    spaces = {n: {os.readlink(f"/proc/{ground.pid(c)}/ns/{n}") for c in rows} for n in ("user", "net", "mnt", "pid")}
    assert [len(spaces[n]) for n in ("user", "net", "mnt", "pid")] == [1, 2, 2, 2]
    assert os.readlink(f"/proc/{ground.holder()}/ns/user") in spaces["user"]
    ground.ok("delete", "one")
    assert list(ground.list()) == ["two"] and "200" in answers(rows["two"]["server"])
    assert "rootshift-one" not in ground.config.read_text() and "rootshift-two" in ground.config.read_text()
    ground.ok("delete", "two")
    ground.assert_clean()


def test_a_killed_supervisor_takes_everything_along(ground):
    ground.ok("create", "demo")
    wait_for("the node", lambda: ready(ground, "demo", "node"))
    ground.note()
    os.kill(ground.pid("demo"), signal.SIGKILL)
    assert ground.list()["demo"]["status"] == "dead"
    wait_for("all but files to be gone", lambda: not ground.processes())
    broken = ground.run("kubeconfig", "demo")
    assert broken.returncode == 1 and "does not run" in broken.err
    ground.ok("create", "demo")
    assert "200" in answers(ground.list()["demo"]["server"])
    assert ground.config.read_text().count("name: rootshift-demo") == 3
    os.kill(ground.pid("demo"), signal.SIGKILL)
    ground.ok("delete", "demo")
    ground.assert_clean()


def test_a_killed_holder_is_replaced_in_the_same_namespaces(ground):
    ground.ok("create", "one")
    first = ground.holder()
    space = os.readlink(f"/proc/{first}/ns/net")
    os.kill(first, signal.SIGKILL)
    wait_for("the holder to end", lambda: not alive(first))
    assert "200" in answers(ground.list()["one"]["server"])
    ground.ok("create", "two")
    assert ground.holder() != first and os.readlink(f"/proc/{ground.holder()}/ns/net") == space
    os.kill(ground.holder(), signal.SIGKILL)
    ground.ok("delete", "one")
    ground.ok("delete", "two")
    ground.assert_clean()


@pytest.mark.parametrize("part", ["apiserver", "controllers", "node", "dnsmasq"])
def test_a_killed_part_is_started_again(mine, part):
    mine.ok("create", "demo")
    wait_for("all parts", lambda: all(ready(mine, "demo", name) for name in ("apiserver", "controllers", "node", "dnsmasq")))
    server = mine.list()["demo"]["server"]
    before = mine.parts("demo")
    os.kill(before[part]["pid"], signal.SIGKILL)
    assert "200" in answers(server)                # the socket is the supervisor's: nobody is refused
    now = wait_for(f"{part} again", lambda: (p := mine.parts("demo"))[part]["starts"] == 2 and ready(mine, "demo", part) and p)
    assert now[part]["lastEnd"] == "signal 9"
    assert all(now[other]["pid"] == before[other]["pid"] for other in now if other != part and before[other]["pid"])
    mine.ok("delete", "demo")
    mine.assert_clean()


def killed_create(g, when):
    """Kills `create` as soon as `when` shows; True when it had not come to its end."""
    p = g.start("create", "demo")
    while p.poll() is None and not when():
        pass
    p.send_signal(signal.SIGKILL)
    p.communicate()
    g.note()
    return p.returncode == -signal.SIGKILL


POINTS = {
    "holder": lambda g: (g.home / "ground" / "life").exists(),
    "holder recorded": lambda g: (g.home / "ground" / "holder.json").exists(),
    "state directory": lambda g: g.state("demo").exists(),
    "supervisor": lambda g: (g.state("demo") / "log" / "supervisor.log").exists(),
    "supervisor recorded": lambda g: (g.state("demo") / "cluster.json").exists(),
    "API server": lambda g: (g.state("demo") / "log" / "apiserver.log").exists(),
    "API keys": lambda g: (g.state("demo") / "kubeconfig").exists(),
    "context": lambda g: g.config.exists(),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_create_leaves_no_process_and_can_be_repeated(ground, point):
    if killed_create(ground, lambda: POINTS[point](ground)):
        if ground.list().get("demo", {}).get("status") != "running":
            wait_for("every process to end by itself", lambda: not ground.processes())
            ground.ok("create", "demo")
        assert "200" in answers(ground.list()["demo"]["server"])
    ground.ok("delete", "demo")
    ground.assert_clean()


def test_kills_at_any_time(mine):
    chance = random.Random(1)
    for _ in range(12):
        deadline = chance.uniform(0, 0.25)
        p = mine.start("create", "demo")
        try:
            p.wait(deadline)
        except subprocess.TimeoutExpired:
            p.kill()
        p.communicate()
        mine.note()
        p = mine.start("delete", "demo")
        try:
            p.wait(chance.uniform(0, 0.05))
        except subprocess.TimeoutExpired:
            p.kill()
        p.communicate()
        last = mine.run("delete", "demo")
        assert last.returncode == 0 or "there is no cluster" in last.err
        mine.assert_clean()


# -- one clear line, and nothing changed

def refused(p, code, *parts):
    assert p.returncode == code, (p.returncode, p.err)
    assert p.err.count("\n") == 1 and p.err.startswith("rootshift: "), p.err
    for part in parts:
        assert part in p.err


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a.b", "../x", "a" * 41, "é"])
def test_bad_names(mine, name):
    for verb in ("create", "delete", "kubeconfig"):
        refused(mine.run(verb, "--", name), 2, "is not a DNS label")
    assert not mine.home.exists()


def test_bad_usage(mine):
    assert mine.run().returncode == 2
    assert mine.run("grow").returncode == 2
    refused(mine.run("delete"), 2, "usage: rootshift cluster delete NAME")
    refused(mine.run("create", "a", "b"), 2, "usage:")
    refused(mine.run("create", "a", "--kubeconfig", "x", "--kubeconfig", "y"), 2, "--kubeconfig is given twice")
    refused(mine.run("create", "a", "--size", "x"), 2, "unknown option --size")
    assert not mine.home.exists()


def test_a_kubeconfig_that_is_none(mine):
    mine.config.write_text("a: [")
    refused(mine.run("create", "demo"), 2, str(mine.config))
    assert mine.config.read_text() == "a: ["
    mine.config.unlink()
    mine.assert_clean()
    mine.ok("create", "demo")
    kept = mine.config.read_text()
    mine.config.write_text("a: [")
    refused(mine.run("delete", "demo"), 2, str(mine.config))
    mine.config.write_text(kept)
    mine.ok("delete", "demo")
    mine.assert_clean()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes mounts of its own")


def inside(mine, setup, *args, user=None):
    """The command where `setup` was done in a mount namespace of its own."""
    who = f"setpriv --reuid {user.pw_uid} --regid {user.pw_gid} --clear-groups" if user else ""
    command = " ".join([f"{k}='{v}'" for k, v in mine.env.items()])
    text = f"mount --make-rprivate / && {setup} && exec {who} env {command} {mine.bin}/rootshift cluster {' '.join(args)}"
    p = subprocess.run(["unshare", "-m", "sh", "-c", text], capture_output=True, text=True, timeout=60)
    p.err = p.stderr
    return p


@needs_root
@pytest.mark.parametrize("program", ["runc", "nft", "ip", "dnsmasq"])
def test_a_missing_program(mine, program):
    path = subprocess.run(["sh", "-c", f"PATH=/usr/sbin:/usr/bin command -v {program}"], capture_output=True, text=True).stdout.strip()
    if mine.env["PATH"].split(":")[0] != "/usr/sbin":
        mine.env["PATH"] = "/usr/sbin:/usr/bin"
    refused(inside(mine, f"mount --bind /dev/null {path}", "create", "demo"), 1, f"{program} is not installed", "apt-get install")
    mine.assert_clean()


@needs_root
def test_no_room(mine):
    mine.home.mkdir()
    setup = f"mount -t tmpfs -o size=1m tmpfs {mine.home}"
    refused(inside(mine, setup, "create", "demo"), 1, "no room on disk", str(mine.home), "ROOTSHIFT_HOME")
    mine.assert_clean()


@needs_root
def test_user_namespaces_disabled(mine):
    setup = "unshare -U --map-root-user true"
    text = f"echo 0 > /proc/sys/user/max_user_namespaces; exec {mine.bin}/rootshift cluster create demo"
    if subprocess.run(["sh", "-c", setup]).returncode:
        pytest.skip("no user namespaces here")
    p = subprocess.run(["unshare", "-U", "--map-root-user", "sh", "-c", text], env=mine.env, capture_output=True, text=True, timeout=60)
    p.err = p.stderr
    refused(p, 3, "user namespaces are disabled", "user.max_user_namespaces")
    mine.assert_clean()


@pytest.mark.parametrize("file", ["/etc/subuid", "/etc/subgid"])
@needs_root
def test_no_subordinate_ids(bin_dir, file):
    user, why = ordinary_user()
    if not user:
        pytest.skip(why)
    g = Ground(bin_dir, user)
    try:
        refused(inside(g, f"mount --bind /dev/null {file}", "create", "demo", user=user), 3, f"{file} has no entry for {user.pw_name}",
                "usermod --add-subuids")
        refused(inside(g, "mount --bind /dev/null $(command -v newuidmap)", "create", "demo", user=user), 1,
                "newuidmap is not installed", "uidmap")
        g.assert_clean()
    finally:
        g.close()
