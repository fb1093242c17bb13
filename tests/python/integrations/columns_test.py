"""Columns of data sets: what becomes of rows that fail, and of a server that is full."""

from __future__ import annotations

import pickle
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from servers import Server

import longwave
from longwave.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from longwave.integrations._columns import ColumnEncoder, ColumnSettings
from longwave.integrations.ray import LongwaveMapper
from longwave.integrations.spark import worker_client
from longwave.results import EncodeResult

NO_RETRIES = {"channel_options": (("grpc.enable_retries", 0),)}


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self):
        self.now = 100.0
        self.waits = []

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now += seconds

    def __call__(self):
        return self.now


class Scripted:
    """A client that is full for each text as many times as the text says."""

    def __init__(self, retry_after):
        self.retry_after = retry_after
        self.calls = []
        self.left = {}

    def encode(self, texts, *, errors, show_progress_bar):
        self.calls.append(list(texts))
        result = EncodeResult([], {}, [], "digest")
        for place, text in enumerate(texts):
            left = self.left.setdefault(text, int(text))
            self.left[text] = left - 1
            if left > 0:
                result.errors[place] = ResourceExhausted("full", retry_after=self.retry_after)
            result.embeddings.append(None if left > 0 else np.full(2, float(text), np.float32))
        return result


def encoder(client, clock, **settings):
    return ColumnEncoder(client, ColumnSettings("unused", **settings), clock.wait, clock)


def test_only_rows_that_the_server_put_off_are_tried_again():
    client, clock = Scripted(0.5), Clock()
    outcome = encoder(client, clock).encode(["0", "2", "0", "1"])
    assert client.calls == [["0", "2", "0", "1"], ["2", "1"], ["2"]]
    assert clock.waits == [0.5, 0.5]
    assert outcome.errors == {}
    assert [vector[0] for vector in outcome.vectors] == [0, 2, 0, 1]


def test_patience_ends():
    client, clock = Scripted(2.0), Clock()
    outcome = encoder(client, clock, patience=5.0).encode(["9", "1"])
    # 0, 2 and 4 s after the beginning; another wait would end after the fifth second.
    assert len(client.calls) == 3 and clock.waits == [2.0, 2.0]
    assert list(outcome.errors) == [0] and outcome.errors[0].index == 0
    assert outcome.vectors[0] is None and outcome.vectors[1][0] == 1


def test_what_would_fail_again_is_not_tried_again():
    client, clock = Scripted(None), Clock()
    outcome = encoder(client, clock).encode(["0", "1"])
    assert len(client.calls) == 1 and clock.waits == []
    assert list(outcome.errors) == [1]


def test_a_full_server_holds_up_its_workers(real_program, model_folder, client, texts):
    """Six workers, of which the server computes for one and lets one wait."""
    flags = ("--max_queue_sequences=1", "--max_batch_sequences=1")
    batch = {"text": np.array(texts[:30], object)}
    with Server(real_program, f"--model={model_folder}", *flags).ready() as server:

        def work(patience):
            mapper = LongwaveMapper(
                server.address,
                on_error="column",
                patience=patience,
                # One request at a time, and no retries of gRPC's that might be enough.
                client={**NO_RETRIES, "max_in_flight": 1},
                encode={"batch_size": 1},
            )
            return mapper(batch)

        with ThreadPoolExecutor(6) as pool:
            hasty = list(pool.map(work, [0] * 6))
            patient = list(pool.map(work, [60] * 6))
    refused = [error for made in hasty for error in made["embedding_error"] if error]
    assert refused and all("queue" in error for error in refused), refused
    expected = client.encode(texts[:30])
    for made in patient:
        assert set(made["embedding_error"]) == {""}
        assert np.array_equal(made["embedding"], expected)


def test_rows_that_fail(target, client):
    batch = {"text": np.array(["one", "", None, "two"], object), "id": np.arange(4)}
    with pytest.raises(InvalidArgument) as caught:
        LongwaveMapper(target)(batch)
    assert caught.value.index == 1 and caught.value.reason == "EMPTY_SEQUENCE"
    dropped = LongwaveMapper(target, on_error="drop")(batch)
    assert list(dropped["id"]) == [0, 3] and list(dropped["text"]) == ["one", "two"]
    assert np.array_equal(dropped["embedding"], client.encode(["one", "two"]))
    kept = LongwaveMapper(target, on_error="column", output="v")(batch)
    assert np.array_equal(kept["v"][[0, 3]], client.encode(["one", "two"]))
    assert np.isnan(kept["v"][[1, 2]]).all() and kept["v"].dtype == np.float32
    assert [error == "" for error in kept["v_error"]] == [True, False, False, True]
    assert "sequence 2: a text is expected, not nothing" in kept["v_error"][2]


