"""tests/bench/stability in a reduced form: its tasks, its recipe, what it says of its results."""

import dataclasses
import json
import math
import sys

import pytest
import torch
from conftest import ROOT

from longwave_torch import Encoder

sys.path.insert(0, str(ROOT / "tests" / "bench"))

from stability import conversion, error_curves, report, runs, tasks, training  # noqa: E402
from stability.variants import COMPARED, VARIANTS, Recipe, encoder_config  # noqa: E402

FOLDER = ROOT / "tests" / "bench" / "stability"
TINY = Recipe(n=24, layers=1, hidden=16, intermediate=16, heads=2, features=8, batch=2, steps=3)
# Shift-copy that is learned in seconds.
SMALL = Recipe(
    vocabulary=16, n=32, layers=1, hidden=32, intermediate=32, heads=2, features=16, rate=1e-2,
    warm_up=20, steps=200, redraw_every=50,
)  # fmt: skip


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- tasks ---------------------------------------------------------------------------------------


def test_shift_copy_asks_for_the_token_three_before():
    ids, labels = tasks.shift_copy(Recipe(), generator())
    assert ids.shape == labels.shape == (16, 96)
    for row, wanted in zip(ids.tolist(), labels.tolist()):
        assert wanted == [tasks.UNASKED] * 3 + row[:-3]
    assert set(ids.flatten().tolist()) == set(range(32))


def test_recall_asks_every_lone_key_for_the_value_that_the_sequence_binds_it_to():
    ids, labels = tasks.recall(Recipe(), generator())
    assert ids.shape == labels.shape == (16, 96)
    first_places = set()
    for row, wanted in zip(ids.tolist(), labels.tolist()):
        pairs = [divmod(token - tasks.KEYS, 3) for token in row if token >= tasks.KEYS]
        values = dict(pairs)
        assert len(pairs) == len(values) == tasks.KEYS  # every key once
        for token, label in zip(row, wanted):
            assert label == (tasks.UNASKED if token >= tasks.KEYS else values[token])
        first_places.add(next(at for at, token in enumerate(row) if token >= tasks.KEYS))
    assert len(first_places) > 4  # position says nothing of where values are


@pytest.mark.parametrize("task", tasks.TASKS)
def test_sequences_are_new_at_every_step_and_the_same_for_a_seed(task):
    first, second = generator(7), generator(7)
    draws = [tasks.TASKS[task](TINY, g)[0] for g in (first, first, second)]
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])


# --- recipe --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_what_their_names_say(name):
    config = encoder_config(VARIANTS[name], Recipe())
    attention = config.attention
    assert attention.features.kind == ("softmax" if "softmax" in name else "prf")
    assert attention.qk_norm == name.startswith("n")
    if name.endswith("_rpe"):
        assert (attention.bias.kind, attention.bias.table_length) == ("table", 96)
        assert config.positions.kind == "none"
    else:
        assert (attention.bias.kind, config.positions.kind) == ("none", "learned")


def test_rate_rises_over_the_warm_up_and_stays():
    rates = [training.rate_at(step, Recipe()) for step in (0, 29, 59, 60, 599)]
    assert rates == pytest.approx([3e-3 / 60, 1.5e-3, 3e-3, 3e-3, 3e-3])


def test_initialisation_scales_q_and_k_alone():
    config = encoder_config(VARIANTS["prf_rpe"], TINY)
    plain, scaled = (training.Model(config, TINY, scale).state_dict() for scale in (1.0, 4.0))
    for name, tensor in plain.items():
        factor = 4.0 if name.endswith(("query.weight", "key.weight")) else 1.0
        assert torch.equal(scaled[name], factor * tensor), name


@pytest.mark.parametrize("name", ["prf_rpe", "nprf_rpe", "softmax_rpe", "nsoftmax_rpe"])
def test_gradient_reaches_the_bias_at_every_offset(name):
    model = training.Model(encoder_config(VARIANTS[name], TINY), TINY)
    loss, _ = training.answers(model, *tasks.shift_copy(TINY, generator()))
    loss.backward()
    gradient = model.encoder.attention_bias.grad
    assert gradient.shape == (2, 2 * 24 - 1)
    # Offset j - i > n - 4 is met by the first three rows alone, which are not asked.
    assert (gradient[:, :-3] != 0).all()
    assert (gradient[:, -3:] == 0).all()


