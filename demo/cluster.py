"""What demo and flow tests share: programs, one embedded cluster, its API, the traffic's collector."""
import base64
import json
import os
import pathlib
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import yaml


class Failed(Exception):
    """One line for the user."""


class Cluster:
    """An embedded cluster, driven by the programs in bin_dir as a user would."""

    def __init__(self, name, bin_dir, work_dir, kubectl=None):
        self.name = name
        self.bin = pathlib.Path(bin_dir)
        self.work = pathlib.Path(work_dir)
        self.work.mkdir(parents=True, exist_ok=True)
        self.kubeconfig = self.work / "kubeconfig"
        self.context = f"rootshift-{name}"
        self.kubectl_path = kubectl or str(self.bin.parent / "deps" / "kubectl")
        self.env = dict(os.environ, KUBECONFIG=str(self.kubeconfig), PATH=f"{self.bin}:{os.environ['PATH']}",
                        HOME=os.environ.get("HOME", "/root"))

    def run(self, *args, check=True, quiet=True, timeout=600, stdin=None, on_line=None):
        """Runs one of our programs (or any); returns the finished process with text output."""
        command = [str(self.bin / args[0]) if (self.bin / args[0]).exists() else args[0], *map(str, args[1:])]
        if on_line is None:
            done = subprocess.run(command, env=self.env, cwd=self.work, input=stdin, text=True, capture_output=True, timeout=timeout)
        else:
            child = subprocess.Popen(command, env=self.env, cwd=self.work, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            lines = []
            for line in child.stdout:
                lines.append(line)
                on_line(line.rstrip("\n"))
            done = subprocess.CompletedProcess(command, child.wait(), "".join(lines), "")
        if check and done.returncode != 0:
            raise Failed(f"{' '.join(args[:2])} ended with status {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done

    def create(self):
        self.run("rootshift", "cluster", "create", self.name, "--kubeconfig", self.kubeconfig)

    def delete(self):
        self.run("rootshift", "cluster", "delete", self.name, check=False)

    def kubectl(self, *args, **options):
        return self.run(self.kubectl_path, "--context", self.context, "--cache-dir", str(self.work / "kubectl-cache"), *args, **options)

    def apply(self, objects):
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def wait_rollouts(self, deployments, timeout=240):
        for namespace, name in deployments:
            self.kubectl("rollout", "status", "deployment", name, "-n", namespace, f"--timeout={timeout}s")

    # -- the API, without a process per call
    def _connect(self):
        config = yaml.safe_load(self.kubeconfig.read_text())
        context = next(c["context"] for c in config["contexts"] if c["name"] == self.context)
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
        user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
        tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        headers = {}
        if "token" in user:
            headers["Authorization"] = f"Bearer {user['token']}"
        if "client-certificate-data" in user:
            with tempfile.NamedTemporaryFile() as cert, tempfile.NamedTemporaryFile() as key:
                cert.write(base64.b64decode(user["client-certificate-data"]))
                key.write(base64.b64decode(user["client-key-data"]))
                cert.flush()
                key.flush()
                tls.load_cert_chain(cert.name, key.name)
        return cluster["server"], tls, headers

    def api(self, path, method="GET", body=None, content_type="application/json", timeout=10):
        server, tls, headers = self._connect()
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(server + path, data=data, method=method, headers={**headers, "Content-Type": content_type})
        with urllib.request.urlopen(request, context=tls, timeout=timeout) as answer:
            return json.loads(answer.read() or b"null")

    def pods(self, namespace, selector=""):
        return self.api(f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")["items"]


class Traffic:
    """The collector inside the cluster."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.pod = None

    def _path(self, path):
        if not self.pod:
            self.pod = self.cluster.pods("traffic", "app%3Dcollector")[0]["metadata"]["name"]
        return f"/api/v1/namespaces/traffic/pods/{self.pod}:7070/proxy{path}"

    def summary(self):
        return self.cluster.api(self._path("/summary"))

    def run(self, on=True):
        self.cluster.api(self._path(f"/run?on={'true' if on else 'false'}"), method="POST", body={})

    def wait(self, condition, what, timeout=60):
        """Until condition(summary) holds."""
        end = time.monotonic() + timeout
        while True:
            try:
                summary = self.summary()
                if condition(summary):
                    return summary
            except (urllib.error.URLError, OSError, IndexError):
                summary = None
            if time.monotonic() > end:
                raise Failed(f"{what}: not within {timeout} s; last seen: {json.dumps(summary)[:600]}")
            time.sleep(0.2)
