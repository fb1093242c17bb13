"""config.json: what comes back, and what is refused, as model/weights/model_config.cc does."""

import copy
import dataclasses
import json

import pytest
import small_models
from conftest import ROOT

from longwave_torch.config import BiasConfig, EncoderConfig, NgramConfig
from longwave_torch.json_fields import ConfigError

NGRAMS = {"sizes": [2, 3, 5], "buckets": 509, "dim": 24}


def changed(**changes):
    """The values of a sound config.json with some changed; None takes a key out."""
    values = {**small_models.config("tiny_t5"), **changes}
    return {key: value for key, value in values.items() if value is not None}


def with_attention(**changes):
    values = copy.deepcopy(small_models.config("tiny_t5")["attention"])
    return changed(attention={**values, **changes})


@pytest.mark.parametrize("name", small_models.DIFFERENCES)
def test_small_models_come_back(name):
    config = EncoderConfig.from_dict(small_models.config(name))
    assert EncoderConfig.from_json(config.to_json()) == config
    written = config.to_dict()
    for key, value in small_models.config(name).items():
        if key != "attention":
            assert written[key] == value
        else:
            for part, fields in value.items():
                shown = written["attention"][part]
                if isinstance(fields, dict):
                    shown = {k: v for k, v in shown.items() if k in fields}
                assert shown == fields


def test_the_default_model_is_read():
    config = EncoderConfig.from_file(ROOT / "model" / "default")
    assert config.attention.bias.kind == "t5"
    assert config == config.validated()


def test_defaults_are_the_servers():
    config = EncoderConfig.from_dict(changed(attention=None, torch_dtype=None))
    assert (config.head_dim, config.hidden_act, config.layer_norm_eps) == (32, "gelu", 1e-5)
    assert config.attention.features.num_features == 64 and config.attention.bias.kind == "none"
    assert config.attention.qk_norm and config.attention.scale == 1.0 and config.pre_norm


def test_ngrams_are_read_and_written():
    config = EncoderConfig.from_dict(changed(ngrams=NGRAMS))
    assert config.ngrams == NgramConfig((2, 3, 5), 509, 24)
    assert config.to_dict()["ngrams"] == NGRAMS
    assert EncoderConfig.from_dict({**changed(), "ngrams": None}).ngrams is None


@pytest.mark.parametrize(
    "values, problem",
    [
        (changed(hidden_size=None), "hidden_size is missing: accepted: an integer from 1 to 65536"),
        (changed(hidden_size=0), "hidden_size = 0: accepted: an integer from 1 to 65536"),
        (changed(num_hidden_layers=True), "num_hidden_layers = true: accepted"),
        (changed(hidden_size=65), "hidden_size = 65: accepted without head_dim: a multiple"),
        (changed(hidden_act="swish"), 'hidden_act = "swish": accepted: gelu, gelu_tanh, relu'),
        (changed(model_type="bert"), 'model_type = "bert": accepted: longwave-nprf'),
        (changed(architectures=["BertModel"]), "architectures"),
        (changed(layer_norm_eps=0), "layer_norm_eps = 0: accepted: a number above 0"),
        (changed(final_norm="no"), 'final_norm = "no": accepted: true or false'),
        (
            changed(norm_position="post", final_norm=False),
            "final_norm is not used unless norm_position is pre",
        ),
        (changed(dropout=0.1), "dropout is not a known key"),
        (changed(matryoshka_dimensions=[32, 16]), "matryoshka_dimensions = [32, 16]: accepted"),
        (changed(matryoshka_dimensions=[128]), "increasing widths up to hidden_size"),
        (changed(positions={"kind": "learned"}), "positions.table_length is missing"),
        (changed(positions={"table_length": 9}), "positions.table_length is not used unless"),
        (
            changed(positions={"kind": "learned", "table_length": 9}),
            "max_position_embeddings = 1048576: accepted with learned positions: at most",
        ),
        (
            changed(hidden_size=63, head_dim=32, positions={"kind": "sinusoidal"}),
            "hidden_size = 63: accepted with sinusoidal positions: an even number",
        ),
        (with_attention(scale=9), "attention.scale = 9: accepted: a number above 0 and at most 8"),
        (with_attention(scale=1, qk_norm=False), "attention.scale is not used unless"),
        (
            with_attention(features={"kind": "elu", "seed": 1}),
            "attention.features.seed is not used by features of kind elu",
        ),
        (
            with_attention(features={"kind": "rbf"}),
            'attention.features.kind = "rbf": accepted: prf',
        ),
        (with_attention(bias={"kind": "alibi", "max_distance": 8}), "max_distance is not used by"),
        (with_attention(bias={"kind": "none", "shared_layers": True}), "shared_layers is not used"),
        (
            with_attention(bias={"kind": "t5", "num_buckets": 31}),
            "num_buckets = 31: accepted: an ev",
        ),
        (
            with_attention(bias={"kind": "t5", "max_distance": 8}),
            "attention.bias.max_distance = 8: accepted: more than 8 with num_buckets = 32",
        ),
        (
            with_attention(causal=True, bias={"kind": "t5", "max_distance": 16}),
            "accepted: more than 16 with num_buckets = 32, causal",
        ),
        (
            with_attention(bias={"kind": "table", "table_length": 8}),
            "max_position_embeddings = 1048576: accepted with attention.bias.beyond refuse",
        ),
        (with_attention(interpolation={"max_error": 1}), "attention.interpolation.max_error = 1"),
        (
            with_attention(features={"kind": "softmax"}, interpolation={"max_error": 0.01}),
            "attention.interpolation is not used by features of kind softmax",
        ),
        (changed(ngrams={**NGRAMS, "sizes": [3, 2]}), "ngrams.sizes = [3, 2]: accepted"),
        (changed(ngrams={**NGRAMS, "sizes": []}), "ngrams.sizes"),
        (changed(ngrams={**NGRAMS, "sizes": [1]}), "ngrams.sizes"),
        (
            changed(ngrams={**NGRAMS, "dim": 65}),
            "ngrams.dim = 65: accepted: an integer from 1 to 64",
        ),
        (changed(ngrams={**NGRAMS, "seed": 65}), "ngrams.seed is not a known key"),
    ],
)
def test_problems_are_named(values, problem):
    with pytest.raises(ConfigError) as caught:
        EncoderConfig.from_dict(values)
    assert problem in str(caught.value)


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        EncoderConfig.from_dict(changed(hidden_act="x", vocab_size=0, extra=1))
    text = str(caught.value)
    assert all(word in text for word in ("hidden_act", "vocab_size", "extra"))
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize(
    "text, problem",
    [("[]", "not a JSON object"), ("{", "not valid JSON"), ('{"a": 1, "a": 2}', "appears twice")],
)
def test_texts_that_are_no_object(text, problem):
    with pytest.raises(ConfigError, match=problem):
        EncoderConfig.from_json(text)


def test_a_copy_is_checked_where_it_is_used():
    config = EncoderConfig.from_dict(changed())
    attention = dataclasses.replace(config.attention, bias=BiasConfig("t5", max_distance=1))
    with pytest.raises(ConfigError, match="max_distance = 1"):
        dataclasses.replace(config, attention=attention).validated()
    assert json.loads(config.to_json())["head_dim"] == 32
