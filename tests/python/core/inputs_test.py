"""What may be passed as sequences, and what only looks as if it might."""

from __future__ import annotations

import collections

import longwave
import numpy as np
import pytest
import scripted as script


class TokenizersOutput(collections.UserDict):
    """As libraries of tokenizers return it: a mapping with the ids under a name."""


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"input_ids": [[1, 2]]}, "mapping"),
        (TokenizersOutput({"input_ids": [[1, 2]]}), r'\["input_ids"\]'),
        ({"one", "two"}, "no order"),
        (frozenset(["one"]), "no order"),
    ],
)
def test_mappings_and_sets_are_no_lists(fake, wrong, says):
    for call in (
        lambda: fake.encode(wrong),
        lambda: fake.encode(wrong, errors="return"),
        lambda: fake.encode_tokens(wrong),
        lambda: list(fake.encode_iter(wrong)),
        lambda: fake.estimate(wrong),
    ):
        with pytest.raises(TypeError, match=says):
            call()


def test_keys_of_a_mapping_have_an_order(fake):
    texts = {"two": 2, "one": 1}
    assert np.array_equal(fake.encode(texts.keys()), fake.encode(["two", "one"]))


def test_nothing_among_the_elements_is_a_type_error(fake):
    with pytest.raises(TypeError, match="sequence 1"):
        list(fake.encode_iter(["one", None, "two"]))
    with pytest.raises(TypeError, match="sequence 1"):
        fake.encode(["one", None], errors="return")


def test_integers_are_no_vectors_to_compare(fake):
    bits = fake.encode(["one", "two"], precision="ubinary")
    signed = fake.encode(["one", "two"], precision="binary")
    values = fake.encode(["one", "two"], precision="int8").values
    for wrong in (bits, signed, values, list(bits), bits > 3, values.astype(np.int64)):
        with pytest.raises(TypeError, match="similarity"):
            fake.similarity(wrong, wrong)
        with pytest.raises(TypeError, match="similarity"):
            fake.similarity(fake.encode(["one"]), wrong)


def test_bits_of_bfloat16_are_widened(fake):
    exact = fake.encode(["one", "two"])
    half = fake.encode(["one", "two"], precision="bfloat16")
    wanted = fake.similarity(exact, exact)
    # 8 bits of each value, of which there are two in each product.
    assert np.abs(fake.similarity(half.view(np.uint16), half) - wanted).max() < 2 * 2**-8


def test_half_a_character_costs_nobody_else(connect, scripted, huggingface_file):
    tokenizer = longwave.HuggingFaceTokenizer(huggingface_file)
    scripted.get_model = lambda request, context: script.model(
        tokenizer_kind="huggingface", tokenizer_fingerprint="", vocab_size=300
    )
    client = connect(scripted.address, tokenizer=tokenizer)
    result = client.encode(["ran", "\ud800", "ran ran"], errors="return")
    assert list(result.errors) == [1]
    assert isinstance(result.errors[1], longwave.InvalidArgument)
    assert result.embeddings[2].tolist() == [4, 0]
    with pytest.raises(longwave.InvalidArgument) as caught:
        client.encode_chunks("\ud800", [(0, 1)])
    assert caught.value.field == "document"


@pytest.mark.parametrize("offsets", [False, True])
def test_tokenizers_from_files_refuse_half_a_character(
    huggingface_file, sentencepiece_file, offsets
):
    for tokenizer in (
        longwave.HuggingFaceTokenizer(huggingface_file),
        longwave.SentencePieceTokenizer(sentencepiece_file),
    ):
        with pytest.raises(ValueError):
            if offsets:
                tokenizer.encode_with_offsets("the \ud800")
            else:
                tokenizer.encode_batch(["the", "the \ud800"])


class Sent:
    """The fingerprints that come to a server."""

    def __init__(self, scripted, **model):
        self.fingerprints = []
        scripted.get_model = lambda request, context: script.model(**model)
        scripted.encode = self._encode

    def _encode(self, request, context):
        self.fingerprints.append(request.tokenizer_fingerprint)
        return script.reply(request)


def calls(client):
    client.encode("one")
    client.encode(["one", [1, 2]])
    list(client.encode_iter([[1], "two"]))
    client.encode([1, 2])


def test_the_fingerprint_that_is_sent_is_the_tokenizers(connect, scripted):
    """One that has none vouches for nothing, and the model's name for its own is not taken."""
    sent = Sent(scripted)
    calls(connect(scripted.address, tokenizer=longwave.ByteTokenizer(fingerprint="")))
    assert sent.fingerprints == [""] * 4
    sent = Sent(scripted)
    calls(connect(scripted.address, tokenizer=longwave.ByteTokenizer()))
    assert sent.fingerprints == ["byte-v1"] * 3 + [""]


def test_the_tokenizer_that_a_kind_stands_for_has_the_models_fingerprint(connect, scripted):
    sent = Sent(scripted, tokenizer_fingerprint="byte-by-another-name")
    calls(connect(scripted.address))
    assert sent.fingerprints == ["byte-by-another-name"] * 3 + [""]


def test_a_model_without_a_fingerprint_is_sent_none(connect, scripted):
    sent = Sent(scripted, tokenizer_fingerprint="")
    calls(connect(scripted.address, tokenizer=longwave.ByteTokenizer()))
    assert sent.fingerprints == [""] * 4
