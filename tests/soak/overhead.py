#!/usr/bin/env python3
"""What the server adds to the encoder: time of a call, throughput, and the price of a refusal."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

import driver
import rows

OVERHEAD_BAR_MS = 1
GOODPUT_BAR = 0.95
REFUSAL_BAR = 1 / 20
# So few calls that hardly one meets another.
QUIET_SHARE = 0.1
REAL_DEADLINE = 2.0


def bare_encoder(seconds: float) -> dict:
    done = subprocess.run(
        [rows.program("LONGWAVE_BARE_ENCODER"), rows.program("LONGWAVE_MODEL"),
         str(driver.TOKENS), f"{seconds:g}"],
        capture_output=True, text=True, check=True,
    )
    return json.loads(done.stdout)


def quiet_load(server, rate: float, seconds: float, **options) -> dict:
    return driver.load(
        server, f"--rate={rate:g}", f"--seconds={seconds:g}", "--warmup=0.5",
        f"--tokens={driver.TOKENS}", "--deadline=10", **options,
    )["total"]


def fake(part: rows.Part) -> None:
    seconds = max(4.0, min(30.0, part.seconds / 8))
    service_ms = driver.TOKENS * driver.SECONDS_PER_TOKEN * 1e3
    with driver.fake_server() as server:
        total = quiet_load(server, QUIET_SHARE * 1e3 / service_ms, seconds)
        part.at_most(
            "server overhead, fake engine: p50 over its service",
            total["latency"]["p50_ms"] - service_ms, OVERHEAD_BAR_MS, "ms",
            calls=total["good"], service_ms=service_ms,
            by_the_reply_ms=total["overhead"]["p50_ms"],
        )
        capacity = driver.capacity(
            server, f"--tokens={driver.TOKENS}", f"--deadline={driver.DEADLINE}",
            step=max(1.5, seconds / 6),
        )
    part.at_least(
        "goodput / engine alone, fake engine", capacity * service_ms / 1e3, GOODPUT_BAR, "",
        capacity_per_second=capacity,
    )


def real(part: rows.Part) -> None:
    budget = max(20.0, part.left)
    rounds = 1 if part.short else 3
    bare, p50, overhead, goodput, cpu_ratio = [], [], [], [], []
    with driver.real_server() as server:
        for _ in range(rounds):
            # In turns, so that both meet the same machine.
            bare.append(bare_encoder(budget / rounds / 6))
            capacity = bare[-1]["tokens_per_second"] / driver.TOKENS
            quiet = quiet_load(server, QUIET_SHARE * capacity, budget / rounds / 5, pinned=False)
            p50.append(quiet["latency"]["p50_ms"])
            overhead.append(quiet["overhead"]["p50_ms"])
            full, ratio = overload(server, capacity, budget / rounds / 6)
            goodput.append(full["goodput_tokens_per_second"] / bare[-1]["tokens_per_second"])
            cpu_ratio.append(ratio)
    bare_ms = statistics.median(run["p50_seconds"] for run in bare) * 1e3
    part.at_most(
        "server overhead, real encoder: p50 of Encode(512) less its compute",
        statistics.median(overhead), OVERHEAD_BAR_MS, "ms", encode_p50_ms=statistics.median(p50),
        bare_encoder_p50_ms=bare_ms, over_bare_ms=statistics.median(p50) - bare_ms, rounds=rounds,
    )
    part.at_least(
        "goodput / bare encoder's tokens a second, real encoder", statistics.median(goodput),
        GOODPUT_BAR, "", bare_tokens_per_second=[run["tokens_per_second"] for run in bare],
        ratios=goodput,
    )
    known = [ratio for ratio in cpu_ratio if ratio is not None]
    row = "processor time of a refusal / of an accepted call, real encoder"
    if known:
        part.at_most(row, statistics.median(known), REFUSAL_BAR, "", ratios=known)
    else:
        part.not_measured(row, "nothing was refused")


def overload(server, capacity: float, seconds: float) -> tuple[dict, float | None]:
    """1.2 x C for the goodput; then 10 x C, whose further processor time the refusals cost."""
    process = driver.Process(server.process.pid)

    def run(factor: float) -> tuple[dict, float]:
        before = process.cpu_seconds()
        report = driver.load(
            server, f"--rate={factor * capacity:g}",
            f"--seconds={max(seconds, 3 * REAL_DEADLINE):g}", f"--warmup={REAL_DEADLINE}",
            f"--tokens={driver.TOKENS}", f"--deadline={REAL_DEADLINE}", "--max-lateness=0.05",
            pinned=False,
        )["total"]
        # Of the whole run, warm-up included: scaled to the calls that count.
        spent = process.cpu_seconds() - before
        return report, spent

    def all_ended(total: dict) -> tuple[int, int]:
        return total["good"] + total["late"], total["shed"]

    less, less_cpu = run(1.2)
    more, more_cpu = run(10)
    accepted_less, shed_less = all_ended(less)
    accepted_more, shed_more = all_ended(more)
    if shed_more <= shed_less or accepted_less == 0:
        return less, None
    # cpu = accepted x a + shed x r in both runs; two equations. The warm-up scales both sides.
    a, r = solve(accepted_less, shed_less, less_cpu, accepted_more, shed_more, more_cpu)
    return less, max(0.0, r) / a


def solve(a1, r1, c1, a2, r2, c2) -> tuple[float, float]:
    determinant = a1 * r2 - a2 * r1
    return (c1 * r2 - c2 * r1) / determinant, (a1 * c2 - a2 * c1) / determinant


if __name__ == "__main__":
    sys.exit(rows.main("overhead", fake, real))