def test_positions_at_which_nothing_is_asked_do_not_count():
    model = training.Model(encoder_config(VARIANTS["nprf_rpe"], TINY), TINY)
    ids, labels = tasks.shift_copy(TINY, generator())
    with torch.no_grad():
        loss, right = training.answers(model, ids, labels)
        logits = model(ids)[:, 3:].flatten(0, 1)
    wanted = ids[:, :-3].flatten()
    assert loss.item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, wanted).item(), rel=1e-6
    )
    assert right == pytest.approx((logits.argmax(1) == wanted).float().mean().item())


def test_features_are_redrawn_at_the_first_step_and_then_every_so_many(monkeypatch):
    recipe = dataclasses.replace(TINY, steps=9, redraw_every=4)
    steps, drawn = [], []
    redraw = Encoder.redraw_features

    def recorded(encoder, directions):
        redraw(encoder, directions)
        drawn.append((len(steps), encoder.layers[0].attention.projection.clone()))

    monkeypatch.setattr(Encoder, "redraw_features", recorded)
    training.train(training.Run("shift", "nprf_rpe", 1.0, 0), recipe, lambda: steps.append(1))
    assert [step for step, _ in drawn] == [0, 4, 8]
    assert not torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[1][1], drawn[2][1])


def test_a_run_repeats_to_the_bit():
    run = training.Run("recall", "nprf_rpe", 1.0, 3)
    histories = [training.train(run, TINY)[1] for _ in range(2)]
    assert histories[0] == histories[1]


def test_a_run_that_is_no_longer_finite_ends_and_counts_as_wrong():
    run = training.Run("shift", "prf_abs", math.inf, 0)
    _, history = training.train(run, TINY)
    summary = history.summary(TINY.steps)
    assert (summary["finite"], summary["accuracy"], summary["last_loss"]) == (False, 0.0, None)


def test_accuracy_is_of_the_last_fifty_steps():
    history = training.History(accuracy=[0.0] * 50 + [0.5] * 40 + [1.0] * 10)
    summary = history.summary(100)
    assert summary["accuracy"] == 0.6
    assert len(summary["curve"]) == 12
    assert training.History(accuracy=[1.0] * 75).summary(100)["accuracy"] == 0.5


def test_nprf_with_bias_learns_in_a_few_steps_what_prf_without_does_not():
    ours, plain = (
        training.train(training.Run("shift", name, 1.0, 0), SMALL)[1].summary(SMALL.steps)
        for name in ("nprf_rpe", "prf_abs")
    )
    assert ours["accuracy"] >= 0.99
    assert plain["accuracy"] < 0.9


# --- conversion and error curves -----------------------------------------------------------------


def test_conversion_keeps_the_weights_and_comes_closer_with_more_features():
    recipe = dataclasses.replace(TINY, hidden=32)
    name = "nsoftmax_rpe"
    model = training.Model(encoder_config(VARIANTS[name], recipe), recipe, seed=2)
    ids, _ = tasks.shift_copy(recipe, generator())
    errors = []
    with torch.no_grad():
        exact = model(ids)
        for features in (16, 512):
            other = conversion.converted(model, name, recipe, features, seed=0)
            for key, tensor in model.state_dict().items():
                assert torch.equal(other.state_dict()[key], tensor)
            assert other.encoder.layers[0].attention.projection.shape[1] == features
            errors.append((other(ids) - exact).norm() / exact.norm())
    # The error of a mean of m terms falls with 1 / sqrt(m): by 5.7 here, of which we ask a half.
    assert errors[1] < errors[0] / 2.8


def test_conversion_refuses_weights_of_another_shape():
    model = training.Model(encoder_config(VARIANTS["softmax_rpe"], TINY), TINY)
    with pytest.raises(ValueError, match="weights do not fit"):
        conversion.converted(model, "softmax_abs", TINY, 16, seed=0)


