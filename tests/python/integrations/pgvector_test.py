"""pgvector in a real PostgreSQL: the rows it finds are those of brute force."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import uuid

import numpy as np
import psycopg
import pytest
from postgres import postgres
from psycopg.rows import dict_row

from longwave import AsyncClient
from longwave.errors import FailedPrecondition, InvalidArgument
from longwave.integrations.pgvector import PgVectorTable, Record

QUERY = "the river rose over the dam"


@pytest.fixture(scope="module")
def server():
    """A connection string: of LONGWAVE_TEST_POSTGRES, or of a server of the tests' own."""
    given = os.environ.get("LONGWAVE_TEST_POSTGRES")
    if given:
        yield given
        return
    with postgres() as made:
        yield made


@pytest.fixture
def schema(server):
    """A schema of the test's own, which goes with it."""
    name = "longwave_" + uuid.uuid4().hex
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        yield name
        connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def connection(server, schema):
    # Rows as dicts, which the caller's own queries may want: ours must not care.
    with psycopg.connect(server, autocommit=True, row_factory=dict_row) as made:
        yield made


@pytest.fixture
def records(texts):
    return [Record(f"r{place}", text, {"place": place}) for place, text in enumerate(texts)]


def count(connection, schema):
    return connection.execute(f"SELECT count(*) FROM {schema}.texts").fetchone()["count"]


def distances(kind, client, texts):
    """What PostgreSQL should find, by numpy."""
    precision = {"vector": "float32", "halfvec": "float16", "bit": "ubinary"}[kind]
    vectors = client.encode(texts, precision=precision, normalize_embeddings=True)
    query = client.encode(QUERY, precision=precision, normalize_embeddings=True)
    if kind == "bit":
        return np.unpackbits(vectors ^ query, axis=1).sum(axis=1).astype(np.float64)
    vectors, query = np.float64(vectors), np.float64(query)
    return 1 - vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)


@pytest.mark.parametrize("kind", ["vector", "halfvec", "bit"])
@pytest.mark.parametrize("indexed", [False, True])
def test_rows_are_found_as_by_brute_force(
    connection, schema, client, records, texts, kind, indexed
):
    table = PgVectorTable("texts", client.info(), kind=kind, schema=schema)
    table.create(connection)
    report = table.insert(connection, client, records, batch_size=25)
    assert (report.stored, report.errors) == (len(texts), {})
    if indexed:
        table.create_index(connection)
    expected = distances(kind, client, texts)
    hits = table.search(connection, client, QUERY, limit=8)
    wanted = np.sort(expected)[:8]
    # pgvector sums in float32 what numpy sums in float64: 448 products, three sums.
    tolerance = 0 if kind == "bit" else 3 * 448 * 2**-24
    assert np.abs(np.array([hit.distance for hit in hits]) - wanted).max() <= tolerance
    for hit in hits:
        place = hit.record.metadata["place"]
        assert hit.record == records[place]
        assert abs(hit.distance - expected[place]) <= tolerance
    assert len({hit.record.id for hit in hits}) == 8


def test_the_stored_values_are_the_clients(connection, schema, client, records, texts):
    table = PgVectorTable("texts", client.info(), schema=schema)
    table.create(connection)
    table.insert(connection, client, records)
    rows = connection.execute(f"SELECT id, embedding FROM {schema}.texts").fetchall()
    by_id = {row["id"]: row["embedding"].to_numpy() for row in rows}
    stored = np.stack([by_id[record.id] for record in records])
    assert np.array_equal(stored, client.encode(texts, normalize_embeddings=True))


def test_rows_of_the_same_id_are_replaced(connection, schema, client, records):
    table = PgVectorTable("texts", client.info(), schema=schema)
    table.create(connection)
    table.insert(connection, client, records)
    newer = dataclasses.replace(records[4], text=QUERY, metadata={"place": -1})
    # Twice in one batch: the last one counts, as it would have row by row.
    table.insert(connection, client, [records[4], newer])
    assert count(connection, schema) == len(records)
    [hit] = table.search(connection, client, QUERY, limit=1)
    assert hit.record == newer and abs(hit.distance) <= 1e-6


def test_the_asynchronous_twins_do_the_same(server, schema, client, target, records):
    table = PgVectorTable("texts", client.info(), schema=schema)

    async def main():
        async with (
            await psycopg.AsyncConnection.connect(server, autocommit=True) as connection,
            AsyncClient(target) as asynchronous,
        ):
            await table.acreate(connection)
            report = await table.ainsert(connection, asynchronous, records, batch_size=25)
            await table.acreate_index(connection)
            return report, await table.asearch(connection, asynchronous, QUERY, limit=5)

    report, hits = asyncio.run(main())
    assert report.stored == len(records)
    with psycopg.connect(server) as connection:
        assert table.search(connection, client, QUERY, limit=5) == hits


