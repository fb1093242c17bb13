"""Late chunking: chunks of a document that are embedded in one pass over all of it.

A chunk is a half-open range of characters. Splitters find chunks in a text; plan_chunks says which
tokens they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from longwave.errors import InvalidArgument
from longwave.results import SpanInput
from longwave.tokenizers import Ids, Offsets, Tokenizer

# A splitter finds the chunks of a text.
Splitter = Callable[[str], list[SpanInput]]
Chunks = Sequence[SpanInput] | Splitter

# The end of a sentence: its mark, quotes and brackets that close after it, and blank space.
_SENTENCE_END = re.compile(r"""[.!?…]+["'”’»)\]]*\s+|[。！？]+["'”’」』）]*\s*""")
_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*")


def split_characters(size: int, overlap: int = 0) -> Splitter:
    """Chunks of `size` characters, each of which begins `overlap` before the end of the last."""
    if size < 1 or not 0 <= overlap < size:
        raise ValueError(f"size = {size}, overlap = {overlap}: needs size >= 1 and overlap < size")

    def split(text: str) -> list[SpanInput]:
        step = size - overlap
        last = max(0, len(text) - overlap)
        begins = range(0, max(1, last), step) if text else range(0)
        return [(begin, min(begin + size, len(text))) for begin in begins]

    return split


def split_sentences(max_characters: int | None = None) -> Splitter:
    """Sentences: what ends in . ! ? … or their East Asian forms, before blank space.

    It knows no abbreviations. `max_characters`: sentences are joined as long as they fit, and one
    that is longer is cut.
    """
    return _splitter(_SENTENCE_END, max_characters)


def split_paragraphs(max_characters: int | None = None) -> Splitter:
    """Paragraphs: what is between empty lines. `max_characters` as of split_sentences."""
    return _splitter(_PARAGRAPH_END, max_characters)


def _splitter(end: re.Pattern[str], max_characters: int | None) -> Splitter:
    if max_characters is not None and max_characters < 1:
        raise ValueError(f"max_characters = {max_characters}, needs 1 or more")

    def split(text: str) -> list[SpanInput]:
        ends = [match.end() for match in end.finditer(text)]
        pieces: list[SpanInput] = []
        begin = 0
        for stop in [*ends, len(text)]:
            if text[begin:stop].strip():
                pieces.append((begin, stop))
                begin = stop
            # Blank space alone is part of what comes next.
        if max_characters is not None:
            pieces = _fit(pieces, max_characters)
        return [_strip(text, piece) for piece in pieces]

    return split


def _fit(pieces: list[SpanInput], size: int) -> list[SpanInput]:
    """Neighbours joined up to `size`, and what is above it cut."""
    out: list[SpanInput] = []
    for begin, end in pieces:
        if out and end - out[-1][0] <= size:
            out[-1] = (out[-1][0], end)
        else:
            out += [(at, min(at + size, end)) for at in range(begin, end, size)]
    return out


def _strip(text: str, piece: SpanInput) -> SpanInput:
    """Without blank space around it, unless there is nothing else."""
    begin, end = piece
    inner = text[begin:end]
    if not inner.strip():
        return piece
    return begin + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())


def token_spans(offsets: Offsets, chunks: Sequence[SpanInput]) -> list[SpanInput]:
    """The tokens that overlap each chunk.

    Args:
        offsets: begin and end of each token in characters, [tokens, 2], ascending; tokens that
            stand for no text have begin = end and belong to no chunk's edge.
        chunks: ranges of characters.

    Returns:
        Half-open ranges of tokens. Where a token lies across the edge of two chunks, both have it.

    Raises:
        InvalidArgument: no token overlaps a chunk.
    """
    (places,) = np.nonzero(offsets[:, 0] < offsets[:, 1])
    begins, ends = offsets[places, 0], offsets[places, 1]
    wanted = np.asarray(chunks, np.int64).reshape(-1, 2)
    first = np.searchsorted(ends, wanted[:, 0], side="right")
    last = np.searchsorted(begins, wanted[:, 1], side="left")
    out: list[SpanInput] = []
    for number, (begin, end) in enumerate(zip(first, last)):
        if begin >= end:
            raise _bad_chunk(number, chunks[number], "a chunk with at least one token")
        out.append((int(places[begin]), int(places[end - 1]) + 1))
    return out


@dataclass(frozen=True)
class ChunkPlan:
    """A document's ids, and the span of tokens of each chunk."""

    ids: Ids
    spans: list[SpanInput]


def plan_chunks(document: str, chunks: Chunks, tokenizer: Tokenizer) -> ChunkPlan:
    """Tokens of a document and of its chunks. InvalidArgument: a chunk is none of the document, or
    the document has no tokens of this tokenizer."""
    found = chunks(document) if callable(chunks) else list(chunks)
    for number, (begin, end) in enumerate(found):
        if not 0 <= begin < end <= len(document):
            raise _bad_chunk(number, (begin, end), f"0 <= begin < end <= {len(document)}")
    try:
        ids, offsets = tokenizer.encode_with_offsets(document)
    except ValueError as error:
        raise InvalidArgument(
            f"the document cannot be tokenized: {error}", reason="INVALID_FIELD", field="document"
        ) from error
    return ChunkPlan(ids, token_spans(offsets, found) if found else [])


def _bad_chunk(number: int, chunk: SpanInput, limit: str) -> InvalidArgument:
    return InvalidArgument(
        f"chunks[{number}] = {tuple(chunk)}, needs {limit}",
        reason="INVALID_FIELD",
        field=f"chunks[{number}]",
        value=str(tuple(chunk)),
        limit=limit,
    )
