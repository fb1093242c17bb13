"""A first layer that takes topics out of long texts."""

import corpus_test
import numpy as np
import pytest
import small_training
import torch

from longwave_torch import Encoder, EncoderConfig, mean_pool, vocabulary
from longwave_torch.targets import Targets
from longwave_torch.train import damping, initial, recipe, trainer
from longwave_torch.train.batches import Batches

LEXICAL = 8
LEARNED = 12
TOKENS = 1500.0
STRENGTH = 0.8


def make_encoder(**changes):
    values = {
        **small_training.CONFIG,
        "hidden_size": LEARNED + LEXICAL,
        "num_hidden_layers": 1,
        "intermediate_size": 2 * LEARNED + 1,
        "layer_norm_eps": 0.1,
        "max_position_embeddings": 1 << 20,
        "final_norm": False,
        "ngrams": {"sizes": [4], "buckets": 64, "dim": LEXICAL},
        "words": {"count": 60, "dim": LEARNED},
        **changes,
    }
    generator = torch.Generator().manual_seed(1)
    return Encoder(EncoderConfig.from_dict(values), generator=generator, residual_scale=0.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_test.make_corpus(tmp_path_factory.mktemp("corpus"), 12, 14_000)


def recipe_of(lexical_dims=LEXICAL):
    text = small_training.RECIPE.replace(
        '"tiny"', f'"tiny"\nidf_documents = 9\nlexical_dims = {lexical_dims}'
    )
    return recipe.parse(text)


@torch.no_grad()
def fill(embeddings):
    """Rows at random, since all documents here have the same words."""
    generator = torch.Generator().manual_seed(2)
    embeddings.word.weight.normal_(0.0, 2.0, generator=generator)
    embeddings.ngram.weight.normal_(0.0, 1.0, generator=generator)
    embeddings.token.weight.zero_()
    embeddings.ngram_projection.weight.zero_()
    embeddings.ngram_projection.weight[LEARNED:] = torch.eye(LEXICAL)


@pytest.fixture(scope="module")
def before_and_after(corpus):
    made = []
    for damped in (False, True):
        encoder = make_encoder()
        initial.begin_with_words(encoder, corpus, None, recipe_of())
        fill(encoder.embeddings)
        if damped:
            damping.begin_with_damping(encoder, corpus, recipe_of(), STRENGTH, TOKENS)
        made.append(encoder)
    return made


def means(encoder, corpus, size):
    found = []
    for entry in corpus.split(held_out=False):
        data = torch.from_numpy(corpus.bytes_of(entry)[:size].astype(np.int64))[None]
        with torch.no_grad():
            found.append(mean_pool(encoder(data))[0])
    return torch.stack(found)


def test_long_texts_keep_less_of_what_is_learned(before_and_after, corpus):
    kept = {}
    for size in (100, 500, 3000, 12_000):
        before, after = (means(encoder, corpus, size) for encoder in before_and_after)
        learned = before[:, :LEARNED], after[:, :LEARNED]
        cosines = torch.nn.functional.cosine_similarity(*learned)
        assert cosines.min() > 0.995  # in the same direction
        kept[size] = (learned[1].norm(dim=1) / learned[0].norm(dim=1)).median().item()
    for size in (100, 3000, 12_000):
        wanted = [1 - STRENGTH * n / (n + TOKENS) for n in (size, 500)]
        assert kept[size] / kept[500] == pytest.approx(wanted[0] / wanted[1], rel=0.05), size


def test_lexical_dimensions_are_left_alone(before_and_after, corpus):
    before, after = (means(encoder, corpus, 2000)[:, LEARNED:] for encoder in before_and_after)
    scale = after[:, :-2] / before[:, :-2]
    assert torch.allclose(scale, scale[0, 0].expand_as(scale), rtol=1e-3)
    # The last two tell of zero and of gaps between words, and are cleared.
    # (Norms change sizes a little.)
    assert after[:, -2:].abs().max() < 0.01 * after[:, :-2].abs().max()


@pytest.mark.parametrize(
    "changes, lexical, problem",
    [
        ({"layer_norm_eps": 1e-5}, LEXICAL, "layer_norm_eps of 0.01 or more"),
        ({"intermediate_size": 2 * LEARNED}, LEXICAL, "an intermediate_size above 24"),
        ({"head_dim": 5}, LEXICAL, "heads of 12 dimensions together"),
        ({"hidden_act": "relu"}, LEXICAL, "hidden_act gelu"),
        ({"final_norm": True}, LEXICAL, "final_norm false"),
        ({}, 2, "lexical_dims = 2, at least 3"),
    ],
)
def test_models_that_cannot(corpus, changes, lexical, problem):
    encoder = make_encoder(**changes)
    fill(encoder.embeddings)
    with pytest.raises(ValueError, match=problem):
        damping.begin_with_damping(encoder, corpus, recipe_of(lexical), STRENGTH, TOKENS)


def test_tokens_must_have_nothing_of_their_own(corpus):
    with pytest.raises(ValueError, match="tokens and n-grams with nothing in the learned"):
        damping.begin_with_damping(make_encoder(), corpus, recipe_of(), STRENGTH, TOKENS)


def test_no_document_is_long_enough(tmp_path):
    short = corpus_test.make_corpus(tmp_path / "short", 6, 900)
    encoder = make_encoder()
    initial.begin_with_words(encoder, short, None, recipe_of())
    fill(encoder.embeddings)
    assert len(vocabulary.count(short, 100).words) >= 60
    with pytest.raises(ValueError, match="no training document has 12000 bytes"):
        damping.begin_with_damping(encoder, short, recipe_of(), STRENGTH, TOKENS)


def make_trainer(corpus, targets, folder):
    its_recipe = recipe.parse(
        small_training.RECIPE.replace(
            '"tiny"',
            '"tiny"\nidf_documents = 9\nlexical_dims = 8\nlexical_weight = 0.5\n'
            'fixed = ["embeddings.token.weight", "embeddings.ngram_projection.weight"]',
        )
        .replace("masked = 0.1", "")
        .replace('"second"', '"second"\ndamping = 0.8\ndamping_tokens = 100')
    )
    encoder = make_encoder()
    initial.begin_with_words(encoder, corpus, targets, its_recipe)
    fill(encoder.embeddings)
    batches = Batches(corpus, targets, encoder.config, 1)
    return trainer.Trainer(encoder, its_recipe, batches, folder)


def test_a_phase_begins_with_damping_once(corpus, tmp_path):
    corpus_test.make_targets(corpus, tmp_path / "targets")
    targets = Targets(tmp_path / "targets", LEARNED)
    whole = make_trainer(corpus, targets, tmp_path / "whole")
    fixed = whole.encoder.embeddings.ngram_projection.weight
    whole.run(4)
    assert not whole.encoder.attention_bias[:, 0].any()  # the first phase is of words alone
    whole.run(1)
    near = whole.encoder.attention_bias[:, 0].detach()
    assert torch.allclose(near, torch.full_like(near, np.log(100)), atol=0.01)
    expected = fixed.clone()
    whole.run()
    assert torch.equal(fixed, expected) and not whole.encoder.embeddings.token.weight[:, :-1].any()
    parts = make_trainer(corpus, targets, tmp_path / "parts")
    parts.run(6)
    parts = make_trainer(corpus, targets, tmp_path / "parts")
    parts.run()
    small_training.assert_same(small_training.weights_of(parts), small_training.weights_of(whole))


def test_fixed_parameters_that_there_are_not(corpus, tmp_path):
    its_recipe = recipe.parse(small_training.RECIPE.replace('"tiny"', '"tiny"\nfixed = ["a.b"]'))
    encoder = make_encoder()
    with pytest.raises(ValueError, match="fixed = .'a.b'.: the model has no such parameter"):
        trainer.Trainer(encoder, its_recipe, Batches(corpus, None, encoder.config, 1), tmp_path)
