"""Words of bytes: where they are, their keys and rows, the vocabulary, and where training begins."""

import dataclasses
import re

import corpus_test
import numpy as np
import pytest
import small_models
import small_training
import torch
from conftest import some_ids

from longwave_torch import Encoder, EncoderConfig, mean_pool, vocabulary, words
from longwave_torch.config import ConfigError, WordConfig
from longwave_torch.golden import words as golden_words
from longwave_torch.targets import Targets
from longwave_torch.train import initial, objectives, recipe
from longwave_torch.train.batches import Batches

TEXTS = [
    b"",
    b"a",
    b"...",
    b"The quick fox, 42 times; word7x3Z",
    b" ends with a word",
    b"begins\n",
    "na\u00efve caf\u00e9s\u2026 \u6f22\u5b57".encode(),
    b"x" * 64 + b" " + b"y" * 65 + b" z",
    bytes(range(256)),
]


def ids_of(text):
    return np.frombuffer(text, np.uint8).astype(np.int64)


def slow_words(text):
    """[(begin, end)], as the definition says it."""
    runs = re.finditer(rb"[A-Za-z\x80-\xff]+|[0-9]+", text)
    return [m.span() for m in runs if len(m[0]) <= 64]


def slow_key(word):
    h = 0
    for byte in word:
        byte += 32 if 65 <= byte <= 90 else 0
        h = (h + byte + 1) * 0x9E3779B97F4A7C15 % 2**64
        h ^= h >> 32
    return h % 2**32


@pytest.mark.parametrize("text", TEXTS)
def test_words_and_their_keys(text):
    begins, ends, keys = words.find(ids_of(text))
    expected = slow_words(text)
    assert list(zip(begins.tolist(), ends.tolist())) == expected
    assert keys.tolist() == [slow_key(text[a:b]) for a, b in expected]


def test_some_keys():
    """tests/unit/encoder/word_rows_test.cc has the same."""
    text = b"a 7 mail MAIL caf\xc3\xa9"
    _, _, keys = words.find(ids_of(text))
    assert keys.tolist() == [733944072, 1147765771, 2094681948, 2094681948, 2038289661]


def test_ids_that_are_no_bytes_stand_between_words():
    ids = np.array([97, 98, 256, 99, 300, 100, 101])
    begins, ends, _ = words.find(ids)
    assert list(zip(begins.tolist(), ends.tolist())) == [(0, 2), (3, 4), (5, 7)]


@pytest.mark.parametrize("text", TEXTS)
def test_rows_are_the_twins(text):
    chosen = [text[a:b] for a, b in slow_words(text)][::2] + [b"never", b"there"]
    stored = golden_words.stored_keys(set(w.lower() for w in chosen))
    rows = words.rows_of(ids_of(text), words.unpack_keys(stored))
    assert rows.tolist() == golden_words.rows_of(ids_of(text), stored)[:, 0].tolist()
    known = {slow_key(w) for w in chosen}
    expected = {b - 1 for a, b in slow_words(text) if slow_key(text[a:b]) in known}
    assert set(np.flatnonzero(rows >= 0).tolist()) == expected


def test_keys_are_kept_by_every_stored_type():
    keys = np.array([0, 255, 256, 0x01020304, 0xFFFFFFFF])
    packed = torch.from_numpy(words.pack_keys(keys))
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert words.unpack_keys(packed.to(dtype).float().numpy()).tolist() == keys.tolist()


@pytest.mark.parametrize(
    "change, problem",
    [((1, 0, 0.5), "not bytes"), ((0, 2, 256.0), "not bytes"), ((1, 0, 3.0), "ascending")],
)
def test_keys_that_are_none(change, problem):
    stored = words.pack_keys(np.array([3, 9]))
    row, column, value = change
    stored[row, column] = value
    with pytest.raises(ValueError, match=problem):
        words.unpack_keys(stored)


# --- the encoder ----------------------------------------------------------------------------------


def config_with(count, dim=12, **changes):
    values = {**small_models.config("tiny_t5"), "words": {"count": count, "dim": dim}, **changes}
    return EncoderConfig.from_dict(values)


def encoder_of(vocabulary_words, **changes):
    encoder = Encoder(config_with(len(vocabulary_words), **changes)).double()
    stored = golden_words.stored_keys(vocabulary_words)
    encoder.embeddings.word_keys.copy_(torch.from_numpy(stored))
    return encoder


def test_a_word_adds_its_projected_row():
    encoder = encoder_of([b"fox", b"the", b"42"])
    text = b"The fox: 42 foxes"
    ids = torch.from_numpy(ids_of(text))[None]
    embeddings = encoder.embeddings
    added = (embeddings(ids) - embeddings.token(ids))[0]
    keys = words.unpack_keys(embeddings.word_keys).tolist()
    expected = torch.zeros_like(added)
    for word, end in ((b"the", 3), (b"fox", 7), (b"42", 11)):
        row = embeddings.word.weight[keys.index(slow_key(word))]
        expected[end - 1] = embeddings.word_projection.weight @ row
    assert (added - expected).abs().max() < 1e-12 and expected.abs().max() > 0.1


