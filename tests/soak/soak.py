#!/usr/bin/env python3
"""Runs every part of the soak within the minutes given and prints one table."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import rows

FOLDER = pathlib.Path(__file__).resolve().parent
EXIT_MISSED = 1


@dataclasses.dataclass(frozen=True)
class PartPlan:
    name: str
    share: float  # of the time


# By what each needs: those with an amount to reach come first, and what a part leaves of its time
# goes to the ones behind it.
PARTS = (
    PartPlan("drain", 0.12),
    PartPlan("kill", 0.13),
    PartPlan("overload", 0.11),
    PartPlan("leak", 0.23),
    PartPlan("isolation", 0.20),
    PartPlan("fairness", 0.07),
    PartPlan("overhead", 0.07),
    PartPlan("metrics", 0.04),
    PartPlan("hostile", 0.03),
)


def seconds_of(plans: list[PartPlan], left: float) -> float:
    """What the first of the plans may take where so much time is left for all of them."""
    return max(1.0, left * plans[0].share / sum(plan.share for plan in plans))


def limit_seconds(seconds: float) -> float:
    """When a part is ended. Generous: it keeps its own time, this only ends one that hangs."""
    return 4 * seconds + 600


def run_part(plan: PartPlan, seconds: float, short: bool) -> list[dict]:
    """The rows of one part; a part that is broken gives one row more that says so."""
    script = FOLDER / f"{plan.name}.py"
    if not script.exists():
        return [_broken(plan.name, f"{script.name} is not there")]
    command = [sys.executable, str(script), f"--seconds={seconds:g}"]
    begin = time.monotonic()
    part = None
    problem = ""
    try:
        with _end_put_off():
            # In a session of its own, so that it ends together with its servers and clients.
            part = subprocess.Popen(
                [*command, "--short"] if short else command,
                stdout=subprocess.PIPE, text=True, start_new_session=True,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM}),
            )
        output, _ = part.communicate(timeout=limit_seconds(seconds))
    except subprocess.TimeoutExpired:
        problem = f"did not end within {limit_seconds(seconds):.0f} s"
    finally:
        if part is not None:
            _end_session(part)
    if problem:
        output, _ = part.communicate()  # the rows that it had printed by then
    # A part that was ended may have been half-way through a line.
    lines = [line for line in output.splitlines(keepends=True) if line.endswith("\n")]
    found = [json.loads(line) for line in lines if line.startswith("{")]
    if not problem and (
        not found or part.returncode not in (0, EXIT_MISSED, rows.EXIT_NOT_MEASURED)
    ):
        problem = f"exit code {part.returncode}"
    if problem:
        found.append(_broken(plan.name, problem))
    for row in found:
        row["part"] = plan.name
        row["part_seconds"] = round(time.monotonic() - begin, 1)
    return found


@contextlib.contextmanager
def _end_put_off():
    """Whoever ends us has to wait for the end of the block: a part that was begun, and that nobody
    knows yet, would go on by itself."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _end_session(part: subprocess.Popen) -> None:
    """Ends whatever a part has left behind, and the part itself if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(part.pid, signal.SIGKILL)


def _broken(name: str, problem: str) -> dict:
    return {"row": name, "figure": None, "pass": False, "problem": problem, "part": name}


def table(found: list[dict]) -> str:
    signs = {"max": "<=", "min": ">=", "interval": "holds"}
    lines = [f"{'':5}  {'row':<66} {'figure':>12}  {'bar':<16}  n"]
    for row in found:
        if row["figure"] is None:
            lines.append(f"{'----':5}  {row['row']:<66} not measured: {row['problem'][:200]}")
            continue
        verdict = "pass" if row["pass"] else "short" if row["short"] else "MISS"
        figure = f"{row['figure']:.4g}"
        bar = f"{signs[row['direction']]} {row['limit']:.4g} {row['unit']}".rstrip()
        if row["direction"] == "interval":
            figure += f" [{row['detail']['low']:.4g}, {row['detail']['high']:.4g}]"
        line = f"{verdict:5}  {row['row']:<66} {figure:>12}  {bar:<16}  {amount(row)}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def amount(row: dict) -> str:
    """With how much it was measured, and of how much if that was too little."""
    entry = row.get("amount")
    if entry is None:
        return ""
    enough = entry["n"] >= entry["wanted"]
    share = "" if enough else f" of {_count(entry['wanted'])}"
    return f"{_count(entry['n'])}{share} {entry['of']}"


def _count(number: float) -> str:
    return f"{int(number):_}" if number == int(number) else f"{number:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--only", default="", help="parts to run, separated by commas")
    parser.add_argument("--short", action="store_true", help="the least that exercises every part")
    parser.add_argument("--json", default="", help="a file that gets every row as a line of JSON")
    options = parser.parse_args()
    wanted = [name for name in options.only.split(",") if name]
    unknown = set(wanted) - {plan.name for plan in PARTS}
    if unknown or not options.minutes > 0:
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}" if unknown else "--minutes > 0")
    plans = [plan for plan in PARTS if not wanted or plan.name in wanted]
    # Whoever ends us ends the part that runs with us, by run_part's finally.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    found: list[dict] = []
    begin = time.monotonic()
    for i, plan in enumerate(plans):
        seconds = seconds_of(plans[i:], options.minutes * 60 - (time.monotonic() - begin))
        print(f"soak: {plan.name}, about {seconds:.0f} s ...", file=sys.stderr, flush=True)
        new = run_part(plan, seconds, options.short)
        found += new
        print(table(new), file=sys.stderr, flush=True)
        if options.json:
            with open(options.json, "a", encoding="utf-8") as out:
                out.writelines(json.dumps(row) + "\n" for row in new)
    print(table(found))
    passed = sum(row["pass"] for row in found)
    short = sum(row.get("short", False) for row in found)
    minutes = (time.monotonic() - begin) / 60
    print(
        f"soak: {passed} of {len(found)} rows passed, {short} held their bar with less than they "
        f"ask for, {minutes:.1f} minutes"
    )
    return 0 if all(rows.good_enough(row, options.short) for row in found) else EXIT_MISSED


if __name__ == "__main__":
    sys.exit(main())
