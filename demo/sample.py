"""The sample mesh of the demo as Kubernetes objects: 3 namespaces, 12 workloads, an ingress gateway, STRICT mutual TLS,
AuthorizationPolicies that name principals, and the collector of what the load clients see."""
import json

# namespace: workload: (protocol, replicas)
WORKLOADS = {
    "storefront": {"web": ("http", 2), "catalog": ("http", 1), "cart": ("http", 1), "search": ("tcp", 1)},
    "orders": {"order": ("http", 2), "payment": ("http", 1), "invoice": ("http", 1), "ledger": ("tcp", 2)},
    "logistics": {"stock": ("http", 1), "packing": ("http", 1), "courier": ("http", 1), "tracking": ("tcp", 1)},
}
COLLECTOR = "collector.traffic.svc.cluster.local:7070"
GATEWAY_HOST = "shop.example.com"


def _object(api_version, kind, name, namespace=None, **fields):
    metadata = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    metadata.update(fields.pop("metadata", {}))
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def namespaces(injection):
    """injection: the label that makes a namespace inject, {"istio.io/rev": REV} or {"istio-injection": "enabled"}."""
    return [_object("v1", "Namespace", name, metadata={"labels": injection}) for name in WORKLOADS] + [
        _object("v1", "Namespace", "traffic")]


def _peers():
    peers = []
    for namespace, workloads in WORKLOADS.items():
        for name, (protocol, _) in workloads.items():
            peers.append({"name": f"{namespace}/{name}", "protocol": protocol, "host": f"{name}.{namespace}.svc.cluster.local",
                          "port": 9000 if protocol == "tcp" else 80, "expect": name, "expectPath": f"/ns/{namespace}/sa/{name}"})
    peers.append({"name": "gateway", "protocol": "http", "host": "istio-ingressgateway.istio-system.svc.cluster.local", "port": 80,
                  "httpHost": GATEWAY_HOST, "expect": "web", "expectPath": "/ns/storefront/sa/web"})
    return json.dumps(peers)


def _workload(namespace, name, protocol, replicas, interval):
    labels = {"app": name, "version": "v1"}
    port = {"name": "tcp-echo", "port": 9000, "targetPort": 9000} if protocol == "tcp" else {"name": "http", "port": 80, "targetPort": 8080}
    env = [{"name": "WORKLOAD", "value": name}, {"name": "ECHO_PEERS", "value": "/etc/peers/peers.json"},
           {"name": "ECHO_COLLECTOR", "value": COLLECTOR}, {"name": "ECHO_INTERVAL", "value": interval}]
    for variable, path in (("POD_NAME", "metadata.name"), ("POD_NAMESPACE", "metadata.namespace"), ("SERVICE_ACCOUNT", "spec.serviceAccountName")):
        env.append({"name": variable, "valueFrom": {"fieldRef": {"fieldPath": path}}})
    container = {
        "name": "echo", "image": "rootshift/echo", "args": ["serve"], "env": env,
        "ports": [{"containerPort": 8080, "name": "http"}, {"containerPort": 9000, "name": "tcp-echo"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 2},
        "volumeMounts": [{"name": "peers", "mountPath": "/etc/peers"}],
    }
    return [
        _object("v1", "ServiceAccount", name, namespace),
        _object("v1", "Service", name, namespace, spec={"selector": {"app": name}, "ports": [port]}),
        _object("apps/v1", "Deployment", name, namespace, spec={
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels, "annotations": {"traffic.sidecar.istio.io/excludeOutboundPorts": "7070"}},
                         "spec": {"serviceAccountName": name, "containers": [container],
                                  "volumes": [{"name": "peers", "configMap": {"name": "peers"}}]}}}),
    ]


def _policies():
    principals = [f"cluster.local/ns/{ns}/sa/{name}" for ns, workloads in WORKLOADS.items() for name in workloads]
    gateway = "cluster.local/ns/istio-system/sa/istio-ingressgateway"
    objects = [_object("security.istio.io/v1beta1", "PeerAuthentication", "default", "istio-system", spec={"mtls": {"mode": "STRICT"}})]
    for namespace in WORKLOADS:
        allowed = principals + ([gateway] if namespace == "storefront" else [])
        objects.append(_object("security.istio.io/v1beta1", "AuthorizationPolicy", "sample", namespace, spec={
            "action": "ALLOW", "rules": [{"from": [{"source": {"principals": allowed}}]}]}))
    return objects


def _gateway(revision):
    labels = {"app": "istio-ingressgateway", "istio": "ingressgateway"}
    pod_labels = dict(labels, **({"istio.io/rev": revision} if revision else {"sidecar.istio.io/inject": "true"}))
    deployment_labels = dict(labels, **({"istio.io/rev": revision} if revision else {}))
    return [
        _object("v1", "ServiceAccount", "istio-ingressgateway", "istio-system"),
        _object("v1", "Service", "istio-ingressgateway", "istio-system", spec={
            "selector": labels, "ports": [{"name": "http2", "port": 80, "targetPort": 8080}, {"name": "status-port", "port": 15021, "targetPort": 15021}]}),
        _object("apps/v1", "Deployment", "istio-ingressgateway", "istio-system", metadata={"labels": deployment_labels}, spec={
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": pod_labels, "annotations": {"inject.istio.io/templates": "gateway"}},
                         "spec": {"serviceAccountName": "istio-ingressgateway", "containers": [{"name": "istio-proxy", "image": "auto"}]}}}),
        _object("networking.istio.io/v1beta1", "Gateway", "shop", "storefront", spec={
            "selector": {"istio": "ingressgateway"},
            "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [GATEWAY_HOST]}]}),
        _object("networking.istio.io/v1beta1", "VirtualService", "shop", "storefront", spec={
            "hosts": [GATEWAY_HOST], "gateways": ["shop"],
            "http": [{"route": [{"destination": {"host": "web.storefront.svc.cluster.local", "port": {"number": 80}}}]}]}),
    ]


def _collector():
    return [
        _object("v1", "Service", "collector", "traffic", spec={"selector": {"app": "collector"}, "ports": [{"name": "http", "port": 7070}]}),
        _object("apps/v1", "Deployment", "collector", "traffic", spec={
            "selector": {"matchLabels": {"app": "collector"}},
            "template": {"metadata": {"labels": {"app": "collector"}},
                         "spec": {"containers": [{"name": "collector", "image": "rootshift/echo", "args": ["collect"],
                                                  "readinessProbe": {"httpGet": {"path": "/ready", "port": 7070}, "periodSeconds": 1}}]}}}),
    ]


def objects(injection, interval="700ms"):
    """Everything, in an order that can be applied."""
    revision = injection.get("istio.io/rev")
    result = namespaces(injection) + _collector() + _policies()
    for namespace, workloads in WORKLOADS.items():
        result.append(_object("v1", "ConfigMap", "peers", namespace, data={"peers.json": _peers()}))
        for name, (protocol, replicas) in workloads.items():
            result += _workload(namespace, name, protocol, replicas, interval)
    return result + _gateway(revision)


def deployments():
    names = [(ns, name) for ns, workloads in WORKLOADS.items() for name in workloads]
    return names + [("istio-system", "istio-ingressgateway"), ("traffic", "collector")]
