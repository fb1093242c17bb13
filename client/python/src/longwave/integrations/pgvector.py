"""PostgreSQL with pgvector: tables of vectors, of half-precision vectors or of bits.

from longwave.integrations.pgvector import PgVectorTable
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from longwave.aio import AsyncClient
from longwave.client import Client
from longwave.errors import LongwaveError, model_changed
from longwave.integrations._extras import require
from longwave.integrations._pgvector_sql import COLUMNS, Statements, digest_in
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

__all__ = ["Hit", "OnError", "PgVectorTable", "Record", "Report"]

Kind = Literal["vector", "halfvec", "bit"]


@dataclass(frozen=True)
class Hit:
    """A row that was found.

    Attributes:
        record: the row.
        distance: cosine distance, 1 - cosine; of bits, how many differ.
    """

    record: Record
    distance: float


class PgVectorTable:
    """A table of one model's embeddings: id, content, metadata (jsonb), embedding.

    The digest of the model is kept in the table's comment, and vectors of another model are
    refused. Methods take a psycopg 3 connection and a Client; those that begin with `a`, an
    AsyncConnection and an AsyncClient. What they do is part of the connection's transaction, which
    without autocommit there always is: it lasts when the caller commits.
    """

    def __init__(
        self,
        name: str,
        info: ModelInfo,
        *,
        kind: Kind = "vector",
        truncate_dim: int | None = None,
        schema: str | None = None,
    ) -> None:
        """Describes the table; `create` makes it.

        Args:
            name: of the table; quoted where it is used, so any name will do.
            info: of the model, from Client.info.
            kind: "vector" (float32), "halfvec" (float16), or "bit" (signs, 1/32 of the bytes).
            truncate_dim: the first values of each vector only.
            schema: of the database; None: by its search path.

        Raises:
            ValueError: an unknown kind, or a dimension that it cannot hold.
            ImportError: no psycopg.
        """
        if kind not in COLUMNS:
            raise ValueError(f"kind = {kind!r}, not one of {', '.join(COLUMNS)}")
        self.dim = truncate_dim or info.dim
        if kind == "bit" and self.dim % 8:
            raise ValueError(f"dim = {self.dim}: bits need a multiple of 8")
        self.name = name
        self.kind = kind
        self.model_digest = info.weights_digest
        self._statements = Statements(schema, name, COLUMNS[kind], self.dim)
        self._options: dict[str, Any] = {
            "truncate_dim": truncate_dim,
            "normalize_embeddings": True,
            "precision": COLUMNS[kind].precision,
        }

    def create(self, connection: Any) -> None:
        """Makes the table, and loads the extension if the database does not have it yet."""
        for statement in (self._statements.extension(), *self._creation()):
            connection.execute(statement)

    async def acreate(self, connection: Any) -> None:
        """create."""
        for statement in (self._statements.extension(), *self._creation()):
            await connection.execute(statement)

    def create_index(self, connection: Any) -> None:
        """Makes an HNSW index (cosine, or Hamming of bits): fast and approximate searches. Quicker
        after the rows are in.

        Raises:
            ValueError: the vectors are too long for pgvector's indexes.
        """
        connection.execute(self._statements.indexing())

    async def acreate_index(self, connection: Any) -> None:
        """create_index."""
        await connection.execute(self._statements.indexing())

    def insert(
        self,
        connection: Any,
        client: Client,
        records: Iterable[Record],
        *,
        batch_size: int = 1000,
        on_error: OnError = "raise",
    ) -> Report:
        """Encodes records and stores them by COPY; rows of the same id are replaced.

        Each batch is a transaction (within the caller's, a savepoint), and the next one is read and
        encoded when it is stored: memory holds one batch, however many records there are.

        Raises:
            LongwaveError: a record failed and on_error is "raise"; with reason MODEL_CHANGED, the
                table or the server is of another model.
        """
        with connection.cursor(row_factory=_tuples()) as cursor:
            if not self._check_table(cursor.execute(self._statements.asking()).fetchone()):
                cursor.execute(self._statements.commenting(self.model_digest))
        require("pgvector.psycopg", "pgvector").register_vector(connection)
        stored, errors, digest = 0, dict[str, LongwaveError](), ""
        for batch in encode_batches(
            client, records, batch_size=batch_size, on_error=on_error, **self._options
        ):
            errors.update(batch.errors)
            if rows := self._rows(batch):
                with connection.transaction(), connection.cursor() as cursor:
                    cursor.execute(self._statements.staging())
                    with cursor.copy(self._statements.copying()) as copy:
                        copy.set_types(self._statements.types())
                        for row in rows:
                            copy.write_row(row)
                    for statement in self._statements.pouring():
                        cursor.execute(statement)
                stored, digest = stored + len(rows), batch.model_digest
        return Report(stored, errors, digest)

    async def ainsert(
        self,
        connection: Any,
        client: AsyncClient,
        records: Iterable[Record],
        *,
        batch_size: int = 1000,
        on_error: OnError = "raise",
    ) -> Report:
        """insert."""
        async with connection.cursor(row_factory=_tuples()) as cursor:
            asked = await cursor.execute(self._statements.asking())
            if not self._check_table(await asked.fetchone()):
                await cursor.execute(self._statements.commenting(self.model_digest))
        await require("pgvector.psycopg", "pgvector").register_vector_async(connection)
        stored, errors, digest = 0, dict[str, LongwaveError](), ""
        async for batch in aencode_batches(
            client, records, batch_size=batch_size, on_error=on_error, **self._options
        ):
            errors.update(batch.errors)
            if rows := self._rows(batch):
                async with connection.transaction(), connection.cursor() as cursor:
                    await cursor.execute(self._statements.staging())
                    async with cursor.copy(self._statements.copying()) as copy:
                        copy.set_types(self._statements.types())
                        for row in rows:
                            await copy.write_row(row)
                    for statement in self._statements.pouring():
                        await cursor.execute(statement)
                stored, digest = stored + len(rows), batch.model_digest
        return Report(stored, errors, digest)

    def search(self, connection: Any, client: Client, query: str, *, limit: int = 10) -> list[Hit]:
        """The rows nearest to a text, nearest first.

        Raises:
            LongwaveError: the query could not be encoded; with reason MODEL_CHANGED, the server has
                another model in service than the table has vectors of.
        """
        result = client.encode([query], errors="return", **self._options)
        statement = self._searching(result, limit)
        with connection.cursor(row_factory=_tuples()) as cursor:
            self._check_table(cursor.execute(self._statements.asking()).fetchone())
            rows = cursor.execute(statement).fetchall()
        return [_hit(row) for row in rows]

    async def asearch(
        self, connection: Any, client: AsyncClient, query: str, *, limit: int = 10
    ) -> list[Hit]:
        """search."""
        result = await client.encode([query], errors="return", **self._options)
        statement = self._searching(result, limit)
        async with connection.cursor(row_factory=_tuples()) as cursor:
            asked = await cursor.execute(self._statements.asking())
            self._check_table(await asked.fetchone())
            found = await cursor.execute(statement)
            rows = await found.fetchall()
        return [_hit(row) for row in rows]

    def _creation(self) -> list[Any]:
        return self._statements.creation(self.model_digest)

    def _what(self) -> str:
        return f"the table {self.name!r}"

    def _check_table(self, row: Any) -> bool:
        """Whether the table says of which model it is: one without rows need not.

        Raises:
            FailedPrecondition: MODEL_CHANGED: it is of another model, or does not say of which.
        """
        comment, has_rows = row
        digest = digest_in(comment)
        if has_rows and not digest:
            raise model_changed(
                "model_digest",
                self.model_digest,
                "",
                f"{self._what()} holds vectors, and its comment does not say any more of which "
                'model: {"longwave_model_digest": "..."}; put the comment back, or fill the table '
                "anew",
            )
        check_digest(self.model_digest, digest, self._what())
        return bool(digest)

    def _rows(self, batch: Encoded) -> list[tuple[Any, ...]]:
        """Rows to copy: of records of one id only the last one, as if they came one by one."""
        if not batch.records:
            return []
        check_digest(batch.model_digest, self.model_digest, self._what())
        jsonb = require("psycopg.types.json", "pgvector").Jsonb
        rows = {
            record.id: (record.id, record.text, jsonb(dict(record.metadata)), self._value(vector))
            for record, vector in zip(batch.records, batch.embeddings)
        }
        return list(rows.values())

    def _value(self, vector: Any) -> Any:
        package = require("pgvector", "pgvector")
        if self.kind == "bit":
            return package.Bit(vector.tobytes())
        return package.HalfVector(vector) if self.kind == "halfvec" else package.Vector(vector)

    def _searching(self, result: EncodeResult, limit: int) -> Any:
        if limit < 1:
            raise ValueError(f"limit = {limit}, at least 1 is needed")
        if result.errors:
            raise result.errors[0]
        check_digest(result.model_digest, self.model_digest, self._what())
        return self._statements.searching(self._value(result.embeddings[0]).to_text(), limit)


def _tuples() -> Any:
    """Rows as tuples, whatever the caller's connection makes of its own rows."""
    return require("psycopg.rows", "pgvector").tuple_row


def _hit(row: tuple[Any, ...]) -> Hit:
    name, content, metadata, distance = row
    return Hit(Record(name, content, metadata), float(distance))
