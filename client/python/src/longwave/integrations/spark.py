"""Spark: a column of texts becomes a column of embeddings.

from longwave.integrations.spark import embedding_udf

frame.withColumn("embedding", embedding_udf("encoder:50051")("text"))
"""

from __future__ import annotations

import pickle
import threading
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from longwave.client import Client
from longwave.integrations._columns import ColumnEncoder, ColumnSettings, Outcome
from longwave.integrations._extras import require

__all__ = ["embedding_udf"]

Policy = Literal["raise", "null", "column"]

# The connections of this Python process. Spark gives a worker process that serves one task after
# another no place of its own to keep anything, and a connection for each task would be one for each
# few rows.
_clients: dict[bytes, Client] = {}
_lock = threading.Lock()


def worker_client(settings: ColumnSettings) -> Client:
    """This process's client for these settings; one, however many tasks and threads ask."""
    key = pickle.dumps((settings.target, settings.api_key_variable, dict(settings.client)))
    with _lock:
        if key not in _clients:
            _clients[key] = settings.connect()
        return _clients[key]


def embedding_udf(
    target: str = "127.0.0.1:50051",
    *,
    on_error: Policy = "raise",
    api_key_variable: str = "LONGWAVE_API_KEY",
    model_digest: str = "",
    patience: float = 300.0,
    client: Mapping[str, Any] | None = None,
    encode: Mapping[str, Any] | None = None,
) -> Any:
    """A pandas UDF from a column of texts to one of `array<float>`.

    Each Python worker of an executor has one client. A task encodes one Arrow batch at a time
    (spark.sql.execution.arrow.maxRecordsPerBatch rows), with max_in_flight requests under way, and
    waits while the server is full. A null text gives null.

    Args:
        target: address of the server, as the executors reach it.
        on_error: of a row that cannot be encoded: "raise" fails the task; "null" gives null;
            "column" makes the result a struct of `embedding` and `error` (null: it did not fail).
        api_key_variable: environment variable of the executors with the API key
            (spark.executorEnv.*); the key itself does not travel.
        model_digest: SHA-256 of the weights that all vectors must be of, from
            Client.info().weights_digest; empty: each task keeps to that of its first batch.
        patience: seconds for which a batch waits, in all, for a server that is full or not there;
            then the rows fail, or, where there is no server, the task does, whatever on_error says.
        client: further keyword arguments of longwave.Client; priority is "batch" by default.
        encode: further keyword arguments of Client.encode, such as truncate_dim.

    Raises:
        ValueError: an argument that cannot be used here.
        ImportError: no pyspark or pandas.
    """
    if on_error not in ("raise", "null", "column"):
        raise ValueError(f'on_error = {on_error!r}, not one of "raise", "null", "column"')
    settings = ColumnSettings(
        target, api_key_variable, model_digest, patience, client or {}, encode or {}
    )
    pandas = require("pandas", "spark")
    functions = require("pyspark.sql.functions", "spark")

    def embed(batches: Any) -> Any:
        return encode_batches(batches, settings, on_error)

    # What kind of UDF it is, Spark reads from its annotations; they name types of pandas, which
    # this module does without until now.
    result = pandas.DataFrame if on_error == "column" else pandas.Series
    embed.__annotations__ = {
        "batches": types.GenericAlias(Iterator, (pandas.Series,)),
        "return": types.GenericAlias(Iterator, (result,)),
    }
    vector = "array<float>"
    schema = f"embedding {vector}, error string" if on_error == "column" else vector
    return functions.pandas_udf(embed, schema)


def encode_batches(batches: Any, settings: ColumnSettings, on_error: Policy) -> Any:
    """What a task does: series of texts in, series of vectors (or frames with errors) out."""
    isna = require("pandas", "spark").isna
    encoder = ColumnEncoder(worker_client(settings), settings)
    for texts in batches:
        # A null is None or NaN, as the version of pandas has it.
        values = [None if isna(text) else text for text in texts]
        outcome = encoder.encode(values, nulls=True)
        if outcome.errors and on_error == "raise":
            raise outcome.errors[min(outcome.errors)]
        yield _columns(outcome, on_error == "column")


def _columns(outcome: Outcome, with_errors: bool) -> Any:
    pandas = require("pandas", "spark")
    series = pandas.Series(outcome.vectors, dtype=object)
    if not with_errors:
        return series
    rows = range(len(outcome.vectors))
    errors = [str(outcome.errors[row]) if row in outcome.errors else None for row in rows]
    return pandas.DataFrame({"embedding": series, "error": errors})
