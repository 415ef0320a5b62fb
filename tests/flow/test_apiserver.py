"""The API server alone, driven by kubectl 1.20 and the python client (facts kubernetes-api 1.1, 1.2, 3, 4, 6)."""
import base64
import datetime
import http.server
import json
import os
import ssl
import threading
import time

import pytest
import yaml
from kubernetes import client, watch
from kubernetes.client.rest import ApiException

from apiserver import ApiServer

pytestmark = [pytest.mark.timeout(120), pytest.mark.sanitize]


@pytest.fixture(scope="module")
def api(bin_dir, kubectl, tmp_path_factory):
    server = ApiServer(bin_dir, kubectl, tmp_path_factory.mktemp("apiserver")).start()
    yield server
    server.close()


@pytest.fixture
def core(api):
    return client.CoreV1Api(api.client())


@pytest.fixture
def namespace(api, core, request):
    name = request.node.name.replace("_", "-").replace("[", "-").replace("]", "").lower()[:50].strip("-")
    core.create_namespace({"metadata": {"name": name}})
    core.create_namespaced_service_account(name, {"metadata": {"name": "default"}})
    yield name
    core.delete_namespace(name)


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: rootshift/echo, ports: [{containerPort: 8080}]}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: istiod}
spec:
  selector: {app: istiod}
  ports:
  - {name: grpc-xds, port: 15010}
  - {name: https-dns, port: 15012}
"""


def pod(name, namespace, **spec):
    return {"metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {"containers": [{"name": "main", "image": "rootshift/echo"}], **spec}}


# --- the guide's read and write commands ---

def test_labels(api):
    api.kubectl("create", "-f", "-", input=yaml.safe_dump({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"istio-injection": "enabled"}}}))
    out = api.kubectl("label", "namespace", "shop", "istio.io/rev=asm-1157-23", "istio-injection-", "--overwrite")
    assert out == "namespace/shop labeled"
    out = api.kubectl("label", "namespace", "shop", "istio.io/rev=other", "istio-injection-", "--overwrite")
    assert out.splitlines() == ['label "istio-injection" not found.', "namespace/shop labeled"]
    lines = api.kubectl("get", "ns", "shop", "--show-labels").splitlines()
    assert lines[0].split() == ["NAME", "STATUS", "AGE", "LABELS"]
    assert lines[1].split()[3] == "istio.io/rev=other,kubernetes.io/metadata.name=shop"
    lines = api.kubectl("get", "ns", "-L", "istio.io/rev").splitlines()
    assert lines[0].split()[-1] == "REV"
    assert any(l.split()[0] == "shop" and l.split()[-1] == "other" for l in lines)


def test_apply_service(api, namespace):
    assert api.kubectl("apply", "-n", namespace, "-f", "-", input=SERVICE) == "service/istiod created"
    assert api.kubectl("apply", "-n", namespace, "-f", "-", input=SERVICE) == "service/istiod unchanged"
    first = json.loads(api.kubectl("get", "svc", "istiod", "-n", namespace, "-o", "json"))
    assert first["spec"]["clusterIP"].startswith("10.96.")
    assert first["spec"]["ports"][0]["targetPort"] == 15010
    changed = SERVICE.replace("{app: istiod}", "{app: istiod, istio.io/rev: x}").replace(
        "{name: grpc-xds, port: 15010}", "{name: https-webhook, port: 443, targetPort: 15017}")
    assert api.kubectl("apply", "-n", namespace, "-f", "-", input=changed) == "service/istiod configured"
    second = json.loads(api.kubectl("get", "svc", "istiod", "-n", namespace, "-o", "json"))
    assert second["spec"]["clusterIP"] == first["spec"]["clusterIP"]
    assert [p["port"] for p in second["spec"]["ports"]] == [443, 15012]
    assert second["spec"]["selector"] == {"app": "istiod", "istio.io/rev": "x"}
    assert api.kubectl("get", "svc", "-n", namespace).splitlines()[1].split()[1:5] == ["ClusterIP", first["spec"]["clusterIP"], "<none>", "443/TCP,15012/TCP"]


def test_rollout_commands(api, core, namespace):
    apps = client.AppsV1Api(api.client())
    assert api.kubectl("apply", "-n", namespace, "-f", "-", input=DEPLOYMENT) == "deployment.apps/web created"
    d = apps.read_namespaced_deployment("web", namespace)
    assert (d.metadata.generation, d.spec.replicas, d.spec.strategy.rolling_update.max_surge) == (1, 1, "25%")
    assert api.kubectl("rollout", "restart", "deployment", "-n", namespace) == "deployment.apps/web restarted"
    d = apps.read_namespaced_deployment("web", namespace)
    assert d.metadata.generation == 2
    assert "kubectl.kubernetes.io/restartedAt" in d.spec.template.metadata.annotations
    api.kubectl("annotate", "deployment", "web", "a=b", "-n", namespace)
    assert apps.read_namespaced_deployment("web", namespace).metadata.generation == 3
    api.kubectl("label", "deployment", "web", "a=b", "-n", namespace)
    assert apps.read_namespaced_deployment("web", namespace).metadata.generation == 3
    assert api.kubectl("scale", "deployment/web", "--replicas=3", "-n", namespace) == "deployment.apps/web scaled"
    assert apps.read_namespaced_deployment("web", namespace).spec.replicas == 3
    assert api.kubectl("set", "image", "deployment/web", "main=rootshift/echo:2", "-n", namespace) == "deployment.apps/web image updated"
    assert apps.read_namespaced_deployment("web", namespace).spec.template.spec.containers[0].image == "rootshift/echo:2"

    # rollout status follows what a controller writes
    done = threading.Thread(target=lambda: results.append(api.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=20s")))
    results = []
    done.start()
    generation = apps.read_namespaced_deployment("web", namespace).metadata.generation
    for ready in (1, 2, 3):
        apps.patch_namespaced_deployment_status("web", namespace, {"status": {
            "observedGeneration": generation, "replicas": 3, "updatedReplicas": 3, "readyReplicas": ready, "availableReplicas": ready}})
    done.join(30)
    assert results and results[0].endswith('deployment "web" successfully rolled out')
    assert apps.read_namespaced_deployment("web", namespace).metadata.generation == generation
    assert api.kubectl("get", "deployment", "-n", namespace).splitlines()[1].split()[:4] == ["web", "3/3", "3", "3"]


def test_delete_many_kinds(api, namespace):
    api.kubectl("apply", "-n", namespace, "-f", "-", input=DEPLOYMENT.replace("name: web,", "name: istiod-x,"))
    api.kubectl("apply", "-n", namespace, "-f", "-", input=SERVICE.replace("istiod}", "istiod-x}", 1))
    api.kubectl("apply", "-n", namespace, "-f", "-", input="""
