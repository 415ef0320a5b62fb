"""make bench: figures of the first slice, printed with what made them. Never a test: nothing here passes or fails.
 - start of an embedded cluster to the first answered API request
 - resident memory of each of our programs beside Envoy's
 - seconds to read and judge every proxy of the sample
 - wall time of the demo, from its last report"""
import argparse
import collections
import json
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "demo"))
import sample  # noqa: E402
from cluster import Cluster  # noqa: E402


def start_times(bin_dir, work, rounds=5):
    times = []
    for i in range(rounds):
        cluster = Cluster(f"bench{i}", bin_dir, work / f"start{i}")
        begin = time.monotonic()
        cluster.create()
        cluster.api("/api/v1/namespaces/default")
        times.append(time.monotonic() - begin)
        cluster.delete()
    return times


def resident(bin_dir):
    """MB of resident memory by program, over all running processes whose executable stands in bin_dir."""
    found = collections.defaultdict(list)
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            exe = (proc / "exe").resolve().name
            status = (proc / "status").read_text()
        except OSError:
            continue
        if exe.startswith("rootshift") or exe == "envoy":
            kb = next((int(l.split()[1]) for l in status.splitlines() if l.startswith("VmRSS")), 0)
            found[exe].append(kb / 1024)
    return found


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--bin", required=True)
    args = options.parse_args()
    bin_dir = pathlib.Path(args.bin)
    work = bin_dir.parent / "bench"

    times = start_times(bin_dir, work)
    print(f"cluster create to first answered request: median {statistics.median(times):.3f} s, max {max(times):.3f} s ({len(times)} runs)")

    cluster = Cluster("bench", bin_dir, work / "mesh")
    cluster.delete()
    try:
        cluster.create()
        cluster.run("rootshift", "install", "--fleet_id", "bench", "--ca", "citadel", "--revision_name", "asm-1157-23", "--enable_all",
                    "--output_dir", work / "mesh" / "out")
        cluster.run("rootshift", "mesh-ca", "install", "--fleet_id", "bench", "--output_dir", work / "mesh" / "mesh-ca")
        cluster.apply(sample.objects({"istio.io/rev": "asm-1157-23"}))
        cluster.wait_rollouts(sample.deployments())
        checks = []
        for _ in range(5):
            begin = time.monotonic()
            done = cluster.run("rootshift", "check-root-cert", "-o", "json", check=False)
            checks.append(time.monotonic() - begin)
        total = json.loads(done.stdout)["total"]
        print(f"check-root-cert of {total} proxies: median {statistics.median(checks):.3f} s ({len(checks)} runs)")
        print("resident memory, MB (median of the processes running):")
        for name, sizes in sorted(resident(bin_dir).items()):
            print(f"  {name:<20}{statistics.median(sizes):>8.1f}  ({len(sizes)} processes)")
    finally:
        cluster.delete()

    report = bin_dir.parent / "demo" / "report.json"
    if report.exists():
        r = json.loads(report.read_text())
        print(f"last demo: {r['seconds']} s wall, {r['requests']} requests, {r['failed']} failed (make demo)")
    else:
        print("no demo report yet: make demo")


if __name__ == "__main__":
    main()
