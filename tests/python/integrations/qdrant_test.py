"""Qdrant in local mode: its hits are those of brute force; a slow store holds up the source."""

from __future__ import annotations

import asyncio
import dataclasses

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from longwave import AsyncClient
from longwave.errors import FailedPrecondition, InvalidArgument
from longwave.integrations.qdrant import QdrantCollection, Record, point_id

QUERY = "the river rose over the dam"


@pytest.fixture
def qdrant():
    made = QdrantClient(":memory:")
    yield made
    made.close()


@pytest.fixture
def records(texts):
    return [Record(f"r{place}", text, {"even": place % 2 == 0}) for place, text in enumerate(texts)]


@pytest.fixture
def collection(qdrant, client, records):
    made = QdrantCollection("texts", client.info())
    made.create(qdrant)
    report = made.upload(qdrant, client, records, batch_size=16)
    assert (report.stored, report.errors) == (len(records), {})
    assert report.model_digest == client.info().weights_digest
    return made


def max_sim(query, rows):
    """Sum over the query's tokens of the largest cosine with a token of the text."""

    def unit(values):
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    return (unit(query) @ unit(rows).T).max(axis=1).sum()


def names(points):
    return [point.payload["longwave"]["id"] for point in points]


def test_vectors_are_found_as_by_brute_force(collection, qdrant, client, records, texts):
    cosines = client.encode(texts) @ client.encode(QUERY)
    found = collection.search(qdrant, client, QUERY, limit=5)
    assert names(found) == [f"r{place}" for place in np.argsort(-cosines)[:5]]
    assert np.allclose([point.score for point in found], np.sort(-cosines)[:5] * -1, atol=1e-5)
    best = records[int(np.argmax(cosines))]
    assert found[0].id == point_id(best.id)
    assert found[0].payload["longwave"]["text"] == best.text
    assert found[0].payload["even"] == best.metadata["even"]


def test_searches_take_options_of_qdrant(collection, qdrant, client, texts):
    only_even = models.Filter(
        must=[models.FieldCondition(key="even", match=models.MatchValue(value=True))]
    )
    found = collection.search(qdrant, client, QUERY, limit=len(texts), query_filter=only_even)
    assert len(found) == (len(texts) + 1) // 2
    assert all(point.payload["even"] for point in found)


def test_token_rows_are_compared_by_max_sim(qdrant, client, records):
    some = records[:12]
    collection = QdrantCollection("rows", client.info(), multivector=True)
    collection.create(qdrant)
    assert collection.upload(qdrant, client, some, batch_size=5).stored == len(some)
    query = client.encode_tokens(QUERY)
    assert len(query) == len(QUERY.encode())  # the model's tokens are bytes
    scores = [max_sim(query, rows) for rows in client.encode_tokens([r.text for r in some])]
    found = collection.search(qdrant, client, QUERY, limit=len(some))
    # Sums of len(query) cosines in float32, each of 448 products.
    tolerance = len(query) * 448 * 2**-24
    by_name = dict(zip(names(found), (point.score for point in found)))
    assert set(by_name) == {record.id for record in some}
    for record, score in zip(some, scores):
        assert abs(by_name[record.id] - score) <= tolerance
    assert names(found)[0] == some[int(np.argmax(scores))].id


def test_the_asynchronous_twins_do_the_same(collection, qdrant, client, target, records):
    expected = collection.search(qdrant, client, QUERY, limit=5)

    async def main():
        store = AsyncQdrantClient(":memory:")
        async with AsyncClient(target) as asynchronous:
            await collection.acreate(store)
            report = await collection.aupload(store, asynchronous, records, batch_size=16)
            found = await collection.asearch(store, asynchronous, QUERY, limit=5)
        await store.close()
        return report, found

    report, found = asyncio.run(main())
    assert report.stored == len(records)
    assert [(p.id, p.score) for p in found] == [(p.id, p.score) for p in expected]


def test_a_record_of_the_same_id_is_replaced(collection, qdrant, client, records, texts):
    collection.upload(qdrant, client, [dataclasses.replace(records[3], text=QUERY)])
    assert qdrant.count("texts").count == len(texts)
    found = collection.search(qdrant, client, QUERY, limit=1)
    assert names(found) == ["r3"] and found[0].score == pytest.approx(1, abs=1e-5)


def test_nothing_is_read_while_the_store_takes_a_batch(client, records):
    read = 0

    def source():
        nonlocal read
        for record in records:
            read += 1
            yield record

    class Store:
        """Notes how far the source was read when a batch arrived."""

        def __init__(self):
            self.seen = []

        def upsert(self, name, points, wait):
            assert (name, wait) == ("texts", True)
            self.seen.append((read, len(points)))

    store = Store()
    collection = QdrantCollection("texts", client.info())
    collection.upload(store, client, source(), batch_size=25)
    total = len(records)
    assert store.seen == [(25, 25), (50, 25), (total, total - 50)]


def test_records_that_fail(qdrant, client):
    collection = QdrantCollection("texts", client.info())
    collection.create(qdrant)
    records = [Record("a", "one"), Record("b", ""), Record("c", "two")]
    with pytest.raises(InvalidArgument) as caught:
        collection.upload(qdrant, client, records)
    assert caught.value.reason == "EMPTY_SEQUENCE"
    assert qdrant.count("texts").count == 0
    report = collection.upload(qdrant, client, records, on_error="skip")
    assert report.stored == 2 and list(report.errors) == ["b"]
    assert report.errors["b"].reason == "EMPTY_SEQUENCE"
    with pytest.raises(InvalidArgument):
        collection.search(qdrant, client, "")


def test_another_model_is_refused(qdrant, client):
    other = dataclasses.replace(client.info(), weights_digest="0" * 64)
    collection = QdrantCollection("texts", other)
    collection.create(qdrant)
    for call in (
        lambda: collection.upload(qdrant, client, [Record("a", "one")]),
        lambda: collection.search(qdrant, client, "one"),
    ):
        with pytest.raises(FailedPrecondition) as caught:
            call()
        assert caught.value.reason == "MODEL_CHANGED" and "'texts'" in str(caught.value)
    assert qdrant.count("texts").count == 0


def test_points_keep_their_names_for_ever():
    assert point_id("r1") == "7de4ce21-8975-51c6-848e-73ac8ef8e467"
