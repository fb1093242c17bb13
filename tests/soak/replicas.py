"""What drain.py and kill.py share: replicas that go one after another under full load."""

from __future__ import annotations

import dataclasses
import time
from typing import Callable

import rows
from fleet import Caller, Fleet, await_progress

REPEATS = 50
# A unary call carries 1 MiB; streams are read slowly, so that they are under way when one goes.
LOAD = {"unary": 6, "streams": 3, "stream_seconds": 1}
CALLS_BETWEEN = 15


@dataclasses.dataclass(frozen=True)
class Rounds:
    """How often replicas go, under what load, and for how long at most."""

    repeats: int = REPEATS
    seconds: float = float("inf")
    own: dict[int, str] = dataclasses.field(default_factory=dict)  # flags of single replicas
    load: dict = dataclasses.field(default_factory=lambda: LOAD)
    # Whether calls under way are let end before the next replica goes, so that none is struck twice:
    # rows about one loss need it.
    one_strike: bool = False


def go_round(
    part: rows.Part, take_away: Callable[[Fleet, int], None], *flags: str,
    rounds: Rounds = Rounds(),
) -> dict:
    """Takes a replica away and starts it again, as often as `rounds` says or its time allows;
    returns what the callers saw, with how often it was done and which attempts the servers
    counted."""
    repeats = min(rounds.repeats, 3) if part.short else rounds.repeats
    done = 0
    attempts = {"1": 0.0, "2": 0.0, "3plus": 0.0}

    def count(server) -> None:
        for label in attempts:
            attempts[label] += server.metric("longwave_requests_retried_total", attempts=label)

    with Fleet(rows.program("LONGWAVE_FAKE_SERVER"), *flags, own=rounds.own) as fleet:
        program = rows.program("LONGWAVE_REPLICA_CLIENT")
        with Caller(program, fleet.target, **rounds.load) as caller:
            start = time.monotonic()
            longest = 0.0
            while done < repeats and start + rounds.seconds - time.monotonic() > 2 * longest:
                begin = time.monotonic()
                index = done % len(fleet.servers)
                await_progress(fleet, CALLS_BETWEEN)
                count(fleet.servers[index])  # before its numbers go with it
                take_away(fleet, index)
                if rounds.one_strike:
                    # All streams take equally long: each one has ended when there were twice as many.
                    await_progress(fleet, 2 * rounds.load["streams"], method="EncodeStream")
                else:
                    await_progress(fleet, CALLS_BETWEEN)
                fleet.restart(index)
                done += 1
                longest = max(longest, time.monotonic() - begin)
            result = caller.result()
            for server in fleet.servers:
                count(server)
    if done == 0:
        raise rows.NotMeasured("no time for one repeat")
    for kind, entry in result["kinds"].items():
        # Whoever gets nothing done loses nothing either.
        if entry["ok"] == 0:
            raise rows.NotMeasured(f"no {kind} call ended well: {result['errors'][:3]}")
    return {**result, "repeats": done, "attempts": attempts}


def report(part: rows.Part, name: str, result: dict, amount: rows.Amount) -> None:
    kinds = result["kinds"]
    lost = sum(entry["failed"] for entry in kinds.values())
    part.at_most(f"{name}: lost", lost, 0, "calls", amount, **details(result))
    part.at_most(f"{name}: wrong", result["wrong"] + result["mixed"], 0, "answers", amount)


def details(result: dict) -> dict:
    kinds = result["kinds"]
    detail = {
        "calls": {kind: entry["ok"] + entry["failed"] for kind, entry in kinds.items()},
        "slowest_seconds": {kind: round(entry["max_seconds"], 2) for kind, entry in kinds.items()},
        "retried": result["attempts"],
        "stream_retries": kinds["stream"]["retries"],
    }
    if result["errors"]:
        detail["errors"] = result["errors"][:3]
    return detail


def most_retries(result: dict) -> int:
    """The most attempts behind the first that one call needed: of streams, as their client counts
    them; of unary calls, as the servers do, each before it goes."""
    attempts = result["attempts"]
    unary = max((n for n, label in ((1, "1"), (2, "2"), (3, "3plus")) if attempts[label]), default=0)
    return max(unary, *(entry["most_retries"] for entry in result["kinds"].values()))
