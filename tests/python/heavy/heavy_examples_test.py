"""The examples for Ray and Spark, as a user runs them."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[3] / "client" / "python" / "examples"


@pytest.mark.parametrize(
    ("script", "error", "none"),
    [("ray_data", "embedding_error", ""), ("spark_udf", "error", None)],
)
def test_examples_write_what_the_client_computes(target, client, tmp_path, script, error, none):
    output = tmp_path / "embeddings"
    arguments = ["--server", target, "--rows", "60", "--output", str(output)]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{script}.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"^rows 60, failed 0, ", done.stdout, re.MULTILINE), done.stdout
    assert client.info().weights_digest in done.stdout
    table = pyarrow.parquet.read_table(output).to_pylist()
    assert sorted(row["id"] for row in table) == list(range(60))
    vectors = np.array([row["embedding"] for row in table], np.float32)
    assert np.array_equal(vectors, client.encode([row["text"] for row in table]))
    assert {row[error] for row in table} == {none}
