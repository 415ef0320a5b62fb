"""Generated configuration in real Envoys: accepted, and it does what the mesh's objects say."""
import copy
import itertools
import json
import time

import pytest
from podnet import CA, Net, Pod, endpoint_slice, secrets, service

WEB = "10.96.0.7"


class Mesh:
    """web and client in shop, evil elsewhere, a gateway; and a pod without a proxy."""

    def __init__(self, peer, envoy):
        self.old, self.new = CA("cluster.local"), CA("Mesh CA")
        self.net = Net(peer("ads_server"), envoy)
        try:
            self.build(self.net)
        except BaseException:
            self.net.close()
            raise

    def build(self, net):
        self.web = Pod(net, "web", "shop", "10.244.1.2")
        self.client = Pod(net, "client", "shop", "10.244.1.3")
        self.evil = Pod(net, "evil", "other", "10.244.1.4")
        self.gateway = Pod(net, "gateway", "istio-system", "10.244.1.5", labels={"istio": "ingressgateway"}, sidecar=False, router=True)
        self.plain = Pod(net, "plain", "other", "10.244.1.6", sidecar=False)
        self.proxies = [self.web, self.client, self.evil, self.gateway]
        ports = {"http": (80, 8080), "tcp-lines": (9000, 9000)}
        web, gw = service("web", "shop", WEB, ports, {"app": "web"}), service("gateway", "istio-system", "10.96.0.8", {"http": (80, 8080)}, {"app": "gateway"})
        self.base = {
            "mesh_config": {"trustDomain": "cluster.local"},
            "services": [web, gw],
            "endpoint_slices": [endpoint_slice(web, [self.web]), endpoint_slice(gw, [self.gateway])],
            "pods": [p.object() for p in net.pods.values()],
            "peer_authentications": [{"metadata": {"name": "default", "namespace": "istio-system"}, "spec": {"mtls": {"mode": "STRICT"}}}],
            "gateways": [{"metadata": {"name": "gw", "namespace": "istio-system"}, "spec": {"selector": {"istio": "ingressgateway"},
                "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}}],
            "virtual_services": [{"metadata": {"name": "web", "namespace": "shop"}, "spec": {"hosts": ["*"], "gateways": ["istio-system/gw"],
                "http": [{"match": [{"uri": {"prefix": "/shop/"}}], "rewrite": {"uri": "/"}, "route": [{"destination": {"host": "web", "port": {"number": 80}}}]}]}}],
        }
        self.reset()
        for p in self.proxies:
            self.identity(p, self.old, "cluster.local", [self.old])
            p.start_envoy()
        self.web.start_app()
        for p in self.proxies:
            p.wait_live()
        net.settle(len(self.proxies))

    def reset(self):
        self.net.objects = copy.deepcopy(self.base)
        self.net.write()

    def identity(self, pod, ca, trust_domain, roots):
        pod.set_secrets(secrets(ca, f"spiffe://{trust_domain}/ns/{pod.namespace}/sa/{pod.account}", roots))

    def apply(self, **objects):
        self.net.objects.update(objects)
        self.net.push()
        self.net.settle()
        assert self.net.rejected() == {}

    def get(self, pod, path="/", seconds=5):
        """(status, headers the app saw); a request through the pod's own proxy."""
        status, body = pod.curl(f"http://{WEB}{path}", "-H", "Host: web.shop.svc.cluster.local")
        return status, json.loads(body)["headers"] if status == 200 else body

    def lines(self, pod, host=WEB):
        """What comes back for a line over TCP."""
        script = f"import socket; s = socket.create_connection(('{host}', 9000), 3); s.settimeout(3); s.sendall(b'hello\\n'); print(s.recv(100))"
        return pod.run("/usr/bin/python3", "-c", script).stdout.strip()


@pytest.fixture(scope="module")
def shared(peer, envoy):
    mesh = Mesh(peer, envoy)
    yield mesh
    mesh.net.close()


@pytest.fixture
def mesh(shared):
    yield shared
    shared.reset()
    for p in shared.proxies:
        shared.identity(p, shared.old, "cluster.local", [shared.old])
    shared.net.push()
    shared.net.settle()


def eventually(check, seconds=10):
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.1)


def test_accepted_with_istios_names(mesh):
    assert mesh.net.rejected() == {}
    dump = mesh.client.dump()
    clusters = next(c for c in dump if c["@type"].endswith("ClustersConfigDump"))
    names = {c["cluster"]["name"] for c in clusters["dynamic_active_clusters"]}
    assert names == {"outbound|80||web.shop.svc.cluster.local", "outbound|9000||web.shop.svc.cluster.local", "outbound|80||gateway.istio-system.svc.cluster.local",
                     "BlackHoleCluster", "PassthroughCluster", "InboundPassthroughClusterIpv4"}
    listeners = next(c for c in dump if c["@type"].endswith("ListenersConfigDump"))
    assert {l["name"] for l in listeners["dynamic_listeners"]} == {"virtualOutbound", "virtualInbound", "0.0.0.0_80", f"{WEB}_9000"}
    routes = next(c for c in dump if c["@type"].endswith(".RoutesConfigDump"))
    assert {r["route_config"]["name"] for r in routes["dynamic_route_configs"]} == {"80"}
    web = mesh.web.dump()
    clusters = next(c for c in web if c["@type"].endswith("ClustersConfigDump"))
    assert {"inbound|8080||", "inbound|9000||"} <= {c["cluster"]["name"] for c in clusters["dynamic_active_clusters"]}
    listeners = next(c for c in mesh.gateway.dump() if c["@type"].endswith("ListenersConfigDump"))
    assert {l["name"] for l in listeners["dynamic_listeners"]} == {"0.0.0.0_8080"}


def test_mutual_tls_tells_who_calls(mesh):
    status, headers = mesh.get(mesh.client)
    assert status == 200
    xfcc = headers["x-forwarded-client-cert"]
    assert "By=spiffe://cluster.local/ns/shop/sa/web" in xfcc and "URI=spiffe://cluster.local/ns/shop/sa/client" in xfcc
    # What the caller claims to be does not get through.
    _, headers = mesh.client.curl(f"http://{WEB}/", "-H", "Host: web.shop", "-H", "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/shop/sa/admin")
    assert "admin" not in headers
    assert mesh.lines(mesh.client) == "b'hello\\n'"
    for name in ("web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", f"{WEB}:80"):
        assert mesh.client.curl(f"http://{WEB}/", "-H", f"Host: {name}")[0] == 200
    assert "ssl.connection_error: 0" in mesh.web.admin("stats?filter=0.0.0.0_15006.ssl.connection_error")


def test_plain_callers(mesh):
    assert mesh.plain.curl("http://10.244.1.2:8080/")[0] == 0
    assert mesh.lines(mesh.plain, "10.244.1.2") == ""
    mesh.apply(peer_authentications=[])
    assert eventually(lambda: mesh.plain.curl("http://10.244.1.2:8080/")[0] == 200)
    assert mesh.lines(mesh.plain, "10.244.1.2") == "b'hello\\n'"
    status, headers = mesh.get(mesh.client)
    assert status == 200 and "URI=spiffe://cluster.local/ns/shop/sa/client" in headers["x-forwarded-client-cert"]


def test_policies(mesh):
    allow = {"metadata": {"name": "web", "namespace": "shop"}, "spec": {"selector": {"matchLabels": {"app": "web"}},
             "rules": [{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/client"]}}]}]}}
    mesh.apply(authorization_policies=[allow])
    assert eventually(lambda: mesh.get(mesh.evil)[0] == 403)
    assert mesh.get(mesh.client)[0] == 200
    assert mesh.lines(mesh.evil) in ("", "b''")
    assert mesh.lines(mesh.client) == "b'hello\\n'"
    deny = {"metadata": {"name": "no-shop", "namespace": "istio-system"}, "spec": {"action": "DENY", "rules": [{"from": [{"source": {"namespaces": ["sho*"], "notPrincipals": ["*/sa/web"]}}]}]}}
    mesh.apply(authorization_policies=[deny])
    assert eventually(lambda: mesh.get(mesh.client)[0] == 403)
    assert eventually(lambda: mesh.get(mesh.evil)[0] == 200)      # a kept connection has the policy it was opened under
    assert mesh.lines(mesh.client) in ("", "b''")
    nothing = {"metadata": {"name": "nothing", "namespace": "shop"}, "spec": {}}
    mesh.apply(authorization_policies=[nothing])
    assert eventually(lambda: mesh.get(mesh.client)[0] == 403 and mesh.get(mesh.evil)[0] == 403)


def test_ingress(mesh):
    status, body = mesh.plain.curl("http://10.244.1.5:8080/shop/x?y=1", "-H", "Host: anything.example.com")
    assert status == 200 and '"path": "/x?y=1"' in body
    assert "URI=spiffe://cluster.local/ns/istio-system/sa/gateway" in body
    assert mesh.plain.curl("http://10.244.1.5:8080/else")[0] == 404


def test_two_issuers_and_trust_domains(mesh):
    """All four combinations, as in the middle of a switch; then the same without having distributed."""
    both = [mesh.old, mesh.new]
    changes = itertools.count()

    def allow():
        """A policy of a new name: kept connections are closed, for they bear the identities of their handshake."""
        return [{"metadata": {"name": f"web-{next(changes)}", "namespace": "shop"}, "spec": {"rules": [{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/client"]}}]}]}}]

    for p in mesh.proxies:
        mesh.identity(p, mesh.old, "cluster.local", both)
    mesh.apply(mesh_config={"trustDomain": "fleet.svc.id.goog", "trustDomainAliases": ["cluster.local"]}, authorization_policies=allow())
    for client_ca, client_td in ((mesh.old, "cluster.local"), (mesh.new, "fleet.svc.id.goog")):
        for server_ca, server_td in ((mesh.old, "cluster.local"), (mesh.new, "fleet.svc.id.goog")):
            mesh.identity(mesh.client, client_ca, client_td, both)
            mesh.identity(mesh.web, server_ca, server_td, both)
            mesh.apply(authorization_policies=allow())
            want = f"By=spiffe://{server_td}/ns/shop/sa/web", f"URI=spiffe://{client_td}/ns/shop/sa/client"

            def right():
                status, headers = mesh.get(mesh.client)
                assert status == 200
                return all(w in headers["x-forwarded-client-cert"] for w in want)

            assert eventually(right), want
            assert mesh.lines(mesh.client) == "b'hello\\n'"

    mesh.identity(mesh.client, mesh.old, "cluster.local", [mesh.old])
    mesh.apply(authorization_policies=allow())
    assert eventually(lambda: mesh.get(mesh.client)[0] == 503)
    stats = mesh.client.admin("stats?filter=outbound.80..web.*ssl.fail_verify_error")
    assert int(stats.strip().rpartition(" ")[2]) > 0