def test_a_word_ends_where_its_sequence_does():
    encoder = encoder_of([b"fox", b"foxaaa", b"aaa"])
    alone = encoder(torch.from_numpy(ids_of(b"a fox"))[None])
    ids = torch.from_numpy(np.stack([ids_of(b"a foxaaa"), ids_of(b"longer!!")]))
    both = encoder(ids, torch.tensor([5, 8]))
    assert (both[0, :5] - alone[0]).abs().max() < 1e-12
    assert (encoder(ids)[0, :5] - alone[0]).abs().max() > 0.01  # unlimited, it is another word


def test_means_without_layers_are_those_of_states():
    config = config_with(3, ngrams={"sizes": [2, 3], "buckets": 50, "dim": 7}, final_norm=False)
    encoder = Encoder(config).double()
    encoder.embeddings.word_keys.copy_(torch.from_numpy(golden_words.stored_keys([b"a", b"b", b"c"])))
    ids, lengths = torch.tensor(np.stack([some_ids(80), some_ids(90)[10:]])), torch.tensor([80, 33])
    expected = mean_pool(encoder(ids, lengths, num_layers=0), lengths)
    expected.square().sum().backward()
    gradients = {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}
    encoder.zero_grad()
    found = encoder.embeddings.means(ids, lengths)
    found.square().sum().backward()
    assert (found - expected).abs().max() < 1e-12
    for name, gradient in gradients.items():
        if name.startswith("embeddings."):
            assert (dict(encoder.named_parameters())[name].grad - gradient).abs().max() < 1e-10, name


@pytest.mark.parametrize(
    "changes, only_sums",
    [
        ({}, True),
        ({"embedding_norm": True}, False),
        ({"positions": {"kind": "sinusoidal"}}, False),
    ],
)
def test_when_means_are_all(changes, only_sums):
    assert Encoder(config_with(3, **changes)).embeddings.only_sums == only_sums


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"words": 3}, "words = 3: accepted"),
        ({"words": {"dim": 8}}, "words.count is missing"),
        ({"words": {"count": 0, "dim": 8}}, "words.count = 0: accepted: an integer from 1 to"),
        ({"words": {"count": 9, "dim": 65}}, "words.dim = 65: accepted: an integer from 1 to 64"),
        ({"words": {"count": 9, "dim": 8, "n": 1}}, "words.n is not a known key"),
        ({"vocab_size": 255}, "vocab_size = 255: accepted: with words: at least 256"),
        ({"attention": {"causal": True}}, "attention.causal = true: accepted with words: false"),
    ],
)
def test_configurations_that_words_are_not_of(changes, problem):
    values = {**small_models.config("tiny_t5"), "words": {"count": 9, "dim": 8}}
    attention = {**values["attention"], **changes.pop("attention", {})}
    with pytest.raises(ConfigError) as error:
        EncoderConfig.from_dict({**values, **changes, "attention": attention})
    assert problem in str(error.value)


def test_the_configuration_is_written_as_it_was_read():
    config = config_with(9)
    assert config.words == WordConfig(9, 12)
    assert EncoderConfig.from_dict(config.to_dict()) == config
    assert EncoderConfig.from_dict({**small_models.config("tiny_t5"), "words": None}).words is None


# --- the vocabulary, and where training begins ----------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_test.make_corpus(tmp_path_factory.mktemp("corpus"), 20, 900)


def test_the_most_frequent_words_of_training_documents(corpus):
    found = vocabulary.count(corpus, 10_000)
    training = corpus.split(held_out=False)
    slow = {}
    for entry in training:
        text = corpus.bytes_of(entry).tobytes().lower()
        for word in {text[a:b] for a, b in slow_words(text)}:
            slow[word] = slow.get(word, 0) + 1
    assert dict(zip(found.words, found.frequencies.tolist())) == slow
    assert found.documents == len(training) < 20
    order = [(-n, w) for w, n in zip(found.words, found.frequencies.tolist())]
    assert order == sorted(order)
    assert vocabulary.count(corpus, 5).words.tolist() == found.words[:5].tolist()
    np.testing.assert_allclose(found.rarity(), np.log((len(training) + 1) / (found.frequencies + 1)))


def test_a_vocabulary_is_kept_beside_targets(corpus, tmp_path):
    corpus_test.make_targets(corpus, tmp_path)
    counted = vocabulary.count(corpus, 40)
    counted.embeddings = np.random.default_rng(1).standard_normal((40, 16)).astype(np.float16)
    vocabulary.save(tmp_path, counted)
    targets = Targets(tmp_path, 10)
    assert targets.vocabulary.words.tolist() == counted.words.tolist()
    directions = np.load(tmp_path / "projection-10.npy")
    expected = counted.embeddings.astype(np.float32) @ directions
    np.testing.assert_allclose(targets.vocabulary.embeddings, expected, rtol=1e-5, atol=1e-6)


