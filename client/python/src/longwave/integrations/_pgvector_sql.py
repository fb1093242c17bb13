"""The statements of PgVectorTable. psycopg composes them: names are identifiers, never pasted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from longwave.integrations._extras import require

STAGING_TYPES = ("text", "text", "jsonb")


@dataclass(frozen=True)
class Column:
    """How a kind of column holds vectors, and finds them."""

    kind: str
    precision: str
    operator: str
    operators: str
    # What an index of pgvector takes; a column may be wider.
    indexed_dims: int


COLUMNS = {
    column.kind: column
    for column in (
        Column("vector", "float32", "<=>", "vector_cosine_ops", 2000),
        Column("halfvec", "float16", "<=>", "halfvec_cosine_ops", 4000),
        Column("bit", "ubinary", "<~>", "bit_hamming_ops", 64000),
    )
}


class Statements:
    """What is said to PostgreSQL about one table."""

    def __init__(self, schema: str | None, name: str, column: Column, dim: int) -> None:
        self._sql = require("psycopg", "pgvector").sql
        self._column = column
        self._dim = dim
        self._names = [schema, name] if schema else [name]
        self._table = self._sql.Identifier(*self._names)

    def _compose(self, template: str, **parts: Any) -> Any:
        return self._sql.SQL(template).format(table=self._table, **parts)

    def extension(self) -> str:
        """Loads pgvector into the database."""
        return "CREATE EXTENSION IF NOT EXISTS vector"

    def creation(self, model_digest: str) -> list[Any]:
        """Makes the table, with the model in its comment."""
        return [
            self._compose(
                "CREATE TABLE {table} (id text PRIMARY KEY, content text NOT NULL,"
                " metadata jsonb NOT NULL, embedding {kind}({dim}) NOT NULL)",
                kind=self._sql.SQL(self._column.kind),
                dim=self._sql.Literal(self._dim),
            ),
            self.commenting(model_digest),
        ]

    def commenting(self, model_digest: str) -> Any:
        """Puts the model into the table's comment."""
        comment = json.dumps({"longwave_model_digest": model_digest})
        return self._compose(
            "COMMENT ON TABLE {table} IS {comment}", comment=self._sql.Literal(comment)
        )

    def indexing(self) -> Any:
        """Makes an HNSW index.

        Raises:
            ValueError: the vectors are too long for one.
        """
        if self._dim > self._column.indexed_dims:
            raise ValueError(
                f"dim = {self._dim}: pgvector indexes {self._column.kind} up to"
                f" {self._column.indexed_dims}; truncate_dim makes vectors shorter"
            )
        return self._compose(
            "CREATE INDEX ON {table} USING hnsw (embedding {operators})",
            operators=self._sql.SQL(self._column.operators),
        )

    def staging(self) -> Any:
        """COPY cannot replace rows, so it fills a temporary table, which is poured over next."""
        return self._compose("CREATE TEMP TABLE longwave_staging (LIKE {table}) ON COMMIT DROP")

    def copying(self) -> str:
        """Fills the staging table with rows of `types`."""
        return "COPY longwave_staging (id, content, metadata, embedding) FROM STDIN (FORMAT BINARY)"

    def types(self) -> list[str]:
        """Types of what `copying` takes."""
        return [*STAGING_TYPES, self._column.kind]

    def pouring(self) -> list[Any]:
        """Moves the staged rows into the table and ends the staging table."""
        return [
            self._compose(
                "INSERT INTO {table} AS kept (id, content, metadata, embedding)"
                " SELECT id, content, metadata, embedding FROM longwave_staging"
                " ON CONFLICT (id) DO UPDATE SET content = excluded.content,"
                " metadata = excluded.metadata, embedding = excluded.embedding"
            ),
            "DROP TABLE longwave_staging",
        ]

    def searching(self, query: str, limit: int) -> Any:
        """Rows by distance from `query`, a vector as text."""
        # Both as quoted literals: with parameters, psycopg would read a % in the table's name.
        return self._compose(
            "SELECT id, content, metadata, embedding {operator} {query}::{kind}({dim}) AS distance"
            " FROM {table} ORDER BY distance LIMIT {limit}",
            query=self._sql.Literal(query),
            limit=self._sql.Literal(limit),
            operator=self._sql.SQL(self._column.operator),
            kind=self._sql.SQL(self._column.kind),
            dim=self._sql.Literal(self._dim),
        )

    def asking(self) -> Any:
        """The table's comment, and whether it has rows."""
        # As text, since regclass is found by that. Identifier gives none without a connection.
        quoted = ['"' + name.replace('"', '""') + '"' for name in self._names]
        return self._compose(
            "SELECT obj_description({name}::regclass, 'pg_class'), EXISTS (SELECT 1 FROM {table})",
            name=self._sql.Literal(".".join(quoted)),
        )


def digest_in(comment: str | None) -> str:
    """The model's digest that `creation` put into a comment; empty: the comment is another one."""
    try:
        found = json.loads(comment or "")
    except ValueError:
        return ""
    digest = found.get("longwave_model_digest", "") if isinstance(found, dict) else ""
    return digest if isinstance(digest, str) else ""
