"""Model folders: loaded, written, refused; and the way from training to what is served."""

import dataclasses
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
import safetensors.torch
import small_models
import torch
from conftest import seeded_encoder, some_ids

from longwave_torch import Encoder, EncoderConfig, load_for_training, save_for_serving
from longwave_torch.config import NgramConfig
from longwave_torch.golden import goldens, twin
from longwave_torch.serving import golden_error

PATIENCE = 120.0


def bits(encoder):
    return {k: t.clone() for k, t in encoder.state_dict().items()}


@pytest.mark.parametrize(
    "name, dtype", [("tiny_t5", "float32"), ("tiny_alibi", "float16"), ("tiny_none", "bfloat16")]
)
def test_a_saved_model_comes_back(tmp_path, name, dtype):
    encoder = seeded_encoder(name)
    saved = save_for_serving(encoder, tmp_path / "a", name=name)
    assert saved.golden_error < 0.5  # a plain fp32 evaluation is well within its tolerance
    back = load_for_training(tmp_path / "a")
    expected = {k: t.to(getattr(torch, dtype)).float() for k, t in bits(encoder).items()}
    assert all(torch.equal(t, expected[k]) for k, t in bits(back).items())
    save_for_serving(back, tmp_path / "b", name=name)
    for file in ("config.json", "model.safetensors", "longwave.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_goldens_are_reproduced_from_the_folder(tmp_path):
    save_for_serving(seeded_encoder("tiny_none"), tmp_path / "m", name="m")
    serving = json.loads((tmp_path / "m" / "longwave.json").read_text())
    assert {g["output"]["pooling"] for g in serving["goldens"]} == {"rows", "mean", "spans"}
    loaded = load_for_training(tmp_path / "m").eval()
    with torch.no_grad():
        assert golden_error(loaded, serving["goldens"]) < 0.5
        loaded.final_norm.weight.add_(0.01)
        assert golden_error(loaded, serving["goldens"]) > 3


def test_fields_of_longwave_json(tmp_path):
    saved = save_for_serving(
        seeded_encoder("tiny_t5"),
        tmp_path / "deep" / "m",
        name="m",
        version="2.1",
        dtype="float16",
        provenance="Made by a test.",
        license="MIT",
        tokenizer={"kind": "sentencepiece", "fingerprint": "abc"},
        default_pooling="last",
        default_normalize=False,
        max_tokens=100,
        route="tiles",
    )
    serving = json.loads((saved.folder / "longwave.json").read_text())
    longest = max(len(golden["token_ids"]) for golden in serving.pop("goldens"))
    assert longest == 100  # the server holds goldens to the limit too
    assert serving == {
        "schema_version": 1,
        "name": "m",
        "version": "2.1",
        "tokenizer": {"kind": "sentencepiece", "fingerprint": "abc"},
        "default_pooling": "last",
        "default_normalize": False,
        "limits": {"max_tokens": 100},
        "weights_sha256": saved.weights_sha256,
        "provenance": "Made by a test.",
        "license": "MIT",
        "route": "tiles",
    }
    assert EncoderConfig.from_file(saved.folder).torch_dtype == "float16"
    assert os.listdir(tmp_path / "deep") == ["m"]


def broken(change):
    encoder = seeded_encoder("tiny_t5")
    with torch.no_grad():
        change(encoder)
    return encoder


@pytest.mark.parametrize(
    "change, options, problem",
    [
        (lambda e: e.final_norm.bias.fill_(float("nan")), {}, "final_norm.bias has values that"),
        (
            lambda e: e.final_norm.bias.fill_(1e5),
            {"dtype": "float16"},
            "final_norm.bias has values up to 1e\\+05: float16 ends at 6.55e\\+04",
        ),
        (lambda e: e.attention_bias[0, 20].fill_(700), {}, "attention_bias rises 70"),
        (None, {"dtype": "int8"}, 'torch_dtype = "int8": accepted: float32'),
        (None, {"name": "two words"}, "name = 'two words': accepted: 1 to 64"),
        (None, {"version": ""}, "version = ''"),
        (None, {"tokenizer": {"kind": "a b"}}, "tokenizer.kind = 'a b'"),
        (None, {"tokenizer": {"kind": "a", "file": "b"}}, r"tokenizer has \['file'\]"),
        (None, {"default_pooling": "rows"}, "default_pooling = 'rows': accepted: mean"),
        (None, {"max_tokens": 1 << 21}, "max_tokens = 2097152: accepted: 1 to max_pos"),
        (None, {"route": "fastest"}, "route = 'fastest': accepted: auto"),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path, change, options, problem):
    encoder = broken(change or (lambda e: None))
    with pytest.raises(ValueError, match=problem):
        save_for_serving(encoder, tmp_path / "m", **{"name": "m", **options})
    assert not list(tmp_path.iterdir())


def test_a_refused_model_leaves_the_old_one(tmp_path, monkeypatch):
    encoder = seeded_encoder("tiny_t5")
    save_for_serving(encoder, tmp_path / "m", name="old")
    before = {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()}

    def refuse(*_):
        raise ValueError("goldens refused")

    with monkeypatch.context() as patched:
        patched.setattr(goldens, "check", refuse)
        with pytest.raises(ValueError, match="goldens refused"):
            save_for_serving(encoder, tmp_path / "m", name="new")
    assert {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()} == before
    (tmp_path / "m" / "README.md").write_text("stays")
    encoder.redraw_features()
    save_for_serving(encoder, tmp_path / "m", name="new")
    after = {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()}
    assert after.pop("README.md") == b"stays"
    assert all(after[name] != before[name] for name in ("model.safetensors", "longwave.json"))
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_model_that_is_not_its_twin_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(twin.Twin, "final", lambda self, x: self.norm("final_norm", x) + 1e-3)
    with pytest.raises(RuntimeError, match="tolerances from its goldens"):
        save_for_serving(seeded_encoder("tiny_t5"), tmp_path / "m", name="m")
    assert not list(tmp_path.iterdir())


def test_only_encoders_are_saved(tmp_path):
    with pytest.raises(TypeError, match="not a Linear"):
        save_for_serving(torch.nn.Linear(2, 2), tmp_path / "m", name="m")


def test_wrong_folders_are_refused_with_all_problems(tmp_path):
    encoder = seeded_encoder("tiny_t5")
    tensors = bits(encoder)
    del tensors["final_norm.bias"]
    tensors["final_norm.weight"] = torch.ones(3)
    tensors["pooler.weight"] = torch.ones(3)
    (tmp_path / "config.json").write_text(encoder.config.to_json())
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError) as caught:
        load_for_training(tmp_path)
    assert str(caught.value).splitlines() == [
        "the tensors do not fit config.json:",
        "final_norm.bias [64] is missing",
        "final_norm.weight has shape [3]: expected [64]",
        "pooler.weight is not a tensor of this configuration",
    ]
    (tmp_path / "longwave.json").write_text(json.dumps({"weights_sha256": "0" * 64}))
    with pytest.raises(ValueError, match="SHA-256 is .* expects 0000"):
        load_for_training(tmp_path)


# --- trained here, served there -------------------------------------------------------------------


def trained_encoder():
    """A few steps of a contrastive objective, with features redrawn in between."""
    config = EncoderConfig.from_dict(small_models.config("tiny_clipped"))
    ngrams = NgramConfig((2, 3, 5), 509, 24)
    encoder = Encoder(dataclasses.replace(config, ngrams=ngrams, torch_dtype="float16"))
    optimizer = torch.optim.AdamW(encoder.parameters(), 1e-3)
    for step in range(6):
        ids = torch.randint(0, 256, (6, 120))
        if step == 3:
            encoder.redraw_features()
        a, b = encoder.encode(ids[:, :60]), encoder.encode(ids[:, 60:])
        loss = torch.nn.functional.cross_entropy(a @ b.T / 0.1, torch.arange(6))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return encoder


def program(variable):
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set: ctest sets it to the program of its build")
    return os.environ[variable]


class Server:
    """longwave-server with one model on a free port."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [
                program("LONGWAVE_SERVER"),
                f"--model={folder}",
                "--address=127.0.0.1:0",
                "--metrics_address=127.0.0.1:0",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "listening":
                self.port = event["port"]
            if event.get("event") == "serving":
                return self
        self.__exit__()
        raise AssertionError("the server does not serve:\n" + "".join(lines[-10:]))

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE)


def test_trained_exported_served(tmp_path):
    cli = program("LONGWAVE_CLI")
    encoder = trained_encoder()
    saved = save_for_serving(encoder, tmp_path / "model", name="trained")
    loaded = load_for_training(saved.folder).eval()
    documents = []
    for number, size in enumerate((1, 3, 200, 5000)):
        path = tmp_path / f"{number}.txt"
        path.write_bytes(bytes(97 + i % 26 for i in some_ids(size)))
        documents.append(path)
    with Server(saved.folder) as server:
        done = subprocess.run(
            [cli, "encode", f"--server=127.0.0.1:{server.port}", "--output",
             str(tmp_path / "rows.npy"), *map(str, documents)],
            capture_output=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    rows = np.load(tmp_path / "rows.npy")
    assert rows.shape == (len(documents), 64)
    for path, row in zip(documents, rows):
        ids = torch.tensor(list(pathlib.Path(path).read_bytes()))[None]
        with torch.no_grad():
            assert np.abs(loaded.encode(ids)[0].numpy() - row).max() < 1e-5
            # What was trained, before its weights were rounded to fp16, is near but not the same.
            assert np.abs(encoder.encode(ids)[0].numpy() - row).max() < 1e-2
