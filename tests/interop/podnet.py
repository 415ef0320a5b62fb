"""A few pods without a cluster: network namespaces wired point to point inside one namespace of ours, with Istio's redirection
and real Envoys that take their configuration from ads_server. Works as root, and as a user with subordinate ids."""
import datetime
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = pathlib.Path(__file__).resolve().parent
REDIRECT = """
table ip rootshift {
 chain o { type nat hook output priority -100;
  meta skuid 1337 return
  ip daddr 127.0.0.0/8 return
  oif lo return
  meta l4proto tcp redirect to :15001
 }
 chain p { type nat hook prerouting priority -100;
  tcp dport { 15000, 15020, 15021, 15090 } return
  meta l4proto tcp redirect to :15006
 }
}
"""


class CA:
    """A root and what it signs."""

    def __init__(self, name):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
        self.cert = self.build(self.name, self.key, [(x509.BasicConstraints(True, None), True)])
        self.pem = self.cert.public_bytes(serialization.Encoding.PEM).decode()

    def build(self, subject, key, extensions):
        now = datetime.datetime.now(datetime.timezone.utc)
        b = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
        b = b.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(minutes=2)).not_valid_after(now + datetime.timedelta(days=1))
        for extension, critical in extensions:
            b = b.add_extension(extension, critical)
        return b.sign(self.key, hashes.SHA256())

    def leaf(self, uri):
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self.build(x509.Name([]), key, [(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), True)])
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return cert.public_bytes(serialization.Encoding.PEM).decode(), pem.decode()


def secrets(ca, uri, roots):
    chain, key = ca.leaf(uri)
    url = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    return [
        {"@type": url, "name": "default", "tls_certificate": {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}},
        {"@type": url, "name": "ROOTCA", "validation_context": {"trusted_ca": {"inline_string": "".join(r.pem for r in roots)}}},
    ]


