"""Rows 52 to 57 for the process: a folder that is not a sound model ends the start with one clear
text and a code, before anything is served. A few of each row: every start loads the libraries of the
real server. The rows in full are in tests/unit/weights."""

import json
import pathlib
import random
import shutil
import subprocess

import pytest
from harness import PATIENCE

WEIGHTS = "model.safetensors"


@pytest.fixture
def copy(model_folder, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(model_folder, tmp_path / "model", symlinks=False))


def start(program: str, folder: pathlib.Path, *flags: str) -> tuple[int, str]:
    command = [program, f"--model={folder}", "--address=127.0.0.1:0"]
    command += ["--metrics_address=127.0.0.1:0", "--threads=1", *flags]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    plain = [line for line in result.stderr.splitlines() if line.startswith("longwave-server:")]
    assert '"event":"serving"' not in result.stderr
    return result.returncode, "\n".join(plain)


def broken_weights(data: bytes) -> dict[str, bytes]:
    flipped = bytearray(data)
    at = random.Random(54).randrange(len(data) // 2, len(data))
    flipped[at] ^= 1
    return {
        "52 a byte short": data[:-1],
        "54 one bit": bytes(flipped),
        "56 a pickle": b"\x80\x02}q\x00." + data,
    }


@pytest.mark.parametrize("name", broken_weights(bytes(64)))
def test_weights(real_program, copy, name):
    file = copy / WEIGHTS
    file.write_bytes(broken_weights(file.read_bytes())[name])
    code, text = start(real_program, copy)
    assert code == 1
    assert WEIGHTS in text, text


def test_57_config(real_program, copy):
    file = copy / "config.json"
    wrong = {"hidden_size": "wide", "vocab_size": 0, "num_hidden_layers": -1, "nonsense": 1}
    file.write_text(json.dumps({**json.loads(file.read_text()), **wrong}))
    code, text = start(real_program, copy, "--check_config")
    assert code == 2
    for key in wrong:
        assert key in text, text


@pytest.mark.parametrize("content", ["", "\ufeff{}"], ids=["empty", "mark"])
def test_57_config_that_is_none(real_program, copy, content):
    (copy / "config.json").write_text(content)
    code, text = start(real_program, copy)
    assert code == 2 and text


def test_57_config_that_is_absent(real_program, copy):
    (copy / "config.json").unlink()
    code, text = start(real_program, copy)
    assert code == 2
    assert "config.json" in text
