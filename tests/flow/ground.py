"""What flow tests of the embedded cluster's ground share: running the command in a home of its own, as root or as an
ordinary user, and looking for everything that it could have left behind."""
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time


def wait_for(what, check, seconds=60):
    """Polls an observed state (never the clock alone) and returns what check returned."""
    end = time.monotonic() + seconds
    while True:
        got = check()
        if got:
            return got
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.005)


def ordinary_user():
    """A user that is not root and may map ids, or None with the reason."""
    if os.geteuid() != 0:
        return None, "already an ordinary user"
    if not shutil.which("newuidmap"):
        return None, "newuidmap is not installed"
    for line in pathlib.Path("/etc/subuid").read_text().splitlines() if os.path.exists("/etc/subuid") else []:
        name, _, count = line.split(":")
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0 and int(count) >= 65535:
            return entry, ""
    return None, "nobody but root has ids in /etc/subuid"


class Ground:
    """One ROOTSHIFT_HOME with one kubeconfig, used by one user."""

    def __init__(self, bin_dir, user=None):
        self.user = user
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="rootshift-flow-"))
        self.home = self.dir / "home"
        self.config = self.dir / "kubeconfig"
        self.bin = pathlib.Path(bin_dir)
        self.namespaces = set()
        if user:                                   # our build folder may lie where only root may look
            self.bin = self.dir / "bin"
            self.bin.mkdir()
            for program in bin_dir.glob("rootshift*"):
                shutil.copy(program, self.bin)
            os.chown(self.dir, user.pw_uid, user.pw_gid)
            self.dir.chmod(0o755)
        self.env = {"PATH": "/usr/bin:/bin" if user else os.environ["PATH"], "HOME": str(self.dir), "LANG": "C.UTF-8",
                    "ROOTSHIFT_HOME": str(self.home), "KUBECONFIG": str(self.config)}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "ROOTSHIFT_LOG"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    def start(self, *args, **kw):
        who = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        return subprocess.Popen([self.bin / "rootshift", "cluster", *args], env=self.env | kw.pop("env", {}), cwd="/",
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **who, **kw)

    def run(self, *args, **kw):
        p = self.start(*args, **kw)
        try:
            p.out, p.err = p.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            p.kill()
            raise
        self.note()
        return p

    def ok(self, *args):
        p = self.run(*args)
        assert p.returncode == 0, p.err + self.logs()
        return p.out

    def list(self):
        return {row["name"]: row for row in json.loads(self.ok("list", "-o", "json"))}

    def state(self, name):
        return self.home / "clusters" / name

    def parts(self, name):
        try:
            return json.loads((self.state(name) / "parts.json").read_text())["parts"]
        except FileNotFoundError:
            return {}

    def pid(self, name):
        return json.loads((self.state(name) / "cluster.json").read_text())["life"]["pid"]

    def holder(self):
        return json.loads((self.home / "ground" / "holder.json").read_text())["pid"]

    def logs(self):
        return "".join(f"\n--- {p}\n{p.read_text(errors='replace')[-2000:]}" for p in sorted(self.home.rglob("*log")) if p.is_file())

    # -- what is there

    def note(self):
        """Remembers the user namespaces of our processes, so that strays are found whatever they are called."""
        for pid in self.named():
            try:
                ns = os.readlink(f"/proc/{pid}/ns/user")
            except OSError:
                continue
            if ns != os.readlink("/proc/self/ns/user"):
                self.namespaces.add(ns)

    def named(self):
        mark = str(self.dir).encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                text = b"".join(pathlib.Path(f"/proc/{pid}/{f}").read_bytes() for f in ("cmdline", "environ"))
            except OSError:
                continue
            if mark in text and int(pid) != os.getpid():
                yield int(pid)

    def processes(self):
        found = set(self.named())
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/ns/user") in self.namespaces:
                    found.add(int(pid))
            except OSError:
                continue
        return {pid: pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                for pid in found if alive(pid)}

    def assert_clean(self):
        try:
            wait_for("every process to end", lambda: not self.processes())
        except AssertionError as e:
            raise AssertionError(f"{e}: {self.processes()}{self.logs()}") from None
        left = [str(p) for p in self.home.rglob("*") if p.name not in ("lock", "clusters")] if self.home.exists() else []
        assert not left
        assert [p.name for p in self.dir.iterdir() if p.name.startswith("kubeconfig.")] == []
        assert "rootshift-" not in (self.config.read_text() if self.config.exists() else "")
        assert str(self.dir) not in pathlib.Path("/proc/self/mountinfo").read_text()

    def close(self):
        if self.home.exists():
            for name in self.list():
                self.run("delete", name)
        for pid in self.processes():               # a failed test must not leave anything either
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def links():
    """Network links and named network namespaces of the host."""
    names = sorted(os.listdir("/sys/class/net"))
    return names, sorted(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else []


def answers(server, seconds=10):
    """Status line of one HTTPS request to the API server; refused connections are an error, slow answers are not."""
    host, port = server.removeprefix("https://").split(":")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((host, int(port)), timeout=seconds) as s, context.wrap_socket(s) as tls:
        tls.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return tls.recv(4096).split(b"\r\n")[0].decode()
