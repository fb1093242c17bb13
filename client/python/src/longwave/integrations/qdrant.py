"""Qdrant: collections of vectors, or of a text's token rows compared by MaxSim.

from longwave.integrations.qdrant import QdrantCollection
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np

from longwave.aio import AsyncClient
from longwave.client import Client
from longwave.errors import LongwaveError
from longwave.integrations._extras import require
from longwave.integrations._lists import as_list, as_lists
from longwave.integrations._records import (
    Encoded,
    OnError,
    Record,
    Report,
    aencode_batches,
    check_digest,
    encode_batches,
)
from longwave.results import EncodeResult, ModelInfo

__all__ = ["OnError", "QdrantCollection", "Record", "Report", "point_id"]

# Fixed for ever: a record of the same id must become the same point in every process.
_POINTS = uuid.UUID("6c9a4fd5-5d0b-4a0e-9a0d-6f1a2d1a7c3e")


def point_id(record_id: str) -> str:
    """The UUID by which Qdrant knows the record of this id."""
    return str(uuid.uuid5(_POINTS, record_id))


class QdrantCollection:
    """A collection of one model's embeddings.

    With `multivector` each point holds a vector for each of its tokens, and a query's score is
    MaxSim: the sum, over the query's tokens, of the largest cosine with one of the text's tokens.

    Each point's payload is the record's metadata and, under `longwave`, its id, text and model. The
    methods take a QdrantClient and a Client; those that begin with `a`, an AsyncQdrantClient and an
    AsyncClient.
    """

    def __init__(
        self,
        name: str,
        info: ModelInfo,
        *,
        multivector: bool = False,
        truncate_dim: int | None = None,
    ) -> None:
        """Describes the collection; `create` makes it.

        Args:
            name: of the collection.
            info: of the model, from Client.info.
            multivector: token rows rather than one vector.
            truncate_dim: the first values of each vector only.
        """
        self.name = name
        self.multivector = multivector
        self.model_digest = info.weights_digest
        self.dim = truncate_dim or info.dim
        self._options: dict[str, Any] = {
            "truncate_dim": truncate_dim,
            "normalize_embeddings": True,
            "pooling": "none" if multivector else None,
        }

    def _config(self) -> dict[str, Any]:
        models = require("qdrant_client.models", "qdrant")
        params = models.VectorParams(
            size=self.dim,
            distance=models.Distance.COSINE,
            multivector_config=models.MultiVectorConfig(
                comparator=models.MultiVectorComparator.MAX_SIM
            )
            if self.multivector
            else None,
        )
        return {"collection_name": self.name, "vectors_config": params}

    def create(self, qdrant: Any, **options: Any) -> None:
        """Makes the collection; `options` are of QdrantClient.create_collection."""
        qdrant.create_collection(**self._config(), **options)

    async def acreate(self, qdrant: Any, **options: Any) -> None:
        """create."""
        await qdrant.create_collection(**self._config(), **options)

    def upload(
        self,
        qdrant: Any,
        client: Client,
        records: Iterable[Record],
        *,
        batch_size: int = 64,
        on_error: OnError = "raise",
    ) -> Report:
        """Encodes and stores records, a batch at a time.

        The next batch is read and encoded when Qdrant has stored the one before, so memory holds
        one batch, however many records there are. Of long texts with `multivector`, which have a
        vector for each token, a batch of 1 may be large enough.

        Raises:
            LongwaveError: a record failed and on_error is "raise"; with reason MODEL_CHANGED, the
                server has another model in service. Batches before it are stored.
        """
        stored, errors, digest = 0, dict[str, LongwaveError](), ""
        for batch in encode_batches(
            client, records, batch_size=batch_size, on_error=on_error, **self._options
        ):
            points = self._points(batch)
            if points:
                qdrant.upsert(self.name, points, wait=True)
                stored, digest = stored + len(points), batch.model_digest
            errors.update(batch.errors)
        return Report(stored, errors, digest)

    async def aupload(
        self,
        qdrant: Any,
        client: AsyncClient,
        records: Iterable[Record],
        *,
        batch_size: int = 64,
        on_error: OnError = "raise",
    ) -> Report:
        """upload."""
        stored, errors, digest = 0, dict[str, LongwaveError](), ""
        async for batch in aencode_batches(
            client, records, batch_size=batch_size, on_error=on_error, **self._options
        ):
            points = self._points(batch)
            if points:
                await qdrant.upsert(self.name, points, wait=True)
                stored, digest = stored + len(points), batch.model_digest
            errors.update(batch.errors)
        return Report(stored, errors, digest)

    def search(
        self, qdrant: Any, client: Client, query: str, *, limit: int = 10, **options: Any
    ) -> list[Any]:
        """The points nearest to a text.

        Args:
            options: of QdrantClient.query_points, such as query_filter.

        Returns:
            qdrant_client ScoredPoints, nearest first.

        Raises:
            LongwaveError: the query could not be encoded; with reason MODEL_CHANGED, the server has
                another model in service than the collection has vectors of.
        """
        result = client.encode([query], errors="return", **self._options)
        reply = qdrant.query_points(self.name, query=self._query(result), limit=limit, **options)
        return list(reply.points)

    async def asearch(
        self, qdrant: Any, client: AsyncClient, query: str, *, limit: int = 10, **options: Any
    ) -> list[Any]:
        """search."""
        result = await client.encode([query], errors="return", **self._options)
        reply = await qdrant.query_points(
            self.name, query=self._query(result), limit=limit, **options
        )
        return list(reply.points)

    def _query(self, result: EncodeResult) -> Any:
        if result.errors:
            raise result.errors[0]
        check_digest(result.model_digest, self.model_digest, f"the collection {self.name!r}")
        return self._vector(result.embeddings[0])

    def _vector(self, embedding: Any) -> Any:
        values = np.asarray(embedding, np.float32)
        return as_lists(values) if self.multivector else as_list(values)

    def _points(self, batch: Encoded) -> list[Any]:
        models = require("qdrant_client.models", "qdrant")
        if batch.records:
            check_digest(batch.model_digest, self.model_digest, f"the collection {self.name!r}")
        return [
            models.PointStruct(
                id=point_id(record.id),
                vector=self._vector(embedding),
                payload={
                    **record.metadata,
                    "longwave": {
                        "id": record.id,
                        "text": record.text,
                        "model_digest": batch.model_digest,
                    },
                },
            )
            for record, embedding in zip(batch.records, batch.embeddings)
        ]
