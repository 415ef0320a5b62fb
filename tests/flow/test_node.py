"""The node: pods in real network namespaces, seen through kubectl and through the API, as root and as an ordinary user."""
import json
import os
import pathlib
import pty
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from ground import Ground, ordinary_user, wait_for  # noqa: E402

pytestmark = pytest.mark.cluster

SERVER = """
import http.server, os, socket, threading
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        code = 200 if self.path != "/ready" or os.path.exists("/tmp/ready") else 503
        body = os.environ["HOSTNAME"].encode()
        self.send_response(code); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): print("request", self.path, flush=True)
print("serving", flush=True)
http.server.ThreadingHTTPServer(("", 8080), H).serve_forever()
"""


class Cluster:
    def __init__(self, ground, kubectl):
        self.ground, self.kubectl, self.n = ground, kubectl, 0

    def k(self, *args, input=None, check=True, timeout=30):
        p = subprocess.run([self.kubectl, *args], env=self.ground.env | {"PATH": os.environ["PATH"]}, input=input, capture_output=True, text=True, timeout=timeout)
        assert not check or p.returncode == 0, f"kubectl {args}: {p.stdout}{p.stderr}{self.ground.logs()}"
        return p if not check else p.stdout

    def apply(self, *objects):
        self.k("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, kind, name):
        p = self.k("get", kind, name, "-o", "json", check=False)
        return json.loads(p.stdout) if p.returncode == 0 else None

    def pod(self, name, *containers, labels=None, **spec):
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}},
                    "spec": {"terminationGracePeriodSeconds": 1, "containers": list(containers), **spec}})
        return name

    def until(self, name, check, seconds=20):
        def look():
            p = self.get("pod", name)
            return p if p and check(p) else None
        try:
            return wait_for(name, look, seconds)
        except AssertionError:
            raise AssertionError(self.k("get", "pod", name, "-o", "yaml", check=False).stdout + self.k("get", "events") + self.ground.logs())

    def node_pid(self):
        return self.ground.parts("t")["node"]["pid"]


def status(p, i=0, kind="containerStatuses"):
    return (p["status"].get(kind) or [{}] * (i + 1))[i]


def ready(p):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))


def container(name="c", *command, **more):
    return {"name": name, "image": "debian", "command": list(command) or ["sleep", "1000"], **more}


def server(name="c", **more):
    return container(name, "python3", "-c", SERVER, ports=[{"name": "http", "containerPort": 8080}], **more)


@pytest.fixture(scope="module", params=["self", "ordinary"])
def cluster(request, bin_dir, kubectl):
    user = None
    if request.param == "ordinary":
        user, why = ordinary_user()
        if not user:
            pytest.skip(why)
    g = Ground(bin_dir, user)
    try:
        g.ok("create", "t")
        wait_for("node", lambda: g.parts("t").get("node", {}).get("state") == "ready")
        c = Cluster(g, kubectl)
        wait_for("service account", lambda: c.get("serviceaccount", "default") and c.get("configmap", "kube-root-ca.crt"))
        yield c
        g.ok("delete", "t")
    finally:
        g.close()


