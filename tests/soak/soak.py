#!/usr/bin/env python3
"""Runs every part of the soak within the minutes given and prints one table."""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
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


# Shares by what each needs for its long form: they add up to one.
PARTS = (
    PartPlan("overload", 0.17),
    PartPlan("fairness", 0.10),
    PartPlan("isolation", 0.20),
    PartPlan("drain", 0.07),
    PartPlan("kill", 0.07),
    PartPlan("leak", 0.20),
    PartPlan("overhead", 0.10),
    PartPlan("metrics", 0.05),
    PartPlan("hostile", 0.04),
)


def run_part(plan: PartPlan, seconds: float, short: bool) -> list[dict]:
    """The rows of one part; a part that is broken gives one row that says so."""
    script = FOLDER / f"{plan.name}.py"
    if not script.exists():
        return [_broken(plan.name, f"{script.name} is not there")]
    command = [sys.executable, str(script), f"--seconds={seconds:g}"]
    # Generous: a part keeps its own time, this only ends one that hangs.
    limit = 4 * seconds + 600
    begin = time.monotonic()
    try:
        done = subprocess.run(
            [*command, "--short"] if short else command,
            stdout=subprocess.PIPE, text=True, timeout=limit, check=False,
        )
    except subprocess.TimeoutExpired:
        return [_broken(plan.name, f"did not end within {limit:.0f} s")]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not found or done.returncode not in (0, EXIT_MISSED, rows.EXIT_NOT_MEASURED):
        found.append(_broken(plan.name, f"exit code {done.returncode}"))
    for row in found:
        row["part"] = plan.name
        row["part_seconds"] = round(time.monotonic() - begin, 1)
    return found


def _broken(name: str, problem: str) -> dict:
    return {"row": name, "figure": None, "pass": False, "problem": problem, "part": name}


def table(found: list[dict]) -> str:
    signs = {"max": "<=", "min": ">=", "interval": "holds"}
    lines = [f"{'':4}  {'row':<66} {'figure':>12}  {'bar':<16}"]
    for row in found:
        verdict = "pass" if row["pass"] else "MISS" if row["figure"] is not None else "----"
        if row["figure"] is None:
            lines.append(f"{verdict:4}  {row['row']:<66} not measured: {row['problem'][:200]}")
            continue
        figure = f"{row['figure']:.4g}"
        bar = f"{signs[row['direction']]} {row['limit']:.4g} {row['unit']}".rstrip()
        if row["direction"] == "interval":
            figure += f" [{row['detail']['low']:.4g}, {row['detail']['high']:.4g}]"
        lines.append(f"{verdict:4}  {row['row']:<66} {figure:>12}  {bar:<16}")
    return "\n".join(lines)


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
    shares = sum(plan.share for plan in plans)
    found: list[dict] = []
    begin = time.monotonic()
    for plan in plans:
        seconds = options.minutes * 60 * plan.share / shares
        print(f"soak: {plan.name}, about {seconds:.0f} s ...", file=sys.stderr, flush=True)
        new = run_part(plan, seconds, options.short)
        found += new
        print(table(new), file=sys.stderr, flush=True)
        if options.json:
            with open(options.json, "a", encoding="utf-8") as out:
                out.writelines(json.dumps(row) + "\n" for row in new)
    print(table(found))
    missed = sum(not row["pass"] for row in found)
    minutes = (time.monotonic() - begin) / 60
    print(f"soak: {len(found) - missed} of {len(found)} rows passed, {minutes:.1f} minutes")
    return EXIT_MISSED if missed else 0


if __name__ == "__main__":
    sys.exit(main())
