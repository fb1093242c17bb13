"""The README's examples with other people's programs, run as they are printed there."""

import json
import os
import re
import shlex
import shutil
import subprocess

import numpy as np
import pytest
from harness import PATIENCE, ROOT

TEXTS = ("README.md", "proto/README.md", "client/perf_analyzer/README.md")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"\b(127\.0\.0\.1|localhost):50051\b")


def blocks(language: str, text: str) -> list[str]:
    return [body for kind, body in _BLOCK.findall((ROOT / text).read_text()) if kind == language]


def command_lines(body: str) -> list[str]:
    """The command lines of a block: continued ones joined, quotes closed."""
    found = []
    begun = ""
    for line in body.replace("\\\n", " ").splitlines():
        begun += line
        try:
            shlex.split(begun, comments=True)
        except ValueError:  # within quotes
            begun += "\n"
            continue
        found.append(begun)
        begun = ""
    assert not begun, body
    return found


def commands(program: str) -> list[str]:
    """Every command line of a program in the texts."""
    lines = [line for text in TEXTS for body in blocks("bash", text) for line in command_lines(body)]
    return [line for line in lines if line.startswith(program + " ")]


@pytest.fixture(scope="module")
def run(real_server):
    def run(line: str) -> str:
        words = shlex.split(_ADDRESS.sub(f"127.0.0.1:{real_server.port}", line), comments=True)
        program = shutil.which(words[0], path=os.environ.get("LONGWAVE_TOOLS", os.environ["PATH"]))
        if program is None:
            pytest.skip(f"{words[0]} is not installed: deploy/setup.sh --clients builds it")
        done = subprocess.run(
            [program, *words[1:]], capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


@pytest.mark.parametrize("line", commands("grpcurl"))
def test_grpcurl(run, line):
    said = run(line)
    if "list" in line.split():
        services = said.split()
        assert {"longwave.v1.EncoderService", "inference.GRPCInferenceService"} <= set(services)
    else:
        json.loads(said)


def test_grpcurl_examples_cover_both_protocols():
    lines = "\n".join(commands("grpcurl"))
    assert "longwave.v1.EncoderService/Encode" in lines
    assert "inference.GRPCInferenceService/ModelInfer" in lines


@pytest.mark.parametrize("line", commands("ghz"))
def test_ghz(run, line):
    count = int(re.search(r"-n (\d+)", line).group(1))
    said = run(line)
    assert re.search(rf"\[OK\]\s+{count} responses", said), said


def test_ghz_has_an_example():
    assert commands("ghz")


def test_tritonclient_example(real_server):
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    (body,) = [body for body in blocks("python", "README.md") if "tritonclient" in body]
    scope: dict = {}
    exec(_ADDRESS.sub(f"127.0.0.1:{real_server.port}", body), scope)  # noqa: S102
    embedding = scope["embedding"]
    assert embedding.shape == (1, 448)
    assert np.isclose(np.linalg.norm(embedding), 1, atol=1e-5)
