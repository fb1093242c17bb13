"""FAISS: the neighbours it finds are those of brute force, and files keep them."""

from __future__ import annotations

import dataclasses
import json

import faiss
import numpy as np
import pytest

from longwave.errors import FailedPrecondition, InvalidArgument
from longwave.integrations.faiss import FaissIndex, Record

QUERIES = ["the river rose", "a dam", "x"]


def brute_force(distances, k):
    """Places of the k smallest of each row, ties by place, as FAISS has them."""
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


def test_float_neighbours_are_those_of_brute_force(client, texts):
    index = FaissIndex.build(client, texts)
    assert isinstance(index.index, faiss.IndexFlatIP)
    assert len(index) == index.index.ntotal == len(texts)
    vectors = client.encode(texts, normalize_embeddings=True)
    cosines = client.encode(QUERIES, normalize_embeddings=True) @ vectors.T
    hits = index.search(client, QUERIES, k=5)
    assert hits.ids == [[str(place) for place in row] for row in brute_force(-cosines, 5)]
    # Two float32 sums of 448 products of values of two vectors of length 1.
    wanted = np.sort(-cosines, axis=1)[:, :5] * -1
    assert np.abs(hits.scores - wanted).max() <= 448 * 2**-24


def test_binary_neighbours_are_those_of_brute_force(client, texts):
    index = FaissIndex.build(client, texts, binary=True)
    assert isinstance(index.index, faiss.IndexBinaryFlat)
    bits = client.encode(texts) > 0
    query_bits = client.encode(QUERIES) > 0
    differ = (query_bits[:, None, :] != bits[None, :, :]).sum(axis=2)
    hits = index.search(client, QUERIES, k=6)
    assert np.array_equal(hits.scores, np.sort(differ, axis=1)[:, :6])
    for row, ids in enumerate(hits.ids):  # which of equals comes first is FAISS's own affair
        assert [differ[row, int(name)] for name in ids] == list(hits.scores[row])
        assert len(set(ids)) == 6


def test_records_keep_their_ids_and_batches_do_not_matter(client, texts):
    records = [Record(f"r{place}", text) for place, text in enumerate(texts)]
    index = FaissIndex.build(client, iter(records), batch_size=7)
    whole = FaissIndex.build(client, records)
    assert index.ids == whole.ids == [record.id for record in records]
    assert np.array_equal(
        index.index.reconstruct_n(0, len(texts)), whole.index.reconstruct_n(0, len(texts))
    )
    assert index.search(client, texts[4], k=1).ids == [["r4"]]


def test_shorter_vectors(client, texts):
    with pytest.raises(InvalidArgument) as caught:  # this model declares no shorter size
        FaissIndex.build(client, texts[:3], truncate_dim=64)
    assert "truncate_dim" in caught.value.field


@pytest.mark.parametrize("binary", [False, True])
def test_files_keep_an_index(client, texts, tmp_path, binary):
    index = FaissIndex.build(client, texts[:20], binary=binary)
    path = tmp_path / "texts.faiss"
    index.save(path)
    again = FaissIndex.load(path)
    assert (again.ids, again.binary) == (index.ids, binary)
    assert again.model_digest == client.info().weights_digest
    expected, found = index.search(client, QUERIES, k=3), again.search(client, QUERIES, k=3)
    assert found.ids == expected.ids and np.array_equal(found.scores, expected.scores)
    again.add(client, texts[20:])
    whole = FaissIndex.build(client, texts, binary=binary)
    assert again.search(client, QUERIES).ids == whole.search(client, QUERIES).ids
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["texts.faiss", "texts.faiss.json"]


def test_files_that_do_not_belong_together_are_refused(client, texts, tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    FaissIndex.build(client, texts[:3]).save(path)
    FaissIndex.build(client, texts[3:6]).save(other)
    (tmp_path / "a.json").write_bytes((tmp_path / "b.json").read_bytes())
    with pytest.raises(ValueError, match="not the index that"):
        FaissIndex.load(path)
    (tmp_path / "b").unlink()
    with pytest.raises(FileNotFoundError):
        FaissIndex.load(other)
    about = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "a.json").write_text(json.dumps({**about, "format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        FaissIndex.load(path)


def test_vectors_of_another_model_are_refused(client, texts):
    index = FaissIndex.build(client, texts[:3])
    index.model_digest = "0" * 64
    for call in (lambda: index.search(client, "a"), lambda: index.add(client, ["a"])):
        with pytest.raises(FailedPrecondition) as caught:
            call()
        assert caught.value.reason == "MODEL_CHANGED"
        assert caught.value.limit == "0" * 64
    assert len(index) == index.index.ntotal == 3


def test_records_that_fail(client, texts):
    records = [texts[0], "", texts[1]]
    with pytest.raises(InvalidArgument) as caught:
        FaissIndex.build(client, records)
    assert caught.value.reason == "EMPTY_SEQUENCE"
    index = FaissIndex.build(client, records, on_error="skip")
    assert index.ids == ["0", "2"]
    assert index.search(client, texts[1], k=1).ids == [["2"]]


def test_texts_never_share_an_id(client, texts, tmp_path):
    index = FaissIndex.build(client, [texts[0], "", texts[1]], on_error="skip")
    index.add(client, [texts[2], "", Record("named", texts[3])], on_error="skip")
    assert index.ids == ["0", "2", "3", "named"]
    index.save(tmp_path / "index")
    again = FaissIndex.load(tmp_path / "index")
    again.add(client, [texts[4]])
    assert again.ids == ["0", "2", "3", "named", "6"]
    assert again.search(client, texts[4], k=1).ids == [["6"]]


def test_few_and_none(client, texts):
    index = FaissIndex.build(client, [])
    assert index.search(client, QUERIES).ids == [[], [], []]
    index.add(client, texts[:2])
    hits = index.search(client, QUERIES, k=10)
    assert [len(ids) for ids in hits.ids] == [2, 2, 2] and hits.scores.shape == (3, 2)
    for call, name in (
        (lambda: index.search(client, "a", k=0), "k = 0"),
        (lambda: index.add(client, ["a"], batch_size=0), "batch_size = 0"),
        (lambda: index.add(client, ["a"], on_error="ignore"), "on_error = 'ignore'"),
    ):
        with pytest.raises(ValueError, match=name):
            call()


def test_records_are_values():
    record = Record("a", "text")
    assert dataclasses.replace(record, id="b") == Record("b", "text", {})
