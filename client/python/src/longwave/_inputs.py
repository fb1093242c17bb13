"""What callers pass as sequences, as ids."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, KeysView, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from longwave.errors import InvalidArgument
from longwave.tokenizers import ByteTokenizer, Ids, Tokenizer, narrow

_MAX_ID = 2**32 - 1


def is_single(sentences: Any) -> bool:
    """Whether this is one sequence rather than a collection of them."""
    if isinstance(sentences, (str, bytes, bytearray, memoryview)):
        return True
    if hasattr(sentences, "__array__"):  # numpy's, torch's, pandas'
        array = np.asarray(sentences)
        return array.ndim == 1 and array.dtype.kind in "iu"
    return isinstance(sentences, Sequence) and bool(sentences) and _is_integer(sentences[0])


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_ordered(sentences: Any) -> None:
    """TypeError: a mapping, whose keys would be encoded, or a set, whose order is nobody's."""
    if isinstance(sentences, Mapping):
        raise TypeError(
            f"sentences: a {type(sentences).__name__} is a mapping, of which only the keys would be"
            ' encoded; pass one of its values, such as ["input_ids"] of a tokenizer\'s output'
        )
    if isinstance(sentences, Set) and not isinstance(sentences, KeysView):
        raise TypeError(
            f"sentences: a {type(sentences).__name__} has no order, so nobody would know which "
            "vector is whose; pass a list"
        )


def as_list(sentences: Any) -> list[Any]:
    """The sequences of a collection. TypeError: it is none, or has no order."""
    check_ordered(sentences)
    if isinstance(sentences, list):
        return sentences
    if hasattr(sentences, "__array__"):
        return list(np.asarray(sentences))
    if isinstance(sentences, Iterable):
        return list(sentences)
    raise TypeError(
        "sentences: a text, token ids, or a collection of such, not " + type(sentences).__name__
    )


@dataclass
class Prepared:
    """Sequences as ids, or why one has none; and the fingerprint of the tokenizer that made any of
    them: empty if none did, or if it has no fingerprint."""

    sequences: list[Ids | InvalidArgument]
    fingerprint: str = ""


def needs_tokenizer(inputs: Iterable[Any]) -> bool:
    """Whether any of these has to be turned into ids, or is bytes, which depends on it too."""
    return any(isinstance(value, (str, bytes, bytearray, memoryview)) for value in inputs)


def prepare(
    inputs: Sequence[Any], tokenizer: Tokenizer | None, prompt: str | None, first: int = 0
) -> Prepared:
    """Ids of each input.

    Args:
        inputs: texts, bytes and ids in any mixture.
        tokenizer: None only if needs_tokenizer says that there is nothing to do for it.
        prompt: put before each text.
        first: the caller's number of the first one, for errors.

    Raises:
        TypeError: something that is neither text nor ids, which no server's answer can mend.
    """
    out: list[Ids | InvalidArgument] = [b""] * len(inputs)
    texts: list[int] = []
    fingerprint = ""
    for place, value in enumerate(inputs):
        if isinstance(value, str):
            texts.append(place)
            continue
        if prompt:
            raise TypeError(f"prompt: goes before texts, and sequence {first + place} is none")
        if isinstance(value, (bytes, bytearray, memoryview)):
            if not isinstance(tokenizer, ByteTokenizer):
                kind = tokenizer.kind if tokenizer else "none"
                raise TypeError(
                    f"sequence {first + place}: bytes need the byte tokenizer, this is {kind!r}"
                )
            out[place] = bytes(value)
            fingerprint = tokenizer.fingerprint
        else:
            out[place] = _take_ids(value, first + place)
    if texts:
        assert tokenizer is not None
        fingerprint = tokenizer.fingerprint
        strings = [inputs[place] for place in texts]
        if prompt:
            strings = [prompt + text for text in strings]
        for place, ids in zip(texts, _tokenize(strings, tokenizer, first, texts)):
            out[place] = ids
    for place, entry in enumerate(out):
        if not isinstance(entry, InvalidArgument) and len(entry) == 0:
            out[place] = _invalid(
                first + place, "the sequence is empty", "EMPTY_SEQUENCE", "0", "at least 1 token"
            )
    return Prepared(out, fingerprint)


def _tokenize(
    texts: list[str], tokenizer: Tokenizer, first: int, places: list[int]
) -> list[Ids | InvalidArgument]:
    try:
        return list(tokenizer.encode_batch(texts))
    except ValueError:
        pass  # which of them it was is not known
    out: list[Ids | InvalidArgument] = []
    for place, text in zip(places, texts):
        try:
            out += tokenizer.encode_batch([text])
        except ValueError as error:
            out.append(_invalid(first + place, f"the text cannot be tokenized: {error}"))
    return out


def _take_ids(value: Any, index: int) -> Ids | InvalidArgument:
    try:
        ids = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise TypeError(f"sequence {index}: neither a text nor token ids: {error}") from error
    if ids.size == 0 and ids.ndim == 1:
        return b""
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise TypeError(
            f"sequence {index}: token ids are integers in one dimension, not "
            f"{type(value).__name__} of type {ids.dtype} and shape {ids.shape}"
        )
    if ids.dtype == np.uint8:
        return ids.tobytes()
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high > _MAX_ID:
        return _invalid(
            index,
            "a token id is out of range",
            "TOKEN_OUT_OF_RANGE",
            str(low if low < 0 else high),
            f"[0, {_MAX_ID}]",
        )
    return narrow(ids)


def _invalid(
    index: int, details: str, reason: str = "INVALID_FIELD", value: str = "", limit: str = ""
) -> InvalidArgument:
    return InvalidArgument(
        details, reason=reason, field=f"sentences[{index}]", value=value, limit=limit, index=index
    )
