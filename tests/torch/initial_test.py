"""Where training begins: tf-idf of hashed n-grams in the vectors of an encoder without training."""

import dataclasses

import numpy as np
import pytest
import torch

import corpus_test
import small_training
from longwave_torch import Encoder, EncoderConfig
from longwave_torch.encoder import mean_pool
from longwave_torch.ngrams import ngram_buckets
from longwave_torch.targets import Targets
from longwave_torch.train import initial, recipe, trainer
from longwave_torch.train.batches import Batches

LEXICAL = 6
SEED = 3


def make_encoder(hidden=16, dim=14, buckets=512, **changes):
    values = {**small_training.CONFIG, "hidden_size": hidden, "final_norm": False, **changes}
    values["ngrams"] = {"sizes": [3, 5], "buckets": buckets, "dim": dim}
    return Encoder(
        EncoderConfig.from_dict(values), generator=torch.Generator().manual_seed(SEED)
    )


def recipe_of(documents, lexical_dims, **more):
    its = recipe.parse(small_training.RECIPE)
    return dataclasses.replace(
        its, idf_documents=documents, lexical_dims=lexical_dims, seed=SEED, **more
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_test.make_corpus(tmp_path_factory.mktemp("corpus"), 12, 900)


def slow_frequencies(corpus, config):
    tokens, buckets = np.zeros(config.vocab_size), np.zeros(config.ngrams.buckets)
    for entry in corpus.split(held_out=False):
        data = corpus.bytes_of(entry).tolist()
        for byte in set(data):
            tokens[byte] += 1
        found = ngram_buckets(torch.tensor([data]), config).flatten().tolist()
        for bucket in set(found) - {-1}:
            buckets[bucket] += 1
    return tokens, buckets


def idf_of(frequencies, count):
    return np.log((count + 1) / (frequencies + 1))


def test_what_is_counted_is_of_training_documents(corpus):
    config = make_encoder().config
    counts = initial.Counts(corpus, config, 1000, 1)
    tokens, buckets = slow_frequencies(corpus, config)
    count = len(corpus.split(held_out=False))
    assert 0 < len(counts.tokens) == count < 12
    np.testing.assert_allclose(initial.rarity(counts.tokens), idf_of(tokens, count), rtol=1e-6)
    np.testing.assert_allclose(
        initial.rarity(counts.ngrams > 0), idf_of(buckets, count), rtol=1e-6
    )
    sizes = [2 * len(entry) - 2 - 4 for entry in corpus.split(held_out=False)]
    assert sorted(counts.ngrams.sum(1)) == sorted(sizes)  # of n-grams of 3 and 5
    assert len(initial.Counts(corpus, config, 5, 1).tokens) == 5


def test_rows_are_weighted_by_rarity(corpus):
    before, encoder = make_encoder(), make_encoder()
    initial.weight_by_rarity(encoder, corpus, recipe_of(1000, LEXICAL))
    tokens, buckets = slow_frequencies(corpus, encoder.config)
    count = len(corpus.split(held_out=False))
    idf = idf_of(buckets, count)
    ratio = (encoder.embeddings.ngram.weight / before.embeddings.ngram.weight).detach().numpy()
    np.testing.assert_allclose(ratio, np.tile((idf / np.sqrt((idf**2).mean()))[:, None], 14), 1e-5)
    rows = encoder.embeddings.token.weight.detach().numpy()
    assert not rows[tokens == count].any()  # every document has it
    assert np.abs(rows[tokens == 0, :-LEXICAL]).min() > 0 and not rows[:, -LEXICAL:].any()


@pytest.mark.parametrize("common", [0, 2])
def test_lexical_cosines_are_those_of_tf_idf(corpus, common):
    # 4000 dimensions: a product is off by about 1 / 63 of the norms.
    encoder = make_encoder(4096, 4096)
    recipe_here = recipe_of(1000, 4000, common_directions=common)
    initial.weight_by_rarity(encoder, corpus, recipe_here)
    _, buckets = slow_frequencies(corpus, encoder.config)
    idf = idf_of(buckets, len(corpus.split(held_out=False)))
    means, counts = [], []
    for entry in corpus.entries:
        data = torch.from_numpy(corpus.bytes_of(entry).astype(np.int64))[None]
        found = ngram_buckets(data, encoder.config).numpy()
        counts.append(idf * np.bincount(found[found >= 0], minlength=512))
        with torch.no_grad():
            means.append(mean_pool(encoder(data, num_layers=0))[0, 96:].numpy())
    counts = np.array(counts)
    if common:
        training = counts[[not entry.held_out for entry in corpus.entries]]
        training /= np.linalg.norm(training, axis=1, keepdims=True)
        _, _, directions = np.linalg.svd(training)
        # Of rows that are weighted after they lost the directions.
        weighted = np.where(idf > 0, counts / np.where(idf > 0, idf, 1), 0)
        projector = np.eye(512) - directions[:common].T @ directions[:common]
        counts = (weighted * idf) @ projector
    units = [np.array(x) / np.linalg.norm(x, axis=1, keepdims=True) for x in (means, counts)]
    expected = units[1] @ units[1].T
    np.testing.assert_allclose(units[0] @ units[0].T, expected, atol=5 / 4000**0.5)
    assert expected.min() < 0.6  # there is something to tell apart


def test_layers_and_steps_leave_lexical_dimensions_alone(tmp_path):
    corpus = corpus_test.make_corpus(tmp_path / "corpus")
    corpus_test.make_targets(corpus, tmp_path / "targets")
    targets = Targets(tmp_path / "targets", 16 - LEXICAL)
    text = small_training.RECIPE.replace('"tiny"', '"tiny"\nidf_documents = 9\nlexical_dims = 6')
    its_recipe = recipe.parse(text)
    encoder = make_encoder()
    initial.weight_by_rarity(encoder, corpus, recipe_of(9, LEXICAL))
    ids = torch.arange(90)[None]
    before = encoder(ids, num_layers=0).detach()
    run = trainer.Trainer(
        encoder, its_recipe, Batches(corpus, targets, encoder.config, 1), tmp_path / "run"
    )
    run.run()
    after = encoder(ids).detach()
    assert torch.equal(after[..., -LEXICAL:], before[..., -LEXICAL:])
    assert (after[..., :-LEXICAL] - before[..., :-LEXICAL]).abs().min() > 0
    changed = [n for n, p in encoder.named_parameters() if n.startswith("layers.0.") and p.any()]
    assert "layers.0.ffn.down.weight" in changed


def test_teachers_are_heard_in_the_first_dimensions(corpus):
    from longwave_torch.train import objectives

    phase = recipe.parse(small_training.RECIPE).phases[0]
    encoder = make_encoder()
    batch = Batches(corpus, None, encoder.config, 1).make(phase, 0)
    targets = torch.nn.functional.normalize(torch.randn(len(batch.ids), 10), dim=1)
    batch = dataclasses.replace(
        batch, targets=targets, has_target=torch.ones(len(targets), dtype=torch.bool),
        negatives=targets[:0],
    )  # fmt: skip
    _, values = objectives.Objective(encoder, phase, 1)(batch)
    pooled = mean_pool(encoder(batch.ids, batch.lengths, num_layers=0), batch.lengths)[:, :10]
    cosines = torch.nn.functional.cosine_similarity(pooled, targets)
    assert values["distill"].item() == pytest.approx(1 - cosines.mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"final_norm": True},
        {"embedding_norm": True},
        {"positions": {"kind": "sinusoidal"}},
    ],
)
def test_nothing_else_may_write_to_lexical_dimensions(corpus, changes):
    with pytest.raises(ValueError, match="lexical_dims = 6: accepted: 0, unless config.json has"):
        initial.weight_by_rarity(make_encoder(**changes), corpus, recipe_of(9, LEXICAL))
    initial.weight_by_rarity(make_encoder(**changes), corpus, recipe_of(9, 0))


def test_no_more_directions_are_common_than_there_are():
    random = np.random.default_rng(1)
    rows = (random.standard_normal((30, 2)) @ random.standard_normal((2, 9))).astype(np.float32)
    found = initial.common_directions(rows, 30)
    assert found.shape == (9, 2)
    np.testing.assert_allclose(rows @ found @ found.T, rows, atol=1e-4)


@pytest.mark.parametrize("changes, lexical", [({"dim": 5}, 6), ({}, 16)])
def test_more_lexical_dimensions_than_there_are(corpus, changes, lexical):
    with pytest.raises(ValueError, match=f"lexical_dims = {lexical}: accepted: at most ngrams.dim"):
        initial.weight_by_rarity(make_encoder(**changes), corpus, recipe_of(9, lexical))