apiVersion: autoscaling/v2beta2
kind: HorizontalPodAutoscaler
metadata: {name: istiod-x}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: istiod-x}
  minReplicas: 1
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
---
apiVersion: policy/v1beta1
kind: PodDisruptionBudget
metadata: {name: istiod-x}
spec: {minAvailable: 1, selector: {matchLabels: {app: istiod}}}
""")
    row = api.kubectl("get", "hpa", "-n", namespace).splitlines()[1].split()
    assert row[:4] == ["istiod-x", "Deployment/istiod-x", "<unknown>/80%", "1"]
    v1 = json.loads(api.kubectl("get", "hpa.v1.autoscaling", "istiod-x", "-n", namespace, "-o", "json"))
    assert v1["apiVersion"] == "autoscaling/v1" and v1["spec"]["targetCPUUtilizationPercentage"] == 80
    out = api.kubectl("delete", "Service,Deployment,HorizontalPodAutoscaler,PodDisruptionBudget", "istiod-x", "-n", namespace,
                      "--ignore-not-found=true").splitlines()
    assert out == ['service "istiod-x" deleted', 'deployment.apps "istiod-x" deleted', 'horizontalpodautoscaler.autoscaling "istiod-x" deleted',
                   'poddisruptionbudget.policy "istiod-x" deleted']
    assert api.kubectl("delete", "deploy", "-l", "a=b", "-n", namespace, "--ignore-not-found=true") == "No resources found"


def test_secrets(api, namespace):
    api.kubectl("create", "secret", "generic", "cacerts", "-n", namespace, "--from-literal=root-cert.pem=one", "--from-literal=ca-key.pem=two")
    doc = yaml.safe_load(api.kubectl("get", "secret/cacerts", "-n", namespace, "-o", "yaml"))
    assert base64.b64decode(doc["data"]["ca-key.pem"]) == b"two" and doc["type"] == "Opaque"
    assert api.kubectl("get", "secrets", "-n", namespace).splitlines()[1].split()[:3] == ["cacerts", "Opaque", "2"]
    out = api.kubectl("delete", "secret", "cacerts", "istio-ca-secret", "-n", namespace, "--ignore-not-found")
    assert out == 'secret "cacerts" deleted'


def test_not_found_and_exists(api, namespace):
    assert api.kubectl("get", "pod", "nope", "-n", namespace, ok=False) == 'Error from server (NotFound): pods "nope" not found'
    assert api.kubectl("get", "deployment", "nope", "-n", namespace, ok=False) == 'Error from server (NotFound): deployments.apps "nope" not found'
    api.kubectl("create", "sa", "x", "-n", namespace)
    assert api.kubectl("create", "sa", "x", "-n", namespace, ok=False).endswith('(AlreadyExists): serviceaccounts "x" already exists')
    assert api.kubectl("create", "cm", "x", "-n", "nowhere", ok=False).endswith('(NotFound): namespaces "nowhere" not found')
    err = api.kubectl("create", "cm", "A_b", "-n", namespace, ok=False)
    assert 'ConfigMap "A_b" is invalid: metadata.name: Invalid value: "A_b"' in err
    assert api.kubectl("get", "pods", "-n", namespace, ok=None)[2] == f"No resources found in {namespace} namespace."


def test_describe_wait_explain(api, core, namespace):
    core.create_namespaced_pod(namespace, pod("p", namespace))
    assert "kube-api-access-" in api.kubectl("describe", "pod", "p", "-n", namespace)
    assert "Status:       Active" in api.kubectl("describe", "ns", namespace)
    core.patch_namespaced_pod_status("p", namespace, {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    assert api.kubectl("wait", "--for=condition=Ready", "pod/p", "-n", namespace, "--timeout=10s") == "pod/p condition met"
    api.kubectl("delete", "pod", "p", "-n", namespace)
    assert "deployments" in api.kubectl("api-resources", "--verbs=list", "-o", "name")
    assert api.kubectl("get", "all", "-n", namespace, ok=None)[0] == 0
    assert api.kubectl("auth", "can-i", "create", "pods") == "yes"


def test_jsonpath_and_custom_columns(api, core, namespace):
    core.create_namespaced_pod(namespace, pod("a", namespace))
    core.create_namespaced_pod(namespace, pod("b", namespace))
    assert api.kubectl("get", "pod", "-n", namespace, "-o", "jsonpath={.items..metadata.name}") == "a b"
    assert api.kubectl("get", "pod", "a", "-n", namespace, "-o", "jsonpath={.spec.containers.*.name}") == "main"
    rows = api.kubectl("get", "pods", "-n", namespace).splitlines()
    assert rows[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"] and rows[1].split()[:4] == ["a", "0/1", "Pending", "0"]


def test_newer_kubectl_where_present(api, namespace):
    if not os.path.exists("/usr/bin/kubectl"):
        pytest.skip("no other kubectl here")
    old, api.kubectl_path = api.kubectl_path, "/usr/bin/kubectl"
    try:
        assert api.kubectl("apply", "-n", namespace, "-f", "-", input=DEPLOYMENT) == "deployment.apps/web created"
        assert api.kubectl("label", "namespace", namespace, "istio.io/rev=x") == f"namespace/{namespace} labeled"
        assert api.kubectl("rollout", "restart", "deployment", "-n", namespace) == "deployment.apps/web restarted"
        assert api.kubectl("delete", "deployment", "web", "-n", namespace).startswith('deployment.apps "web" deleted')
    finally:
        api.kubectl_path = old


# --- writes ---

def test_conflicts(core, namespace):
    cm = core.create_namespaced_config_map(namespace, {"metadata": {"name": "x"}, "data": {"a": "1"}})
    core.patch_namespaced_config_map("x", namespace, {"data": {"a": "2"}})
    cm.data["a"] = "3"
    with pytest.raises(ApiException) as e:
        core.replace_namespaced_config_map("x", namespace, cm)
    status = json.loads(e.value.body)
    assert (e.value.status, status["reason"], status["details"]) == (409, "Conflict", {"name": "x", "kind": "configmaps"})
    assert status["message"] == ('Operation cannot be fulfilled on configmaps "x": the object has been modified; '
                                 "please apply your changes to the latest version and try again")
    cm.metadata.resource_version = None
    assert core.replace_namespaced_config_map("x", namespace, cm).data == {"a": "3"}
    with pytest.raises(ApiException) as e:
        core.patch_namespaced_config_map("x", namespace, {"metadata": {"resourceVersion": "1"}, "data": {"a": "4"}})
    assert e.value.status == 409
    before = core.read_namespaced_config_map("x", namespace)
    after = core.patch_namespaced_config_map("x", namespace, {"data": {"a": "3"}})
    assert after.metadata.resource_version == before.metadata.resource_version
    with pytest.raises(ApiException) as e:
        core.delete_namespaced_config_map("x", namespace, body={"preconditions": {"uid": "other"}})
    assert e.value.status == 409


def test_patches(core, api, namespace):
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "x"}, "data": {"a": "1", "b": "2"}})
    assert api.kubectl("patch", "cm", "x", "-n", namespace, "--type=merge", "-p", '{"data":{"a":null,"c":"3"}}') == "configmap/x patched"
    assert api.kubectl("patch", "cm", "x", "-n", namespace, "--type=json", "-p", '[{"op":"replace","path":"/data/b","value":"9"}]') == "configmap/x patched"
    assert core.read_namespaced_config_map("x", namespace).data == {"b": "9", "c": "3"}
    code, _, err = api.kubectl("patch", "cm", "x", "-n", namespace, "--type=json", "-p", '[{"op":"remove","path":"/data/nope"}]', ok=None)
    assert code == 1 and err.startswith("The request is invalid")
    api.kubectl("apply", "-n", namespace, "-f", "-", input=DEPLOYMENT)
    api.kubectl("patch", "deployment", "web", "-n", namespace, "-p",
                '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"s"}]}}}}')
    d = client.AppsV1Api(api.client()).read_namespaced_deployment("web", namespace)
    assert {c.name for c in d.spec.template.spec.containers} == {"side", "main"}


def test_dry_run(core, namespace):
    made = core.create_namespaced_config_map(namespace, {"metadata": {"name": "dry"}}, dry_run="All")
    assert made.metadata.uid
    with pytest.raises(ApiException) as e:
        core.read_namespaced_config_map("dry", namespace)
    assert e.value.status == 404
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "dry"}, "data": {"a": "1"}})
    rv = core.list_namespaced_config_map(namespace).metadata.resource_version
    assert core.patch_namespaced_config_map("dry", namespace, {"data": {"a": "2"}}, dry_run="All").data == {"a": "2"}
    core.delete_namespaced_config_map("dry", namespace, dry_run="All")
    listing = core.list_namespaced_config_map(namespace)
    assert listing.items[0].data == {"a": "1"} and listing.metadata.resource_version == rv
    with pytest.raises(ApiException) as e:
        core.create_namespaced_config_map(namespace, {"metadata": {"name": "dry2"}}, dry_run="Maybe")
    assert e.value.status == 422


def test_generate_name_and_collection(core, namespace):
    names = {core.create_namespaced_config_map(namespace, {"metadata": {"generateName": "c-", "labels": {"n": str(i % 2)}}}).metadata.name for i in range(6)}
    assert len(names) == 6 and all(len(n) == 7 for n in names)
    assert len(core.list_namespaced_config_map(namespace, label_selector="n in (1)").items) == 3
    assert len(core.list_namespaced_config_map(namespace, label_selector="n!=1,n").items) == 3
    with pytest.raises(ApiException) as e:
        core.list_namespaced_config_map(namespace, label_selector="a in b")
    assert e.value.status == 400
    with pytest.raises(ApiException) as e:
        core.list_namespaced_config_map(namespace, field_selector="spec.x=1")
    assert "field label not supported: spec.x" in e.value.body
    core.delete_collection_namespaced_config_map(namespace, label_selector="n=0")
    assert len(core.list_namespaced_config_map(namespace).items) == 3


def test_finalizers(core, namespace):
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "x", "finalizers": ["example.com/hold"]}})
    core.delete_namespaced_config_map("x", namespace)
    assert core.read_namespaced_config_map("x", namespace).metadata.deletion_timestamp
    core.patch_namespaced_config_map("x", namespace, {"metadata": {"finalizers": None}})
    with pytest.raises(ApiException) as e:
        core.read_namespaced_config_map("x", namespace)
    assert e.value.status == 404


def test_graceful_pod_deletion(core, namespace):
    core.create_namespaced_pod(namespace, pod("p", namespace))
    core.create_namespaced_pod_binding("p", namespace, {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}, _preload_content=False)
    with pytest.raises(ApiException) as e:
        core.create_namespaced_pod_binding("p", namespace, {"metadata": {"name": "p"}, "target": {"name": "n2"}}, _preload_content=False)
    assert e.value.status == 409 and 'pod p is already assigned to node \\"n1\\"' in e.value.body.decode()
    p = core.delete_namespaced_pod("p", namespace)
    assert p.metadata.deletion_grace_period_seconds == 30
    left = p.metadata.deletion_timestamp - datetime.datetime.now(datetime.timezone.utc)
    assert 25 < left.total_seconds() < 31
    core.delete_namespaced_pod("p", namespace, grace_period_seconds=0)
    assert core.list_namespaced_pod(namespace).items == []
    core.create_namespaced_pod(namespace, pod("q", namespace))
    core.create_namespaced_pod_eviction("q", namespace, {"metadata": {"name": "q"}}, _preload_content=False)
    assert core.list_namespaced_pod(namespace).items == []


def test_namespace_life(core, api):
    core.create_namespace({"metadata": {"name": "gone"}})
    core.create_namespaced_config_map("gone", {"metadata": {"name": "x"}})
    ns = core.delete_namespace("gone")
    assert core.read_namespace("gone").status.phase == "Terminating"
    with pytest.raises(ApiException) as e:
        core.create_namespaced_config_map("gone", {"metadata": {"name": "y"}})
    status = json.loads(e.value.body)
    assert e.value.status == 403 and status["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    core.delete_namespaced_config_map("x", "gone")
    doc = core.read_namespace("gone")
    doc.spec.finalizers = []
    core.replace_namespace_finalize("gone", doc)
    with pytest.raises(ApiException) as e:
        core.read_namespace("gone")
    assert e.value.status == 404
    assert "this namespace may not be deleted" in api.kubectl("delete", "ns", "default", ok=False)


def test_pods_get_their_token_volume(core, namespace):
    p = core.create_namespaced_pod(namespace, pod("p", namespace))
    volume = p.spec.volumes[0]
    assert volume.name.startswith("kube-api-access-") and len(volume.projected.sources) == 3
    assert p.spec.containers[0].volume_mounts[0].mount_path == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert p.spec.service_account_name == "default" and p.status.phase == "Pending"
    assert core.create_namespaced_pod(namespace, pod("q", namespace, automountServiceAccountToken=False)).spec.volumes is None
    with pytest.raises(ApiException) as e:
        core.create_namespaced_pod(namespace, pod("r", namespace, serviceAccountName="nobody"))
    assert e.value.status == 403 and 'serviceaccount \\"nobody\\" not found' in e.value.body


# --- watches ---

def test_watch(core, namespace):
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "old", "labels": {"w": "1"}}})
    events, started = [], threading.Event()
    rv = core.list_namespaced_config_map(namespace).metadata.resource_version

    def run():
        w = watch.Watch()
        started.set()
        for event in w.stream(core.list_namespaced_config_map, namespace, resource_version=rv, label_selector="w=1", timeout_seconds=20):
            events.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED" and event["object"].metadata.name == "new":
                w.stop()

    t = threading.Thread(target=run)
    t.start()
    started.wait()
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "other"}})
    core.patch_namespaced_config_map("old", namespace, {"metadata": {"labels": {"w": "2"}}})       # ceases to match
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "new", "labels": {"w": "1"}}})
    core.patch_namespaced_config_map("new", namespace, {"data": {"a": "1"}})
    core.patch_namespaced_config_map("other", namespace, {"metadata": {"labels": {"w": "1"}}})      # begins to match
    core.delete_namespaced_config_map("new", namespace)
    t.join(30)
    assert events == [("DELETED", "old"), ("ADDED", "new"), ("MODIFIED", "new"), ("ADDED", "other"), ("DELETED", "new")]


def raw(api, path, headers=None, method="GET", body=None):
    import urllib.request
    context = ssl.create_default_context(cadata=base64.b64decode(
        yaml.safe_load(open(api.kubeconfig))["clusters"][0]["cluster"]["certificate-authority-data"]).decode())
    request = urllib.request.Request(f"https://127.0.0.1:{api.port}{path}", method=method, data=body,
                                     headers={"Authorization": f"Bearer {api.token}", **(headers or {})})
    try:
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


def test_watch_edges(api, core, namespace):
    status, _, body = raw(api, "/api/v1/configmaps?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
    assert status == 422 and json.loads(body)["reason"] == "Invalid"
    status, _, body = raw(api, "/api/v1/configmaps?watch=true&resourceVersion=0x")
    assert status == 400
    status, _, body = raw(api, f"/api/v1/namespaces/{namespace}/serviceaccounts?watch=1&timeoutSeconds=1")
    assert status == 200 and json.loads(body.splitlines()[0])["object"]["metadata"]["name"] == "default"
    table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    status, _, body = raw(api, f"/api/v1/namespaces/{namespace}/serviceaccounts?watch=1&timeoutSeconds=1", {"Accept": table})
    assert json.loads(body.splitlines()[0])["object"]["kind"] == "Table"
    meta = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
    status, _, body = raw(api, f"/api/v1/namespaces/{namespace}/serviceaccounts", {"Accept": meta})
    assert json.loads(body)["kind"] == "PartialObjectMetadataList" and list(json.loads(body)["items"][0]) == ["kind", "apiVersion", "metadata"]


def test_kubectl_watch(api, core, namespace):
    core.create_namespaced_pod(namespace, pod("p", namespace))
    code, out, _ = api.kubectl("get", "pods", "-w", "-n", namespace, "--request-timeout=2s", ok=None)
    assert out.splitlines()[1].split()[:3] == ["p", "0/1", "Pending"]


# --- negotiation ---

def test_negotiation(api):
    assert raw(api, "/api/v1/namespaces", {"Accept": "text/html"})[0] == 406
    assert raw(api, "/api/v1/namespaces", {"Accept": "application/vnd.kubernetes.protobuf,application/json"})[1]["Content-Type"] == "application/json"
    assert raw(api, "/api/v1/namespaces", {"Content-Type": "application/vnd.kubernetes.protobuf"}, "POST", b"k8s\0")[0] == 415
    assert raw(api, "/api/v1/namespaces/default", {"Content-Type": "application/apply-patch+yaml"}, "PATCH", b"{}")[0] == 415
    assert raw(api, "/api/v1/namespaces", {"Content-Type": "application/yaml"}, "POST", b"metadata: {name: from-yaml}")[0] == 201
    assert raw(api, "/no/such/path")[0] == 404
    assert raw(api, "/apis/metrics.k8s.io/v1beta1")[0] == 404
    assert raw(api, "/api/v1/namespaces", {"Authorization": "Bearer wrong"})[0] == 401
    status, _, body = raw(api, "/api/v1/namespaces", {"Authorization": ""})
    assert status == 403 and json.loads(body)["message"].startswith('namespaces is forbidden: User "system:anonymous" cannot list resource "namespaces"')
    assert raw(api, "/healthz", {"Authorization": ""})[2] == b"ok"
    assert raw(api, "/openapi/v2")[1]["Content-Type"] == "application/octet-stream"
    assert raw(api, "/api/v1/pods/x", method="POST", body=b"{}")[0] in (404, 405)
    assert raw(api, "/api/v1/namespaces", {"Content-Type": "application/json"}, "POST", b"{")[0] == 400


# --- tokens ---

def test_tokens(api, core, namespace):
    p = core.create_namespaced_pod(namespace, pod("p", namespace))
    answer = core.create_namespaced_service_account_token("default", namespace, {"spec": {
        "audiences": ["istio-ca"], "expirationSeconds": 3600, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": p.metadata.uid}}})
    token = answer.status.token
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==="))
    assert claims["aud"] == ["istio-ca"] and claims["sub"] == f"system:serviceaccount:{namespace}:default"
    assert claims["kubernetes.io"]["pod"] == {"name": "p", "uid": p.metadata.uid}
    reviews = client.AuthenticationV1Api(api.client())
    good = reviews.create_token_review({"spec": {"token": token, "audiences": ["istio-ca"]}}).status
    assert good.authenticated and good.user.username == f"system:serviceaccount:{namespace}:default" and good.audiences == ["istio-ca"]
    assert "system:serviceaccounts" in good.user.groups and good.user.extra["authentication.kubernetes.io/pod-uid"] == [p.metadata.uid]
    bad = reviews.create_token_review({"spec": {"token": token}}).status
    assert not bad.authenticated and "is invalid for the target audiences" in bad.error
    assert raw(api, "/api/v1/pods", {"Authorization": f"Bearer {token}"})[0] == 401        # not for the API itself
    own = core.create_namespaced_service_account_token("default", namespace, {"spec": {}}).status.token
    assert raw(api, "/api/v1/pods", {"Authorization": f"Bearer {own}"})[0] == 200
    core.delete_namespaced_pod("p", namespace)
    gone = reviews.create_token_review({"spec": {"token": token, "audiences": ["istio-ca"]}}).status
    assert not gone.authenticated and "deleted" in gone.error
    with pytest.raises(ApiException) as e:
        core.create_namespaced_service_account_token("default", namespace, {"spec": {"expirationSeconds": 60}})
    assert e.value.status == 422

    # the key set proves it, as the Mesh CA does
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    key = json.loads(raw(api, "/openid/v1/jwks", {"Authorization": ""})[2])["keys"][0]
    number = lambda s: int.from_bytes(base64.urlsafe_b64decode(s + "==="), "big")
    header, payload, signature = token.split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==="))["kid"] == key["kid"]
    rsa.RSAPublicNumbers(number(key["e"]), number(key["n"])).public_key().verify(
        base64.urlsafe_b64decode(signature + "==="), f"{header}.{payload}".encode(), padding.PKCS1v15(), hashes.SHA256())


def test_client_certificate(api, tmp_path):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    import urllib.request
    ca = x509.load_pem_x509_certificate((api.state / "pki" / "ca.crt").read_bytes())
    ca_key = serialization.load_pem_private_key((api.state / "pki" / "ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "team"), x509.NameAttribute(x509.NameOID.COMMON_NAME, "jane")])
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(ca.subject).public_key(key.public_key()).serial_number(9)
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=1)).sign(ca_key, hashes.SHA256()))
    path = tmp_path / "client.pem"
    path.write_bytes(cert.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.create_default_context(cafile=str(api.state / "pki" / "ca.crt"))
    context.load_cert_chain(path)
    request = urllib.request.Request(f"https://127.0.0.1:{api.port}/apis/authentication.k8s.io/v1/selfsubjectreviews", method="POST",
                                     data=b"{}", headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, context=context, timeout=20) as answer:
        who = json.load(answer)["status"]["userInfo"]
    assert who == {"username": "jane", "groups": ["team", "system:authenticated"]}


# --- custom resources ---

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: istiooperators.install.istio.io}
spec:
  group: install.istio.io
  scope: Namespaced
  names: {kind: IstioOperator, plural: istiooperators, shortNames: [iop]}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Revision, type: string, jsonPath: .spec.revision}
    - {name: Status, type: string, jsonPath: .status.status}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
OPERATOR = """
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {name: installed-state-x}
spec: {revision: x}
"""


def test_custom_resources(api, namespace):
    assert api.kubectl("apply", "-f", "-", input=CRD) == "customresourcedefinition.apiextensions.k8s.io/istiooperators.install.istio.io created"
    api.kubectl("wait", "--for=condition=Established", "crd/istiooperators.install.istio.io", "--timeout=10s")
    assert api.kubectl("apply", "-n", namespace, "-f", "-", input=OPERATOR) == "istiooperator.install.istio.io/installed-state-x created"
    lines = api.kubectl("get", "iop", "-n", namespace).splitlines()
    assert lines[0].split() == ["NAME", "REVISION", "STATUS", "AGE"] and lines[1].split()[:2] == ["installed-state-x", "x"]
    assert api.kubectl("apply", "-n", namespace, "-f", "-", input=OPERATOR.replace("{revision: x}", "{revision: second}")).endswith("configured")
    custom = client.CustomObjectsApi(api.client())
    where = ("install.istio.io", "v1alpha1", namespace, "istiooperators", "installed-state-x")
    before = custom.get_namespaced_custom_object(*where)
    assert before["metadata"]["generation"] == 2 and before["spec"] == {"revision": "second"}
    after = custom.patch_namespaced_custom_object_status(*where, {"status": {"status": "HEALTHY"}, "spec": {"revision": "z"}})
    assert after["status"] == {"status": "HEALTHY"} and after["spec"] == {"revision": "second"} and after["metadata"]["generation"] == 2
    assert raw(api, f"/apis/install.istio.io/v1alpha1/namespaces/{namespace}/istiooperators/installed-state-x",
               {"Content-Type": "application/strategic-merge-patch+json"}, "PATCH", b"{}")[0] == 415
    assert api.kubectl("delete", "IstioOperator", "installed-state-x", "-n", namespace) == 'istiooperator.install.istio.io "installed-state-x" deleted'
    api.kubectl("apply", "-n", namespace, "-f", "-", input=OPERATOR)
    api.kubectl("delete", "crd", "istiooperators.install.istio.io")
    assert "could not find the requested resource" in api.kubectl("get", "iop", "-n", namespace, ok=False)      # kubectl's cache still knows it
    api.kubectl("apply", "-f", "-", input=CRD)
    assert api.kubectl("get", "iop", "-n", namespace, ok=None)[2].startswith("No resources found")


# --- webhooks ---

class Webhook:
    """An HTTPS webhook that answers by a function of the request."""

    def __init__(self, directory, names):
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        import ipaddress
        now = datetime.datetime.now(datetime.timezone.utc)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "webhook")])
        sans = [x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() else x509.DNSName(n) for n in names]
        cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
                .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
                .add_extension(x509.BasicConstraints(True, None), True).add_extension(x509.SubjectAlternativeName(sans), False).sign(key, hashes.SHA256()))
        self.pem = cert.public_bytes(serialization.Encoding.PEM)
        path = directory / "webhook.pem"
        path.write_bytes(self.pem + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        self.reviews, self.answer, self.status = [], lambda review: {"allowed": True}, 200
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.reviews.append((self.path, review))
                body = json.dumps({"apiVersion": review["apiVersion"], "kind": "AdmissionReview",
                                   "response": {"uid": review["request"]["uid"], **hook.answer(review)}}).encode()
                self.send_response(hook.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def bundle(self):
        return base64.b64encode(self.pem).decode()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def patch_of(*operations):
    return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(operations).encode()).decode()}


@pytest.fixture
def hook(tmp_path):
    h = Webhook(tmp_path, ["hooks.hooks.svc", "127.0.0.1"])
    yield h
    h.close()


@pytest.fixture
def admission(api):
    a = client.AdmissionregistrationV1Api(api.client())
    yield a
    for kind in ("mutating", "validating"):
        getattr(a, f"delete_collection_{kind}_webhook_configuration")()


def webhook_config(kind, name, hook, namespace, **extra):
    return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": [{
        "name": f"{name}.example.com", "clientConfig": {"url": f"https://127.0.0.1:{hook.port}/{name}", "caBundle": hook.bundle},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "admissionReviewVersions": ["v1beta1", "v1"], "sideEffects": "None", "timeoutSeconds": 5, **extra}]}


def test_mutating_webhook(core, namespace, hook, admission):
    admission.create_mutating_webhook_configuration(webhook_config("MutatingWebhookConfiguration", "inject", hook, namespace))
    hook.answer = lambda review: patch_of({"op": "add", "path": "/spec/containers/-", "value": {"name": "istio-proxy", "image": "auto"}},
                                          {"op": "add", "path": "/metadata/annotations", "value": {"sidecar.istio.io/status": "{}"}})
    body = pod("", namespace)
    body["metadata"] = {"generateName": "web-", "labels": {"app": "web"}}
    p = core.create_namespaced_pod(namespace, body)
    assert [c.name for c in p.spec.containers] == ["main", "istio-proxy"] and p.metadata.annotations == {"sidecar.istio.io/status": "{}"}
    assert p.spec.containers[1].image_pull_policy == "Always" and p.metadata.name.startswith("web-")
    path, review = hook.reviews[0]
    request = review["request"]
    assert path == "/inject?timeout=5s" and review["apiVersion"] == "admission.k8s.io/v1beta1"
    assert "name" not in request and "name" not in request["object"]["metadata"] and request["namespace"] == namespace
    assert request["operation"] == "CREATE" and request["oldObject"] is None and request["kind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert request["object"]["spec"]["volumes"][0]["name"].startswith("kube-api-access-")      # before webhooks
    core.create_namespaced_pod(namespace, pod("dry", namespace), dry_run="All")
    assert hook.reviews[-1][1]["request"]["dryRun"] is True
    other = len(hook.reviews)
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "no-hook"}})
    assert len(hook.reviews) == other


def test_webhook_order_and_reinvocation(core, namespace, hook, admission):
    for name in ("b-second", "a-first"):
        extra = {"reinvocationPolicy": "IfNeeded"} if name == "a-first" else {}
        admission.create_mutating_webhook_configuration(webhook_config("MutatingWebhookConfiguration", name, hook, namespace, **extra))

    def answer(review):
        labels = review["request"]["object"]["metadata"]["labels"]
        return patch_of({"op": "add", "path": "/metadata/labels/l%d" % len(labels), "value": "x"}) if len(labels) < 3 else {"allowed": True}

    hook.answer = answer
    core.create_namespaced_pod(namespace, pod("p", namespace))
    assert [path.split("?")[0] for path, _ in hook.reviews] == ["/a-first", "/b-second", "/a-first"]
    assert [review["request"]["name"] for _, review in hook.reviews] == ["p"] * 3      # also after a webhook replaced the object


def test_validating_webhook_denies(api, core, namespace, hook, admission):
    admission.create_validating_webhook_configuration(webhook_config("ValidatingWebhookConfiguration", "check", hook, namespace))
    hook.answer = lambda review: {"allowed": False, "status": {"code": 403, "message": "plainly wrong"}, "warnings": ["beware"]}
    with pytest.raises(ApiException) as e:
        core.create_namespaced_pod(namespace, pod("p", namespace))
    assert e.value.status == 403 and json.loads(e.value.body)["message"] == 'admission webhook "check.example.com" denied the request: plainly wrong'
    code, _, err = api.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Pod", **pod("p", namespace)}), ok=None)
    assert code == 1 and "Warning: beware" in err
    hook.answer = lambda review: {"allowed": True}
    core.create_namespaced_pod(namespace, pod("p", namespace))
    assert hook.reviews[-1][1]["request"]["object"]["metadata"]["uid"]


def test_failure_policy(core, namespace, hook, admission):
    config = webhook_config("MutatingWebhookConfiguration", "broken", hook, namespace)
    admission.create_mutating_webhook_configuration(config)
    hook.status = 500
    with pytest.raises(ApiException) as e:
        core.create_namespaced_pod(namespace, pod("p", namespace))
    assert e.value.status == 500 and 'failed calling webhook "broken.example.com": Post "https://127.0.0.1' in json.loads(e.value.body)["message"]
    config["webhooks"][0]["failurePolicy"] = "Ignore"
    admission.replace_mutating_webhook_configuration("broken", config)
    core.create_namespaced_pod(namespace, pod("p", namespace))
    config["webhooks"][0].update({"failurePolicy": "Fail", "timeoutSeconds": 1})
    admission.replace_mutating_webhook_configuration("broken", config)
    hook.status, hook.answer = 200, lambda review: time.sleep(3) or {"allowed": True}
    with pytest.raises(ApiException) as e:
        core.create_namespaced_pod(namespace, pod("q", namespace))
    assert "context deadline exceeded" in e.value.body
    hook.answer = lambda review: patch_of({"op": "remove", "path": "/nope"})
    with pytest.raises(ApiException) as e:
        core.create_namespaced_pod(namespace, pod("q", namespace))
    assert e.value.status == 500
    config["webhooks"][0]["clientConfig"]["caBundle"] = base64.b64encode(b"no certificate").decode()
    admission.replace_mutating_webhook_configuration("broken", config)
    with pytest.raises(ApiException) as e:
        core.create_namespaced_pod(namespace, pod("q", namespace))
    assert e.value.status == 500


def test_webhook_behind_a_service(core, namespace, hook, admission):
    if "hooks" not in [n.metadata.name for n in core.list_namespace().items]:
        core.create_namespace({"metadata": {"name": "hooks"}})
    core.create_namespaced_service("hooks", {"metadata": {"name": "hooks"}, "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 15017}]}})
    config = webhook_config("MutatingWebhookConfiguration", "svc", hook, namespace)
    config["webhooks"][0]["clientConfig"] = {"caBundle": hook.bundle, "service": {"name": "hooks", "namespace": "hooks", "path": "/inject"}}
    admission.create_mutating_webhook_configuration(config)
    with pytest.raises(ApiException) as e:
        core.create_namespaced_pod(namespace, pod("p", namespace))
    assert 'no endpoints available for service \\"hooks\\"' in e.value.body
    # the first address is dead: the next one is tried
    core.create_namespaced_endpoints("hooks", {"metadata": {"name": "hooks"}, "subsets": [
        {"addresses": [{"ip": "127.0.0.1"}, {"ip": "127.0.0.9"}], "ports": [{"name": "https", "port": hook.port}]}]})
    for i in range(4):
        core.create_namespaced_pod(namespace, pod(f"p{i}", namespace))
    assert len(hook.reviews) == 4 and hook.reviews[0][0] == "/inject?timeout=5s"


# --- durability ---

def test_kill_and_restart(bin_dir, kubectl, tmp_path):
    server = ApiServer(bin_dir, kubectl, tmp_path).start()
    try:
        core = client.CoreV1Api(server.client())
        core.create_namespace({"metadata": {"name": "x"}})
        known, stop = {}, threading.Event()

        def write(worker):
            mine = client.CoreV1Api(server.client())
            for i in range(10000):
                try:
                    cm = mine.create_namespaced_config_map("x", {"metadata": {"name": f"c-{worker}-{i}"}})
                    known[cm.metadata.name] = int(cm.metadata.resource_version)
                except Exception:
                    return
                if stop.is_set():
                    return

        threads = [threading.Thread(target=write, args=(w,)) for w in range(4)]
        for t in threads:
            t.start()
        while len(known) < 100:
            time.sleep(0.01)
        server.kill()
        server.start()                         # clients that wait on the kept socket go on
        stop.set()
        for t in threads:
            t.join()
        core = client.CoreV1Api(server.client())
        listing = core.list_namespaced_config_map("x")
        kept = {c.metadata.name: int(c.metadata.resource_version) for c in listing.items}
        assert known.items() <= kept.items()
        assert int(listing.metadata.resource_version) >= max(known.values())
        made = core.create_namespaced_config_map("x", {"metadata": {"name": "after"}})
        assert int(made.metadata.resource_version) > max(kept.values())
        assert server.stop() == 0
    finally:
        server.close()


def test_restart_keeps_crds_and_expires_watches(bin_dir, kubectl, tmp_path):
    server = ApiServer(bin_dir, kubectl, tmp_path).start()
    try:
        server.kubectl("apply", "-f", "-", input=CRD)
        server.kubectl("apply", "-n", "default", "-f", "-", input=OPERATOR)
        token = server.token
        assert server.stop() == 0
        server.start()
        assert server.token == token
        assert "installed-state-x" in server.kubectl("get", "iop", "-n", "default")
        status, _, body = raw(server, "/api/v1/namespaces?watch=true&resourceVersion=1")
        event = json.loads(body.splitlines()[0])
        assert status == 200 and event["type"] == "ERROR" and event["object"]["code"] == 410 and event["object"]["reason"] == "Expired"
    finally:
        server.close()