def test_the_callers_transaction_decides(server, schema, client, records):
    table = PgVectorTable("texts", client.info(), schema=schema)
    with psycopg.connect(server, autocommit=True, row_factory=dict_row) as connection:
        table.create(connection)
        with connection.transaction(force_rollback=True):
            # Two batches, and two calls: each has a staging table of its own.
            table.insert(connection, client, records[:10], batch_size=5)
            table.insert(connection, client, records[10:20])
            assert count(connection, schema) == 20
        assert count(connection, schema) == 0


def test_records_that_fail(connection, schema, client, records):
    table = PgVectorTable("texts", client.info(), schema=schema)
    table.create(connection)
    broken = [records[0], Record("empty", ""), records[1]]
    with pytest.raises(InvalidArgument) as caught:
        table.insert(connection, client, broken)
    assert caught.value.reason == "EMPTY_SEQUENCE"
    assert count(connection, schema) == 0
    report = table.insert(connection, client, broken, on_error="skip")
    assert report.stored == count(connection, schema) == 2
    assert report.errors["empty"].reason == "EMPTY_SEQUENCE"


def test_another_model_is_refused(connection, schema, client, records):
    other = dataclasses.replace(client.info(), weights_digest="0" * 64)
    PgVectorTable("texts", other, schema=schema).create(connection)
    table = PgVectorTable("texts", client.info(), schema=schema)
    for call in (
        lambda: table.insert(connection, client, records),
        lambda: table.search(connection, client, QUERY),
    ):
        with pytest.raises(FailedPrecondition) as caught:
            call()
        assert caught.value.reason == "MODEL_CHANGED"
        assert caught.value.limit == "0" * 64
    assert count(connection, schema) == 0


@pytest.mark.parametrize("comment", [None, "of somebody else's", '{"longwave_model_digest": 7}'])
def test_vectors_of_nobody_knows_which_model_are_refused(
    connection, schema, client, records, target, comment
):
    table = PgVectorTable("texts", client.info(), schema=schema)
    table.create(connection)
    table.insert(connection, client, records[:3])
    said = psycopg.sql.Literal(comment)
    connection.execute(
        psycopg.sql.SQL("COMMENT ON TABLE {}.texts IS {}").format(
            psycopg.sql.Identifier(schema), said
        )
    )
    for call in (
        lambda: table.insert(connection, client, records),
        lambda: table.search(connection, client, QUERY),
    ):
        with pytest.raises(FailedPrecondition, match="does not say any more") as caught:
            call()
        assert caught.value.reason == "MODEL_CHANGED"
    assert count(connection, schema) == 3


def test_a_table_without_rows_gets_its_comment_back(server, connection, schema, client, records):
    table = PgVectorTable("texts", client.info(), schema=schema)
    table.create(connection)
    clear = f"COMMENT ON TABLE {schema}.texts IS NULL"
    connection.execute(clear)
    assert table.search(connection, client, QUERY) == []
    table.insert(connection, client, records[:3])
    assert len(table.search(connection, client, QUERY)) == 3
    connection.execute(f"DELETE FROM {schema}.texts")
    connection.execute(clear)

    async def main(address):
        async with (
            await psycopg.AsyncConnection.connect(server, autocommit=True) as own,
            AsyncClient(address) as asynchronous,
        ):
            await table.ainsert(own, asynchronous, records[:2])
            return await table.asearch(own, asynchronous, QUERY)

    assert len(asyncio.run(main(client._target))) == 2


def test_any_name_is_quoted(connection, schema, client, records):
    name = "te\"xts; DROP TABLE x; -- '%s {}"
    table = PgVectorTable(name, client.info(), schema=schema)
    table.create(connection)
    table.insert(connection, client, records[:3])
    table.create_index(connection)
    assert len(table.search(connection, client, QUERY)) == 3


def test_wrong_arguments_are_named(connection, schema, client):
    info = client.info()
    with pytest.raises(ValueError, match="kind = 'sparse', not one of vector, halfvec, bit"):
        PgVectorTable("texts", info, kind="sparse")
    with pytest.raises(ValueError, match="dim = 12: bits need a multiple of 8"):
        PgVectorTable("texts", dataclasses.replace(info, dim=12), kind="bit")
    wide = PgVectorTable("texts", dataclasses.replace(info, dim=2048), schema=schema)
    wide.create(connection)
    with pytest.raises(ValueError, match="dim = 2048: pgvector indexes vector up to 2000"):
        wide.create_index(connection)
    with pytest.raises(ValueError, match="limit = 0"):
        PgVectorTable("texts", info).search(connection, client, "a", limit=0)