def test_batches_in_which_all_fail_fit_the_others(target):
    batch = {"text": ["", ""]}
    assert LongwaveMapper(target, on_error="column")(batch)["embedding"].shape == (
        2,
        448,
    )
    assert LongwaveMapper(target, on_error="drop")(batch)["embedding"].shape == (0, 448)
    assert LongwaveMapper(target)({"text": []})["embedding"].shape == (0, 448)


def test_columns_are_named(target, client):
    made = LongwaveMapper(target, column="body", output="vector")({"body": ["a"], "n": [1]})
    assert set(made) == {"body", "n", "vector"}
    with pytest.raises(KeyError, match="column 'body': the batch has 'text', 'n'"):
        LongwaveMapper(target, column="body")({"text": ["a"], "n": [1]})


def test_all_vectors_are_of_the_model_that_is_asked_for(target, client):
    digest = client.info().weights_digest
    assert LongwaveMapper(target, model_digest=digest)({"text": ["a"]})["embedding"].any()
    with pytest.raises(FailedPrecondition) as caught:
        LongwaveMapper(target, model_digest="0" * 64)({"text": ["a"]})
    assert (caught.value.reason, caught.value.value) == ("MODEL_CHANGED", digest)


@pytest.mark.parametrize("on_error", ["raise", "drop", "column"])
def test_a_server_that_is_not_there_fails_the_batch(on_error):
    with Absent() as address:
        mapper = LongwaveMapper(
            address, on_error=on_error, patience=0, client={**NO_RETRIES, "timeout": 5}
        )
        with pytest.raises(longwave.Unavailable):
            mapper({"text": ["a"]})


@pytest.mark.parametrize("on_error", ["raise", "drop", "column"])
def test_a_server_that_goes_away_fails_the_batch(fake_program, on_error):
    with Server(fake_program).ready() as server:
        mapper = LongwaveMapper(
            server.address, on_error=on_error, patience=0, client={**NO_RETRIES, "timeout": 5}
        )
        assert len(mapper({"text": ["a"]})["embedding"]) == 1
        server.kill()
        with pytest.raises(longwave.Unavailable):
            mapper({"text": ["a"]})


class Gone(Scripted):
    """A client whose server is away for its first calls."""

    def __init__(self, calls):
        super().__init__(0.5)
        self.away = calls

    def encode(self, texts, **options):
        if self.away:
            self.away -= 1
            raise longwave.Unavailable("nobody there")
        return super().encode(texts, **options)


def test_a_server_that_comes_back_in_time_costs_waits():
    client, clock = Gone(3), Clock()
    outcome = encoder(client, clock).encode(["1", "0"])
    assert outcome.errors == {} and [vector[0] for vector in outcome.vectors] == [1, 0]
    assert clock.waits == [1.0, 2.0, 4.0, 0.5]


def test_patience_with_a_server_that_is_away_ends():
    clock = Clock()
    with pytest.raises(longwave.Unavailable, match="nobody there"):
        encoder(Gone(99), clock, patience=40.0).encode(["0"])
    # 1 + 2 + 4 + 8 + 15 s; another 15 s would end after the 40th second.
    assert clock.waits == [1.0, 2.0, 4.0, 8.0, 15.0]


@pytest.mark.parametrize("layers", [[0, -1], [2], None])
def test_batches_in_which_all_fail_are_as_wide_as_the_others(target, layers):
    mapper = LongwaveMapper(target, on_error="column", encode={"layers": layers})
    good, bad = mapper({"text": ["a"]}), mapper({"text": ["", ""]})
    assert bad["embedding"].shape == (2, good["embedding"].shape[1])


class Absent:
    """An address of this machine at which nobody listens while the block lasts."""

    def __enter__(self):
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))  # taken, and not listening
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *exc):
        self._socket.close()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"on_error": "ignore"}, "on_error = 'ignore'"),
        ({"patience": -1}, "patience = -1"),
        ({"client": {"api_key": "secret"}}, "api_key_variable"),
        ({"encode": {"pooling": "none"}}, "one vector for each row"),
        ({"encode": {"precision": "int8"}}, "precision"),
        ({"encode": {"errors": "raise"}}, "'errors' is set by the integration"),
    ],
)
def test_wrong_arguments_are_named(wrong, says):
    with pytest.raises(ValueError, match=says) as caught:
        LongwaveMapper(**wrong)
    assert "secret" not in str(caught.value)


def test_settings_travel_and_threads_share_a_worker_client(target):
    settings = ColumnSettings(target, client={"max_in_flight": 2})
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(worker_client(pickle.loads(pickle.dumps(settings))))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(map(id, found))) == 1
    assert worker_client(ColumnSettings(target)) is not found[0]
