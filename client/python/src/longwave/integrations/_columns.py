"""Encoding of a column of a data set, batch by batch: what Ray and Spark share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from longwave.client import Client
from longwave.errors import InvalidArgument, LongwaveError, Unavailable
from longwave.integrations._records import check_digest

# Seconds between tries at a server that is not there; doubled from one to the next.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0
Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ColumnSettings:
    """What a worker needs to encode; it travels to the workers, so it holds the name of the key's
    variable and never the key.

    Attributes:
        target: address of the server.
        api_key_variable: environment variable of the workers that holds the key; empty: no key.
        model_digest: SHA-256 of the weights that all vectors must be of (ModelInfo.weights_digest);
            empty: those of the worker's first batch.
        patience: seconds for which rows are tried again while the server says that it is full, or
            is not there.
        client: further keyword arguments of Client.
        encode: further keyword arguments of Client.encode.
    """

    target: str
    api_key_variable: str = "LONGWAVE_API_KEY"
    model_digest: str = ""
    patience: float = 300.0
    client: Mapping[str, Any] = field(default_factory=dict)
    encode: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("api_key", "target"):
            if name in self.client:
                raise ValueError(
                    f"client: {name!r} does not belong here; workers read the key from the"
                    " environment variable that api_key_variable names"
                )
        for name in ("errors", "convert_to_numpy", "spans", "show_progress_bar"):
            if name in self.encode:
                raise ValueError(f"encode: {name!r} is set by the integration itself")
        if self.encode.get("pooling") in ("none", "spans"):
            raise ValueError("encode: a column holds one vector for each row, no token rows")
        if self.encode.get("precision", "float32") not in ("float32", "float16"):
            raise ValueError('encode: precision must be "float32" or "float16" in a column')
        if not self.patience >= 0:
            raise ValueError(f"patience = {self.patience}: seconds, at least 0")

    def connect(self) -> Client:
        """A client of the worker's own."""
        key = os.environ.get(self.api_key_variable) if self.api_key_variable else None
        options = {"priority": "batch", **self.client}
        return Client(self.target, api_key=key or None, **options)


@dataclass(frozen=True)
class Outcome:
    """What became of the rows of a batch: a vector, or an error at its position."""

    vectors: list[Vector | None]
    errors: dict[int, LongwaveError]


class ColumnEncoder:
    """Encodes the batches of one worker, one after the other.

    While a batch is encoded no other is taken, and while the server is full the batch waits: that
    is how a fast data set is held up by a slow server, and not the server's queue or the worker's
    memory. Within a batch the client has max_in_flight requests of batch_tokens under way.
    """

    def __init__(
        self,
        client: Client,
        settings: ColumnSettings,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._settings = settings
        self._wait = wait
        self._clock = clock
        self._digest = settings.model_digest

    @property
    def client(self) -> Client:
        """Who encodes."""
        return self._client

    def encode(self, texts: Sequence[Any], *, nulls: bool = False) -> Outcome:
        """Encodes the texts of a batch.

        Args:
            nulls: whether a row without a text has neither a vector nor an error; if not, it fails.

        Raises:
            LongwaveError: nothing can be encoded (no server after all that patience, say); with
                reason MODEL_CHANGED, the model is not the one of the vectors before.
        """
        vectors: list[Vector | None] = [None] * len(texts)
        errors: dict[int, LongwaveError] = {}
        open_rows = []
        for row, text in enumerate(texts):
            if isinstance(text, str):
                open_rows.append(row)
            elif text is not None or not nulls:
                errors[row] = _no_text(row, text)
        deadline = self._clock() + self._settings.patience
        pause = _FIRST_PAUSE
        while open_rows:
            gone: Unavailable | None = None
            try:
                open_rows = self._try(texts, open_rows, vectors, errors)
                delay = max((errors[row].retry_after or 0.0 for row in open_rows), default=0.0)
                pause = _FIRST_PAUSE
            except Unavailable as error:
                gone = error
                delay = pause if error.retry_after is None else error.retry_after
                pause = min(2 * pause, _LONGEST_PAUSE)
            if open_rows and self._clock() + delay > deadline:
                if gone is not None:
                    raise gone
                break
            if open_rows:
                self._wait(delay)
        return Outcome(vectors, errors)

    def _try(
        self,
        texts: Sequence[Any],
        rows: list[int],
        vectors: list[Vector | None],
        errors: dict[int, LongwaveError],
    ) -> list[int]:
        """Encodes these rows; gives those that the server asks to come back with."""
        result = self._client.encode(
            [texts[row] for row in rows],
            errors="return",
            show_progress_bar=False,
            **self._settings.encode,
        )
        self._digest = check_digest(result.model_digest, self._digest, "the column")
        again = []
        for place, row in enumerate(rows):
            failure = result.errors.get(place)
            if failure is None:
                errors.pop(row, None)
                vectors[row] = np.asarray(result.embeddings[place], np.float32)
                continue
            failure.index = row
            errors[row] = failure
            if failure.retry_after is not None:
                again.append(row)
        return again


def _no_text(row: int, value: Any) -> InvalidArgument:
    found = "nothing" if value is None else type(value).__name__
    return InvalidArgument(
        f"a text is expected, not {found}", reason="MISSING_FIELD", field="text", index=row
    )
