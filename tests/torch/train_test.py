"""The trainer: recipes, batches, losses, resumption, data-parallel processes, export."""

import json
import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch

import corpus_test
from longwave_torch import Encoder, EncoderConfig
from longwave_torch.corpus import store
from longwave_torch.train import batches as batch_maker
from longwave_torch.train import objectives, recipe, trainer
from longwave_torch.train.__main__ import main

CONFIG = {
    "model_type": "longwave-nprf",
    "architectures": ["LongwaveNprfModel"],
    "torch_dtype": "float32",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 8,
    "intermediate_size": 32,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "vocab_size": 260,
    "max_position_embeddings": 4096,
    "norm_position": "pre",
    "use_bias": True,
    "embedding_norm": False,
    "positions": {"kind": "none"},
    "ngrams": {"sizes": [3, 5], "buckets": 512, "dim": 8},
    "attention": {
        "features": {"kind": "prf", "num_features": 8, "seed": 1},
        "qk_norm": True,
        "scale": 1.0,
        "causal": False,
        "bias": {"kind": "t5", "shared_layers": True, "num_buckets": 8, "max_distance": 16},
    },
}

RECIPE = """
name = "tiny"
seed = 5
checkpoint_every = 3

[[phases]]
name = "first"
steps = 4
layers = 0
lr = 1e-2
warmup = 2
lengths = [100]
shares = [1]
batch_bytes = 800
[phases.objectives]
distill = 1.0
rank = 0.5
negatives = 8

[[phases]]
name = "second"
steps = 5
lr = 3e-3
warmup = 2
lengths = [64, 200]
shares = [1, 1]
batch_bytes = 800
teacher_share = 0.5
redraw_every = 2
[phases.objectives]
distill = 1.0
contrastive = 0.5
masked = 0.1
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    corpus = corpus_test.make_corpus(folder / "corpus")
    return corpus, corpus_test.make_targets(corpus, folder / "targets")


def make_trainer(data, folder, text=RECIPE, **options):
    corpus, targets = data
    its_recipe = recipe.parse(text)
    config = EncoderConfig.from_dict(CONFIG)
    encoder = Encoder(
        config, residual_scale=0.0, generator=torch.Generator().manual_seed(its_recipe.seed)
    )
    maker = batch_maker.Batches(corpus, targets, config, its_recipe.seed)
    return trainer.Trainer(encoder, its_recipe, maker, folder, **options)


def weights_of(its_trainer):
    return {k: v.clone() for k, v in its_trainer.encoder.state_dict().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different


# --- recipes --------------------------------------------------------------------------------------


def test_a_recipe_lists_every_problem():
    text = RECIPE.replace('name = "tiny"', "nme = 1").replace("lr = 1e-2", "lr = 0")
    text = text.replace("shares = [1, 1]", "shares = [1]")
    with pytest.raises(recipe.RecipeError) as error:
        recipe.parse(text)
    problems = str(error.value).split("\n")
    assert [p.split(":")[0] for p in problems] == ["phases[0].lr", "phases[1].shares", "nme", "name"]


def test_overrides_reach_into_phases(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    changed = recipe.read(path, ["seed=9", "phases.1.steps=2", "phases.0.objectives.rank=0"])
    assert (changed.seed, changed.phases[1].steps, changed.phases[0].objectives.rank) == (9, 2, 0)
    assert changed.phases[0].lengths == (100,)
    assert changed.digest_of(6) != recipe.read(path).digest_of(6)
    with pytest.raises(recipe.RecipeError, match="phases.7.steps: there is no 7"):
        recipe.read(path, ["phases.7.steps=1"])


def test_steps_belong_to_phases():
    its = recipe.parse(RECIPE)
    assert [its.place(s) for s in (0, 3, 4, 8, 9)] == [(0, 0), (0, 3), (1, 0), (1, 4), (2, 0)]


def test_learning_rate_warms_up_and_falls():
    phase = recipe.parse(RECIPE).phases[1]
    rates = [trainer.learning_rate(phase, s) for s in range(phase.steps + 1)]
    assert rates[:3] == pytest.approx([phase.lr / 2, phase.lr, phase.lr])
    assert all(a > b for a, b in zip(rates[2:], rates[3:]))
    assert rates[-1] == pytest.approx(phase.lr * phase.lr_end)


# --- batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("teacher_share", [0.0, 1.0])
@pytest.mark.parametrize("length", [64, 300, 900, 4000])
def test_pairs_are_two_parts_of_one_training_document(data, length, teacher_share):
    corpus, targets = data
    maker = batch_maker.Batches(corpus, targets, EncoderConfig.from_dict(CONFIG), 1)
    phase = recipe.parse(RECIPE).phases[1]
    phase = trainer.dataclasses.replace(
        phase, lengths=(length,), shares=(1,), teacher_share=teacher_share, batch_bytes=8 * length
    )
    training = [corpus.bytes_of(e).tobytes() for e in corpus.split(False)]
    batch = maker.make(phase, 3)
    pairs = len(batch.ids) // 2
    assert pairs == 4 and bool(batch.has_target.all()) == (teacher_share == 1)
    for p in range(pairs):
        first, second = (
            bytes(batch.ids[r, : batch.lengths[r]].tolist()) for r in (p, pairs + p)
        )
        holding = [document for document in training if first in document and second in document]
        assert holding and first != second
        assert max(len(first), len(second)) <= 2 * length
        begin = holding[0].find(first)
        assert holding[0].find(second, begin + len(first)) >= begin + len(first)


def test_a_batch_is_a_function_of_seed_step_and_process(data):
    corpus, targets = data
    phase = recipe.parse(RECIPE).phases[1]

    def make(seed, step, rank):
        maker = batch_maker.Batches(corpus, targets, EncoderConfig.from_dict(CONFIG), seed)
        return maker.make(phase, step, rank).ids

    same = make(1, 2, 0)
    assert torch.equal(same, make(1, 2, 0))
    for other in ((2, 2, 0), (1, 3, 0), (1, 2, 1)):
        different = make(*other)
        assert different.shape != same.shape or not torch.equal(different, same)


def test_the_target_of_a_part_is_the_mean_of_its_spans(data):
    corpus, targets = data
    maker = batch_maker.Batches(corpus, targets, EncoderConfig.from_dict(CONFIG), 1)
    chain = int(np.argmax(np.diff(targets.first)))
    begin = int(targets.first[chain])
    span, target = maker._taught(chain, begin, begin + 2, 10**6)
    assert len(span) == targets.spans[begin + 1, 1] - targets.spans[begin, 0]
    assert target == pytest.approx(targets.mean(begin, begin + 2))


def test_neighbours_are_of_one_package(tmp_path):
    made = [
        store.Document(f"p{i % 4}", f"s{i % 4}", "net", f"doc/{i}", "", f"w{i:02d} " * 400)
        for i in range(40)
    ]
    corpus = store.write(tmp_path, made, {})
    phase = recipe.parse(RECIPE).phases[1]
    maker = batch_maker.Batches(corpus, None, EncoderConfig.from_dict(CONFIG), 1)
    packages = {e.package for e in corpus.split(False)}
    assert len(packages) > 1

    def changes(share):
        phase_of = trainer.dataclasses.replace(
            phase, lengths=(64,), shares=(1,), batch_bytes=20_000, neighbours=share
        )
        ids = maker.make(phase_of, 0).ids
        numbers = [int(bytes(row.tolist()).split(b"w")[2][:2]) % 4 for row in ids[: len(ids) // 2]]
        return sum(a != b for a, b in zip(numbers, numbers[1:])) / len(numbers)

    assert changes(0.95) < 0.15 < 0.5 < changes(0.0)


# --- losses ---------------------------------------------------------------------------------------


def unit(rows):
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float64), dim=1)


def test_distillation_counts_only_spans_with_a_target():
    rows = unit([[1, 0], [1, 1], [0, 1]])
    targets = unit([[1, 0], [1, 0], [1, 0]])
    known = torch.tensor([True, True, False])
    assert objectives.distill(rows, targets, known).item() == pytest.approx((1 - 0.5**0.5) / 2)
    assert objectives.distill(rows, targets, ~known & False).item() == 0


def test_rank_loss_is_the_cross_entropy_written_out():
    random = torch.Generator().manual_seed(1)
    rows, targets, negatives = (
        torch.nn.functional.normalize(
            torch.randn(n, 6, generator=random, dtype=torch.float64), dim=1
        )
        for n in (4, 4, 5)
    )
    targets[3] = targets[2]  # one text twice: no negative of itself
    known = torch.tensor([True, False, True, True])
    expected = []
    for i in (0, 2, 3):
        others = [targets[j] for j in (0, 2, 3) if j == i or {i, j} != {2, 3}] + list(negatives)
        scores = [math.exp(float(rows[i] @ t) / 0.1) for t in others]
        expected.append(-math.log(math.exp(float(rows[i] @ targets[i]) / 0.1) / sum(scores)))
    loss = objectives.rank_loss(rows, targets, known, negatives, 0.1)
    assert loss.item() == pytest.approx(sum(expected) / 3, rel=1e-9)


def test_spans_are_computed_in_groups_of_like_lengths(data):
    corpus, targets = data
    config = EncoderConfig.from_dict(CONFIG)
    phase = recipe.parse(RECIPE).phases[1]
    phase = trainer.dataclasses.replace(phase, lengths=(300,), shares=(1,), batch_bytes=5000)
    batch = batch_maker.Batches(corpus, targets, config, 1).make(phase, 3)
    encoder = Encoder(config, generator=torch.Generator().manual_seed(2))
    padded = []
    encoder.register_forward_pre_hook(lambda _, arguments: padded.append(arguments[0].numel()))
    found = objectives.Objective(encoder, phase, 1)._pooled(batch)
    assert len(padded) == 4 and sum(padded) < 0.9 * batch.ids.numel()
    expected = encoder.encode(batch.ids, batch.lengths, normalize=False)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_contrastive_loss_prefers_the_other_half():
    good = unit([[1, 0], [0, 1], [1, 0.1], [0.1, 1]])
    bad = good[[0, 1, 3, 2]]
    assert objectives.contrastive(good, 0.05) < 1e-6 < objectives.contrastive(bad, 0.05)


# --- the loop -------------------------------------------------------------------------------------


def test_training_lowers_the_loss(data, tmp_path):
    text = RECIPE.replace("steps = 4", "steps = 80").replace("masked = 0.1", "masked = 0.0")
    text = text.replace("batch_bytes = 800", "batch_bytes = 3200").replace("rank = 0.5", "rank = 0.1")
    make_trainer(data, tmp_path, text.replace("steps = 5", "steps = 40")).run()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, 121))
    losses = [line["distill"] for line in log]
    assert np.mean(losses[60:80]) < 0.85 * np.mean(losses[:5])
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:5])


def test_in_bfloat16_losses_are_off_by_its_rounding(data, tmp_path):
    values = []
    for folder, more in (("single", ""), ("half", "bfloat16 = true\n")):
        run = make_trainer(data, tmp_path / folder, more + RECIPE)
        run.run(max_steps=5)
        assert {p.dtype for p in run.encoder.parameters()} == {torch.float32}
        log = [json.loads(line) for line in (tmp_path / folder / "log.jsonl").open()]
        values.append([[line[k] for k in ("distill", "norm")] for line in log])
    single, half = map(np.array, values)
    # An embedding passes at most a dozen roundings of 2^-9; steps move weights apart by as much.
    assert 0 < np.abs(half / single - 1).max() < 12 * 2**-9


def test_a_phase_without_layers_leaves_them_alone(data, tmp_path):
    run = make_trainer(data, tmp_path)
    before = weights_of(run)
    run.run(max_steps=4)
    changed = {n for n, w in run.encoder.state_dict().items() if not torch.equal(w, before[n])}
    assert "embeddings.ngram.weight" in changed and "final_norm.weight" in changed
    assert not any(name.startswith("layers.") or name == "attention_bias" for name in changed)


def test_features_are_redrawn_every_so_many_steps(data, tmp_path):
    run = make_trainer(data, tmp_path)
    drawn = []
    for _ in range(9):
        run.run(max_steps=1)
        drawn.append(run.encoder.layers[0].attention.projection.clone())
    redrawn = [i for i in range(1, 9) if not torch.equal(drawn[i], drawn[i - 1])]
    assert redrawn == [6, 8]  # the second phase's steps 2 and 4


@pytest.mark.parametrize("stop", [2, 4, 6])
def test_a_run_that_was_stopped_ends_with_the_same_weights(data, tmp_path, stop):
    whole = make_trainer(data, tmp_path / "whole")
    whole.run()
    first = make_trainer(data, tmp_path / "parts")
    first.run(max_steps=stop)
    second = make_trainer(data, tmp_path / "parts")
    assert second.step == stop
    second.run()
    assert second.step == whole.step == 9
    assert_same(weights_of(whole), weights_of(second))


def test_old_checkpoints_go_and_a_broken_write_leaves_the_last_one(data, tmp_path):
    run = make_trainer(data, tmp_path, RECIPE.replace("checkpoint_every = 3", "checkpoint_every = 1"))
    run.run(max_steps=5)
    folder = tmp_path / "checkpoints"
    assert sorted(p.name for p in folder.glob("*.pt")) == ["00000004.pt", "00000005.pt"]
    (folder / "writing.tmp").write_bytes(b"cut short")
    again = make_trainer(data, tmp_path, RECIPE.replace("checkpoint_every = 3", "checkpoint_every = 1"))
    assert again.step == 5


def test_another_recipe_is_refused_in_the_same_folder(data, tmp_path):
    make_trainer(data, tmp_path).run(max_steps=1)
    with pytest.raises(ValueError, match="was begun with another recipe"):
        make_trainer(data, tmp_path, RECIPE.replace("seed = 5", "seed = 6"))


def test_phases_that_have_not_begun_may_be_changed(data, tmp_path):
    make_trainer(data, tmp_path).run(max_steps=4)
    later = RECIPE.replace("steps = 5", "steps = 2")
    again = make_trainer(data, tmp_path, later)
    assert again.step == 4
    again.run()
    assert again.step == 6
    with pytest.raises(ValueError, match="change only phases that have not begun"):
        make_trainer(data, tmp_path)


def test_time_ends_a_run_with_a_checkpoint(data, tmp_path):
    ticks = iter(range(100))
    run = make_trainer(data, tmp_path)
    run.run(end_time=8, clock=lambda: next(ticks))
    # Three looks at the clock a step: the end is passed at the look before the fourth.
    assert run.step == 3
    assert (tmp_path / "checkpoints" / "00000003.pt").exists()


def test_a_gradient_that_is_not_finite_ends_the_run(data, tmp_path):
    run = make_trainer(data, tmp_path)
    with torch.no_grad():
        run.encoder.final_norm.weight[0] = float("nan")
    with pytest.raises(FloatingPointError, match="step 0: the gradient is not finite"):
        run.run()
    assert not list(tmp_path.glob("checkpoints/*.pt"))


# --- processes ------------------------------------------------------------------------------------

WORKER = """
import pathlib, sys, torch
sys.path[:0] = {paths!r}
import train_test, corpus_test
from longwave_torch import targets
from longwave_torch.corpus import store
from longwave_torch.train import trainer
torch.set_num_threads(1)
folder = pathlib.Path({folder!r})
data = store.Corpus(folder / "corpus"), targets.Targets(folder / "targets")
with trainer.process_group("cpu") as process:
    run = train_test.make_trainer(data, folder / "run", train_test.ONE_PHASE, process=process)
    run.run()
    torch.save(train_test.weights_of(run), folder / f"weights{{process.rank}}.pt")
