"""nn.MultiheadAttention and Hugging Face's self-attention, replaced."""

import pytest
import torch
import transformers

from longwave_torch import hugging_face, kernelized_attention, load_for_training, save_for_serving
from longwave_torch.config import AttentionConfig, BiasConfig, FeatureConfig
from longwave_torch.drop_in import KernelizedMultiheadAttention, lengths_of, replace_attention

ATTENTION = AttentionConfig(FeatureConfig("prf", 16, 1), bias=BiasConfig("clipped", max_distance=5))


def padding_of(n, *lengths):
    return torch.arange(n) >= torch.tensor(lengths)[:, None]


def layers(**options):
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, **options)
    return torch.nn.TransformerEncoder(layer, 2)


# --- nn.MultiheadAttention ------------------------------------------------------------------------


def test_it_is_the_function_between_the_originals_projections():
    original = torch.nn.MultiheadAttention(32, 4, batch_first=True)
    ours = KernelizedMultiheadAttention(32, 4, batch_first=True, attention=ATTENTION)
    lost = ours.load_state_dict(original.state_dict(), strict=False)
    assert set(lost.missing_keys) == {"mixer.projection", "mixer.bias"} and not lost.unexpected_keys
    x = torch.randn(2, 20, 32)
    projected = torch.nn.functional.linear(x, original.in_proj_weight, original.in_proj_bias)
    q, k, v = (part.unflatten(2, (4, 8)) for part in projected.chunk(3, dim=2))
    z = kernelized_attention(q, k, v, ours.mixer.projection, ours.mixer.bias, lengths=[20, 11])
    expected = original.out_proj(z.flatten(2))
    found, weights = ours(x, x, x, key_padding_mask=padding_of(20, 20, 11))
    assert weights is None and (found - expected).abs().max() < 1e-6


def test_forms_of_input():
    ours = KernelizedMultiheadAttention(32, 4, attention=ATTENTION)
    x = torch.randn(20, 3, 32)
    padding = padding_of(20, 20, 9, 13)
    found, _ = ours(x, x, x, key_padding_mask=padding)
    alone, _ = ours(x[:9, 1], x[:9, 1], x[:9, 1])
    assert found.shape == x.shape and (found[:9, 1] - alone).abs().max() < 1e-6
    floats = torch.zeros(3, 20).masked_fill(padding, float("-inf"))
    assert torch.equal(ours(x, x, x, key_padding_mask=floats)[0], found)


@pytest.mark.parametrize("form", ["hint", "bool", "float"])
def test_causal_masks_are_known(form):
    ours = KernelizedMultiheadAttention(32, 4, batch_first=True, attention=ATTENTION)
    x = torch.randn(1, 20, 32)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(20)
    options = {
        "hint": {"is_causal": True},
        "bool": {"attn_mask": mask == float("-inf")},
        "float": {"attn_mask": mask},
    }[form]
    whole, _ = ours(x, x, x, **options)
    y = torch.cat([x[:, :12], torch.randn(1, 8, 32)], dim=1)
    other, _ = ours(y, y, y, **options)
    assert (whole[:, :12] - other[:, :12]).abs().max() < 1e-6
    assert (whole - ours(x, x, x)[0]).abs().max() > 1e-3


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"add_bias_kv": True}, "add_bias_kv"),
        ({"add_zero_attn": True}, "add_zero_attn"),
        ({"kdim": 16}, "kdim and vdim = 16, None: accepted: embed_dim = 32"),
        ({"num_heads": 5}, "embed_dim = 32: accepted: a multiple of 5 heads"),
    ],
)
def test_constructions_that_cannot_be(options, problem):
    with pytest.raises(ValueError, match=problem):
        KernelizedMultiheadAttention(**{"embed_dim": 32, "num_heads": 4, **options})


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"need_weights": True}, "never formed"),
        ({"attn_mask": torch.ones(20, 20, dtype=torch.bool)}, "only the causal mask"),
        ({"attn_mask": torch.zeros(8, 20, 20)}, "only the causal mask"),
        ({"key": torch.zeros(1, 21, 32)}, "offsets need one length"),
        ({"key_padding_mask": ~padding_of(20, 3)}, "tokens follow padding"),
        ({"key_padding_mask": torch.full((1, 20), -1e4)}, "other than 0 and -infinity"),
    ],
)
def test_calls_that_cannot_be(options, problem):
    ours = KernelizedMultiheadAttention(32, 4, batch_first=True)
    x = torch.zeros(1, 20, 32)
    with pytest.raises(ValueError, match=problem):
        ours(**{"query": x, "key": x, "value": x, **options})


def test_lengths_of_masks():
    assert lengths_of(padding_of(5, 5, 0, 3)).tolist() == [5, 0, 3]


def test_layers_of_torch_are_converted_and_take_no_way_around():
    """In evaluation nn.TransformerEncoder has a path of its own that reads the weights and computes
    softmax attention: it must not be taken."""
    encoder = layers()
    names = replace_attention(encoder, ATTENTION)
    assert names == ["layers.0.self_attn", "layers.1.self_attn"]
    first, second = (encoder.get_submodule(name) for name in names)
    assert not torch.equal(first.mixer.projection, second.mixer.projection)
    x, padding = torch.randn(3, 50, 32), padding_of(50, 50, 20, 33)
    training = encoder.train()(x, src_key_padding_mask=padding)
    with torch.no_grad():
        evaluation = encoder.eval()(x, src_key_padding_mask=padding)
    assert (training - evaluation)[~padding].abs().max() < 1e-6


