"""Tokenizers: ids, offsets, fingerprints, and that a wrong one is refused."""

from __future__ import annotations

import hashlib
import pickle

import longwave
import numpy as np
import pytest
import scripted as script
from longwave.tokenizers import narrow, tokenizer_for

TEXT = "Żółw i jeż: 亀!"


def numbers(ids) -> list[int]:
    return list(ids) if isinstance(ids, bytes) else ids.tolist()


def test_bytes():
    tokenizer = longwave.ByteTokenizer()
    assert (tokenizer.kind, tokenizer.fingerprint) == ("byte", "byte-v1")
    assert tokenizer.encode_batch([TEXT, ""]) == [TEXT.encode(), b""]
    ids, offsets = tokenizer.encode_with_offsets(TEXT)
    assert ids == TEXT.encode()
    for place, (begin, end) in enumerate(offsets.tolist()):
        assert end == begin + 1
        assert ids[place] in TEXT[begin].encode()
        assert len(TEXT[:begin].encode()) <= place < len(TEXT[:end].encode())


def test_an_alphabet():
    tokenizer = longwave.AlphabetTokenizer.dna()
    assert tokenizer.kind == "dna"
    assert [numbers(ids) for ids in tokenizer.encode_batch(["ACGTN", "acgtn"])] == [
        [0, 1, 2, 3, 4]
    ] * 2
    with pytest.raises(ValueError, match="character 2 is 'X'"):
        tokenizer.encode_batch(["ACXG"])
    with pytest.raises(ValueError, match="'亀'"):
        tokenizer.encode_batch(["A亀"])
    ids, offsets = tokenizer.encode_with_offsets("GAT")
    assert numbers(ids) == [2, 0, 3] and offsets.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert tokenizer.fingerprint == hashlib.sha256(b"fold:ACGTN").hexdigest()
    protein = longwave.AlphabetTokenizer.protein()
    assert numbers(protein.encode_batch(["ayO"])[0]) == [0, 19, 24]


def test_an_alphabet_of_ones_own():
    exact = longwave.AlphabetTokenizer("aA", kind="own")
    assert numbers(exact.encode_batch(["Aa"])[0]) == [1, 0]
    assert exact.fingerprint == hashlib.sha256(b"exact:aA").hexdigest()
    unknown = longwave.AlphabetTokenizer("ab?", unknown="?")
    assert numbers(unknown.encode_batch(["axb亀"])[0]) == [0, 2, 1, 2]
    assert unknown.fingerprint == hashlib.sha256(b"exact:?:ab?").hexdigest()
    wide = longwave.AlphabetTokenizer("".join(map(chr, range(1000, 1400))))
    assert numbers(wide.encode_batch([chr(1399)])[0]) == [399]
    for wrong in ("", "aa"):
        with pytest.raises(ValueError, match="alphabet"):
            longwave.AlphabetTokenizer(wrong)
    with pytest.raises(ValueError, match="unknown"):
        longwave.AlphabetTokenizer("ab", unknown="?")


def test_huggingface(huggingface_file):
    tokenizer = longwave.HuggingFaceTokenizer(huggingface_file)
    assert tokenizer.kind == "huggingface"
    assert tokenizer.fingerprint == hashlib.sha256(huggingface_file.read_bytes()).hexdigest()
    text = "the turtle ran  the turtle"  # above the file's truncation, below its padding
    expected = [0, 300, 70_000, 5, 300, 70_000, 1]
    assert numbers(tokenizer.encode_batch([text, "ran"])[0]) == expected
    ids, offsets = tokenizer.encode_with_offsets(text)
    assert numbers(ids) == expected
    words = [text[begin:end] for begin, end in offsets.tolist()]
    assert words == ["", "the", "turtle", "ran", "the", "turtle", ""]
    plain = longwave.HuggingFaceTokenizer(huggingface_file, add_special_tokens=False)
    assert numbers(plain.encode_batch(["ran"])[0]) == [5]


def test_sentencepiece(sentencepiece_file):
    tokenizer = longwave.SentencePieceTokenizer(sentencepiece_file)
    assert tokenizer.kind == "sentencepiece"
    assert tokenizer.fingerprint == hashlib.sha256(sentencepiece_file.read_bytes()).hexdigest()
    text = "the turtle ran far"
    (batch,) = tokenizer.encode_batch([text])
    ids, offsets = tokenizer.encode_with_offsets(text)
    assert numbers(batch) == numbers(ids) and len(ids) == len(offsets)
    assert "".join(text[begin:end] for begin, end in offsets.tolist()) == text
    # Of characters outside the model's, and of several bytes, too.
    text = "  żółw 亀 ran é"
    _, offsets = tokenizer.encode_with_offsets(text)
    assert "".join(text[begin:end] for begin, end in offsets.tolist()) == text.strip()


