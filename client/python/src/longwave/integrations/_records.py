"""Encoding of what comes in records, a batch at a time: what the stores share."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from longwave.aio import AsyncClient
from longwave.client import Client
from longwave.errors import LongwaveError, model_changed
from longwave.results import Embedding, EncodeResult

OnError = Literal["raise", "skip"]


@dataclass(frozen=True)
class Record:
    """One text that a store keeps.

    Attributes:
        id: its name in the store. A record of the same id replaces it.
        text: what is encoded, and kept beside the vector.
        metadata: what else the store keeps of it; JSON types.
    """

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What became of the records.

    Attributes:
        stored: how many are in the store now.
        errors: why the others are not, by id. Empty with on_error="raise".
        model_digest: SHA-256 of the weights of all their vectors; empty: none were stored.
    """

    stored: int
    errors: dict[str, LongwaveError]
    model_digest: str


@dataclass(frozen=True)
class Encoded:
    """A batch of records with their embeddings: those that could be encoded, in their order."""

    records: list[Record]
    embeddings: list[Embedding]
    errors: dict[str, LongwaveError]
    model_digest: str


def batches(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """The records in lists of at most `size`; takes no more of the iterable than it gives.

    Raises:
        ValueError: size is below 1.
    """
    if size < 1:
        raise ValueError(f"batch_size = {size}, at least 1 is needed")
    iterator = iter(records)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def check_digest(found: str, expected: str, what: str) -> str:
    """The digest that further vectors must have: `expected`, or `found` where there is none yet.

    Raises:
        FailedPrecondition: with reason MODEL_CHANGED, the two differ: vectors of the two models
            would be compared, and mean nothing.
    """
    if expected and found and found != expected:
        raise model_changed(
            "model_digest",
            found,
            expected,
            f"{what} holds vectors of the model {expected}, and the server has {found} in service"
            " now: vectors of two models do not compare",
        )
    return expected or found


def sort_out(batch: Sequence[Record], result: EncodeResult, on_error: OnError) -> Encoded:
    """What was encoded of a batch.

    Raises:
        LongwaveError: a record failed, and on_error is "raise".
        ValueError: on_error is neither "raise" nor "skip".
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error = {on_error!r}, not one of "raise", "skip"')
    if result.errors and on_error == "raise":
        raise result.errors[min(result.errors)]
    kept = [
        (record, embedding)
        for record, embedding in zip(batch, result.embeddings)
        if embedding is not None
    ]
    return Encoded(
        [record for record, _ in kept],
        [embedding for _, embedding in kept],
        {batch[index].id: error for index, error in result.errors.items()},
        result.model_digest,
    )


def encode_batches(
    client: Client,
    records: Iterable[Record],
    *,
    batch_size: int,
    on_error: OnError,
    **options: Any,
) -> Iterator[Encoded]:
    """Encodes the records, one batch each time the next one is asked for.

    That is the back-pressure: while a store takes a batch, nothing is read and nothing is computed,
    so that a slow store holds up the source and not the memory.

    Args:
        client: who encodes; it splits a batch by tokens and has a few requests in flight.
        records: may be endless.
        batch_size: records of a batch.
        on_error: "raise", or "skip" a record that cannot be encoded and report why.
        options: of Client.encode.
    """
    for batch in batches(records, batch_size):
        texts = [record.text for record in batch]
        result = client.encode(texts, errors="return", show_progress_bar=False, **options)
        yield sort_out(batch, result, on_error)


async def aencode_batches(
    client: AsyncClient,
    records: Iterable[Record],
    *,
    batch_size: int,
    on_error: OnError,
    **options: Any,
) -> AsyncIterator[Encoded]:
    """encode_batches with an AsyncClient."""
    for batch in batches(records, batch_size):
        texts = [record.text for record in batch]
        result = await client.encode(texts, errors="return", show_progress_bar=False, **options)
        yield sort_out(batch, result, on_error)
