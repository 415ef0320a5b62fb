"""Changes of configuration and identity under load: not one request may fail."""
import copy
import json
import subprocess
import shutil
import time

import pytest
from podnet import CA, HERE, Net, Pod, endpoint_slice, secrets, service

WEB, BLUE = "10.96.0.7", "10.96.0.9"
PORTS = {"http": (80, 8080), "tcp-lines": (9000, 9000)}


def uri(pod, trust_domain="cluster.local"):
    return f"spiffe://{trust_domain}/ns/{pod.namespace}/sa/{pod.account}"


@pytest.fixture
def net(peer, envoy):
    net = Net(peer("ads_server"), envoy)
    shutil.copy(HERE / "load.py", net.dir / "load.py")
    yield net
    net.close()


def test_changes_under_load(net):
    old, new = CA("cluster.local"), CA("Mesh CA")
    one, two, client = (Pod(net, name, "shop", ip) for name, ip in (("one", "10.244.1.2"), ("two", "10.244.1.3"), ("client", "10.244.1.4")))
    pods = [one, two, client]
    web, blue = service("web", "shop", WEB, PORTS, {"app": "one"}), service("blue", "shop", BLUE, PORTS, {"app": "two"})
    base = {
        "mesh_config": {"trustDomain": "cluster.local"}, "services": [web, blue], "pods": [p.object() for p in pods],
        "endpoint_slices": [endpoint_slice(web, [one]), endpoint_slice(blue, [two])],
        "peer_authentications": [{"metadata": {"name": "default", "namespace": "istio-system"}, "spec": {"mtls": {"mode": "STRICT"}}}],
    }

    def push(**changes):
        net.objects = {**copy.deepcopy(base), **changes}
        net.push()
        net.settle(3)
        assert net.rejected() == {}

    net.objects = base
    net.write()
    for p in pods:
        p.set_secrets(secrets(old, uri(p), [old]))
        p.start_envoy()
    one.start_app()
    two.start_app()
    for p in pods:
        p.wait_live()
    net.settle(3)
    load = client.start(["/usr/bin/python3", str(net.dir / "load.py"), WEB, "web.shop"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert load.stdout.readline() == "ready\n"
    time.sleep(0.5)

    steps = []

    def step(name):
        steps.append((round(time.time(), 3), name))

    def route_to(host):
        return [{"metadata": {"name": "web", "namespace": "shop"}, "spec": {"hosts": ["web"], "http": [{"route": [{"destination": {"host": host, "port": {"number": 80}}}]}]}}]

    step("a policy comes, changes and goes")
    for i in range(4):
        push(authorization_policies=[{"metadata": {"name": f"p{i}", "namespace": "shop"}, "spec": {"rules": [{"from": [{"source": {"namespaces": ["shop"]}}]}]}}])
    push()
    step("trust is distributed, then everyone gets a leaf of the new root, one after the other")
    push(mesh_config={"trustDomain": "fleet.svc.id.goog", "trustDomainAliases": ["cluster.local"]})
    base["mesh_config"] = net.objects["mesh_config"]
    for p in pods:
        p.set_secrets(secrets(old, uri(p), [old, new]))
    push()
    for p in pods:
        p.set_secrets(secrets(new, uri(p, "fleet.svc.id.goog"), [old, new]))
        push()
    for p in pods:
        p.set_secrets(secrets(new, uri(p, "fleet.svc.id.goog"), [new]))
    push(mesh_config={"trustDomain": "fleet.svc.id.goog"})
    base["mesh_config"] = net.objects["mesh_config"]
    step("services come and go")
    for i in range(3):
        extra = service(f"extra{i}", "shop", f"10.96.1.{i}", PORTS, {"app": "two"})
        push(services=[web, blue, extra], endpoint_slices=base["endpoint_slices"] + [endpoint_slice(extra, [two])])
    push()
    step("the route moves to another service, and back, while a third vanishes")
    push(virtual_services=route_to("blue"))
    green = service("green", "shop", "10.96.0.10", PORTS, {"app": "two"})
    more = {"services": [web, blue, green], "endpoint_slices": base["endpoint_slices"] + [endpoint_slice(green, [two])]}
    push(virtual_services=route_to("green"), **more)
    push(virtual_services=route_to("blue"))          # green is gone in the same push: it must stay until no route names it
    push(virtual_services=route_to("green"), **more)
    push()
    step("endpoints move to another pod")
    push(endpoint_slices=[endpoint_slice(web, [one, two]), endpoint_slice(blue, [two])], services=[service("web", "shop", WEB, PORTS, None), blue])
    push(endpoint_slices=[endpoint_slice(web, [two]), endpoint_slice(blue, [two])], services=[service("web", "shop", WEB, PORTS, None), blue])
    time.sleep(0.5)
    load.stdin.close()
    result = json.loads(load.stdout.read())
    assert result["failures"] == [], steps
    assert result["requests"] > 200
    assert {"By=" + uri(one), "By=" + uri(one, "fleet.svc.id.goog"), "By=" + uri(two, "fleet.svc.id.goog")} <= set(result["servers"]), result["servers"]
