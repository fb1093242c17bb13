"""What drain.py and kill.py share: replicas that go one after another under full load."""

from __future__ import annotations

import time
from typing import Callable

import rows
from fleet import Caller, Fleet, await_progress

REPEATS = 50
# A unary call carries 1 MiB; streams are read slowly, so that they are under way when one goes.
LOAD = {"unary": 6, "streams": 3, "stream_seconds": 1}
CALLS_BETWEEN = 15


def go_round(
    part: rows.Part, take_away: Callable[[Fleet, int], None], *flags: str, **options
) -> dict:
    """Takes a replica away and starts it again, REPEATS times or as the time allows; returns what
    the callers saw, with how often it was done and which attempts the servers counted."""
    repeats = 3 if part.short else REPEATS
    done = 0
    attempts = {"1": 0.0, "2": 0.0, "3plus": 0.0}

    def count(server) -> None:
        for label in attempts:
            attempts[label] += server.metric("longwave_requests_retried_total", attempts=label)

    with Fleet(rows.program("LONGWAVE_FAKE_SERVER"), *flags) as fleet:
        program = rows.program("LONGWAVE_REPLICA_CLIENT")
        with Caller(program, fleet.target, **LOAD, **options) as caller:
            longest = 0.0
            while done < repeats and part.left > 2 * longest:
                begin = time.monotonic()
                index = done % len(fleet.servers)
                await_progress(fleet, CALLS_BETWEEN)
                count(fleet.servers[index])  # before its numbers go with it
                take_away(fleet, index)
                await_progress(fleet, CALLS_BETWEEN)
                fleet.restart(index)
                done += 1
                longest = max(longest, time.monotonic() - begin)
            result = caller.result()
            for server in fleet.servers:
                count(server)
    if done == 0:
        raise rows.NotMeasured("no time for one repeat")
    return {**result, "repeats": done, "attempts": attempts}


def report(part: rows.Part, name: str, result: dict) -> None:
    kinds = result["kinds"]
    detail = {
        "repeats": result["repeats"],
        "calls": {kind: entry["ok"] + entry["failed"] for kind, entry in kinds.items()},
        "slowest_seconds": {kind: round(entry["max_seconds"], 2) for kind, entry in kinds.items()},
        "retried": result["attempts"],
        "resumed": kinds["stream"]["resumes"],
    }
    if result["errors"]:
        detail["errors"] = result["errors"][:3]
    lost = sum(entry["failed"] for entry in kinds.values())
    part.at_most(f"{name}: lost", lost, 0, "calls", **detail)
    part.at_most(f"{name}: wrong", result["wrong"], 0, "answers", repeats=result["repeats"])
    mixed = len(result["fingerprints"]) - 1
    part.at_most(f"{name}: mixed fingerprints", mixed, 0, "fingerprints")


def most_repeats(result: dict) -> int:
    """The most retries or resumes that one call needed."""
    attempts = result["attempts"]
    retries = max((n for n, label in ((1, "1"), (2, "2"), (3, "3plus")) if attempts[label]), default=0)
    return max(retries, *(entry.get("most_resumes", 0) for entry in result["kinds"].values()))
