"""Ray Data: a column of texts becomes a column of embeddings.

from longwave.integrations.ray import LongwaveMapper

dataset.map_batches(
    LongwaveMapper,
    fn_constructor_kwargs={"target": "encoder:50051", "column": "text"},
    concurrency=4, num_cpus=0.25, batch_size=256,
)

An actor waits for the server more than it computes, hence the part of a processor: actors that hold
all processors leave none to the tasks that read the data, and Ray stands still.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from longwave.integrations._columns import ColumnEncoder, ColumnSettings, Outcome

__all__ = ["LongwaveMapper"]

Policy = Literal["raise", "drop", "column"]


class LongwaveMapper:
    """For `map_batches` with batches of numpy arrays (Ray's default): one client in each actor.

    An actor encodes one batch at a time, with max_in_flight requests under way, and while the
    server is full it waits: Ray then holds back what would come next. So memory and the server's
    queue stay bounded by concurrency x batch_size rows.

    It needs no part of Ray: any mapping of columns to numpy arrays will do.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:50051",
        *,
        column: str = "text",
        output: str = "embedding",
        on_error: Policy = "raise",
        api_key_variable: str = "LONGWAVE_API_KEY",
        model_digest: str = "",
        patience: float = 300.0,
        client: Mapping[str, Any] | None = None,
        encode: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            target: address of the server.
            column: of the texts.
            output: name of the column of vectors, float32 [rows, dim].
            on_error: of a row that cannot be encoded: "raise" fails the batch; "drop" leaves the
                row out; "column" keeps it with a vector of NaN, and a column `output`_error says
                why (empty: it did not fail).
            api_key_variable: environment variable of the actors with the API key; the key itself
                does not travel.
            model_digest: SHA-256 of the weights that all vectors must be of, from
                Client.info().weights_digest; empty: each actor keeps to that of its first batch.
            patience: seconds for which a batch waits, in all, for a server that is full or not
                there; then the rows fail, or, where there is no server, the batch does.
            client: further keyword arguments of longwave.Client; priority is "batch" by default.
            encode: further keyword arguments of Client.encode, such as truncate_dim.

        Raises:
            ValueError: an argument that cannot be used here.
        """
        if on_error not in ("raise", "drop", "column"):
            raise ValueError(f'on_error = {on_error!r}, not one of "raise", "drop", "column"')
        settings = ColumnSettings(
            target, api_key_variable, model_digest, patience, client or {}, encode or {}
        )
        self._column = column
        self._output = output
        self._on_error = on_error
        self._truncate_dim = settings.encode.get("truncate_dim")
        self._layers = len(settings.encode.get("layers") or ()) or 1
        self._encoder = ColumnEncoder(settings.connect(), settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with its vectors.

        Raises:
            KeyError: the batch has no such column.
            LongwaveError: a row failed, and on_error is "raise"; or nothing can be encoded,
                whatever on_error says: an outage leaves no rows without vectors behind.
        """
        if self._column not in batch:
            raise KeyError(f"column {self._column!r}: the batch has {', '.join(map(repr, batch))}")
        outcome = self._encoder.encode(list(batch[self._column]))
        if outcome.errors and self._on_error == "raise":
            raise outcome.errors[min(outcome.errors)]
        if self._on_error == "drop":
            return self._dropping(batch, outcome)
        made = {**batch, self._output: self._matrix(outcome.vectors)}
        if self._on_error == "column":
            # Never null: a batch without errors must have the type of one with some.
            made[self._output + "_error"] = np.array(
                [
                    str(outcome.errors[row]) if row in outcome.errors else ""
                    for row in range(len(outcome.vectors))
                ],
                dtype=object,
            )
        return made

    def _dropping(self, batch: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
        kept = [row for row, vector in enumerate(outcome.vectors) if vector is not None]
        columns = {name: np.asarray(values)[kept] for name, values in batch.items()}
        return {**columns, self._output: self._matrix([outcome.vectors[row] for row in kept])}

    def _matrix(self, vectors: list[Any]) -> Any:
        known = next((vector for vector in vectors if vector is not None), None)
        # Batches in which all rows failed must fit those in which none did.
        dim = self._dim() if known is None else len(known)
        missing = np.full(dim, np.nan, np.float32)
        rows = [missing if vector is None else vector for vector in vectors]
        return np.stack(rows) if rows else np.zeros((0, dim), np.float32)

    def _dim(self) -> int:
        dim = self._truncate_dim or self._encoder.client.get_sentence_embedding_dimension()
        return dim * self._layers
