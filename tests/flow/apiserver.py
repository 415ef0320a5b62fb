"""An API server of its own for tests: `rootshift-cluster apiserver` on a socket that outlives it."""
import os
import pathlib
import signal
import socket
import subprocess

import yaml
from kubernetes import client, config


class ApiServer:
    def __init__(self, bin_dir, kubectl, directory):
        self.program = str(bin_dir / "rootshift-cluster")
        self.kubectl_path = kubectl
        self.dir = pathlib.Path(directory)
        self.state = self.dir / "state"
        self.process = None
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(128)
        self.port = self.socket.getsockname()[1]
        self.log = open(self.dir / "apiserver.log", "ab")

    def start(self):
        ready, writer = os.pipe()
        # The server closes its copy of the socket when it ends; ours keeps the port.
        fd = os.dup(self.socket.fileno())
        self.process = subprocess.Popen(
            [self.program, "apiserver", "--state", str(self.state), "--listen-fd", str(fd), "--ready-fd", str(writer)],
            pass_fds=[fd, writer], stderr=self.log, stdout=self.log)
        os.close(writer)
        os.close(fd)
        with os.fdopen(ready, "rb") as pipe:
            line = pipe.readline()
        assert line == b"ready\n", (self.dir / "apiserver.log").read_text()
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(20)
        self.process = None
        return code

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        self.socket.close()
        self.log.close()

    @property
    def kubeconfig(self):
        return str(self.state / "kubeconfig")

    @property
    def token(self):
        return yaml.safe_load(open(self.kubeconfig))["users"][0]["user"]["token"]

    def kubectl(self, *args, input=None, ok=True, timeout=60):
        """Runs kubectl; gives its output without the last newline. ok=None: gives (code, output, errors)."""
        env = dict(os.environ, KUBECONFIG=self.kubeconfig, HOME=str(self.dir))
        run = subprocess.run([self.kubectl_path, *args], input=input, env=env, capture_output=True, text=True, timeout=timeout)
        if ok is None:
            return run.returncode, run.stdout.rstrip("\n"), run.stderr.rstrip("\n")
        assert (run.returncode == 0) == ok, run.stdout + run.stderr
        return (run.stdout if ok else run.stderr).rstrip("\n")

    def client(self):
        """python client as administrator."""
        return config.new_client_from_config(self.kubeconfig)

    def rss_kib(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0
