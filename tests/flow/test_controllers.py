"""The controllers against our API server; a few threads play the node (pods become ready, and end when deleted)."""
import datetime
import json
import os
import subprocess
import threading
import time

import pytest
import yaml
from kubernetes import client, watch
from kubernetes.client.rest import ApiException

from apiserver import ApiServer

pytestmark = [pytest.mark.timeout(120), pytest.mark.sanitize]


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeNode:
    """Registers as a node and plays kubelet. not_ready: names of images whose pods never become ready."""

    def __init__(self, api):
        self.api = api
        self.not_ready = set()
        self.hold = threading.Event()        # while cleared, deleted pods stay
        self.hold.set()
        self.next_ip = 0
        self.seen = {}
        self.done = False
        core = client.CoreV1Api(api.client())
        core.create_node({"metadata": {"name": "fake"}})
        core.patch_node_status("fake", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
        self.watches = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while not self.done:
            w = watch.Watch()
            self.watches = [w]
            try:
                for event in w.stream(client.CoreV1Api(self.api.client()).list_pod_for_all_namespaces, timeout_seconds=60):
                    if self.done:
                        return
                    self.change(event["type"], event["raw_object"])
            except Exception:
                if self.done:
                    return
                time.sleep(0.05)

    def change(self, kind, pod):
        uid, spec = pod["metadata"]["uid"], pod["spec"]
        if kind == "DELETED" or spec.get("nodeName") != "fake":
            return
        if "deletionTimestamp" in pod["metadata"]:
            if self.seen.get(uid) != "ending":
                self.seen[uid] = "ending"
                threading.Thread(target=self.end, args=(pod,), daemon=True).start()
        elif uid not in self.seen:
            self.seen[uid] = "running"
            threading.Thread(target=self.start, args=(pod,), daemon=True).start()

    def start(self, pod):
        self.next_ip += 1
        ready = "False" if pod["spec"]["containers"][0]["image"] in self.not_ready else "True"
        self.set_ready(pod["metadata"]["namespace"], pod["metadata"]["name"], ready, f"10.244.1.{self.next_ip}")

    def set_ready(self, namespace, name, ready, ip=None):
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now()}]}
        if ip:
            status["podIP"] = ip
        try:
            client.CoreV1Api(self.api.client()).patch_namespaced_pod_status(name, namespace, {"status": status})
        except ApiException as e:
            assert e.status == 404

    def end(self, pod):
        self.hold.wait()
        try:
            client.CoreV1Api(self.api.client()).delete_namespaced_pod(
                pod["metadata"]["name"], pod["metadata"]["namespace"], grace_period_seconds=0)
        except ApiException as e:
            assert e.status == 404

    def close(self):
        self.done = True
        self.hold.set()
        for w in self.watches:
            w.stop()


class Controllers:
    def __init__(self, api):
        self.api = api
        self.process = None

    def start(self):
        ready, writer = os.pipe()
        env = dict(os.environ, ROOTSHIFT_LOG="debug")
        self.process = subprocess.Popen(
            [self.api.program, "controllers", "--kubeconfig", self.api.kubeconfig, "--ready-fd", str(writer)],
            pass_fds=[writer], stdout=self.api.log, stderr=self.api.log, env=env)
        os.close(writer)
        with os.fdopen(ready, "rb") as pipe:
            assert pipe.readline() == b"ready\n", (self.api.dir / "apiserver.log").read_text()
        return self

    def stop(self):
        self.process.terminate()
        assert self.process.wait(10) == 0


@pytest.fixture(scope="module")
def api(bin_dir, kubectl, tmp_path_factory):
    server = ApiServer(bin_dir, kubectl, tmp_path_factory.mktemp("controllers")).start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def controllers(api):
    c = Controllers(api).start()
    yield c
    c.stop()


@pytest.fixture(scope="module")
def node(api, controllers):
    n = FakeNode(api)
    yield n
    n.close()


