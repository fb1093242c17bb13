#!/usr/bin/env python3
"""Short interactive calls beside a job of a million tokens, on the real encoder."""

from __future__ import annotations

import sys
import threading
import time
from typing import NamedTuple

import driver
import rows
from harness import PATIENCE, StreamCall, encode_pb2, model_pb2

LONG_TOKENS = 1_000_000
SHORT_LONG_TOKENS = 100_000
# Of the engine, by the short calls; the bar speaks of at most 0.3.
SHARE = 0.25
SLICES_BAR = 3
SLICE_BAR_MS = 20
LONG_BAR = 1.1
SWITCHES = 100
SWITCH_BAR = 0.02
# How far the two runs alone may lie apart.
STEADY = 0.05


def long_job(server, tokens: int, started: threading.Event | None = None) -> float:
    """Seconds from the Open to the Done of one sequence, encoded by EncodeStream."""
    call = StreamCall(server.stub(), timeout=3600)
    ids = bytes((i * 131 + 7) % 256 for i in range(256)) * (tokens // 256 + 1)
    begin = time.monotonic()
    call.open(1, [tokens], output={"pooling": encode_pb2.POOLING_MEAN})
    call.data(1, ids[:tokens])
    call.end(1)
    while True:
        message = call.read()
        kind = message.WhichOneof("message")
        if kind == "accepted" and started:
            started.set()
        if kind == "failed":
            raise rows.NotMeasured(f"the long job failed: {message.failed.message}")
        if kind == "done":
            call.close()
            return time.monotonic() - begin


def short_load(server, rate: float, seconds: float, arrivals: str = "even") -> dict:
    return driver.load(
        server, f"--rate={rate:g}", f"--arrivals={arrivals}", f"--seconds={seconds:g}", "--warmup=0",
        f"--tokens={driver.TOKENS}", "--priority=interactive", f"--deadline={PATIENCE:g}",
        "--max-lateness=0.05", pinned=False, attempts=1,
    )["total"]


class Beside(NamedTuple):
    """A long job with short calls beside it all the time."""

    seconds: float  # of the long job
    total: dict  # what came of the short calls
    slice_seconds: float  # mean over the run, as the server measured them
    slices: int

    @property
    def wait_in_slices(self) -> float:
        return self.total["server_queue"]["p99_ms"] / 1e3 / self.slice_seconds


def slices(server) -> tuple[float, float]:
    """All slices so far, and the seconds that they took."""
    return (server.metric("longwave_slice_seconds_count"),
            server.metric("longwave_slice_seconds_sum"))


def beside(server, tokens: int, rate: float, seconds: float, arrivals: str) -> Beside:
    result: list[float] = []
    errors: list[BaseException] = []
    started = threading.Event()

    def run() -> None:
        try:
            result.append(long_job(server, tokens, started))
        except BaseException as error:  # handed to the caller
            errors.append(error)
            started.set()

    count, sum_seconds = slices(server)
    thread = threading.Thread(target=run)
    thread.start()
    started.wait(PATIENCE)
    total = short_load(server, rate, seconds, arrivals)
    thread.join()
    if errors:
        raise errors[0]
    if total["good"] < 0.999 * total["offered"]:
        raise rows.NotMeasured(f"short calls failed: {total['endings']}")
    now_count, now_sum = slices(server)
    if now_count == count:
        raise rows.NotMeasured("the server counted no slice")
    made = now_count - count
    return Beside(result[0], total, (now_sum - sum_seconds) / made, int(made))


def long_tokens(part: rows.Part, probe_seconds: float) -> int:
    """As long a job as fits the time alone, beside, alone again, and beside once more."""
    if part.short:
        return SHORT_LONG_TOKENS
    fits = part.left / (2 + 2 / (1 - SHARE)) / probe_seconds * SHORT_LONG_TOKENS
    return int(min(LONG_TOKENS, max(SHORT_LONG_TOKENS, 0.95 * fits)))


def measure(part: rows.Part) -> None:
    with driver.real_server() as server:
        limit_seconds = (
            server.stub().GetModel(model_pb2.GetModelRequest(), timeout=PATIENCE)
        ).model.max_slice_seconds
        idle = short_load(server, 2, 4 if part.short else 15)
        compute = idle["server_compute"]["p50_ms"] / 1e3
        rate = SHARE / compute
        tokens = long_tokens(part, long_job(server, SHORT_LONG_TOKENS))
        part.say(f"{tokens} tokens, short calls of {compute * 1e3:.1f} ms at {rate:.2f}/s")
        alone = [long_job(server, tokens)]
        # Until the long job is over and a little less, so that every short call has it beside it.
        expected = 0.98 * alone[0] / (1 - SHARE)
        even = beside(server, tokens, rate, expected, "even")
        alone.append(long_job(server, tokens))
        poisson = beside(server, tokens, rate, expected, "poisson")
    amount = rows.Amount(tokens, LONG_TOKENS, "tokens")
    # Poisson callers wait for each other too, which no order of slices can spare them; evenly
    # spaced ones wait for the long job alone.
    for name, run in (("evenly spaced", even), ("Poisson", poisson)):
        part.at_most(
            f"512 tokens {name} beside a long job: p99 wait in slices", run.wait_in_slices,
            SLICES_BAR, "slices", amount, short_calls=run.total["good"], rate_per_second=rate,
            share=rate * compute, wait_p50_ms=run.total["server_queue"]["p50_ms"],
            wait_p99_ms=run.total["server_queue"]["p99_ms"], slice_ms=run.slice_seconds * 1e3,
            latency_p99_ms=run.total["latency"]["p99_ms"],
            idle_latency_p50_ms=idle["latency"]["p50_ms"],
        )
    part.at_most(
        "512 tokens beside a long job: mean slice", even.slice_seconds * 1e3, SLICE_BAR_MS, "ms",
        amount, slices=even.slices, slice_limit_ms=limit_seconds * 1e3,
    )
    long_job_rows(part, amount, alone, even, even.total["good"] * compute)


def long_job_rows(part, amount: rows.Amount, alone: list[float], even: Beside,
                  interactive: float) -> None:
    """What the long job loses to short calls that compute for `interactive` seconds."""
    row = "the long job / (alone + the interactive compute)"
    switch_row = "100 switches cost of the long job"
    alone_seconds = sum(alone) / len(alone)
    unsteady = max(alone) / min(alone) - 1
    extra = (even.seconds - alone_seconds - interactive) / alone_seconds
    # Two runs that differ by more than the bar, or work that took less than its parts: no figure.
    if unsteady > STEADY or extra < -STEADY:
        problem = (
            f"the machine is not steady: alone {alone[0]:.2f} and {alone[1]:.2f} s, "
            f"beside {even.seconds:.2f} s with {interactive:.2f} s of others"
        )
        part.not_measured(row, problem)
        part.not_measured(switch_row, problem)
        return
    seconds = {"beside_seconds": even.seconds, "alone_seconds": alone,
               "interactive_seconds": interactive}
    part.at_most(
        row, even.seconds / (alone_seconds + interactive), LONG_BAR, "", amount, **seconds,
    )
    switches = even.total["good"]
    part.at_most(
        switch_row, max(0.0, extra) * 100 / switches, SWITCH_BAR, "",
        rows.Amount(switches, SWITCHES, "switches"), extra_share=extra, **seconds,
    )


if __name__ == "__main__":
    sys.exit(rows.main("isolation", measure))
