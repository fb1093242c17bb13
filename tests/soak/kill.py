"""SIGKILL of one of three replicas under full load, again and again: one retry or resume each."""

import sys

import rows
from replicas import go_round, most_repeats, report


def killed(part: rows.Part) -> None:
    result = go_round(part, lambda fleet, index: fleet.kill(index))
    report(part, "one of three killed", result)
    part.at_most("one of three killed: retries or resumes of one call", most_repeats(result), 1,
                 "attempts", retried=result["attempts"])


if __name__ == "__main__":
    sys.exit(rows.main("kill", killed))