def test_pod_with_everything(cluster):
    c = cluster
    c.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "all"}, "data": {"a": "hello", "b": "2"}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "all"}, "stringData": {"k": "secret"}})
    c.pod("all", server("c", workingDir="/work", env=[
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "all", "key": "a"}}}, {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "X", "value": "$(A)/$(IP)"}], envFrom=[{"secretRef": {"name": "all"}}],
        volumeMounts=[{"name": "cm", "mountPath": "/cm"}, {"name": "tok", "mountPath": "/tok"}, {"name": "e", "mountPath": "/e"}, {"name": "cm", "mountPath": "/one", "subPath": "a"}],
        readinessProbe={"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}),
        container("other", "sh", "-c", "id -u; cat /e/from-init; sleep 1000", securityContext={"runAsUser": 1337, "runAsGroup": 1337, "readOnlyRootFilesystem": True},
                  volumeMounts=[{"name": "tok", "mountPath": "/tok"}, {"name": "e", "mountPath": "/e"}]),
        labels={"app": "all"}, securityContext={"fsGroup": 1337},
        initContainers=[container("first", "sh", "-c", "echo one > /e/from-init", volumeMounts=[{"name": "e", "mountPath": "/e"}]),
                        container("second", "sh", "-c", "echo init of $HOSTNAME; echo two >> /e/from-init", volumeMounts=[{"name": "e", "mountPath": "/e"}])],
        volumes=[{"name": "cm", "configMap": {"name": "all"}}, {"name": "e", "emptyDir": {}}, {"name": "tok", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "audience": "istio-ca", "expirationSeconds": 3600}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}}])
    p = c.until("all", ready)
    ip = p["status"]["podIP"]
    assert p["status"]["phase"] == "Running" and [status(p, i, "initContainerStatuses")["state"]["terminated"]["reason"] for i in (0, 1)] == ["Completed"] * 2
    out = c.k("exec", "all", "-c", "c", "--", "sh", "-c", "echo $X $k; pwd; cat /cm/a /one; readlink /cm/a; cat /tok/labels /etc/resolv.conf")
    assert f"hello/{ip} secret\n/work\nhellohello..data/a\napp=\"all\"" in out and "nameserver 10.96.0.10" in out
    assert c.k("logs", "all", "-c", "other") == "1337\none\ntwo\n"
    assert c.k("logs", "all", "-c", "second") == "init of all\n"
    assert c.k("logs", "all", "-c", "other", "--tail=1") == "two\n"
    assert c.k("logs", "all", "-c", "other", "--timestamps", "--limit-bytes=15").startswith("20")
    assert c.k("exec", "all", "-c", "other", "--", "sh", "-c", "cut -d. -f2 /tok/token | head -c 20; touch /x 2>&1 || true; touch /tmp/y && echo fine").count("fine") == 1
    assert c.k("exec", "-i", "all", "-c", "c", "--", "cat", input="x" * 300000) == "x" * 300000
    p = c.k("exec", "all", "-c", "c", "--", "sh", "-c", "echo err >&2; exit 3", check=False)
    assert p.returncode == 3 and "err" in p.stderr
    reasons = {e["reason"] for e in json.loads(c.k("get", "events", "-o", "json"))["items"] if e["involvedObject"]["name"] == "all"}
    assert {"Scheduled", "Pulled", "Created", "Started"} <= reasons
    # a change of the object reaches the files as one switch of ..data
    before = c.k("exec", "all", "-c", "c", "--", "readlink", "/cm/..data")
    c.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "all"}, "data": {"a": "changed"}})
    out = c.k("exec", "all", "-c", "c", "--", "sh", "-c", "for i in $(seq 200); do grep -q changed /cm/a && break; sleep 0.01; done; cat /cm/a; ls /cm; readlink /cm/..data")
    assert out.startswith("changeda\n..") and before not in out
    c.k("label", "pod", "all", "more=yes")
    assert "more" in c.k("exec", "all", "-c", "c", "--", "sh", "-c", "for i in $(seq 200); do grep more /tok/labels && break; sleep 0.01; done")


def test_terminal(cluster):
    c = cluster
    c.pod("tty", container())
    c.until("tty", ready)
    master, slave = pty.openpty()
    p = subprocess.Popen([c.kubectl, "exec", "-it", "tty", "--", "sh"], env=c.ground.env | {"PATH": os.environ["PATH"]}, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL)
    os.close(slave)
    os.write(master, b"tty; echo $((6*7))\n exit 4\n")
    out = b""
    try:
        while chunk := os.read(master, 4096):
            out += chunk
    except OSError:
        pass
    os.close(master)
    assert p.wait(10) == 4 and b"/dev/pts/0" in out and b"42" in out, out


