"""The encoder against the numpy twin, which shares no code with it; padding, layers, start."""

import dataclasses
import math

import numpy as np
import pytest
import small_models
import torch
from conftest import seeded_encoder, seeded_weights, some_ids

from longwave_torch import Encoder, EncoderConfig, mean_pool, ngram_buckets
from longwave_torch.config import NgramConfig
from longwave_torch.golden import rounding, twin

NGRAMS = NgramConfig((2, 3, 5), 509, 24)


def twin_of(name):
    weights = {k: v.astype(np.float64) for k, v in seeded_weights(name).items()}
    return twin.Twin(small_models.config(name), weights)


def batch_of(*sequences):
    """(ids [batch, n], lengths) with 7 where there is no token."""
    lengths = [len(s) for s in sequences]
    rows = [np.pad(s, (0, max(lengths) - len(s)), constant_values=7) for s in sequences]
    return torch.tensor(np.stack(rows)), torch.tensor(lengths)


@pytest.mark.parametrize("backend", ["torch", "dense"])
@pytest.mark.parametrize("name", small_models.DIFFERENCES)
def test_all_layers_are_the_twins(name, backend):
    model, encoder = twin_of(name), seeded_encoder(name, backend).double()
    sequences = [some_ids(n) for n in (1, 2, 64, 65, 300)]
    with torch.no_grad():
        states = encoder(*batch_of(*sequences), all_layers=True)
    for row, ids in enumerate(sequences):
        for ours, exact in zip(states, model.states(ids), strict=True):
            assert np.abs(ours[row, : len(ids)].numpy() - exact).max() < 1e-10


@pytest.mark.parametrize("name", small_models.DIFFERENCES)
def test_fp32_is_within_the_twins_tolerance(name):
    model, encoder = twin_of(name), seeded_encoder(name)
    ids = some_ids(200)

    def states(disturbance):
        disturbed = model if disturbance is None else rounding.disturbed(model, disturbance)
        return disturbed.states(ids)[-1]

    with torch.no_grad():
        ours = encoder(torch.tensor(ids)[None])[0].double().numpy()
    assert np.abs(ours - states(None)).max() < rounding.tolerance(states)


@pytest.mark.parametrize("name", small_models.DIFFERENCES)
def test_every_parameter_gets_a_gradient(name):
    encoder = seeded_encoder(name)
    direction = torch.randn(2, 40, 64)
    (encoder(*batch_of(some_ids(40), some_ids(30))) * direction).sum().backward()
    config = encoder.config.attention
    for parameter, values in encoder.named_parameters():
        nothing = parameter.endswith("key.bias") and (config.features.kind, config.qk_norm) == (
            "softmax",
            False,
        )  # adds the same to all logits of a row
        assert values.grad is not None and torch.isfinite(values.grad).all()
        assert nothing or values.grad.abs().max() > 0, parameter


def test_tensors_are_the_servers():
    for name in small_models.DIFFERENCES:
        expected = {key: values.shape for key, values in seeded_weights(name).items()}
        encoder = Encoder(EncoderConfig.from_dict(small_models.config(name)))
        assert {k: tuple(t.shape) for k, t in encoder.state_dict().items()} == expected
        trained = {k for k, _ in encoder.named_parameters()}
        fixed = {k for k in expected if k.endswith("projection") and k.startswith("layers.")}
        fixed |= {"embeddings.word_keys"} & set(expected)
        if encoder.config.attention.bias.kind == "alibi":
            fixed |= {k for k in expected if k.endswith(("attention_bias", "attention.bias"))}
        assert trained == set(expected) - fixed


def test_the_first_layers_alone():
    encoder = seeded_encoder("tiny_clipped")
    ids = torch.tensor(some_ids(30))[None]
    states = encoder(ids, all_layers=True)
    for layers in (0, 1, 2):
        found = encoder(ids, num_layers=layers)
        expected = encoder.final_norm(states[layers]) if layers < 2 else states[2]
        assert torch.equal(found, expected)


def test_without_a_final_norm_states_are_the_last_layers():
    encoder = seeded_encoder("tiny_ngram")
    ids = torch.tensor(some_ids(30))[None]
    states = encoder(ids, all_layers=True)
    assert not encoder.config.has_final_norm and not hasattr(encoder, "final_norm")
    last = encoder.layers[-1](states[-2], None, encoder._shared_near_slope())
    assert torch.equal(states[-1], last) and torch.equal(encoder(ids), last)


def test_recomputed_layers_have_the_same_derivatives():
    gradients = []
    for checkpointing in (False, True):
        encoder = seeded_encoder("tiny_clipped").double()
        encoder.gradient_checkpointing = checkpointing
        encoder.encode(*batch_of(some_ids(50), some_ids(20))).square().sum().backward()
        encoder(torch.tensor(some_ids(9))[None]).sin().sum().backward()
        gradients.append([p.grad for p in encoder.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-12, atol=0) for a, b in zip(*gradients))


def test_embeddings_are_means_of_valid_states():
    encoder = seeded_encoder("tiny_t5").double()
    ids, lengths = batch_of(some_ids(50), some_ids(20))
    states = encoder(ids, lengths)
    expected = torch.stack([states[0].mean(0), states[1, :20].mean(0)])
    assert (encoder.encode(ids, lengths, normalize=False) - expected).abs().max() < 1e-14
    assert (encoder.encode(ids, lengths).norm(dim=1) - 1).abs().max() < 1e-14
    assert (mean_pool(states, torch.tensor([0, 1]))[0] == 0).all()


