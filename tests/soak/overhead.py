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
REFUSAL_RATE = 500


FAKE_MODEL = (
    f"fake:{driver.SECONDS_PER_TOKEN}:{driver.FAKE_ENGINE['LONGWAVE_FAKE_TOKENS_PER_SLICE']}"
)


def bare_encoder(model: str, seconds: float) -> dict:
    done = subprocess.run(
        [rows.program("LONGWAVE_BARE_ENCODER"), model, str(driver.TOKENS), f"{seconds:g}"],
        capture_output=True, text=True, check=True,
    )
    return json.loads(done.stdout)


def quiet_load(server, rate: float, seconds: float, **options) -> dict:
    return driver.load(
        server, f"--rate={rate:g}", f"--seconds={seconds:g}", "--warmup=0.5",
        f"--tokens={driver.TOKENS}", "--deadline=10", **options,
    )["total"]


def one_caller(server, seconds: float) -> dict:
    done = subprocess.run(
        [rows.program("LONGWAVE_ONE_CALLER"), f"127.0.0.1:{server.port}", str(driver.TOKENS),
         f"{seconds:g}"],
        capture_output=True, text=True, check=True,
    )
    return json.loads(done.stdout)


def over_bare(part: rows.Part, engine: str, bare: list[dict], calls: list[dict],
              quiet: list[dict]) -> None:
    """What a call takes over the encoder called by itself: in turns with it and like it, the next
    one when the last one has ended; and from rest, where each step of a call wakes a processor."""

    def milliseconds(runs: list[dict], name: str) -> float:
        return statistics.median(run[name] for run in runs) * 1e3

    call_ms, bare_ms = milliseconds(calls, "p50_seconds"), milliseconds(bare, "p50_seconds")
    part.at_most(
        f"server overhead, {engine}: p50 of Encode(512) over the bare encoder's",
        call_ms - bare_ms, OVERHEAD_BAR_MS, "ms", encode_p50_ms=call_ms, bare_p50_ms=bare_ms,
        less_compute_ms=call_ms - milliseconds(calls, "compute_p50_seconds"),
        health_check_p50_ms=milliseconds(calls, "health_p50_seconds"),
        calls=sum(run["calls"] for run in calls), rounds=len(calls),
    )
    part.at_most(
        f"server overhead, {engine}: the same from rest, less the call's own compute",
        statistics.median(total["overhead"]["p50_ms"] for total in quiet), OVERHEAD_BAR_MS, "ms",
        server_ms=statistics.median(
            total["server_total"]["p50_ms"] - total["server_compute"]["p50_ms"] for total in quiet
        ),
        calls=sum(total["good"] for total in quiet),
    )


def fake(part: rows.Part) -> None:
    seconds = max(4.0, min(30.0, part.seconds / 8))
    rounds = 1 if part.short else 3
    rate = QUIET_SHARE / (driver.TOKENS * driver.SECONDS_PER_TOKEN)
    bare, calls, quiet, goodput = [], [], [], []
    with driver.fake_server() as server:
        for _ in range(rounds):
            # In turns, so that all meet the same machine.
            bare.append(bare_encoder(FAKE_MODEL, max(2.0, seconds / rounds / 3)))
            calls.append(one_caller(server, max(2.0, seconds / rounds / 3)))
            quiet.append(quiet_load(server, rate, max(2.0, seconds / rounds)))
            capacity = bare[-1]["tokens_per_second"] / driver.TOKENS
            full = overload(server, capacity, max(2.0, seconds / rounds), driver.DEADLINE)
            goodput.append(full["goodput_tokens_per_second"] / bare[-1]["tokens_per_second"])
        over_bare(part, "fake engine", bare, calls, quiet)
    goodput_over_bare(part, "fake engine", bare, goodput)


def real(part: rows.Part) -> None:
    budget = max(20.0, part.left)
    rounds = 1 if part.short else 3
    bare, calls, quiet, goodput, cpu_ratio = [], [], [], [], []
    with driver.real_server() as server:
        for _ in range(rounds):
            bare.append(bare_encoder(rows.program("LONGWAVE_MODEL"), budget / rounds / 6))
            calls.append(one_caller(server, budget / rounds / 12))
            capacity = bare[-1]["tokens_per_second"] / driver.TOKENS
            quiet.append(
                quiet_load(server, QUIET_SHARE * capacity, budget / rounds / 5, pinned=False)
            )
            full = overload(server, capacity, budget / rounds / 6, REAL_DEADLINE, pinned=False)
            goodput.append(full["goodput_tokens_per_second"] / bare[-1]["tokens_per_second"])
            compute = quiet[-1]["server_compute"]["p50_ms"] / 1e3
            cpu_ratio.append(refusal_cost(server, capacity, compute))
    over_bare(part, "real encoder", bare, calls, quiet)
    goodput_over_bare(part, "real encoder", bare, goodput)
    part.at_most(
        "processor time of a refusal / of an accepted call, real encoder",
        statistics.median(cpu_ratio), REFUSAL_BAR, "", ratios=cpu_ratio,
    )


def overload(server, capacity: float, seconds: float, deadline: float, **options) -> dict:
    """What comes of 1.2 x C."""
    return driver.load(
        server, f"--rate={1.2 * capacity:g}", f"--seconds={max(seconds, 3 * deadline):g}",
        f"--warmup={deadline}", f"--tokens={driver.TOKENS}", f"--deadline={deadline}",
        "--max-lateness=0.05", **options,
    )["total"]


def goodput_over_bare(part: rows.Part, engine: str, bare: list[dict], ratios: list[float]) -> None:
    part.at_least(
        f"goodput / bare encoder's tokens a second, {engine}", statistics.median(ratios),
        GOODPUT_BAR, "", bare_tokens_per_second=[run["tokens_per_second"] for run in bare],
        ratios=ratios,
    )


def refusal_cost(server, capacity: float, compute_seconds: float) -> float:
    """Processor time of a call that is refused, in parts of one that is accepted."""
    process = driver.Process(server.process.pid)

    def cpu_each(rate: float, deadline: float, wanted: str) -> float:
        before = process.cpu_seconds()
        total = driver.load(
            server, f"--rate={rate:g}", "--seconds=6", "--warmup=0", f"--tokens={driver.TOKENS}",
            f"--deadline={deadline:g}", "--max-lateness=0.05", pinned=False, attempts=1,
        )["total"]
        spent = process.cpu_seconds() - before
        if total[wanted] < 0.95 * total["offered"]:
            raise rows.NotMeasured(f"{wanted}: {total[wanted]} of {total['offered']} calls")
        return spent / total[wanted]

    # A deadline that the encoder cannot meet, and the network can: refused at the door, always.
    refused = cpu_each(REFUSAL_RATE, 0.5 * compute_seconds, "shed")
    return refused / cpu_each(0.5 * capacity, 10, "good")


if __name__ == "__main__":
    sys.exit(rows.main("overhead", fake, real))
