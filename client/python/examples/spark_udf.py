"""A column of texts becomes one of embeddings, with a pandas UDF of Spark.

    python spark_udf.py --server 127.0.0.1:50051 --rows 2000 --output embeddings

Or by spark-submit to a cluster, whose executors need the package and must reach the server.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sql

import longwave
from longwave.integrations.spark import embedding_udf


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Embeds a column with Spark.")
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--input", help="Parquet files with a column `text`; none: made-up rows")
    parser.add_argument("--rows", type=int, default=2000, help="how many are made up")
    parser.add_argument("--output", help="folder for Parquet files; none: only a summary")
    return parser.parse_args()


def session() -> SparkSession:
    """spark-submit's, or a local one with two threads."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("longwave")
    if "SPARK_ENV_LOADED" not in os.environ:  # set by spark-submit
        builder = builder.master("local[2]").config("spark.driver.bindAddress", "127.0.0.1")
        builder = builder.config("spark.driver.host", "127.0.0.1")
        builder = builder.config("spark.ui.enabled", "false")
    # An Arrow batch is what a worker holds and encodes at once.
    return builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "256").getOrCreate()


def made_up(spark: SparkSession, rows: int) -> DataFrame:
    """Texts of very different lengths, one in ten long."""
    times = sql.when(sql.col("id") % 10 == 0, 80).otherwise(1 + sql.col("id") % 3).cast("int")
    sentence = sql.concat(sql.lit("Row "), sql.col("id"), sql.lit(" says something. "))
    return spark.range(rows, numPartitions=8).withColumn("text", sql.repeat(sentence, times))


def main() -> None:
    arguments = parse()
    with longwave.Client(arguments.server) as client:
        digest = client.info().weights_digest
    spark = session()
    source = (
        spark.read.parquet(arguments.input) if arguments.input else made_up(spark, arguments.rows)
    )
    udf = embedding_udf(arguments.server, on_error="column", model_digest=digest)
    embedded = source.withColumn("encoded", udf("text")).select("*", "encoded.*").drop("encoded")
    begin = time.perf_counter()
    if arguments.output:
        embedded.write.parquet(arguments.output)
        embedded = spark.read.parquet(arguments.output)
    squares = sql.aggregate("embedding", sql.lit(0.0), lambda sum, x: sum + x * x)
    summary = embedded.agg(
        sql.count("*").alias("rows"),
        sql.count("error").alias("failed"),
        sql.min(sql.sqrt(squares)).alias("least"),
    ).first()
    assert summary is not None
    seconds = time.perf_counter() - begin
    rate = summary["rows"] / seconds
    print(f"rows {summary['rows']}, failed {summary['failed']}, {rate:.0f} a second")
    print(f"length of the vectors {summary['least']:.6f} and more, model {digest}")
    spark.stop()


if __name__ == "__main__":
    main()