def test_port_forward(cluster):
    c = cluster
    c.pod("pf", server(readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1}))
    c.until("pf", ready)
    p = subprocess.Popen([c.kubectl, "port-forward", "pod/pf", ":8080", ":9"], env=c.ground.env | {"PATH": os.environ["PATH"]}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        port = int(p.stdout.readline().split(":")[1].split()[0])
        for _ in range(20):
            assert urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read() == b"pf"
        p.stdout.readline()
        closed = int(p.stdout.readline().split(":")[1].split()[0])
        with pytest.raises(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{closed}/", timeout=5)
        assert "onnection refused" in p.stderr.readline()
    finally:
        p.kill()
        p.communicate()


def test_probes(cluster):
    c = cluster
    c.pod("probed", server(readinessProbe={"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1},
                           livenessProbe={"exec": {"command": ["sh", "-c", "! test -e /tmp/dead"]}, "periodSeconds": 1, "failureThreshold": 2},
                           startupProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 30}))
    p = c.until("probed", lambda p: status(p).get("started"))
    assert not ready(p)
    c.k("exec", "probed", "--", "touch", "/tmp/ready")
    c.until("probed", ready)
    c.k("exec", "probed", "--", "rm", "/tmp/ready")
    c.until("probed", lambda p: not ready(p))
    c.k("exec", "probed", "--", "touch", "/tmp/dead")
    p = c.until("probed", lambda p: status(p).get("restartCount") == 1 and "running" in status(p)["state"])
    assert status(p)["lastState"]["terminated"]["exitCode"] == 137
    assert "serving" in c.k("logs", "probed", "--previous")


def test_grace_period_and_last_status(cluster):
    c = cluster
    script = "trap 'echo got term; sleep 1; exit 7' TERM; echo up; while true; do sleep 0.1; done"
    hook = {"lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /proc/1/fd/1; sleep 0.5"]}}}}
    c.pod("grace", container("a", "sh", "-c", script, **hook), container("b", "sh", "-c", script), terminationGracePeriodSeconds=20)
    c.until("grace", ready)
    watch = subprocess.Popen([c.kubectl, "get", "--raw", "/api/v1/namespaces/default/pods?watch=true&fieldSelector=metadata.name%3Dgrace"],
                             env=c.ground.env | {"PATH": os.environ["PATH"]}, stdout=subprocess.PIPE, text=True)
    logs = subprocess.Popen([c.kubectl, "logs", "-f", "grace", "-c", "a"], env=c.ground.env | {"PATH": os.environ["PATH"]}, stdout=subprocess.PIPE, text=True)
    assert logs.stdout.readline() == "up\n"
    began = time.monotonic()
    c.k("delete", "pod", "grace")
    took = time.monotonic() - began
    assert 1.3 < took < 10, took
    assert logs.communicate(timeout=10)[0] == "hook\ngot term\n"
    last = None
    for line in watch.stdout:
        e = json.loads(line)
        if e["type"] == "DELETED":
            break
        last = e["object"]
    watch.kill()
    assert [s["state"]["terminated"]["exitCode"] for s in last["status"]["containerStatuses"]] == [7, 7]
    assert last["metadata"]["deletionGracePeriodSeconds"] == 20 and not ready(last)


def test_kill_after_grace(cluster):
    c = cluster
    c.pod("deaf", container("a", "sh", "-c", "trap '' TERM; while true; do sleep 0.1; done"), terminationGracePeriodSeconds=2)
    c.until("deaf", ready)
    began = time.monotonic()
    c.k("delete", "pod", "deaf")
    assert 1.8 < time.monotonic() - began < 6