def test_too_long_is_refused():
    encoder = seeded_encoder("tiny_learned")
    with pytest.raises(ValueError, match="4201 tokens: at most 4200"):
        encoder(torch.zeros(1, 4201, dtype=torch.int64))


# --- n-grams --------------------------------------------------------------------------------------


def with_ngrams(ngrams=NGRAMS):
    config = EncoderConfig.from_dict(small_models.config("tiny_t5"))
    return dataclasses.replace(config, ngrams=ngrams)


def bucket_of(ngram, buckets):
    """In unbounded integers, as the definition says it."""
    h = len(ngram)
    for token in ngram:
        h = (h + token + 1) * 0x9E3779B97F4A7C15 % 2**64
        h ^= h >> 32
    return h % 2**32 % buckets


@pytest.mark.parametrize("buckets", [1, 509, 32768, 1 << 24])
def test_buckets_are_exact(buckets):
    sizes = (2, 3, 5, 16)
    ids = torch.tensor(np.stack([some_ids(40, 1 << 24), some_ids(41, 256)[:40]]))
    found = ngram_buckets(ids, with_ngrams(NgramConfig(sizes, buckets, 8)))
    for row, i in np.ndindex(2, 40):
        for place, size in enumerate(sizes):
            ngram = ids[row, i - size + 1 : i + 1].tolist()
            expected = bucket_of(ngram, buckets) if i >= size - 1 else -1
            assert found[row, i, place] == expected


def test_short_sequences_have_no_long_ngrams():
    found = ngram_buckets(torch.tensor([[5, 6]]), with_ngrams())
    assert (found[0, 0] == -1).all() and (found[0, 1] >= 0).tolist() == [True, False, False]
    assert ngram_buckets(torch.zeros(3, 0, dtype=torch.int64), with_ngrams()).shape == (3, 0, 3)


def test_ngrams_add_their_projected_sum():
    encoder = Encoder(with_ngrams()).double()
    ids = torch.tensor(some_ids(30))[None]
    buckets = ngram_buckets(ids, encoder.config)
    table, projection = encoder.embeddings.ngram.weight, encoder.embeddings.ngram_projection.weight
    added = encoder.embeddings(ids) - encoder.embeddings.token(ids)
    for i in (0, 1, 3, 29):
        rows = [table[b] for b in buckets[0, i].tolist() if b >= 0]
        expected = projection @ sum(rows, torch.zeros(24, dtype=torch.float64))
        assert (added[0, i] - expected).abs().max() < 1e-12
    assert torch.equal(encoder(ids, found=(buckets, None)), encoder(ids))


def test_ngrams_do_not_see_padding():
    encoder = Encoder(with_ngrams()).double()
    short, long = some_ids(20), some_ids(50)
    both = encoder(*batch_of(long, short))
    assert (both[1, :20] - encoder(torch.tensor(short)[None])[0]).abs().max() < 1e-12


# --- the start of training ------------------------------------------------------------------------


def test_layers_can_begin_as_the_identity():
    config = EncoderConfig.from_dict(small_models.config("tiny_clipped"))
    states = Encoder(config, residual_scale=0.0)(torch.tensor(some_ids(9))[None], all_layers=True)
    assert torch.equal(states[1], states[0])
    assert not torch.equal(
        Encoder(config)(torch.tensor(some_ids(9))[None], num_layers=1), states[0]
    )


def test_sizes_keep_through_many_layers():
    config = dataclasses.replace(
        EncoderConfig.from_dict(small_models.config("tiny_t5")), num_hidden_layers=12, ngrams=NGRAMS
    )
    states = Encoder(config)(torch.tensor(some_ids(200))[None], all_layers=True)
    sizes = [s.square().mean().sqrt().item() for s in states[:-1]]
    assert 1.2 < sizes[0] < 1.6  # tokens and n-grams, each of about unit size
    assert sizes[-1] < 2 * sizes[0]


def test_the_same_seeds_make_the_same_encoder():
    config = with_ngrams()
    made = [Encoder(config, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    a, b = (e.state_dict() for e in made)
    assert all(torch.equal(a[k], b[k]) for k in a)
    features = dataclasses.replace(config.attention.features, seed=2)
    other = dataclasses.replace(
        config, attention=dataclasses.replace(config.attention, features=features)
    )
    c = Encoder(other, generator=torch.Generator().manual_seed(3)).state_dict()
    assert {k for k in a if not torch.equal(a[k], c[k])} == {"layers.0.attention.projection"}


def test_it_learns():
    """Which of two bytes is two places before: attention by position, from scratch."""
    config = EncoderConfig.from_dict(small_models.config("tiny_clipped"))
    encoder = Encoder(config, generator=torch.Generator().manual_seed(3))
    head = torch.nn.Linear(64, 2)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], 3e-3)
    losses = []
    for _ in range(160):
        ids = torch.randint(0, 2, (8, 24))
        loss = torch.nn.functional.cross_entropy(
            head(encoder(ids))[:, 2:].flatten(0, 1), ids[:, :-2].flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.1 * math.log(2)
