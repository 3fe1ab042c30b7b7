#!/usr/bin/env python3
"""Measures our daemon and client against a peer, interleaved in one run, and prints one table of ratios.

PEER=FOLDER   buildkitd and buildctl to compare with; without it dockerd's embedded BuildKit, if dockerd is installed
OURS=FOLDER   our programs, instead of bin/
RUNS=N        runs of each scenario on each side, at least 3 (default 3); up to three times as many where they differ much
ONLY=A,B      rows to measure (see ROWS in scenarios.py), e.g. noop,run20
"""
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import scenarios
from sides import DockerSide, Side, Unsupported

# A row whose values differ more than this (see spread) is measured more often.
WIDE = 0.25


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    if os.geteuid() != 0:
        raise SystemExit("bench: buildkitd needs root to run containers; run: sudo make bench")
    here = os.path.dirname(os.path.abspath(__file__))
    programs = os.environ.get("OURS") or os.path.join(here, "..", "bin")
    runs = max(3, int(os.environ.get("RUNS") or 3))
    only = {row for row in (os.environ.get("ONLY") or "").split(",") if row}
    if unknown := only - scenarios.ROWS.keys():
        raise SystemExit(f"bench: no row {', '.join(sorted(unknown))}; there are {', '.join(scenarios.ROWS)}")
    work = tempfile.mkdtemp(prefix="buildkit-bench.")
    sides, registry = [], None
    try:
        sides.append(Side("ours", programs, work))
        if peer := peer_side(programs, work):
            sides.append(peer)
        registry, address = start_registry(work)
        measured, notes = measure(sides, scenarios.Inputs(work, address), runs, only)
        print_table(sides, measured, runs)
        for note in notes:
            print(note)
    finally:
        for side in sides:
            side.stop()
        if registry is not None:
            registry.kill()
            registry.wait()
        remove(work)


def peer_side(programs, work):
    if folder := os.environ.get("PEER"):
        return Side("peer", folder, work)
    if shutil.which("dockerd") or os.access("/usr/sbin/dockerd", os.X_OK):
        print("peer: dockerd's embedded BuildKit, driven by our buildctl (PEER=FOLDER chooses a buildkitd instead)")
        return DockerSide("peer", programs, work)
    print("no peer: set PEER to a folder with buildkitd and buildctl, or install docker.io; only our own times follow")
    return None


def start_registry(work):
    """A registry on a free port of this machine; returns its process and its address."""
    config = os.path.join(work, "registry.yml")
    with open(config, "w", encoding="utf-8") as file:
        file.write("version: 0.1\nlog: { level: info, accesslog: { disabled: true } }\n"
                   f"storage: {{ filesystem: {{ rootdirectory: {work}/registry }} }}\n"
                   'http: { addr: "127.0.0.1:0" }\n')
    log = os.path.join(work, "registry.log")
    with open(log, "wb") as output:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=output, stderr=output)
    for _ in range(100):
        with open(log, encoding="utf-8", errors="replace") as output:
            if port := re.search(r"listening on 127\.0\.0\.1:(\d+)", output.read()):
                return process, f"localhost:{port[1]}"
        time.sleep(0.1)
    process.kill()
    raise SystemExit(f"bench: docker-registry did not start: {log}")


def measure(sides, inputs, runs, only):
    """Runs every scenario `runs` times or more on every side, the sides in turn; returns the values of each row and notes."""
    measured = {side.name: {} for side in sides}
    notes = []
    running = False
    for rows, needs_daemon, scenario in scenarios.SCENARIOS:
        if only and not only & set(rows):
            continue
        if needs_daemon and not running:
            for side in sides:
                side.start()
            running = True
        able = list(sides)
        for run in range(3 * runs):
            if run >= runs and all(spread(measured[side.name].get(row, [])) <= WIDE for side in able for row in rows):
                break
            for side in able[:] if run % 2 == 0 else able[::-1]:
                try:
                    values = scenario(side, inputs)
                except Unsupported as exception:
                    able.remove(side)
                    notes.append(f"{', '.join(rows)}: not measured on {exception}")
                    continue
                for row, value in values.items():
                    measured[side.name].setdefault(row, []).extend(value if isinstance(value, list) else [value])
                print(f"  run {run + 1} {side.name}: " + ", ".join(
                    f"{row} {statistics.median(value) if isinstance(value, list) else value:.3f}" for row, value in values.items()),
                    file=sys.stderr, flush=True)
    return measured, notes


def print_table(sides, measured, runs):
    print(f"\nmedians of {runs} interleaved runs or more, seconds unless told otherwise, on {os.cpu_count()} cores")
    print(f"{'':36}{'ours':>9}{'peer':>9}{'ratio':>8}{'goal':>8}{'spread':>9}{'cpu ratio':>11}{'runs':>6}")
    peer = measured[sides[1].name] if len(sides) > 1 else {}
    for row, (goal, title) in scenarios.ROWS.items():
        ours = measured["ours"].get(row)
        theirs = peer.get(row)
        if ours is None and theirs is None:
            continue
        ratio = statistics.median(ours) / statistics.median(theirs) if ours and theirs else None
        verdict = "" if ratio is None or ratio <= goal else "  missed"
        wide = max(spread(ours or []), spread(theirs or []))
        print(f"{title:36}{median(ours):>9}{median(theirs):>9}{'-' if ratio is None else f'{ratio:.2f}':>8}"
              f"{f'≤ {goal:.1f}':>8}{f'{wide:.0%}':>9}{cpu_ratio(ours, theirs):>11}{len(ours or theirs):>6}{verdict}")


def spread(values):
    """How far apart the middle half of the values is, as a part of their median."""
    if len(values) < 2:
        return 0
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return (upper - lower) / statistics.median(values)


def cpu_ratio(ours, theirs):
    """Our CPU time as a part of the peer's: means, as the kernel counts in hundredths of a second."""
    if not ours or not theirs or not all(hasattr(value, "cpu") for value in ours + theirs):
        return "-"
    peer = statistics.mean(value.cpu for value in theirs)
    return f"{statistics.mean(value.cpu for value in ours) / peer:.2f}" if peer else "-"


def median(values):
    if not values:
        return "-"
    value = statistics.median(values)
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def remove(work):
    """Removes the work folder after whatever a daemon left mounted in it."""
    with open("/proc/mounts", encoding="utf-8") as mounts:
        left = [line.split()[1] for line in mounts]
    for mount in sorted((path for path in left if path.startswith(work + "/")), reverse=True):
        subprocess.call(["umount", "-l", mount])
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
