"""SIGKILL of one of three replicas under full load, again and again: one retry or resume each, and
never answers of two models in one call."""

import pathlib
import sys
import tempfile

import rows
from fleet import MODEL, OTHER_MODEL, PATIENT, ROW_SEEDS, other_model
from replicas import LOAD, REPEATS, Rounds, details, go_round, most_retries, report

# Of the part's time, for the replicas that are alike.
ALIKE_SHARE = 0.75
# Each replica goes this often where one of the three has another model.
TURNS = 5
# Calls of several requests may meet two models without any fault; streams where theirs has gone.
MIXED_LOAD = {**LOAD, "unary": 3, "batches": 3, "row_seeds": ROW_SEEDS}


def killed(part: rows.Part) -> None:
    result = go_round(part, lambda fleet, index: fleet.kill(index), PATIENT,
                      rounds=Rounds(seconds=ALIKE_SHARE * part.left, one_strike=True))
    amount = rows.Amount(result["repeats"], REPEATS, "kills")
    report(part, "one of three killed", result, amount)
    part.at_most("one of three killed: retries or resumes of one call", most_retries(result), 1,
                 "attempts", amount, retried=result["attempts"])


def killed_among_two_models(part: rows.Part) -> None:
    """A call is of one model from its first row to its last, by the rows themselves; what cannot be
    says MODEL_CHANGED, and nothing else is lost."""
    with tempfile.TemporaryDirectory() as folder:
        rounds = Rounds(repeats=3 * TURNS, seconds=part.left, load=MIXED_LOAD,
                        one_strike=True, own={2: other_model(pathlib.Path(folder))})
        result = go_round(part, lambda fleet, index: fleet.kill(index), PATIENT,
                          rounds=rounds)
    kinds = result["kinds"]
    changed = {kind: entry["model_changed"] for kind, entry in kinds.items()}
    if set(result["fingerprints"]) != {MODEL[0], OTHER_MODEL[0]} or changed["batch"] == 0:
        raise rows.NotMeasured(f"two models were not met: {result['fingerprints']}, {changed}")
    amount = rows.Amount(result["repeats"], 3 * TURNS, "kills")
    name = "one of two models killed"
    part.at_most(f"{name}: calls of mixed digests", result["mixed"], 0, "calls", amount,
                 answered=result["fingerprints"], model_changed=changed, **details(result))
    part.at_most(f"{name}: wrong", result["wrong"], 0, "answers", amount)
    lost = sum(entry["failed"] - entry["model_changed"] for entry in kinds.values())
    part.at_most(f"{name}: lost but for MODEL_CHANGED", lost, 0, "calls", amount)


if __name__ == "__main__":
    sys.exit(rows.main("kill", killed, killed_among_two_models))
