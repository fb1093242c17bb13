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
from longwave_torch.train import batches as batch_maker
from longwave_torch.train import objectives, recipe, trainer
from longwave_torch.train.__main__ import main
from small_training import CONFIG, RECIPE, assert_same, data, make_trainer, weights_of  # noqa: F401

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
