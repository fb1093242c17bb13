"""Conversion of a softmax-trained encoder, and the distillation that follows."""

import dataclasses
import itertools

import pytest
import torch

from longwave_torch import Encoder, EncoderConfig
from longwave_torch.config import AttentionConfig, BiasConfig, FeatureConfig, PositionConfig
from longwave_torch.convert import convert, distill, state_loss

CONFIG = EncoderConfig(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    vocab_size=20,
    max_position_embeddings=64,
    positions=PositionConfig("sinusoidal"),
    attention=AttentionConfig(FeatureConfig("softmax"), qk_norm=False),
)


def with_attention(**changes):
    return dataclasses.replace(CONFIG, attention=dataclasses.replace(CONFIG.attention, **changes))


def batches(count, n=24, batch=6, seed=0):
    """Ids and lengths; a few tokens shorter in every second row."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([n if row % 2 == 0 else n - 5 for row in range(batch)])
    return [(torch.randint(0, 20, (batch, n), generator=generator), lengths) for _ in range(count)]


@pytest.fixture(scope="module")
def trained():
    """A softmax encoder with absolute positions that has learned to look one token back."""
    torch.manual_seed(1)
    encoder, head = Encoder(CONFIG), torch.nn.Linear(32, 20)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], 1e-2, (0.9, 0.98))
    for ids, lengths in batches(300, seed=1):
        logits = head(encoder(ids, lengths))[:, 1:19]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, :18].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3  # log 20 is 3.0
    return encoder.eval()


def loss_of(original, converted):
    (ids, lengths) = batches(1, seed=9)[0]
    with torch.no_grad():
        states = [e(ids, lengths, all_layers=True) for e in (converted, original)]
    return state_loss(*states, lengths).item()


def test_weights_are_kept(trained):
    converted = convert(trained, batches(2))
    kept, ours = trained.state_dict(), converted.state_dict()
    assert all(torch.equal(ours[k], v) for k, v in kept.items())
    new = {f"layers.{i}.attention.{part}" for i in (0, 1) for part in ("projection", "bias")}
    assert set(ours) - set(kept) == new
    attention = converted.config.attention
    assert attention.qk_norm and attention.features.kind == "prf" and 0 < attention.scale <= 2


def test_the_measured_start_is_better_than_none(trained):
    """Against the same conversion with a scale of 1 and no bias."""
    measured = convert(trained, batches(4), num_features=256)
    attention = dataclasses.replace(
        measured.config.attention, scale=1.0, bias=dataclasses.replace(BiasConfig("none"))
    )
    blank = Encoder(dataclasses.replace(measured.config, attention=attention))
    blank.load_state_dict(
        {k: v for k, v in measured.state_dict().items() if not k.endswith("attention.bias")}
    )
    assert loss_of(trained, measured) < 0.4 * loss_of(trained, blank)


def test_distillation_brings_the_states_back(trained):
    converted = convert(trained, batches(4))
    before = loss_of(trained, converted)
    weights = {k: v.clone() for k, v in trained.state_dict().items()}
    losses = distill(trained, converted, batches(8, seed=2), 60, learning_rate=2e-3)
    assert len(losses) == 60
    assert loss_of(trained, converted) < 0.85 * before
    assert all(torch.equal(v, weights[k]) for k, v in trained.state_dict().items())


def test_features_are_redrawn_while_it_goes_on(trained):
    converted = convert(trained, batches(1))
    first = converted.layers[0].attention.projection.clone()
    shown = []
    distill(
        trained, converted, batches(2), 5, redraw_every=2,
        generator=torch.Generator().manual_seed(1), show=lambda step, loss: shown.append(step),
    )  # fmt: skip
    assert not torch.equal(converted.layers[0].attention.projection, first)
    assert shown == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", ["t5", "clipped"])
def test_an_originals_own_bias_is_found_again(kind, shared):
    """With qk_norm the logits are scale^2 times the cosine and the bias: nothing is missing but the
    bias itself, found again up to a constant of each head."""
    bias = BiasConfig(kind, shared_layers=shared, max_distance=12, num_buckets=16)
    original = Encoder(with_attention(qk_norm=True, scale=1.4, bias=bias)).double()
    with torch.no_grad():
        for name, parameter in original.named_parameters():
            if name.endswith(("attention_bias", "attention.bias")):
                parameter.normal_()
    converted = convert(original, batches(2), bias=bias)
    assert converted.config.attention.scale == 1.4
    for name, stored in original.state_dict().items():
        if name.endswith(("attention_bias", "attention.bias")):
            difference = converted.state_dict()[name].double() - stored
            if kind == "t5":  # bucket num_buckets / 2 holds no offset
                difference = torch.cat([difference[:, :8], difference[:, 9:]], dim=1)
            assert (difference - difference[:, :1]).abs().max() < 1e-5


def test_the_bias_is_what_is_missing_from_the_logits():
    """Pair by pair, from the first layer's own numbers."""
    torch.manual_seed(3)
    original = Encoder(CONFIG).double()
    bias = BiasConfig("clipped", shared_layers=False, max_distance=2)
    (ids, lengths) = batches(1, n=9, batch=2)[0]
    converted = convert(original, [(ids, lengths)], bias=bias)
    scale = converted.config.attention.scale
    layer = original.layers[0]
    x = layer.attention_norm(original.embeddings(ids))
    q, k = (part(x).unflatten(2, (2, 16)) for part in (layer.attention.query, layer.attention.key))
    missing = [[[] for _ in range(5)] for _ in range(2)]
    for row, head in itertools.product(range(2), range(2)):
        for i, j in itertools.product(range(int(lengths[row])), repeat=2):
            a, b = q[row, i, head], k[row, j, head]
            rest = a @ b / 16**0.5 - scale**2 * torch.cosine_similarity(a, b, dim=0)
            missing[head][max(-2, min(2, j - i)) + 2].append(rest.item())
    for head, places in enumerate(missing):
        everything = [value for place in places for value in place]
        mean = sum(everything) / len(everything)
        expected = torch.tensor([sum(place) / len(place) - mean for place in places])
        stored = converted.layers[0].attention.bias[head]
        assert (stored - expected).abs().max() < 1e-6


def test_without_samples_of_an_offset_the_nearest_speaks(trained):
    bias = BiasConfig("clipped", shared_layers=False, max_distance=40)
    stored = convert(trained, batches(1), bias=bias).layers[0].attention.bias
    assert (stored[:, :17] == stored[:, 17:18]).all()  # offsets -40 .. -24 of 24 tokens
    assert not (stored[:, 17:64] == stored[:, 17:18]).all()


def test_what_cannot_be_converted():
    with pytest.raises(ValueError, match="softmax attention"):
        convert(Encoder(with_attention(features=FeatureConfig("prf"))), batches(1))
    with pytest.raises(ValueError, match="softmax attention"):
        convert(Encoder(with_attention(causal=True)), batches(1))
    with pytest.raises(ValueError, match="kind 'alibi': accepted: none, t5, clipped"):
        convert(Encoder(CONFIG), batches(1), bias=BiasConfig("alibi"))
