"""perf_analyzer, the real program, with the inputs that are shipped for it."""

import csv
import os
import pathlib
import subprocess

import pytest
from harness import ROOT

INPUTS = ROOT / "client" / "perf_analyzer"
# Its windows are a second long, and it may want all of them.
LIMIT = 120.0


@pytest.fixture(scope="module")
def program() -> str:
    path = os.environ.get("LONGWAVE_PERF_ANALYZER", str(ROOT / "build/perf_analyzer/perf_analyzer"))
    if not pathlib.Path(path).exists():
        pytest.skip("perf_analyzer is not there: deploy/perf_analyzer.sh unpacks it where it can run")
    return path


@pytest.fixture(scope="module")
def analyse(program, real_server, tmp_path_factory):
    """Runs it and returns its exit code, what it said, and the row of its report."""

    def run(*arguments: str) -> tuple[int, str, dict[str, str]]:
        report = tmp_path_factory.mktemp("report") / "report.csv"
        target = ["-m", "default", "-i", "grpc", "-u", f"127.0.0.1:{real_server.port}"]
        done = subprocess.run(
            [program, *target, *arguments, "-f", str(report)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
        )
        rows = list(csv.DictReader(report.open())) if report.exists() else []
        return done.returncode, done.stdout, rows[0] if rows else {}

    return run


# How steady its figures must be is not ours to prove: windows of a loaded machine differ.
STEADY = ("-p", "1000", "-r", "3", "-s", "1000")


def check(outcome: tuple[int, str, dict[str, str]]) -> dict[str, str]:
    code, said, row = outcome
    assert code == 0, said
    assert float(row["Inferences/Second"]) > 0, said
    return row


def test_concurrency_with_mixed_lengths(analyse):
    row = check(analyse("--input-data", str(INPUTS / "mixed.json"), "--concurrency-range", "2", *STEADY))
    # The server's own statistics, which it shows only if they were there before and after.
    assert float(row["Server Compute Infer"]) > 0


def test_a_stream_of_requests(analyse):
    row = check(
        analyse(
            *("--async", "--streaming", "--input-data", str(INPUTS / "short.json")),
            *("--concurrency-range", "4", *STEADY),
        )
    )
    assert float(row["Server Compute Infer"]) > 0


def test_poisson_arrivals(analyse):
    check(
        analyse(
            *("--input-data", str(INPUTS / "short.json"), "--request-rate-range", "50"),
            *("--request-distribution", "poisson", "--request-count", "100"),
        )
    )


def test_batches_of_zeros(analyse):
    check(analyse("-b", "8", "--input-data", "zero", "--shape", "input_ids:32", *STEADY))


def test_random_ids_are_told_what_they_are(analyse):
    code, said, _ = analyse("--shape", "input_ids:32", *STEADY)
    assert code != 0
    assert "a token id is outside the model's vocabulary" in said
    assert "inputs[input_ids][0][" in said