@pytest.mark.parametrize("name", ["byte", "dna", "huggingface", "sentencepiece"])
def test_tokenizers_pickle(name, request):
    made = {
        "byte": lambda: longwave.ByteTokenizer(),
        "dna": lambda: longwave.AlphabetTokenizer.dna(),
        "huggingface": lambda: longwave.HuggingFaceTokenizer(
            request.getfixturevalue("huggingface_file")
        ),
        "sentencepiece": lambda: longwave.SentencePieceTokenizer(
            request.getfixturevalue("sentencepiece_file")
        ),
    }[name]()
    assert isinstance(made, longwave.Tokenizer)
    copy = pickle.loads(pickle.dumps(made))
    text = "GATA" if name == "dna" else "the turtle"
    assert (copy.kind, copy.fingerprint) == (made.kind, made.fingerprint)
    assert numbers(copy.encode_batch([text])[0]) == numbers(made.encode_batch([text])[0])


@pytest.mark.parametrize(
    ("largest", "kind"), [(255, bytes), (256, np.uint16), (65_535, np.uint16), (65_536, np.uint32)]
)
def test_ids_take_the_fewest_bytes_that_hold_them(largest, kind):
    ids = narrow(np.array([1, largest]))
    assert isinstance(ids, bytes) if kind is bytes else ids.dtype == kind
    assert numbers(ids) == [1, largest]


def test_what_a_kind_says_by_itself():
    assert tokenizer_for("byte", "any").fingerprint == "any"
    assert tokenizer_for("dna", "").kind == "dna"
    assert tokenizer_for("protein", "").kind == "protein"
    assert tokenizer_for("sentencepiece", "") is None


def with_tokenizer(scripted, kind: str, fingerprint: str) -> None:
    scripted.get_model = lambda request, context: script.model(
        tokenizer_kind=kind, tokenizer_fingerprint=fingerprint, vocab_size=100_000
    )


def test_a_model_whose_tokenizer_takes_a_file_needs_it(connect, scripted, huggingface_file):
    tokenizer = longwave.HuggingFaceTokenizer(huggingface_file)
    with_tokenizer(scripted, "huggingface", tokenizer.fingerprint)
    with pytest.raises(longwave.InvalidArgument) as caught:
        connect(scripted.address).encode("the turtle")
    assert (caught.value.reason, caught.value.limit) == ("TOKENIZER_UNKNOWN", "huggingface")
    requests = []

    def encode(request, context):
        requests.append(request)
        return script.reply(request)

    scripted.encode = encode
    assert connect(scripted.address).encode([7, 8]).tolist() == [2, 7]  # ids need none
    client = connect(scripted.address, tokenizer=tokenizer)
    client.encode(["the turtle", "ran"])
    assert list(requests[1].tokens.lengths) == [4, 3]
    assert requests[1].tokens.id_width == 3
    assert np.frombuffer(requests[1].tokens.ids, "<u4").tolist() == [0, 300, 70_000, 1, 0, 5, 1]
    assert requests[1].tokenizer_fingerprint == tokenizer.fingerprint
    with pytest.raises(TypeError, match="bytes need the byte tokenizer"):
        client.encode(b"bytes")


@pytest.mark.parametrize(
    ("kind", "fingerprint", "field"),
    [
        ("sentencepiece", "", "tokenizer_kind"),
        ("dna", "0" * 64, "tokenizer_fingerprint"),
    ],
)
def test_a_tokenizer_that_is_not_the_models_is_refused(connect, scripted, kind, fingerprint, field):
    with_tokenizer(scripted, kind, fingerprint)
    scripted.encode = lambda request, context: pytest.fail("sent")
    client = connect(scripted.address, tokenizer=longwave.AlphabetTokenizer.dna())
    with pytest.raises(longwave.InvalidArgument) as caught:
        client.encode("GATA")
    assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", field)
    assert caught.value.limit in (kind, fingerprint)


def test_the_server_refuses_too(connect, start_fake, tmp_path):
    """As when the model is replaced by one with another tokenizer between two calls."""
    client = connect(start_fake())
    client.encode("a")
    kept = client.info()
    object.__setattr__(kept, "tokenizer_fingerprint", "c" * 64)
    with pytest.raises(longwave.InvalidArgument) as caught:
        client.encode("a")
    assert caught.value.field == "tokenizer_fingerprint"
    client.encode("a")  # the model has been asked for again


def test_a_text_that_cannot_be_tokenized_costs_nobody_else(connect, scripted):
    tokenizer = longwave.AlphabetTokenizer.dna()
    with_tokenizer(scripted, "dna", tokenizer.fingerprint)
    client = connect(scripted.address)
    result = client.encode(["GATA", "ABC", "CC"], errors="return")
    assert list(result.errors) == [1] and "'B'" in str(result.errors[1])
    assert result.embeddings[2].tolist() == [2, 1]
    with pytest.raises(longwave.InvalidArgument, match="sequence 1: .*'B'"):
        client.encode(["GATA", "ABC", "CC"])


def test_half_a_character_is_no_text(fake):
    with pytest.raises(longwave.InvalidArgument, match="sequence 1"):
        fake.encode(["good", "\ud800"])