@pytest.fixture
def namespace(api, node, request):
    name = request.node.name.replace("_", "-").lower()[:50].strip("-")
    api.kubectl("create", "namespace", name)
    until(lambda: api.kubectl("get", "sa", "default", "-n", name, ok=None)[0] == 0)
    yield name
    api.kubectl("delete", "namespace", name, "--wait=false")


def until(condition, seconds=15):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {seconds} s for {condition}"
        time.sleep(0.02)


def deployment(name="web", replicas=2, image="rootshift/echo", **spec):
    labels = {"app": name}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels},
                                  "spec": {"containers": [{"name": "main", "image": image,
                                                           "ports": [{"name": "web", "containerPort": 8080}]}]}}, **spec}}


def apply(api, namespace, *objects):
    return api.kubectl("apply", "-n", namespace, "-f", "-", input=yaml.safe_dump_all(list(objects)))


def get(api, namespace, *what):
    return json.loads(api.kubectl("get", "-n", namespace, *what, "-o", "json"))


def rollout(api, namespace, name="web", *args):
    return api.kubectl("rollout", "status", "-n", namespace, "deployment/" + name, "--timeout=30s", *args)


def events(api, namespace, reason):
    return [e["message"] for e in get(api, namespace, "events")["items"] if e["reason"] == reason]


def test_a_namespace_is_furnished(api, namespace):
    until(lambda: api.kubectl("get", "cm", "kube-root-ca.crt", "-n", namespace, ok=None)[0] == 0)
    assert "BEGIN CERTIFICATE" in get(api, namespace, "cm", "kube-root-ca.crt")["data"]["ca.crt"]
    api.kubectl("delete", "sa", "default", "-n", namespace)
    until(lambda: api.kubectl("get", "sa", "default", "-n", namespace, ok=None)[0] == 0)