def test_restart_policies(cluster):
    c = cluster
    c.pod("once", container("a", "sh", "-c", "echo bye; exit 3"), restartPolicy="Never")
    c.pod("done", container("a", "true"), restartPolicy="OnFailure")
    c.pod("loop", container("a", "sh", "-c", "echo words > /dev/termination-log; exit 1"))
    p = c.until("once", lambda p: p["status"]["phase"] == "Failed")
    assert status(p)["state"]["terminated"]["exitCode"] == 3 and status(p)["restartCount"] == 0
    assert c.k("logs", "once") == "bye\n"
    c.until("done", lambda p: p["status"]["phase"] == "Succeeded")
    p = c.until("loop", lambda p: status(p).get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff")
    assert status(p)["restartCount"] == 1 and status(p)["lastState"]["terminated"]["message"] == "words\n" and p["status"]["phase"] == "Running"
    for name in ("once", "done", "loop"):
        c.k("delete", "pod", name)


def test_what_is_missing_is_named(cluster):
    c = cluster
    c.pod("noprogram", {"name": "a", "image": "rootshift/none:1"})
    c.pod("nocm", container("a", volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=[{"name": "v", "configMap": {"name": "late"}}])
    c.pod("noenv", container("a", env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}]))
    p = c.until("noprogram", lambda p: "waiting" in status(p).get("state", {}) and status(p)["state"]["waiting"]["reason"] == "RunContainerError")
    assert "rootshift-none" in status(p)["state"]["waiting"]["message"]
    p = c.until("noenv", lambda p: status(p).get("state", {}).get("waiting", {}).get("reason") == "CreateContainerConfigError")
    assert status(p)["state"]["waiting"]["message"] == 'secret "late" not found'
    wait_for("event", lambda: 'configmap "late" not found' in c.k("get", "events"))
    c.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}, "data": {}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}, "stringData": {"k": "v"}})
    began = time.monotonic()
    c.until("nocm", ready)
    c.until("noenv", ready)
    assert time.monotonic() - began < 5
    for name in ("noprogram", "nocm", "noenv"):
        c.k("delete", "pod", name)


