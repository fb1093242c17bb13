"""Late chunking: splitters, character spans to token spans, and one pass over a document."""

from __future__ import annotations

import fake_rows
import longwave
import numpy as np
import pytest
import scripted as script
from longwave import late_chunking as chunking


def pieces(split, text: str) -> list[str]:
    return [text[begin:end] for begin, end in split(text)]


def test_characters():
    assert pieces(chunking.split_characters(4), "abcdefghij") == ["abcd", "efgh", "ij"]
    assert pieces(chunking.split_characters(4, 2), "abcdefg") == ["abcd", "cdef", "efg"]
    assert pieces(chunking.split_characters(4, 2), "abcd") == ["abcd"]
    assert pieces(chunking.split_characters(9), "abc") == ["abc"]
    assert chunking.split_characters(4)("") == []
    for wrong in ((0, 0), (4, 4), (4, -1)):
        with pytest.raises(ValueError, match="overlap"):
            chunking.split_characters(*wrong)


def test_sentences():
    text = 'One. "Two!" he said.  Three?\nFour 4.5 is one. 五つ目。六つ目！ Last'
    assert pieces(chunking.split_sentences(), text) == [
        "One.", '"Two!"', "he said.", "Three?", "Four 4.5 is one.", "五つ目。", "六つ目！", "Last",
    ]  # fmt: skip
    assert pieces(chunking.split_sentences(), "  ...  ") == ["..."]
    assert chunking.split_sentences()("") == []
    assert chunking.split_sentences()("  \n ") == []


def test_paragraphs():
    text = "\n\nOne\nstill one\n \n\nTwo\n\n  Three\n"
    assert pieces(chunking.split_paragraphs(), text) == ["One\nstill one", "Two", "Three"]


def test_pieces_are_joined_and_cut_to_a_size():
    text = "Aa. Bb. Cc. " + "d" * 25 + "."
    assert pieces(chunking.split_sentences(8), text) == [
        "Aa. Bb.", "Cc.", "dddddddd", "dddddddd", "dddddddd", "d.",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="max_characters"):
        chunking.split_sentences(0)


@pytest.mark.parametrize(
    "split",
    [
        chunking.split_characters(7, 3),
        chunking.split_sentences(),
        chunking.split_sentences(10),
        chunking.split_paragraphs(30),
    ],
)
def test_every_character_that_is_not_blank_is_in_a_chunk(split):
    rng = np.random.default_rng(3)
    for _ in range(200):
        text = "".join(rng.choice(list("ab.! \n?。"), rng.integers(0, 60)))
        covered = np.zeros(len(text), bool)
        for begin, end in split(text):
            assert 0 <= begin < end <= len(text)
            covered[begin:end] = True
        assert all(covered[n] or text[n].isspace() for n in range(len(text))), repr(text)


def test_tokens_of_chunks():
    # [CLS] "the" " turtle" "ran" [SEP], with a blank between "turtle" and "ran".
    offsets = np.array([[0, 0], [0, 3], [3, 10], [11, 14], [14, 14]])
    spans = chunking.token_spans(offsets, [(0, 3), (3, 10), (11, 14), (0, 14), (2, 5), (10, 12)])
    assert spans == [(1, 2), (2, 3), (3, 4), (1, 4), (1, 3), (3, 4)]
    with pytest.raises(longwave.InvalidArgument) as caught:
        chunking.token_spans(offsets, [(0, 3), (10, 11)])
    assert caught.value.field == "chunks[1]"


@pytest.mark.parametrize("name", ["byte", "huggingface", "sentencepiece", "protein"])
def test_spans_of_every_tokenizer_hold_the_text_of_their_chunk(name, request):
    text = "the turtle ran  the turtle"
    if name == "byte":
        text, tokenizer = "żółw 亀 the", longwave.ByteTokenizer()
    elif name == "protein":
        text, tokenizer = "MKVLA", longwave.AlphabetTokenizer.protein()
    elif name == "huggingface":
        file = request.getfixturevalue("huggingface_file")
        tokenizer = longwave.HuggingFaceTokenizer(file)
    else:
        tokenizer = longwave.SentencePieceTokenizer(request.getfixturevalue("sentencepiece_file"))
    ids, offsets = tokenizer.encode_with_offsets(text)
    chunks = [(0, 3), (2, 5), (4, len(text)), (0, len(text))]
    for (begin, end), (first, last) in zip(chunks, chunking.token_spans(offsets, chunks)):
        inside = [n for n, (b, e) in enumerate(offsets.tolist()) if b < e and b < end and e > begin]
        assert list(range(first, last)) == inside


def test_vectors_of_chunks(fake):
    document = "żółw. jeż."
    vectors = fake.encode_chunks(document, [(0, 5), (6, 10), (0, 10)])
    ids = list(document.encode())
    spans = [(0, 8), (9, 14), (0, 14)]
    for vector, span in zip(vectors, spans):
        assert np.array_equal(vector, fake_rows.row(ids, fake_rows.span_row(*span)))
    assert np.array_equal(fake.encode_chunks(document, chunking.split_sentences()), vectors[:2])


def test_a_document_without_chunks(fake):
    assert fake.encode_chunks("", chunking.split_sentences()).shape == (0, 16)
    assert fake.encode_chunks("abc", []).shape == (0, 16)


@pytest.mark.parametrize("chunk", [(0, 4), (2, 2), (-1, 2)])
def test_chunks_outside_the_document(fake, chunk):
    with pytest.raises(longwave.InvalidArgument) as caught:
        fake.encode_chunks("abc", [(0, 1), chunk])
    assert caught.value.field == "chunks[1]" and "3" in caught.value.limit


def test_ids_below_256_of_a_tokenizer_that_is_not_bytes(connect, scripted):
    tokenizer = longwave.AlphabetTokenizer.dna()
    seen = []

    def encode(request, context):
        seen.append(request)
        response = script.reply(request)
        response.sequences[0].rows = response.embeddings.rows = 2
        response.embeddings.data *= 2
        return response

    scripted.get_model = lambda request, context: script.model(
        tokenizer_kind="dna", tokenizer_fingerprint=tokenizer.fingerprint
    )
    scripted.encode = encode
    assert connect(scripted.address).encode_chunks("GATA", [(0, 2), (2, 4)]).shape == (2, 2)
    assert seen[0].tokens.ids == bytes([2, 0, 3, 0])
    assert [(span.begin, span.end) for span in seen[0].output.spans] == [(0, 2), (2, 4)]
    assert seen[0].tokenizer_fingerprint == tokenizer.fingerprint


def test_a_document_beyond_unary_calls(fake):
    document = "Ein Satz, der lang ist. " * 6000
    assert len(document) > 131_072
    chunks = chunking.split_characters(50_000)(document)
    vectors = fake.encode_chunks(document, chunks)
    ids = list(document.encode())
    for vector, span in zip(vectors, chunks):
        assert np.array_equal(vector, fake_rows.row(ids, fake_rows.span_row(*span)))