def test_replaced_weights_are_kept_and_trained():
    encoder = layers()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    replace_attention(encoder, ATTENTION, bias_init="zeros")
    after = encoder.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    encoder(torch.randn(2, 30, 32)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name


def test_modules_that_cannot_be_converted_stay_as_they_are():
    with pytest.raises(ValueError, match="no torch.nn.MultiheadAttention"):
        replace_attention(torch.nn.Linear(2, 2))
    pair = torch.nn.ModuleDict(
        {
            "good": torch.nn.MultiheadAttention(8, 2),
            "other": torch.nn.MultiheadAttention(8, 2, add_bias_kv=True),
        }
    )
    with pytest.raises(ValueError, match="other: add_bias_kv"):
        replace_attention(pair)
    assert isinstance(pair["good"], torch.nn.MultiheadAttention)


def test_dropout_acts_in_training_alone():
    ours = KernelizedMultiheadAttention(32, 4, dropout=0.5, batch_first=True, attention=ATTENTION)
    x = torch.randn(1, 20, 32)
    assert not torch.equal(ours(x, x, x)[0], ours(x, x, x)[0])
    ours.eval()
    assert torch.equal(ours(x, x, x)[0], ours(x, x, x)[0])


# --- Hugging Face ---------------------------------------------------------------------------------

FAMILIES = {
    "bert": (transformers.BertConfig, transformers.BertModel),
    "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
}


def hugging_face_model(kind, **options):
    config_class, model_class = FAMILIES[kind]
    sizes = {
        "vocab_size": 200,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "max_position_embeddings": 130,
    }
    model = model_class(config_class(**{**sizes, **options})).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # fresh ones have zeros and ones that hide mistakes
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def some_input():
    lengths = torch.tensor([60, 20, 33])
    return torch.randint(5, 200, (3, 60)), (~padding_of(60, 60, 20, 33)).long(), lengths


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("kernelised", [False, True])
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_exported_encoders_compute_the_same(kind, kernelised, activation):
    model = hugging_face_model(kind, hidden_act=activation)
    if kernelised:
        names = hugging_face.replace_self_attention(model, ATTENTION)
        assert names == [f"encoder.layer.{layer}.attention.self" for layer in range(2)]
    encoder = hugging_face.to_encoder(model)
    ids, mask, lengths = some_input()
    with torch.no_grad():
        expected = model(ids, attention_mask=mask).last_hidden_state
        found = encoder(ids, lengths)
    assert (found - expected)[mask.bool()].abs().max() < 2e-5
    longest = 130 if kind == "bert" else 128  # RoBERTa's positions begin after the padding's
    assert encoder.config.max_position_embeddings == longest


def test_a_converted_model_is_trained_by_its_own_code():
    model = hugging_face_model("bert")
    hugging_face.replace_self_attention(model, ATTENTION)
    ids, mask, _ = some_input()
    model.train()(ids, attention_mask=mask).last_hidden_state.square().sum().backward()
    for layer in model.encoder.layer:
        attention = layer.attention.self
        assert attention.longwave.bias.grad.abs().max() > 0
        assert attention.query.weight.grad.abs().max() > 0
    assert "encoder.layer.0.attention.self.longwave.projection" in model.state_dict()


def test_a_converted_model_is_saved_for_serving(tmp_path):
    model = hugging_face_model("bert")
    hugging_face.replace_self_attention(model, ATTENTION)
    encoder = hugging_face.to_encoder(model)
    saved = save_for_serving(
        encoder, tmp_path / "m", name="m", tokenizer={"kind": "wordpiece", "fingerprint": "x"}
    )
    assert saved.golden_error < 1
    loaded = load_for_training(tmp_path / "m")
    assert all(torch.equal(t, encoder.state_dict()[k]) for k, t in loaded.state_dict().items())


def test_models_without_a_counterpart_are_refused():
    with pytest.raises(ValueError, match="hidden_act = 'silu': accepted: gelu"):
        hugging_face.to_encoder(hugging_face_model("bert", hidden_act="silu"))
    with pytest.raises(ValueError, match="decoders"):
        hugging_face.replace_self_attention(hugging_face_model("bert", is_decoder=True))
    other = transformers.GPT2Model(
        transformers.GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=9, n_positions=9)
    )
    with pytest.raises(ValueError, match="no self-attention like BERT's"):
        hugging_face.replace_self_attention(other)
    with pytest.raises(ValueError, match="model_type = 'gpt2'"):
        hugging_face.to_encoder(other)


def test_masks_that_are_not_padding_are_refused():
    model = hugging_face_model("bert")
    hugging_face.replace_self_attention(model, ATTENTION)
    ids, mask, _ = some_input()
    with pytest.raises(ValueError, match="tokens follow padding"):
        model(ids, attention_mask=mask.flip(1))
    with pytest.raises(ValueError, match=r"attention_mask has shape"):
        model(ids, attention_mask=torch.ones(3, 1, 60, 60))
