"""Ray Data: actors that encode a column."""

from __future__ import annotations

import shutil
import tempfile

import numpy as np
import pytest
import ray
from readme_snippets import run, snippets

from longwave.integrations.ray import LongwaveMapper


@pytest.fixture(scope="module", autouse=True)
def cluster():
    # Not below pytest's folder, whose name is too long for Ray's sockets.
    folder = tempfile.mkdtemp(prefix="lw-ray-")
    ray.init(
        _temp_dir=folder,
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=128 << 20,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def rows(dataset):
    return {row["id"]: row for row in dataset.take_all()}


def test_actors_encode_a_data_set(target, client, texts):
    source = ray.data.from_items([{"id": i, "text": text} for i, text in enumerate(texts)])
    dataset = source.map_batches(
        LongwaveMapper,
        fn_constructor_kwargs={
            "target": target,
            "model_digest": client.info().weights_digest,
            "client": {"max_in_flight": 2},
        },
        batch_size=16,
        concurrency=2,
    )
    found = rows(dataset)
    assert len(found) == len(texts)
    vectors = np.stack([found[i]["embedding"] for i in range(len(texts))])
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, client.encode(texts))
    assert all(found[i]["text"] == text for i, text in enumerate(texts))


def test_rows_that_fail_keep_their_place(target, client):
    texts = ["one", "", "two", ""]
    source = ray.data.from_items([{"id": i, "text": text} for i, text in enumerate(texts)])
    # A batch of one row in which all rows fail must have the others' type.
    for batch_size in (1, 4):
        dataset = source.map_batches(
            LongwaveMapper,
            fn_constructor_kwargs={"target": target, "on_error": "column"},
            batch_size=batch_size,
            concurrency=1,
        )
        found = rows(dataset)
        assert [found[i]["embedding_error"] == "" for i in range(4)] == [
            True,
            False,
        ] * 2
        assert np.array_equal(found[2]["embedding"], client.encode("two"))
        assert np.isnan(found[1]["embedding"]).all() and "empty" in found[3]["embedding_error"]


def test_a_failure_ends_the_job_and_says_why(target):
    source = ray.data.from_items([{"id": 0, "text": "one"}, {"id": 1, "text": ""}])
    dataset = source.map_batches(
        LongwaveMapper,
        fn_constructor_kwargs={"target": target},
        batch_size=2,
        concurrency=1,
    )
    with pytest.raises(Exception, match="the sequence is empty"):
        dataset.take_all()


def test_snippets_of_the_page_run(target):
    for code in snippets()["Ray"]:
        run(code, server=target)
