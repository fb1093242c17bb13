"""SIGTERM of one of three replicas under full load, again and again: nothing is lost or wrong."""

import sys

import rows
from replicas import REPEATS, Rounds, go_round, report


def health_checked(part: rows.Part) -> None:
    """As behind Kubernetes: whoever watches health has left when the refusals begin."""
    codes = []
    result = go_round(part, lambda fleet, index: codes.append(fleet.drain(index)),
                      "--drain_delay=0.3", "--grace=30", rounds=Rounds(seconds=part.left))
    amount = rows.Amount(result["repeats"], REPEATS, "drains")
    report(part, "drain under full load", result, amount)
    part.at_most("drain under full load: exit codes other than 0", sum(code != 0 for code in codes),
                 0, "exits", amount)


if __name__ == "__main__":
    sys.exit(rows.main("drain", health_checked))
