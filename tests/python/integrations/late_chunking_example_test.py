"""The example of late chunking, as a user runs it."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

EXAMPLE = (
    pathlib.Path(__file__).resolve().parents[3] / "client" / "python" / "examples/late_chunking.py"
)


def run(target, *arguments):
    # Far above what it takes: some 20 s of two processors.
    return subprocess.run(
        [sys.executable, str(EXAMPLE), "--server", target, *arguments],
        capture_output=True,
        text=True,
        timeout=500,
    )


def test_it_shows_chunks_that_know_their_document(target):
    done = run(target, "--timeout", "400")
    assert done.returncode == 0, done.stderr
    size = re.search(r"document +([\d,]+) bytes of (\d+) files, (\d+) chunks", done.stdout)
    assert size and int(size[1].replace(",", "")) >= 300_000 and int(size[3]) > 100, done.stdout
    table = done.stdout.partition("the same words ")[2].partition("\n\n")[0].splitlines()[1:]
    assert len(table) >= 5, done.stdout
    for line in table:
        naive, late = (float(value) for value in line.split()[-2:])
        # The same ids give the same bits, so naive vectors of the same words are equal.
        # The default model sees the whole document alike from every place: their contexts differ
        # by their own words alone.
        assert naive == 0.0 and late > 1e-7, line
    cosine = re.search(r"late with naive: mean ([\d.]+)", done.stdout)
    assert cosine and 0.5 < float(cosine[1]) < 0.999


def test_it_reads_what_it_is_told_to(target, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("One.\n\nTwo.\n\nOne.\n\nThree.")
    done = run(target, "--document", str(path), "--characters", "20", "--query", "Two.")
    assert done.returncode == 0, done.stderr
    assert "document   20 bytes of 1 files, 4 chunks" in done.stdout
    assert "pairs      1 of chunks with the same words" in done.stdout
    # Its query is the second chunk, and chunks by themselves are as queries are.
    assert re.search(r"naive +Two\. +1 +1\.0000", done.stdout)
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    assert run(target, "--document", str(empty)).returncode == 2