def test_rollout_and_restart(api, namespace):
    apply(api, namespace, deployment(replicas=4))
    assert 'deployment "web" successfully rolled out' in rollout(api, namespace)
    first = {p["metadata"]["name"] for p in get(api, namespace, "pods")["items"]}
    assert len(first) == 4
    scaled = []
    stop = threading.Event()

    def follow():
        w = watch.Watch()
        for e in w.stream(client.AppsV1Api(api.client()).list_namespaced_replica_set, namespace, timeout_seconds=30):
            o = e["raw_object"]
            item = (o["metadata"]["annotations"]["deployment.kubernetes.io/revision"], o["spec"]["replicas"])
            if not scaled or scaled[-1] != item:
                scaled.append(item)
            total = {}
            for rev, n in scaled:
                total[rev] = n
            assert sum(total.values()) <= 5
            if stop.is_set():
                return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    api.kubectl("rollout", "restart", "deployment", "-n", namespace)
    assert 'deployment "web" successfully rolled out' in rollout(api, namespace)
    pods = get(api, namespace, "pods")["items"]
    live = {p["metadata"]["name"] for p in pods if "deletionTimestamp" not in p["metadata"]}
    assert len(live) == 4 and not live & first
    stop.set()
    d = get(api, namespace, "deployment", "web")
    assert d["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    assert d["status"]["updatedReplicas"] == d["status"]["replicas"] == d["status"]["availableReplicas"] == 4
    assert "unavailableReplicas" not in d["status"]
    conditions = {c["type"]: c for c in d["status"]["conditions"]}
    assert conditions["Progressing"]["reason"] == "NewReplicaSetAvailable"
    assert conditions["Available"]["reason"] == "MinimumReplicasAvailable"
    told = events(api, namespace, "ScalingReplicaSet")
    assert told[0].endswith("to 4") and len(told) >= 6, told
    assert len(events(api, namespace, "SuccessfulCreate")) == 8
    history = api.kubectl("rollout", "history", "deployment/web", "-n", namespace)
    assert "1 " in history and "2 " in history
    api.kubectl("rollout", "undo", "deployment/web", "-n", namespace)
    rollout(api, namespace)
    assert len(get(api, namespace, "rs")["items"]) == 2
    assert get(api, namespace, "deployment", "web")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_scale(api, namespace):
    apply(api, namespace, deployment(replicas=1))
    rollout(api, namespace)
    api.kubectl("scale", "deployment/web", "--replicas=5", "-n", namespace)
    rollout(api, namespace)
    assert len(get(api, namespace, "pods")["items"]) == 5
    api.kubectl("scale", "deployment/web", "--replicas=0", "-n", namespace)
    until(lambda: not get(api, namespace, "pods")["items"])
    assert get(api, namespace, "deployment", "web")["status"].get("replicas", 0) == 0


def test_no_more_pods_than_wanted(api, namespace):
    """Many Deployments at once: the caches lag behind the writes, nothing is made twice."""
    apply(api, namespace, *[deployment(f"d{i}", replicas=3) for i in range(10)])
    for i in range(10):
        rollout(api, namespace, f"d{i}")
    assert len(events(api, namespace, "SuccessfulCreate")) == 30
    assert len(get(api, namespace, "pods")["items"]) == 30


def test_a_lost_pod_is_replaced(api, namespace):
    apply(api, namespace, deployment(replicas=2))
    rollout(api, namespace)
    name = get(api, namespace, "pods")["items"][0]["metadata"]["name"]
    api.kubectl("delete", "pod", name, "-n", namespace)
    rollout(api, namespace)
    names = [p["metadata"]["name"] for p in get(api, namespace, "pods")["items"]]
    assert len(names) == 2 and name not in names


def test_endpoints_follow(api, node, namespace):
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
               "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}}
    apply(api, namespace, service, deployment(replicas=2))
    rollout(api, namespace)

    def addresses(key="addresses"):
        subsets = get(api, namespace, "endpoints", "web").get("subsets", [])
        return sorted(a["ip"] for s in subsets for a in s.get(key, []))

    until(lambda: len(addresses()) == 2)
    assert get(api, namespace, "endpoints", "web")["subsets"][0]["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    pod = get(api, namespace, "pods")["items"][0]
    core = client.CoreV1Api(api.client())
    node.set_ready(namespace, pod["metadata"]["name"], "False")
    began = time.monotonic()
    until(lambda: len(core.read_namespaced_endpoints("web", namespace).subsets[0].not_ready_addresses or []) == 1)
    assert time.monotonic() - began < 2
    assert pod["status"]["podIP"] in addresses("notReadyAddresses")
    node.set_ready(namespace, pod["metadata"]["name"], "True")
    until(lambda: len(addresses()) == 2)
    node.hold.clear()
    try:
        api.kubectl("delete", "pod", pod["metadata"]["name"], "-n", namespace, "--wait=false")
        until(lambda: pod["status"]["podIP"] not in addresses())

        def slices():
            return [e for s in get(api, namespace, "endpointslices")["items"] for e in s["endpoints"]]
        ending = until(lambda: [e for e in slices() if e["conditions"]["terminating"]])[0]
        assert ending["addresses"] == [pod["status"]["podIP"]]
        assert ending["conditions"] == {"ready": False, "serving": True, "terminating": True}
    finally:
        node.hold.set()
    until(lambda: len(addresses()) == 2)
    api.kubectl("delete", "service", "web", "-n", namespace)
    until(lambda: not get(api, namespace, "endpoints")["items"] and not get(api, namespace, "endpointslices")["items"])


def test_garbage_is_collected(api, namespace):
    apply(api, namespace, deployment(replicas=3))
    rollout(api, namespace)
    uid = get(api, namespace, "deployment", "web")["metadata"]["uid"]
    kept = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}}
    owned = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "owned", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid}]}}
    orphan = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "stale", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "11111111-2222-3333-4444-555555555555"}]}}
    apply(api, namespace, kept, owned, orphan)
    until(lambda: api.kubectl("get", "cm", "stale", "-n", namespace, ok=None)[0] != 0)
    assert api.kubectl("get", "cm", "owned", "-n", namespace, ok=None)[0] == 0
    api.kubectl("delete", "deployment", "web", "-n", namespace)
    until(lambda: not get(api, namespace, "rs,pods")["items"])
    names = [o["metadata"]["name"] for o in get(api, namespace, "cm")["items"]]
    assert "owned" not in names and "kept" in names


