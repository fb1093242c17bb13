"""Tokenizing beside the event loop, which everybody's requests share: a tokenizer from a file takes
about a second for a million characters."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

from longwave import Tokenizer
from longwave.tokenizers import Ids, Offsets

# What is shorter costs less than the way to a thread and back is worth.
_INLINE_CHARACTERS = 4096
_ready: ContextVar[dict[str, Ids] | None] = ContextVar("longwave_tokenized", default=None)


class AheadTokenizer:
    """A tokenizer for a client, which asks it for ids in the event loop: those of texts that the
    same task has prepared are there already."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @property
    def kind(self) -> str:
        return self._tokenizer.kind

    @property
    def fingerprint(self) -> str:
        return self._tokenizer.fingerprint

    async def prepare(self, texts: list[str]) -> None:
        """Makes the ids of these texts in a thread."""
        _ready.set(None)
        if sum(map(len, texts)) < _INLINE_CHARACTERS:
            return
        try:
            ids = await asyncio.to_thread(self._tokenizer.encode_batch, texts)
        except ValueError:
            return  # the client finds out which of them it is
        _ready.set(dict(zip(texts, ids)))

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        ready = _ready.get() or {}
        if all(text in ready for text in texts):
            return [ready[text] for text in texts]
        return self._tokenizer.encode_batch(texts)

    def encode_with_offsets(self, text: str) -> tuple[Ids, Offsets]:
        return self._tokenizer.encode_with_offsets(text)
