"""The twin against itself: its O(n) form against its O(n^2) form, and laws that both must keep."""

import math
import os
import pathlib
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "model" / "torch" / "src")]

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from longwave_torch.golden import (  # noqa: E402
    goldens,
    mixing,
    ngrams,
    relative_bias,
    rounding,
    safetensors_io,
    twin,
)

import init_weights  # noqa: E402
import make_model  # noqa: E402
import small_models  # noqa: E402

SEED = 11


def model_of(name):
    config = small_models.config(name)
    weights = init_weights.init_weights(config, SEED)
    return twin.Twin(config, {k: v.astype(np.float64) for k, v in weights.items()})


def some_ids(n):
    return np.random.RandomState(SEED).randint(0, 260, n)


def largest_difference(a, b):
    return max(np.abs(x - y).max() for x, y in zip(a, b))


LINEAR = [name for name in small_models.DIFFERENCES if name != "tiny_softmax"]


@pytest.mark.parametrize("name", LINEAR)
def test_linear_form_is_the_quadratic_form(name):
    model = model_of(name)
    for n in (1, 2, 127, 128, 129, 300):
        ids = some_ids(n)
        assert largest_difference(model.states(ids, "linear"), model.states(ids)) < 1e-12


@pytest.mark.parametrize("name", ["tiny_t5", "tiny_alibi", "tiny_causal", "tiny_trf"])
def test_linear_form_is_the_quadratic_form_at_four_thousand_tokens(name):
    model = model_of(name)
    ids = some_ids(4097)
    assert largest_difference(model.states(ids, "linear"), model.states(ids)) < 1e-12


def test_sampled_rows_are_rows_of_the_whole():
    for name in ("tiny_t5", "tiny_clipped"):
        model = model_of(name)
        ids = some_ids(1000)
        rows = [0, 3, 511, 512, 999]
        assert np.abs(model.rows(ids, rows) - model.states(ids)[-1][rows]).max() < 1e-12


def test_t5_buckets_of_the_published_example():
    buckets = relative_bias.t5_buckets(np.arange(-10, 10), 16, 8, causal=False)
    assert buckets.tolist() == [7, 7, 7, 7, 6, 5, 4, 3, 2, 1, 0, 9, 10, 11, 12, 13, 14, 15, 15, 15]


def test_t5_buckets_look_back_if_causal():
    buckets = relative_bias.t5_buckets(np.array([-9, -3, -1, 0, 1]), 8, 16, causal=True)
    assert buckets.tolist() == [6, 3, 1, 0, 0]


@pytest.mark.parametrize(
    "ids, buckets",
    [
        ([0, 0], [221, 6922, 15932170]),  # hashes to 0x412fa5aed1f31b0a
        ([0, 1], [280, 9681, 4203985]),
        ([1, 0], [276, 25267, 5006003]),
        ([97, 98, 99], [312, 18268, 7096156]),
        ([116, 104, 101, 32], [348, 21740, 6247660]),
        ([255, 254, 253, 252, 251, 250], [507, 3887, 14683951]),
        ([0] * 16, [46, 10170, 3450810]),
        ([16777215, 0, 259], [406, 19192, 4573944]),
    ],
)
def test_rows_of_some_ngrams(ids, buckets):
    """Worked out with unbounded integers; tests/unit/encoder/ngram_buckets_test.cc has the same."""
    for table, row in zip((509, 32768, 1 << 24), buckets):
        assert ngrams.buckets_of(ids, [len(ids)], table)[-1].tolist() == [row]
    assert ngrams.buckets_of(ids, [len(ids)], 1)[-1].tolist() == [0]


def test_a_sequence_begins_without_ngrams():
    ab, bc = (ngrams.buckets_of(pair, [2], 1 << 24)[1, 0] for pair in ([97, 98], [98, 99]))
    abc = ngrams.buckets_of([97, 98, 99], [3], 1 << 24)[2, 0]
    rows = ngrams.buckets_of([97, 98, 99], [2, 3], 1 << 24)
    assert rows.tolist() == [[-1, -1], [ab, -1], [bc, abc]]
    assert ngrams.buckets_of([97], [2, 3], 1 << 24).tolist() == [[-1, -1]]


def test_ngrams_add_their_projected_sum():
    model = model_of("tiny_ngram")
    ids = some_ids(40)
    sizes, buckets = model.config["ngrams"]["sizes"], model.config["ngrams"]["buckets"]
    rows = ngrams.buckets_of(ids, sizes, buckets)
    added = model.ngrams(ids)
    table, projection = (
        model.weights[f"embeddings.{name}.weight"] for name in ("ngram", "ngram_projection")
    )
    assert (added[0] == 0).all()  # a single id is no n-gram
    for i in (1, 3, 4, 39):
        expected = sum(projection @ table[row] for row in rows[i] if row >= 0)
        assert np.abs(added[i] - expected).max() < 1e-13


def test_erf():
    x = np.concatenate([np.linspace(-7, 7, 20001), [0.0, -0.0, 100.0, -100.0]])
    assert np.abs(twin.erf(x) - np.vectorize(math.erf)(x)).max() < 1e-15


def test_causal_rows_do_not_see_later_tokens():
    model = model_of("tiny_causal")
    ids = some_ids(400)
    whole = model.states(ids, "linear")
    prefix = model.states(ids[:150], "linear")
    assert largest_difference([s[:150] for s in whole], prefix) < 1e-12