def test_a_namespace_ends(api, node):
    api.kubectl("create", "namespace", "ending")
    apply(api, "ending", deployment(replicas=3), {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
    rollout(api, "ending")
    node.hold.clear()
    api.kubectl("delete", "namespace", "ending", "--wait=false")
    until(lambda: all("deletionTimestamp" in p["metadata"] for p in get(api, "ending", "pods")["items"]))
    assert get(api, "ending", "namespace", "ending")["status"]["phase"] == "Terminating"
    node.hold.set()
    until(lambda: api.kubectl("get", "namespace", "ending", ok=None)[0] != 0)


def test_deadline_and_repair(api, node, namespace):
    node.not_ready.add("broken")
    apply(api, namespace, deployment(replicas=2, progressDeadlineSeconds=1))
    rollout(api, namespace)
    apply(api, namespace, deployment(replicas=2, progressDeadlineSeconds=1, image="broken"))
    code, _, errors = api.kubectl("rollout", "status", "-n", namespace, "deployment/web", "--timeout=20s", ok=None)
    assert code == 1 and "exceeded its progress deadline" in errors
    assert get(api, namespace, "deployment", "web")["status"]["availableReplicas"] == 2
    apply(api, namespace, deployment(replicas=2, progressDeadlineSeconds=60, image="repaired"))
    rollout(api, namespace)


def test_pods_that_are_denied_show_as_replica_failure(api, namespace):
    hook = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "denier"},
            "webhooks": [{"name": "deny.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 1,
                          "clientConfig": {"url": "https://127.0.0.1:1/x"}, "failurePolicy": "Fail",
                          "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                          "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}
    apply(api, namespace, hook)
    try:
        apply(api, namespace, deployment(replicas=2))

        def failure():
            status = get(api, namespace, "deployment", "web").get("status", {})
            return [c for c in status.get("conditions", []) if c["type"] == "ReplicaFailure"]
        condition = until(failure)[0]
        assert condition["reason"] == "FailedCreate" and "failed calling webhook" in condition["message"]
        assert not get(api, namespace, "pods")["items"]
        assert any("Error creating" in m for m in events(api, namespace, "FailedCreate"))
    finally:
        api.kubectl("delete", "mutatingwebhookconfiguration", "denier")
    rollout(api, namespace)
    until(lambda: not failure())


def test_paused_and_recreate(api, node, namespace):
    apply(api, namespace, deployment(replicas=2, strategy={"type": "Recreate"}))
    rollout(api, namespace)
    api.kubectl("rollout", "pause", "deployment/web", "-n", namespace)
    api.kubectl("set", "image", "deployment/web", "main=other", "-n", namespace)
    until(lambda: [c for c in get(api, namespace, "deployment", "web")["status"]["conditions"] if c["reason"] == "DeploymentPaused"])
    assert len(get(api, namespace, "rs")["items"]) == 1
    node.hold.clear()
    try:
        api.kubectl("rollout", "resume", "deployment/web", "-n", namespace)
        until(lambda: all("deletionTimestamp" in p["metadata"] for p in get(api, namespace, "pods")["items"]))
        time.sleep(0.3)
        assert len(get(api, namespace, "pods")["items"]) == 2      # none is made before the old ones are gone
    finally:
        node.hold.set()
    rollout(api, namespace)
    assert {p["spec"]["containers"][0]["image"] for p in get(api, namespace, "pods")["items"]} == {"other"}


def test_controllers_start_again(api, controllers, namespace):
    """What happened while they were away is caught up with; the API server's restart too."""
    apply(api, namespace, deployment(replicas=2))
    rollout(api, namespace)
    controllers.stop()
    api.kubectl("scale", "deployment/web", "--replicas=3", "-n", namespace)
    controllers.start()
    rollout(api, namespace)
    api.stop()
    api.start()
    api.kubectl("scale", "deployment/web", "--replicas=4", "-n", namespace)
    rollout(api, namespace)
    assert len(get(api, namespace, "pods")["items"]) == 4