"""

ONE_PHASE = RECIPE.split("[[phases]]\nname = \"second\"")[0].replace("rank = 0.5", "rank = 0.0")


def test_two_processes_train_as_one_with_both_batches(tmp_path):
    corpus = corpus_test.make_corpus(tmp_path / "corpus")
    targets = corpus_test.make_targets(corpus, tmp_path / "targets")
    here = pathlib.Path(__file__).resolve().parent
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(
        paths=[str(here), str(here.parents[1] / "model" / "torch" / "src")], folder=str(tmp_path)
    ))  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "--log-dir", str(tmp_path / "logs"), str(script)],
        check=True, timeout=240, capture_output=True,
    )  # fmt: skip
    ranks = [torch.load(tmp_path / f"weights{r}.pt", weights_only=True) for r in (0, 1)]
    assert_same(*ranks)

    alone = make_trainer((corpus, targets), tmp_path / "alone", ONE_PHASE)
    phase = alone.recipe.phases[0]
    alone._begin_phase(0)
    for step in range(phase.steps):
        alone._optimizer.zero_grad()
        for rank in (0, 1):
            batch = alone.batches.make(phase, step, rank)
            (alone._objective(batch, step, rank)[0] / 2).backward()
        for group in alone._optimizer.param_groups:
            group["lr"] = trainer.learning_rate(phase, step) * group["factor"]
        torch.nn.utils.clip_grad_norm_(
            [p for g in alone._optimizer.param_groups for p in g["params"]], alone.recipe.clip
        )
        alone._optimizer.step()
    for name, expected in weights_of(alone).items():
        # Sums in another order, through AdamW's division: a share of one step of the learning rate.
        difference = (ranks[0][name] - expected).abs().max().item()
        assert difference < 0.02 * phase.lr, name


# --- the program ----------------------------------------------------------------------------------


def test_the_program_trains_and_writes_a_folder(tmp_path, capsys):
    corpus = corpus_test.make_corpus(tmp_path / "corpus")
    corpus_test.make_targets(corpus, tmp_path / "targets")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    arguments = [
        "--config", str(tmp_path / "config.json"), "--recipe", str(tmp_path / "recipe.toml"),
        "--corpus", str(tmp_path / "corpus"), "--out", str(tmp_path / "run"), "--device", "cpu",
    ]  # fmt: skip
    assert main(arguments) == 2
    assert "--targets is needed" in capsys.readouterr().err
    arguments += ["--targets", str(tmp_path / "targets"), "--name", "tiny"]
    assert main(arguments) == 0
    serving = json.loads((tmp_path / "run" / "model" / "longwave.json").read_text())
    assert serving["name"] == "tiny" and "p0 (MIT)" in serving["provenance"]
    assert json.loads((tmp_path / "run" / "model" / "config.json").read_text())["torch_dtype"] == (
        "float16"
    )
    assert list((tmp_path / "run" / "tensorboard").iterdir())
