"""Where training begins: tf-idf of hashed n-grams in the vectors of an encoder without training."""

import dataclasses

import numpy as np
import pytest
import torch

import corpus_test
import train_test
from longwave_torch import Encoder, EncoderConfig
from longwave_torch.corpus import store
from longwave_torch.encoder import mean_pool
from longwave_torch.ngrams import ngram_buckets
from longwave_torch.targets import Targets
from longwave_torch.train import initial, recipe, trainer
from longwave_torch.train.batches import Batches

LEXICAL = 6
SEED = 3


def make_encoder(hidden=16, dim=14, buckets=512, **changes):
    values = {**train_test.CONFIG, "hidden_size": hidden, "final_norm": False, **changes}
    values["ngrams"] = {"sizes": [3, 5], "buckets": buckets, "dim": dim}
    return Encoder(
        EncoderConfig.from_dict(values), generator=torch.Generator().manual_seed(SEED)
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


def test_frequencies_are_of_training_documents(corpus):
    config = make_encoder().config
    count, tokens, buckets = initial.document_frequencies(corpus, config, 1000, 1)
    expected = slow_frequencies(corpus, config)
    assert 0 < count == len(corpus.split(held_out=False)) < 12
    assert (tokens == expected[0]).all() and (buckets == expected[1]).all()
    assert initial.document_frequencies(corpus, config, 5, 1)[0] == 5


def test_rows_are_weighted_by_rarity(corpus):
    before, encoder = make_encoder(), make_encoder()
    initial.weight_by_rarity(encoder, corpus, 1000, LEXICAL, SEED)
    count, tokens, buckets = initial.document_frequencies(corpus, encoder.config, 1000, SEED)
    idf = np.log((count + 1) / (buckets + 1))
    ratio = (encoder.embeddings.ngram.weight / before.embeddings.ngram.weight).detach().numpy()
    np.testing.assert_allclose(ratio, np.tile((idf / np.sqrt((idf**2).mean()))[:, None], 14), 1e-5)
    assert (encoder.embeddings.token.weight[tokens == count] == 0).all()  # every document has it
    assert encoder.embeddings.token.weight[tokens == 0].abs().min() > 0


def test_cosines_are_those_of_tf_idf(corpus):
    # 4096 dimensions: a product is off by about 1 / 64 of the norms.
    encoder = make_encoder(4096, 4096)
    initial.weight_by_rarity(encoder, corpus, 1000, 4000, SEED)
    count, tokens, buckets = initial.document_frequencies(corpus, encoder.config, 1000, SEED)
    size = np.sqrt((np.log((count + 1) / (buckets + 1)) ** 2).mean())
    pages, counts = [], []
    for entry in corpus.entries[:8]:
        data = torch.from_numpy(corpus.bytes_of(entry).astype(np.int64))[None]
        found = ngram_buckets(data, encoder.config)
        terms = [np.bincount(data[0], minlength=260), np.bincount(found[found >= 0], minlength=512)]
        idf = [np.log((count + 1) / (df + 1)) for df in (tokens, buckets)]
        # As rows begin: tokens of variance 1, n-grams of 1 / sizes.
        counts.append(np.concatenate([terms[0] * idf[0], terms[1] * idf[1] / 2**0.5]) / size)
        with torch.no_grad():
            states = encoder(data, num_layers=0)
            pages.append(mean_pool(states)[0, 96:].numpy())
    counts, pages = (np.array(x) / np.linalg.norm(x, axis=1, keepdims=True) for x in (counts, pages))
    np.testing.assert_allclose(pages @ pages.T, counts @ counts.T, atol=5 / 4000**0.5)
    assert (counts @ counts.T).min() < 0.6  # there is something to tell apart


def test_layers_and_steps_leave_lexical_dimensions_alone(tmp_path):
    corpus = corpus_test.make_corpus(tmp_path / "corpus")
    corpus_test.make_targets(corpus, tmp_path / "targets")
    targets = Targets(tmp_path / "targets", 16 - LEXICAL)
    text = train_test.RECIPE.replace('"tiny"', '"tiny"\nidf_documents = 9\nlexical_dims = 6')
    its_recipe = recipe.parse(text)
    encoder = make_encoder()
    initial.weight_by_rarity(encoder, corpus, 9, LEXICAL, SEED)
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

    phase = recipe.parse(train_test.RECIPE).phases[0]
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


@pytest.mark.parametrize("changes, lexical", [({"dim": 6}, 6), ({}, 16)])
def test_more_lexical_dimensions_than_there_are(corpus, changes, lexical):
    with pytest.raises(ValueError, match=f"lexical_dims = {lexical}: accepted: fewer than"):
        initial.weight_by_rarity(make_encoder(**changes), corpus, 9, lexical, SEED)


def test_preambles_are_of_two_other_documents(tmp_path):
    made = [
        store.Document(f"p{i}", f"s{i}", "net", f"doc/{i}", "", f"w{i:03d} " * 700)
        for i in range(60)
    ]
    corpus = store.write(tmp_path, made, {})
    phase = dataclasses.replace(
        recipe.parse(train_test.RECIPE).phases[1], lengths=(400,), shares=(1,),
        batch_bytes=20_000, teacher_share=0.0,
    )  # fmt: skip
    maker = Batches(corpus, None, make_encoder().config, 1)

    def words(share):
        batch = maker.make(dataclasses.replace(phase, preambles=share), 0)
        rows = [set(bytes(row[:n].tolist())[4:-4].split()) for row, n in zip(batch.ids, batch.lengths)]
        full = [{w for w in row if len(w) == 4} for row in rows]
        return full[: len(full) // 2], full[len(full) // 2 :], batch.has_target

    first, second, _ = words(0.0)
    assert all(a == b and len(a) == 1 for a, b in zip(first, second))
    first, second, _ = words(0.5)
    assert all(len(a) == 1 and a <= b for a, b in zip(first, second))
    before = [b - a for a, b in zip(first, second) if b - a]
    assert 0.2 < len(before) / len(first) < 0.8 and len(set.union(*before)) == 2