def small_encoder(count, **changes):
    values = {**small_training.CONFIG, "words": {"count": count, "dim": 12}, "final_norm": False}
    values = {**values, "ngrams": {"sizes": [4], "buckets": 64, "dim": 6}, **changes}
    generator = torch.Generator().manual_seed(1)
    return Encoder(EncoderConfig.from_dict(values), generator=generator, residual_scale=0.0)


def recipe_of(**changes):
    return dataclasses.replace(recipe.parse(small_training.RECIPE), **changes)


def test_words_begin_as_the_teacher_has_them(corpus, tmp_path):
    corpus_test.make_targets(corpus, tmp_path)
    counted = vocabulary.count(corpus, 40)
    counted.frequencies = np.arange(18, -2, -0.5).astype(np.int64).clip(0)
    counted.embeddings = np.random.default_rng(1).standard_normal((40, 16)).astype(np.float16)
    vocabulary.save(tmp_path, counted)
    encoder = small_encoder(30)
    initial.begin_with_words(encoder, corpus, Targets(tmp_path, 10), recipe_of(lexical_dims=6))
    keys = words.unpack_keys(encoder.embeddings.word_keys)
    assert sorted(keys.tolist()) == sorted(slow_key(w) for w in counted.words[:30])
    projected = counted.embeddings.astype(np.float32) @ np.load(tmp_path / "projection-10.npy")
    rarity = counted.rarity()[:30] / np.sqrt((counted.rarity()[:30] ** 2).mean())
    for number, word in enumerate(counted.words[:30]):
        row = encoder.embeddings.word.weight[keys.tolist().index(slow_key(word))].detach().numpy()
        unit = projected[number] / np.linalg.norm(projected[number])
        np.testing.assert_allclose(row[:10], initial.WORD_SIZE * rarity[number] * unit, rtol=1e-4, atol=1e-6)
        assert not row[10:].any()
    projection = encoder.embeddings.word_projection.weight
    assert torch.equal(projection[:10, :10], torch.eye(10)) and not projection[10:].any()


def test_more_words_than_there_are(corpus):
    with pytest.raises(ValueError, match="words.count = 9000: accepted: at most"):
        initial.begin_with_words(small_encoder(9000), corpus, None, recipe_of())


def test_lexical_dimensions_get_their_weight(corpus):
    encoder = small_encoder(70)  # among them some that few documents have
    its_recipe = recipe_of(idf_documents=9, lexical_dims=6, lexical_weight=0.7)
    initial.weight_by_rarity(encoder, corpus, its_recipe)
    initial.begin_with_words(encoder, corpus, None, its_recipe)
    before = encoder.embeddings.ngram_projection.weight.clone()
    initial.balance(encoder, corpus, its_recipe)
    ratios = []
    for entry in corpus.split(held_out=False):
        data = torch.from_numpy(corpus.bytes_of(entry)[:1000].astype(np.int64))[None]
        mean = encoder.encode(data, normalize=False)[0].detach()
        ratios.append((mean[-6:].norm() / mean[:-6].norm()).item())
    assert sorted(ratios)[len(ratios) // 2] == pytest.approx(0.7, rel=1e-4)
    assert torch.equal(encoder.embeddings.ngram_projection.weight[:-6], before[:-6])


def test_contrast_is_of_both_parts(corpus):
    encoder = small_encoder(30)
    phase = recipe.parse(small_training.RECIPE).phases[1]
    its = objectives.Objective(encoder, phase, 1, lexical=(6, 0.5))
    pooled = torch.randn(5, 16)
    rows = its._compared(pooled)
    assert torch.allclose(rows.norm(dim=1), torch.ones(5))
    assert torch.allclose(rows[:, 10:].norm(dim=1) / rows[:, :10].norm(dim=1), torch.full((5,), 0.5))
    cosines = torch.nn.functional.cosine_similarity(rows[:, :10], pooled[:, :10])
    assert torch.allclose(cosines, torch.ones(5))


def test_without_layers_batches_are_seen_as_with_states(corpus):
    encoder = small_encoder(30)
    initial.begin_with_words(encoder, corpus, None, recipe_of())
    phase = recipe.parse(small_training.RECIPE).phases[0]
    batch = Batches(corpus, None, encoder.config, 1).make(phase, 0)
    pooled = objectives.Objective(encoder, phase, 1)._pooled(batch)
    expected = mean_pool(encoder(batch.ids, batch.lengths, num_layers=0), batch.lengths)
    assert torch.allclose(pooled, expected, atol=1e-6)
