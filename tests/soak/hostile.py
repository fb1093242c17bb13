#!/usr/bin/env python3
"""The hostile catalogue beside canaries, held to the stricter bars: latency and memory, test by
test."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import figures
import rows
from canary import Canary

LATENCY_BAR = 2
# Below this a canary's p99 "before" says how lucky it was rather than how fast the server is: with
# both processors busy, a thread that wakes up waits up to a time slice, 3 to 4 ms, for its turn.
LATENCY_FLOOR = 0.005
# Of fewer there is no 99th percentile: one slow answer decides. Tests that are over in less time are
# run again, and count together, where it would.
ENOUGH_CANARIES = 100
MOST_REPEATS = 8
GROWTH_SHARE = 0.01
TESTS = rows.ROOT / "tests/integration"
# One process of tests for each: rows A to D with files, E, and the rest of F.
GROUPS = {
    "hostile": ("hostile/*_test.py",),
    "security": ("security*_test.py", "security/*_test.py"),
    "faults": ("fault_*_test.py",),
}


def files_of(patterns: tuple[str, ...]) -> list[str]:
    files = sorted(str(path) for pattern in patterns for path in TESTS.glob(pattern))
    if not files:
        raise rows.NotMeasured(f"no tests match {', '.join(patterns)}")
    return files


def run_tests(tests: list[str], log: pathlib.Path) -> bool:
    """Whether all of them passed, files or single ones."""
    environment = {
        **os.environ,
        "LONGWAVE_CANARY_LOG": str(log),
        "PYTHONDONTWRITEBYTECODE": "1",
        **{name: rows.program(name) for name in (
            "LONGWAVE_FAKE_SERVER", "LONGWAVE_SERVER", "LONGWAVE_MODEL", "LONGWAVE_CLI"
        )},
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         f"--rootdir={TESTS}", *tests],
        env=environment, stdout=sys.stderr, check=False,
    )
    return done.returncode == 0


def by_test(entries: list[dict]) -> dict[str, dict]:
    """What the canaries saw beside each test, over all of its runs."""
    found: dict[str, dict] = {}
    for entry in entries:
        seen = found.setdefault(entry["test"], {"before": [], "beside": []})
        seen["before"] += entry["before"]
        seen["beside"] += entry["beside"]
    return found


def growths(entries: list[dict]) -> list[tuple[float, str]]:
    """Growth over what is allowed, of each test and of each server that several tests share: what
    each of them leaves may be little."""
    def share(first: dict, last: dict) -> float:
        before = first["resident_before"]
        return (last["resident_after"] - before) / max(Canary.SPARE_BYTES, GROWTH_SHARE * before)

    found = [(share(entry, entry), entry["test"]) for entry in entries]
    servers: dict[tuple[str, int], list[dict]] = {}
    for entry in entries:
        file = entry["test"].partition("::")[0]
        servers.setdefault((file, entry["server"]), []).append(entry)
    found += [
        (share(tests[0], tests[-1]), f"{file}, all {len(tests)}")
        for (file, _), tests in servers.items() if len(tests) > 1
    ]
    return sorted(found, reverse=True)


def latencies(entries: list[dict]) -> list[tuple[float, str, float, float, int]]:
    """Of each test, the worst first: p99 beside it over that before it, both, and of how many."""
    ratios = []
    for test, seen in by_test([entry for entry in entries if not entry["slowed"]]).items():
        before = figures.percentile(seen["before"], 0.99)
        beside = figures.percentile(seen["beside"], 0.99)
        ratios.append((beside / max(before, LATENCY_FLOOR), test, before, beside,
                       len(seen["beside"])))
    return sorted(ratios, reverse=True)


def too_few(entries: list[dict]) -> list[str]:
    """Tests that seem to miss the bar, but had so few canaries that one of them decides."""
    return [str(TESTS / test) for ratio, test, _, _, canaries in latencies(entries)
            if ratio > LATENCY_BAR and canaries < ENOUGH_CANARIES]


def read(log: pathlib.Path) -> list[dict]:
    if not log.exists():
        raise rows.NotMeasured("no canary was heard of")
    return [json.loads(line) for line in log.read_text().splitlines()]


def report_latency(part: rows.Part, entries: list[dict]) -> None:
    ratios = latencies(entries)
    worst, test, before, beside, canaries = ratios[0]
    part.at_most(
        "hostile catalogue: canaries' p99 / max(before, 5 ms), worst test", worst, LATENCY_BAR, "",
        test=test, before_ms=before * 1e3, beside_ms=beside * 1e3, canaries=canaries,
        tests=len(ratios), floor_ms=LATENCY_FLOOR * 1e3,
        above=[f"{ratio:.2f} {name}" for ratio, name, *_ in ratios if ratio > LATENCY_BAR],
        not_held={entry["test"]: entry["slowed"] for entry in entries if entry["slowed"]},
    )


def measure(part: rows.Part) -> None:
    failed: list[str] = []
    runs = 0
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "canaries.jsonl"
        while True:
            runs += 1
            begin = part.left
            failed += [
                name for name, patterns in GROUPS.items()
                if not run_tests(files_of(patterns), log)
            ]
            if part.short or part.left < begin - part.left:
                break
        catalogue = read(log)  # memory is asked of whole files, in their order
        for _ in range(MOST_REPEATS):
            again = too_few(read(log))
            if not again:
                break
            if not run_tests(again, log):
                failed.append("repeats")
        entries = read(log)
    part.at_most("hostile catalogue: runs that failed", len(failed), 0, "", runs=runs,
                 groups=list(GROUPS), failed=failed)
    report_latency(part, entries)
    growth = growths(catalogue)
    worst, test = growth[0]
    part.at_most(
        "hostile catalogue: RSS growth / max(1 %, 8 MiB), worst test", worst, 1, "", test=test,
        tests=len(growth), above=[f"{share:.2f} {name}" for share, name in growth if share > 1],
    )


if __name__ == "__main__":
    sys.exit(rows.main("hostile", measure))