def test_services_and_names(cluster):
    c = cluster
    for name in ("s1", "s2"):
        c.pod(name, server(readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1}), labels={"svc": "s"})
    c.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"selector": {"svc": "s"}, "ports": [{"port": 80, "targetPort": "http"}]}},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "nobody"}, "spec": {"selector": {"svc": "none"}, "ports": [{"port": 80}]}})
    c.until("s1", ready), c.until("s2", ready)
    wait_for("both answer", lambda: len(set(c.k("exec", "s1", "--", "sh", "-c", "for i in $(seq 20); do curl -s -m2 http://s.default/; echo; done").split())) == 2)
    p = c.k("exec", "s1", "--", "curl", "-sS", "-m5", "http://nobody/", check=False)
    assert p.returncode == 7, p.stderr                      # refused at once, not timed out
    # an established connection outlives the removal of its endpoint from the rules
    keep = """
import http.client, time
a = http.client.HTTPConnection("s.default.svc.cluster.local", timeout=5)
a.request("GET", "/"); me = a.getresponse().read(); print("first", flush=True)
input(); a.request("GET", "/"); assert a.getresponse().read() == me; print("second", flush=True)
"""
    p = subprocess.Popen([c.kubectl, "exec", "-i", "s1", "--", "python3", "-c", keep], env=c.ground.env | {"PATH": os.environ["PATH"]}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "first\n"
    for name in ("s1", "s2"):
        c.k("label", "pod", name, "svc-")
    wait_for("refused", lambda: c.k("exec", "s1", "--", "curl", "-sS", "-m5", "http://s/", check=False).returncode == 7)
    p.stdin.write("\n")
    p.stdin.flush()
    assert p.stdout.readline() == "second\n"
    p.communicate()
    c.k("delete", "service", "s")
    wait_for("name gone", lambda: c.k("exec", "s1", "--", "getent", "hosts", "s.default.svc.cluster.local", check=False).returncode == 2)


def test_node_killed(cluster):
    """Pods, their readiness and their logs go on; what ended while the node was away is known."""
    c = cluster
    c.pod("stays", container("a", "sh", "-c", "i=0; while true; do echo $i; i=$((i+1)); sleep 0.05; done", readinessProbe={"exec": {"command": ["true"]}, "periodSeconds": 1}),
          container("b", "sh", "-c", "test -e /e/went || { while ! test -e /e/go; do sleep 0.02; done; touch /e/went; exit 5; }; sleep 1000", volumeMounts=[{"name": "e", "mountPath": "/e"}]), volumes=[{"name": "e", "emptyDir": {}}])
    p = c.until("stays", ready)
    ids = [status(p, i)["containerID"] for i in (0, 1)]
    seen = []
    watch = subprocess.Popen([c.kubectl, "get", "--raw", "/api/v1/namespaces/default/pods?watch=true&fieldSelector=metadata.name%3Dstays"],
                             env=c.ground.env | {"PATH": os.environ["PATH"]}, stdout=subprocess.PIPE, text=True)
    reader = threading.Thread(target=lambda: [seen.append(json.loads(line)["object"]) for line in watch.stdout], daemon=True)
    reader.start()
    pid, starts = c.node_pid(), c.ground.parts("t")["node"]["starts"]
    os.kill(pid, signal.SIGKILL)
    wait_for("node back", lambda: c.ground.parts("t")["node"]["starts"] > starts and c.ground.parts("t")["node"]["state"] == "ready")
    assert c.k("exec", "stays", "-c", "a", "--", "echo", "alive") == "alive\n"
    p = c.get("pod", "stays")
    assert [status(p, i)["containerID"] for i in (0, 1)] == ids and all(status(p, i)["restartCount"] == 0 for i in (0, 1))
    # the node is stopped, container b ends, the node is killed: the next one finds the exit code
    c.k("exec", "stays", "-c", "b", "--", "sh", "-c", "(sleep 1; touch /e/go) >/dev/null 2>&1 &")
    os.kill(c.node_pid(), signal.SIGSTOP)
    uid = p["metadata"]["uid"]
    ended = pathlib.Path(f"/proc/{c.ground.pid('t')}/root/run/rootshift/pods/{uid}/c/b/0/ended")
    wait_for("end recorded", ended.exists)
    os.kill(c.node_pid(), signal.SIGKILL)
    p = c.until("stays", lambda p: status(p, 1).get("restartCount") == 1 and "running" in status(p, 1)["state"])
    assert status(p, 1)["lastState"]["terminated"]["exitCode"] == 5
    assert status(p, 0)["containerID"] == ids[0]
    watch.kill()
    reader.join()
    assert all(s["ready"] for o in seen for s in o["status"].get("containerStatuses", []) if s["name"] == "a"), "readiness flapped"
    numbers = [int(x) for x in c.k("logs", "stays", "-c", "a").split()]
    assert numbers == list(range(len(numbers)))
    c.k("delete", "pod", "stays")


def test_shim_killed(cluster):
    c = cluster
    c.pod("shimless", container("a"))
    p = c.until("shimless", ready)
    ident = status(p)["containerID"].split("//")[1]
    pids = [int(d.name) for d in pathlib.Path("/proc").glob("[0-9]*") if (d / "cmdline").exists() and f"rootshift-shim\0" in read(d / "cmdline") and ident in read(d / "cmdline")]
    assert len(pids) == 1
    os.kill(pids[0], signal.SIGKILL)
    p = c.until("shimless", lambda p: status(p).get("restartCount") == 1 and "running" in status(p)["state"])
    assert status(p)["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    c.k("delete", "pod", "shimless")


def read(path):
    try:
        return path.read_text()
    except OSError:
        return ""


def test_pod_deleted_while_node_is_away(cluster):
    c = cluster
    c.pod("orphan", container("a"))
    c.until("orphan", ready)
    os.kill(c.node_pid(), signal.SIGSTOP)
    c.k("delete", "pod", "orphan", "--force", "--grace-period=0", "--wait=false", check=False)
    assert c.get("pod", "orphan") is None
    os.kill(c.node_pid(), signal.SIGKILL)
    run = pathlib.Path(f"/proc/{c.ground.pid('t')}/root/run/rootshift/pods")
    names = lambda: [json.loads(p.read_text())["pod"]["metadata"]["name"] for p in run.glob("*/pod.json")]  # noqa: E731
    wait_for("cleared away", lambda: "orphan" not in names())


def test_nothing_stays_of_deleted_pods(cluster):
    c = cluster
    c.k("delete", "pod", "--all", timeout=60)
    root = pathlib.Path(f"/proc/{c.ground.pid('t')}/root/run")
    wait_for("directories gone", lambda: not list((root / "rootshift/pods").iterdir()))
    wait_for("sockets gone", lambda: not list((root / "rootshift/s").iterdir()))
    wait_for("network namespaces gone", lambda: not list((root / "netns").iterdir()))
    wait_for("runc's records gone", lambda: not [p for p in (root / "runc").iterdir()])
    assert not list((c.ground.state("t") / "node" / "logs").iterdir())