def test_alibi_sides_decay_exactly_over_many_blocks():
    random = np.random.RandomState(SEED)
    n = 5 * mixing.BLOCK + 17
    phi_q, phi_k = random.random_sample((2, n, 3))
    values = random.standard_normal((n, 2))
    bias = relative_bias.HeadBias(np.zeros(1), slope=0.01)
    expected = mixing.quadratic(phi_q, phi_k, values, bias, np.arange(n))
    assert np.abs(mixing.linear(phi_q, phi_k, values, bias) - expected).max() < 1e-11


def test_many_features_come_to_softmax():
    """Eq. 5 estimates exp(q . k): an independent check that the features are the paper's."""
    config = small_models.config("tiny_t5")
    config["attention"]["features"]["num_features"] = 20000
    weights = init_weights.init_weights(config, SEED)
    weights = {k: v.astype(np.float64) for k, v in weights.items()}
    estimate = twin.Twin(config, weights).states(some_ids(20))[-1]
    config["attention"]["features"] = {"kind": "softmax"}
    exact = twin.Twin(config, weights).states(some_ids(20))[-1]
    assert np.abs(estimate - exact).mean() < 1e-2  # one pair is off by 2 % at 20000 features


def test_projections_have_orthogonal_rows():
    projections = init_weights.init_weights(small_models.config("tiny_t5"), SEED)
    for head in projections["layers.0.attention.projection"].astype(np.float64):
        gram = head @ head.T
        assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-4
    sphere = init_weights.init_weights(small_models.config("tiny_sphere"), SEED)
    lengths = np.linalg.norm(sphere["layers.0.attention.projection"], axis=2)
    assert np.abs(lengths - np.sqrt(32)).max() < 1e-5


@pytest.mark.parametrize("dtype, unit", [("float32", 0), ("float16", 2**-11), ("bfloat16", 2**-8)])
def test_safetensors_come_back(tmp_path, dtype, unit):
    random = np.random.RandomState(SEED)
    tensors = {"b": random.standard_normal((2, 300)).astype(np.float32), "a": np.float32([[1.5]])}
    safetensors_io.write(tmp_path / "x", tensors, dtype, {"format": "pt"})
    back = safetensors_io.read(tmp_path / "x")
    assert sorted(back) == ["a", "b"]
    for name, values in tensors.items():
        assert (np.abs(back[name] - values) <= unit * np.abs(values)).all()
    assert back["a"] == 1.5


@pytest.mark.parametrize("name, layer", [("tiny_t5", 1), ("tiny_ngram", 0), ("tiny_ngram", 2)])
def test_tolerance_covers_an_fp32_evaluation(name, layer):
    """The same model with every array in fp32 stays within a half of the tolerance, and the
    tolerance is no wider than a hundred times that error."""
    model = model_of(name)
    ids = some_ids(300)
    output = {"pooling": "rows", "layers": [layer]}
    exact = goldens.evaluate(model, ids, output, slice(None))
    tolerance = rounding.tolerance(
        lambda r: goldens.evaluate(model, ids, output, slice(None), "quadratic", r)
    )
    single = SinglePrecision(model)
    error = np.abs(twin.output_rows(single.states(ids), output) - exact).max()
    assert error < tolerance / 2
    assert tolerance < 100 * error


class SinglePrecision(twin.Twin):
    """Rounds to fp32 after each operation, and multiplies matrices in fp32."""

    def __init__(self, model):
        weights = {k: v.astype(np.float32) for k, v in model.weights.items()}
        super().__init__(model.config, weights)

    def _mix(self, form, queries, keys, values, bias, rows):
        parts = (x.astype(np.float32) for x in (queries, keys, values))
        return super()._mix(form, *parts, bias, rows).astype(np.float32)


def _rounded(name):
    method = getattr(twin.Twin, name)
    return lambda self, *args: method(self, *args).astype(np.float32)


for _name in ("embed", "ngrams", "norm", "linear", "feed_forward", "unit", "features"):
    setattr(SinglePrecision, _name, _rounded(_name))


def test_goldens_that_miss_a_tensor_are_refused():
    model = model_of("tiny_t5")
    vectors = goldens.make(model, SEED)
    assert goldens.check(model, vectors, SEED)[1] >= goldens.NOTICED
    for golden in vectors:
        golden["tolerance"] *= 1000
    with pytest.raises(ValueError, match="goldens refused"):
        goldens.check(model, vectors, SEED)


def test_tensors_near_zero_are_noticed_at_their_usual_size():
    model = model_of("tiny_t5")
    name = "layers.0.attention.query.bias"
    model.weights[name] = 1e-6 * model.weights[name]
    vectors = goldens.make(model, SEED)
    assert goldens.deviations(model, vectors, SEED, [name])[name] < goldens.NOTICED
    assert goldens.check(model, vectors, SEED)[1] >= goldens.NOTICED


def test_what_cannot_matter_does_not():
    model = model_of("tiny_softmax")
    ids, output, rows = goldens.inputs(model.config, SEED)[1]
    before = goldens.evaluate(model, ids, output, rows)
    names = goldens.cannot_matter(model.config)
    assert names == {"layers.0.attention.key.bias", "layers.1.attention.key.bias"}
    for name in names:
        model.weights[name] = model.weights[name] + 1
    assert np.abs(goldens.evaluate(model, ids, output, rows) - before).max() < 1e-12


def test_a_model_is_made_the_same_twice(tmp_path):
    import json

    text = json.dumps(small_models.config("tiny_t5"))
    for folder in ("a", "b"):
        make_model.make_model(text, tmp_path / folder, SEED, "tiny_t5")
    for name in ("config.json", "model.safetensors", "longwave.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
