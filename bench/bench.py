#!/usr/bin/env python3
"""Measures our daemon and client against a peer, interleaved in one run, and prints one table of ratios.

PEER=FOLDER   buildkitd and buildctl to compare with; without it dockerd's embedded BuildKit, if dockerd is installed;
              PEER=none only measures our own
OURS=FOLDER   our programs, instead of bin/
RUNS=N        runs of each scenario on each side (default 3); up to three times as many where they differ much
ONLY=A,B      rows to measure (see ROWS in scenarios.py), e.g. noop,run20; cache-s3 is all rows that begin so
CACHE_COMPRESSION=zstd   how the layers of the 1.5 GB caches are compressed, instead of gzip
"""
import os
import re
import shutil
import signal
import statistics
import sys
import tempfile

sys.dont_write_bytecode = True
import caches
import scenarios
from sides import DockerSide, Side, Unsupported
from stores import Registry

# A row whose values differ more than this (see spread) is measured more often.
WIDE = 0.25


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    if os.geteuid() != 0:
        raise SystemExit("bench: buildkitd needs root to run containers; run: sudo make bench")
    here = os.path.dirname(os.path.abspath(__file__))
    programs = os.environ.get("OURS") or os.path.join(here, "..", "bin")
    runs = max(1, int(os.environ.get("RUNS") or 3))
    only = chosen_rows([name for name in (os.environ.get("ONLY") or "").split(",") if name])
    work = tempfile.mkdtemp(prefix="buildkit-bench.")
    sides, registry = [], None
    try:
        sides.append(Side("ours", programs, work))
        if peer := peer_side(programs, work):
            sides.append(peer)
        registry = Registry(os.path.join(work, "registry"))
        registry.start()
        measured, notes = measure(sides, scenarios.Inputs(work, registry.address), runs, only)
        print_table(sides, measured, runs)
        for note in caches.note(measured) + notes:
            print(note)
    finally:
        for side in sides:
            side.stop()
        if registry is not None:
            registry.stop()
        remove(work)


def chosen_rows(names):
    """The rows that names stand for: themselves, or all that begin with one and a dash. None for none."""
    rows = set()
    for name in names:
        found = {name} if name in scenarios.ROWS else {row for row in scenarios.ROWS if row.startswith(name + "-")}
        if not found:
            raise SystemExit(f"bench: no row {name}; there are {', '.join(scenarios.ROWS)}")
        rows |= found
    return rows


def peer_side(programs, work):
    if os.environ.get("PEER") == "none":
        return None
    if folder := os.environ.get("PEER"):
        return Side("peer", folder, work)
    if shutil.which("dockerd") or os.access("/usr/sbin/dockerd", os.X_OK):
        print("peer: dockerd's embedded BuildKit, driven by our buildctl (PEER=FOLDER chooses a buildkitd instead)")
        return DockerSide("peer", programs, work)
    print("no peer: set PEER to a folder with buildkitd and buildctl, or install docker.io; only our own times follow")
    return None


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
        for run in range(runs if scenarios.LONG.issuperset(rows) else 3 * runs):
            if run >= runs and all(spread(measured[side.name].get(row, [])) <= WIDE for side in able for row in rows):
                break
            for side in able[:] if run % 2 == 0 else able[::-1]:
                try:
                    values = scenario(side, inputs)
                except Unsupported as exception:
                    able.remove(side)
                    named = ", ".join(rows) if len(rows) < 4 else os.path.commonprefix(rows).rstrip("-")
                    notes.append(f"{named}: not measured on {exception}")
                    continue
                for row, value in values.items():
                    measured[side.name].setdefault(row, []).extend(value if isinstance(value, list) else [value])
                print(f"  run {run + 1} {side.name}: " + ", ".join(f"{row} {told(value)}" for row, value in values.items()),
                      file=sys.stderr, flush=True)
    return measured, notes


def print_table(sides, measured, runs):
    print(f"\nmedians of {runs} interleaved runs or more, seconds unless told otherwise, on {os.cpu_count()} cores")
    print(f"{'':36}{'ours':>9}{'peer':>9}{'ratio':>8}{'goal':>8}{'spread':>9}{'our cpu':>10}{'peer cpu':>10}{'ratio':>8}{'runs':>6}")
    peer = measured[sides[1].name] if len(sides) > 1 else {}
    for row, (goal, title) in scenarios.ROWS.items():
        ours = measured["ours"].get(row)
        theirs = peer.get(row)
        if ours is None and theirs is None:
            continue
        compared = quotient(statistics.median(ours), statistics.median(theirs)) if ours and theirs else None
        verdict = "" if compared is None or goal is None or compared <= goal else "  missed"
        wide = max(spread(ours or []), spread(theirs or []))
        our_cpu, peer_cpu = cpu(ours), cpu(theirs)
        print(f"{title:36}{number(ours and statistics.median(ours)):>9}{number(theirs and statistics.median(theirs)):>9}"
              f"{ratio(compared):>8}{'' if goal is None else f'≤ {goal:.1f}':>8}{f'{wide:.0%}':>9}"
              f"{number(our_cpu):>10}{number(peer_cpu):>10}{ratio(quotient(our_cpu, peer_cpu)):>8}"
              f"{len(ours or theirs):>6}{verdict}")


def quotient(ours, theirs):
    """Ours as a part of theirs, or None."""
    return ours / theirs if ours is not None and theirs else None


def spread(values):
    """How far apart the middle half of the values is, as a part of their median."""
    if len(values) < 2:
        return 0
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    middle = statistics.median(values)
    return (upper - lower) / middle if middle else 0


def cpu(values):
    """Mean CPU seconds, as the kernel counts in hundredths of a second; None where none were counted."""
    counted = values and all(hasattr(value, "cpu") for value in values)
    return statistics.mean(value.cpu for value in values) if counted else None


def told(value):
    """What one run gave, for who watches."""
    values = value if isinstance(value, list) else [value]
    used = cpu(values)
    return f"{statistics.median(values):.3f}" + ("" if used is None else f" ({used:.2f} s of CPU)")


def number(value):
    return "-" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def ratio(value):
    return "-" if value is None else f"{value:.2f}"


def remove(work):
    """Removes the work folder after whatever a daemon left mounted in it."""
    with open("/proc/mounts", encoding="utf-8") as mounts:
        left = [line.split()[1] for line in mounts]
    for mount in sorted((path for path in left if path.startswith(work + "/")), reverse=True):
        subprocess.call(["umount", "-l", mount])
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