def test_error_curves_are_the_expected_ones():
    draws = 8
    means = {}
    for radius in error_curves.RADII:
        for count, expected in zip(error_curves.FEATURES, error_curves.EXPECTED[radius]):
            mean, error = error_curves.cell(radius, count, draws=draws)
            allowed = error_curves.tolerance(error, expected, draws)
            assert abs(mean - expected) <= allowed, (radius, count, mean, expected, allowed)
            means[radius, count] = mean
    assert -0.6 <= error_curves.slope([means[1, m] for m in error_curves.FEATURES]) <= -0.3
    for count in error_curves.FEATURES:  # the longer q and k, the further
        column = [means[radius, count] for radius in error_curves.RADII]
        assert column == sorted(column)


# --- results -------------------------------------------------------------------------------------


def result_of(task, variant, scale, seed, accuracy, recipe=TINY):
    run = training.Run(task, variant, scale, seed)
    return {
        "run": run.name,
        **dataclasses.asdict(run),
        "accuracy": accuracy,
        "curve": [],
        "max_gradient_norm": 1.0,
        "finite": True,
        "recipe": dataclasses.asdict(recipe),
    }


def test_finished_runs_are_not_run_again_and_a_line_cut_off_is(tmp_path):
    path = tmp_path / "results.jsonl"
    done = result_of("shift", "nprf_rpe", 1.0, 0, 0.125)
    other_recipe = result_of("shift", "nprf_rpe", 4.0, 0, 0.25, dataclasses.replace(TINY, steps=2))
    path.write_text(f"{json.dumps(done)}\n{json.dumps(other_recipe)}\n" + '{"run": "shift/nprf_rp')
    patterns = ["shift/nprf_rpe/*/0"]
    runs.run_all(path, [0], TINY, patterns, processes=1)

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["run"] for line in lines] == [done["run"], *["shift/nprf_rpe/x4/0"] * 2]
    assert lines[0] == done  # 0.125 is what no run has measured
    assert lines[2]["recipe"] == dataclasses.asdict(TINY)
    assert [r["accuracy"] for r in runs.of_recipe(lines, TINY)] == [0.125, lines[2]["accuracy"]]
    assert runs.missing(lines, [0], TINY, patterns) == []


def test_the_plan_has_every_variant_at_both_initialisations_for_every_seed():
    names = {run.name for run in runs.planned([0, 1, 2])}
    for task in ("shift", "recall"):
        for variant in COMPARED:
            for scale in (1, 4):
                for seed in (0, 1, 2):
                    assert f"{task}/{variant}/x{scale}/{seed}" in names


@pytest.mark.parametrize(
    "ours, plain, holds",
    [(0.995, 0.5, (True, True)), (0.985, 0.5, (False, True)), (0.995, 0.992, (True, False))],
)
def test_what_is_required_is_of_the_worst_seed(ours, plain, holds):
    results = [result_of("shift", "nprf_rpe", scale, 0, 1.0) for scale in (1.0, 4.0)]
    results += [result_of("shift", "nprf_rpe", 4.0, 1, ours)]
    results += [result_of("shift", "prf_abs", 1.0, 0, plain)]
    results += [result_of("shift", "prf_abs", 4.0, 0, 0.1)]
    assert tuple(found[1] for found in report.required(results)) == holds


def test_the_page_has_the_tables_of_the_results_beside_it():
    results = runs.of_recipe(runs.read(FOLDER / "results.jsonl"), Recipe())
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    measured = page.partition(report.MARKS[0])[2].partition(report.MARKS[1])[0]
    assert measured.strip() == report.text(results)


def test_the_results_show_what_is_required():
    results = runs.of_recipe(runs.read(FOLDER / "results.jsonl"), Recipe())
    left = runs.missing(results, [0, 1, 2], Recipe())
    if left:
        pytest.skip(f"{len(left)} runs are not in results.jsonl yet, {left[0]} among them")
    assert [found for found in report.required(results) if not found[1]] == []
