"""Spark: a pandas UDF in Python workers of executors."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator

import numpy as np
import pandas
import pytest
from pyspark.cloudpickle import dumps
from pyspark.sql import SparkSession
from pyspark.sql.functions import col, pandas_udf
from readme_snippets import run, snippets

from longwave.integrations.spark import embedding_udf


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    session = (
        SparkSession.builder.master("local[2]")
        .appName("longwave tests")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.memory", "512m")
        .config("spark.sql.warehouse.dir", str(tmp_path_factory.mktemp("warehouse")))
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "16")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )
    yield session
    session.stop()


def frame(spark, texts, partitions=2):
    made = spark.createDataFrame(list(enumerate(texts)), "id int, text string")
    return made.repartition(partitions, "id")


def collect(made):
    return {row["id"]: row["found"] for row in made.select("id", "found").collect()}


def test_executors_encode_a_column(spark, target, client, texts):
    udf = embedding_udf(
        target, model_digest=client.info().weights_digest, client={"max_in_flight": 2}
    )
    made = frame(spark, [*texts, None]).withColumn("found", udf("text"))
    assert made.schema["found"].dataType.simpleString() == "array<float>"
    found = collect(made)
    assert found[len(texts)] is None  # null in, null out
    vectors = np.array([found[i] for i in range(len(texts))], np.float32)
    assert np.array_equal(vectors, client.encode(texts))


def test_rows_that_fail(spark, target, client):
    made = frame(spark, ["one", "", None, "two"])
    nulls = collect(made.withColumn("found", embedding_udf(target, on_error="null")("text")))
    assert [nulls[i] is None for i in range(4)] == [False, True, True, False]
    structs = collect(made.withColumn("found", embedding_udf(target, on_error="column")("text")))
    assert np.array_equal(np.float32(structs[3]["embedding"]), client.encode("two"))
    assert structs[3]["error"] is None
    assert structs[1]["embedding"] is None and "the sequence is empty" in structs[1]["error"]
    assert tuple(structs[2]) == (None, None)
    with pytest.raises(Exception, match="the sequence is empty"):
        made.withColumn("found", embedding_udf(target)("text")).collect()


def test_a_worker_has_one_client_for_all_its_tasks(spark, target, texts):
    marker = "KEY_OF_THIS_TEST"  # tells this test's clients from those that a worker has already
    udf = embedding_udf(target, api_key_variable=marker)

    def count(batches):
        """The worker's process, and how many clients of this test's it has."""
        from longwave.integrations import spark as module

        for batch in batches:
            clients = sum(marker.encode() in key for key in module._clients)
            yield pandas.Series([f"{os.getpid()} {clients}"] * len(batch))

    series = types.GenericAlias(Iterator, (pandas.Series,))
    count.__annotations__ = {"batches": series, "return": series}
    made = frame(spark, texts, partitions=8).withColumn("vector", udf("text"))
    found = collect(made.withColumn("found", pandas_udf(count, "string")(col("vector"))))
    # Eight tasks, two at a time, in workers that Spark uses again.
    assert len({text.split()[0] for text in found.values()}) < 8
    assert {text.split()[1] for text in found.values()} == {"1"}


def test_the_key_is_no_part_of_the_plan(spark, target, monkeypatch):
    monkeypatch.setenv("LONGWAVE_API_KEY", "secret-of-the-driver")
    udf = embedding_udf(target)
    assert b"secret-of-the-driver" not in dumps(udf.func)


def test_snippets_of_the_page_run(spark, target):
    for code in snippets()["Spark"]:
        run(code, server=target, spark=spark)