class Net:
    """The namespace that holds all pods, the discovery server, and the files both read."""

    def __init__(self, ads_server, envoy):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="podnet"))
        self.dir.chmod(0o755)                # pods run as other users, who may not see our home
        self.envoy = str(shutil.copy(envoy, self.dir / "envoy"))
        shutil.copy(HERE / "app.py", self.dir / "app.py")
        self.procs, self.pods = [], {}
        user = [] if os.getuid() == 0 else ["--user", "--map-root-user", "--map-auto"]
        self.enter = [] if os.getuid() == 0 else ["-U"]
        self.root = self.hold(["unshare", *user, "--net", "--mount"])
        self.sh("ip link set lo up; echo 1 > /proc/sys/net/ipv4/ip_forward")
        self.objects = {}
        self.socket = self.dir / "xds.sock"
        self.write()
        self.ads = subprocess.Popen([ads_server, str(self.dir), f"unix:{self.socket}"], stdout=subprocess.PIPE, text=True)
        assert self.ads.stdout.readline() == "ready\n"
        self.socket.chmod(0o777)
        self.state, self.lines = {}, queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def hold(self, argv, extra=()):
        """A namespace that lives as long as we do; returns the pid to enter."""
        p = subprocess.Popen([*extra, *argv, "sh", "-c", "echo $$; exec sleep 3600"], stdout=subprocess.PIPE, text=True)
        self.procs.append(p)
        return int(p.stdout.readline())

    def ns(self, pid, *argv, uid=None):
        who = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"] if uid else []
        return ["nsenter", *self.enter, *(["-S", "0", "-G", "0"] if self.enter else []), "-t", str(pid), "-n", "-m", "--", *who, *argv]

    def sh(self, script, pid=None, stdin=None):
        subprocess.run(self.ns(pid or self.root, "sh", "-ec", script), check=True, input=stdin, text=True)

    def write(self):
        (self.dir / "objects.json").write_text(json.dumps(self.objects))

    def push(self):
        self.write()
        self.ads.send_signal(signal.SIGHUP)

    def read(self):
        for line in self.ads.stdout:
            self.lines.put(json.loads(line))

    def settle(self, nodes=1, seconds=20):
        """Reads the server's lines until so many nodes have a stream, and every stream is settled and silent."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                line = self.lines.get(timeout=0.3)
            except queue.Empty:
                if len({s["node"] for s in self.state.values()}) >= nodes and all(s["settled"] for s in self.state.values()):
                    return
                continue
            if line.get("closed"):
                self.state.pop(line["stream"], None)
            else:
                self.state[line["stream"]] = line
        raise AssertionError(f"not settled: {self.state}")

    def rejected(self):
        return {s["node"]: s["rejected"] for s in self.state.values() if s["rejected"]}

    def close(self):
        for pod in self.pods.values():
            pod.stop()
        self.ads.kill()
        for p in reversed(self.procs):
            p.kill()
        for p in [*self.procs, self.ads]:
            p.wait()
        shutil.rmtree(self.dir)


class Pod:
    def __init__(self, net, name, namespace, ip, account=None, labels=None, sidecar=True, router=False):
        self.net, self.name, self.namespace, self.ip = net, name, namespace, ip
        self.account, self.labels = account or name, {"app": name, **(labels or {})}
        self.procs = []
        self.pid = net.hold(["unshare", "-n"], net.ns(net.root))
        link = f"h{len(net.pods)}"
        net.sh(f"ip link add {link} type veth peer name eth0 netns {self.pid}; ip addr add 10.244.0.1/32 dev {link}; "
               f"ip link set {link} up; ip route add {ip}/32 dev {link}")
        net.sh(f"ip link set lo up; ip addr add {ip}/32 dev eth0; ip link set eth0 up; ip route add 10.244.0.1 dev eth0 scope link; "
               "ip route add default via 10.244.0.1", self.pid)
        self.sidecar = sidecar or router
        self.router = router
        if sidecar and not router:
            net.sh("nft -f -", self.pid, REDIRECT)
        if self.sidecar:
            self.labels["security.istio.io/tlsMode"] = "istio"
        net.pods[name] = self

    @property
    def node(self):
        return f"{'router' if self.router else 'sidecar'}~{self.ip}~{self.name}.{self.namespace}~{self.namespace}.svc.cluster.local"

    def object(self):
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name, "namespace": self.namespace, "labels": self.labels, "uid": self.name},
                "spec": {"serviceAccountName": self.account, "containers": [{"name": "app"}]},
                "status": {"phase": "Running", "podIP": self.ip, "conditions": [{"type": "Ready", "status": "True"}]}}

    def set_secrets(self, resources):
        (self.net.dir / f"{self.node}.json").write_text(json.dumps(resources))

    def start(self, argv, uid=1000, **kw):
        p = subprocess.Popen(self.net.ns(self.pid, *argv, uid=uid), **kw)
        self.procs.append(p)
        return p

    def start_envoy(self):
        pipe = {"pipe": {"path": str(self.net.socket)}}
        def cluster(name):
            return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": pipe}}]}]},
                    "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}}}
        ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
        bootstrap = {
            "node": {"id": self.node, "cluster": self.name, "metadata": {"NAMESPACE": self.namespace, "SERVICE_ACCOUNT": self.account, "LABELS": self.labels}},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 15000}}},
            "dynamic_resources": {"lds_config": ads, "cds_config": ads, "ads_config": {"api_type": "GRPC", "transport_api_version": "V3",
                "set_node_on_first_message_only": True, "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]}},
            "static_resources": {"clusters": [cluster("xds-grpc"), cluster("sds-grpc")]},
        }
        path = self.net.dir / f"{self.name}.bootstrap"
        path.write_text(json.dumps(bootstrap))
        self.log = open(self.net.dir / f"{self.name}.log", "w+")
        self.envoy = self.start([self.net.envoy, "-c", str(path), "--disable-hot-restart", "-l", "warning", "--concurrency", "1",
                                 "--drain-time-s", "45", "--drain-strategy", "immediate"],
                                uid=1337, stdout=self.log, stderr=subprocess.STDOUT)

    def start_app(self):
        app = self.start(["/usr/bin/python3", str(self.net.dir / "app.py")], stdout=subprocess.PIPE, text=True)
        assert app.stdout.readline() == "ready\n"

    def run(self, *argv, uid=1000, seconds=20):
        return subprocess.run(self.net.ns(self.pid, *argv, uid=uid), capture_output=True, text=True, timeout=seconds)

    def curl(self, url, *options):
        """(status, body); status 0 when there was no HTTP answer."""
        p = self.run("curl", "-sS", "-m", "5", "-w", "\n%{http_code}", *options, url)
        body, _, status = p.stdout.rpartition("\n")
        return int(status or 0), body

    def admin(self, path):
        return self.run("curl", "-sS", f"http://127.0.0.1:15000/{path}", uid=1337).stdout

    def dump(self):
        return json.loads(self.admin("config_dump?include_eds"))["configs"]

    def wait_live(self, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.run("curl", "-fsS", "http://127.0.0.1:15000/ready", uid=1337).stdout.strip() == "LIVE":
                return
            time.sleep(0.05)
        self.log.seek(0)
        raise AssertionError(self.log.read()[-3000:])

    def stop(self):
        for p in self.procs:
            p.kill()
        for p in self.procs:
            p.wait()


def service(name, namespace, ip, ports, selector):
    """ports: {name: (port, target)}"""
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": ip, "selector": selector, "ports": [{"name": n, "port": p, "targetPort": t, "protocol": "TCP"} for n, (p, t) in ports.items()]}}


def endpoint_slice(svc, pods):
    meta = svc["metadata"]
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": meta["name"] + "-1", "namespace": meta["namespace"], "labels": {"kubernetes.io/service-name": meta["name"]}},
            "ports": [{"name": p["name"], "port": p["targetPort"], "protocol": "TCP"} for p in svc["spec"]["ports"]],
            "endpoints": [{"addresses": [p.ip], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": p.name, "namespace": p.namespace}} for p in pods]}
