"""make demo: the whole migration from Istio CA to Mesh CA, back, and there again, on an embedded cluster under live traffic."""
import argparse
import contextlib
import json
import pathlib
import shutil
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import sample  # noqa: E402
from cluster import Cluster, Failed, Traffic  # noqa: E402

FLEET = "rootshift-demo"
FLEET_DOMAIN = f"{FLEET}.svc.id.goog"
REVISION = "asm-1157-23"
REVISION_1 = "asm-1157-23-distribute-root"
REVISION_2 = "asm-1157-23-meshca-ca-migration"
MIN_RATE = 200


class Demo:
    def __init__(self, cluster, out):
        self.cluster, self.out = cluster, out
        self.traffic = None
        self.steps, self.checks = [], []
        self.start = time.monotonic()
        self.now = "start"
        self.tty = sys.stdout.isatty()

    # -- telling
    def line(self, text):
        if self.tty:
            sys.stdout.write("\r\033[K")
        print(f"[{time.monotonic() - self.start:6.1f}s] {text}", flush=True)

    def ticker(self, stop):
        """Live numbers: on a terminal every second in place, else every 15 s on a line."""
        last, last_requests = time.monotonic(), 0
        while not stop.wait(1 if self.tty else 15):
            if not self.traffic:
                continue
            with contextlib.suppress(Exception):
                s = self.traffic.summary()
                now = time.monotonic()
                rate = (s["requests"] - last_requests) / (now - last)
                last, last_requests = now, s["requests"]
                text = f"{self.now}: {s['requests']} requests, {rate:.0f}/s, {s['failed']} failed"
                if self.tty:
                    sys.stdout.write(f"\r\033[K  {text}")
                    sys.stdout.flush()
                else:
                    self.line(f"  {text}")

    def check(self, what, ok, detail=""):
        self.checks.append({"check": what, "ok": bool(ok), "detail": detail})
        self.line(f"  check: {what}: {'ok' if ok else 'FAILED ' + detail}")

    def totals(self):
        return self.traffic.summary() if self.traffic else {"requests": 0, "failed": 0, "issuers": {}}

    @contextlib.contextmanager
    def step(self, name):
        self.now = name
        self.line(name)
        begin, before = time.monotonic(), self.totals()
        entry = {"name": name, "seconds": 0.0, "requests": 0, "failed": 0}
        self.steps.append(entry)
        yield entry
        after = self.totals()
        entry["seconds"] = round(time.monotonic() - begin, 2)
        entry["requests"] = after["requests"] - before["requests"]
        entry["failed"] = after["failed"] - before["failed"]
        entry["issuers"] = {k: v - before["issuers"].get(k, 0) for k, v in after["issuers"].items() if v > before["issuers"].get(k, 0)}

    def rootshift(self, *args):
        return self.cluster.run("rootshift", *args, on_line=lambda l: self.line(f"  {l.strip()}"))

    def migrate(self, phase):
        self.rootshift("migrate", "--to", "mesh_ca", "--fleet_id", FLEET, "--phase", phase, "--revision_1", REVISION_1,
                       "--revision_2", REVISION_2, "--output_dir", self.out / "migration")

    def all_four(self, entry):
        pairs = {f"{a} -> {b}" for a in ("cluster.local", FLEET_DOMAIN) for b in ("cluster.local", FLEET_DOMAIN)}
        missing = sorted(pairs - set(entry["issuers"]))
        self.check("all four combinations of client and server issuer talked", not missing, f"missing {missing}")

    # -- the story
    def set_up(self):
        with self.step("create cluster"):
            self.cluster.create()
        with self.step(f"install {REVISION} with Istio CA"):
            self.rootshift("install", "--fleet_id", FLEET, "--ca", "citadel", "--revision_name", REVISION, "--enable_all",
                           "--output_dir", self.out / REVISION)
        with self.step("install Mesh CA"):
            self.rootshift("mesh-ca", "install", "--fleet_id", FLEET, "--output_dir", self.out / "mesh-ca")
        with self.step("deploy the sample"):
            self.cluster.apply(sample.objects({"istio.io/rev": REVISION}))
            self.cluster.wait_rollouts(sample.deployments())
        with self.step("start traffic"):
            traffic = Traffic(self.cluster)
            traffic.wait(lambda s: s["clients"] == 0 and len(s["pairs"]) >= 12 * 12, "every client reports to the collector")
            traffic.run()
            traffic.wait(lambda s: all(p.get("lastOK") for p in s["pairs"].values()), "every pair gets its first answer")
            self.traffic = traffic

    def first_pass(self):
        with self.step("pass 1: distribute"):
            self.migrate("distribute")
        with self.step("pass 1: switch") as entry:
            self.migrate("switch")
        self.all_four(entry)
        with self.step("pass 1: roll switch back"):
            self.rootshift("rollback")
        with self.step("pass 1: roll distribute back"):
            self.rootshift("rollback")
        self.check("the new root is out of every proxy", self.roots() == {("CITADEL",)}, str(self.roots()))

    def second_pass(self):
        with self.step("pass 2: distribute"):
            self.migrate("distribute")
        with self.step("pass 2: complete distribute"):
            self.rootshift("complete", "--phase", "distribute")
        with self.step("pass 2: switch") as entry:
            self.migrate("switch")
        self.all_four(entry)
        with self.step("pass 2: complete switch"):
            self.rootshift("complete", "--phase", "switch")
        with self.step("pass 2: remove the old CA and its root"):
            self.rootshift("complete")
        self.check("the old root is out of every proxy", self.roots() == {("MESHCA",)}, str(self.roots()))
        saved = list((self.out / "migration").glob("*.yaml"))
        self.check("the CA's secrets were saved with mode 0600", saved and all(p.stat().st_mode & 0o777 == 0o600 for p in saved))

    def roots(self):
        pods = json.loads(self.cluster.run("rootshift", "check-root-cert", "-o", "json", check=False).stdout)["pods"]
        return {tuple(p.get("trusts", ["unknown"])) for p in pods}

    def finish(self, error):
        summary = None
        if self.traffic:
            with contextlib.suppress(Exception):
                summary = self.traffic.summary()
        seconds = round(time.monotonic() - self.start, 1)
        report = {"requests": summary["requests"] if summary else 0, "failed": summary["failed"] if summary else 0, "seconds": seconds,
                  "steps": self.steps, "failures": summary["failures"] if summary else [], "issuers": summary["issuers"] if summary else {},
                  "envoyRetries": summary["envoyRetries"] if summary else 0, "silent": summary["silent"] if summary else [],
                  "checks": self.checks, "error": error}
        (self.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
        self.line("")
        print(f"{'step':<48}{'seconds':>9}{'requests':>10}{'failed':>8}")
        for s in self.steps:
            print(f"{s['name']:<48}{s['seconds']:>9.1f}{s['requests']:>10}{s['failed']:>8}")
        print("\nrequests by client issuer -> server issuer:")
        for pair, count in sorted(report["issuers"].items()):
            print(f"  {pair:<60}{count:>9}")
        print(f"Envoy's own retries (Istio's default policy): {report['envoyRetries']}")
        for f in report["failures"][:10]:
            print(f"  failed: {f['time']} {f['from']} -> {f['to']}: {f['cause']}")
        ok = not error and summary is not None and report["failed"] == 0 and not report["silent"] and all(c["ok"] for c in self.checks)
        if error:
            print(f"error: {error}")
        print(f"RESULT requests={report['requests']} failed={report['failed']} steps={len(self.steps)} seconds={seconds}")
        return 0 if ok else 1


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--bin", required=True)
    options.add_argument("--out", required=True)
    options.add_argument("--name", default="demo")
    options.add_argument("--keep", action="store_true")
    args = options.parse_args()
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    Cluster(args.name, args.bin, out).delete()
    shutil.rmtree(out)
    cluster = Cluster(args.name, args.bin, out)
    demo = Demo(cluster, out)
    stop = threading.Event()
    threading.Thread(target=demo.ticker, args=(stop,), daemon=True).start()
    error = None
    try:
        demo.set_up()
        demo.first_pass()
        demo.second_pass()
        rate = sum(s["requests"] for s in demo.steps[5:]) / max(1e-9, sum(s["seconds"] for s in demo.steps[5:]))
        demo.check(f"traffic never fell below {MIN_RATE} requests a second on average", rate >= MIN_RATE, f"{rate:.0f}/s")
    except (Failed, KeyboardInterrupt) as failure:
        error = str(failure) or "interrupted"
    stop.set()
    status = demo.finish(error)
    if args.keep:
        print(f"\nThe cluster is up. Next:\n  export KUBECONFIG={cluster.kubeconfig} PATH={cluster.bin}:$PATH\n"
              f"  kubectl get pods -A\n  rootshift status\n  rootshift check-root-cert\n  rootshift cluster delete {args.name}")
    else:
        cluster.delete()
    return status


if __name__ == "__main__":
    sys.exit(main())
