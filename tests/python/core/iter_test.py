"""encode_iter: in order, bounded, endless, and going on after what fails."""

from __future__ import annotations

import contextlib
import itertools
import threading

import fake_rows
import grpc
import longwave
import numpy as np
import pytest
import scripted as script
from servers import PATIENCE


def test_items_come_in_order_with_their_tokens(connect, fake_server):
    client = connect(fake_server, batch_tokens=50)
    texts = ["x" * (1 + n % 23) + str(n) for n in range(200)]
    items = list(client.encode_iter(iter(texts)))
    assert [item.index for item in items] == list(range(200))
    for text, item in zip(texts, items):
        ids = list(text.encode())
        assert item.error is None and item.tokens == len(ids)
        assert np.array_equal(item.embedding, fake_rows.row(ids))


def test_nothing_to_do(fake):
    assert list(fake.encode_iter([])) == []


def test_an_endless_source_is_read_no_further_than_it_must(connect, fake_server):
    client = connect(fake_server, batch_tokens=40, max_in_flight=2)
    read = 0

    def source():
        nonlocal read
        while True:
            read += 1
            yield f"{read:08}"

    with contextlib.closing(client.encode_iter(source())) as items:
        for wanted in range(500):
            assert next(items).index == wanted
            assert read <= wanted + 10  # two requests of five elements each


def test_an_element_that_fails_costs_nobody_else(fake):
    source = [[1], [5000], [2, 3], "", "text", [-1], [7]]
    items = list(fake.encode_iter(source))
    assert [item.index for item in items] == list(range(7))
    assert {item.index: item.error.reason for item in items if item.error} == {
        1: "TOKEN_OUT_OF_RANGE",
        3: "EMPTY_SEQUENCE",
        5: "TOKEN_OUT_OF_RANGE",
    }
    assert np.array_equal(items[6].embedding, fake_rows.row([7]))
    assert items[1].embedding is None and items[1].tokens == 0


def test_an_interrupted_run_goes_on_at_its_index(connect, fake_server):
    client = connect(fake_server, batch_tokens=20)
    texts = [f"text {n}" for n in range(60)]

    class Interrupted(BaseException):
        pass

    done = {}
    try:
        for item in client.encode_iter(texts):
            if item.index == 37:
                raise Interrupted
            done[item.index] = item.embedding
    except Interrupted:
        pass
    reached = max(done) + 1
    for item in client.encode_iter(texts[reached:]):
        done[reached + item.index] = item.embedding
    assert sorted(done) == list(range(60))
    assert all(
        np.array_equal(done[n], fake_rows.row(list(t.encode()))) for n, t in enumerate(texts)
    )


def test_an_error_of_the_source_reaches_the_caller(fake):
    def source():
        yield "a"
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        list(fake.encode_iter(source()))


def test_items_of_two_models_never_come_from_one_iterator(connect, scripted):
    answered = itertools.count()
    scripted.encode = lambda request, context: script.reply(
        request, digest="digest-1" if next(answered) < 3 else "digest-2"
    )
    client = connect(scripted.address, batch_tokens=4, max_in_flight=1)
    reached = []
    with pytest.raises(longwave.FailedPrecondition) as caught:
        for item in client.encode_iter(["abcd"] * 10):
            reached.append(item.index)
    assert caught.value.reason == "MODEL_CHANGED"
    assert reached == [0, 1, 2]


def test_batch_size_sends_what_a_slow_source_has_given(connect, fake_server):
    client = connect(fake_server, max_in_flight=1)
    embedded = []

    def source():
        for n in range(4):
            # The element before has been answered, or is on its way: none is held back.
            assert len(embedded) >= n - 1
            yield f"text {n}"

    for item in client.encode_iter(source(), batch_size=1):
        embedded.append(item)
    assert len(embedded) == 4


def test_what_has_come_back_does_not_wait_for_a_slow_source(fake_server, monkeypatch):
    monkeypatch.setattr("longwave.client._SLOW_SOURCE", 0.0)  # every source is
    read = 0

    def source():
        nonlocal read
        while True:
            read += 1
            yield "text"

    with longwave.Client(fake_server.address, max_in_flight=100_000) as client:
        with contextlib.closing(client.encode_iter(source(), batch_size=1)) as items:
            assert next(items).index == 0
    assert read < 50_000


def test_token_rows_of_each_element(fake):
    items = list(fake.encode_iter(["ab", "c"], pooling="none", precision="float16"))
    assert [item.embedding.shape for item in items] == [(2, 16), (1, 16)]
    expected = fake_rows.rows(list(b"ab")).astype(np.float16)
    assert np.array_equal(items[0].embedding, expected)


def test_leaving_the_iterator_cancels_what_is_under_way(connect, scripted):
    under_way, cancelled = threading.Event(), threading.Event()

    def encode(request, context):
        if request.tokens.ids == b"0001":
            assert context.add_callback(cancelled.set)
            under_way.set()
            cancelled.wait(PATIENCE)
        return script.reply(request)

    scripted.encode = encode
    client = connect(scripted.address, batch_tokens=4, max_in_flight=2)
    with contextlib.closing(client.encode_iter(f"{n:04}" for n in itertools.count())) as items:
        assert next(items).index == 0
        assert under_way.wait(PATIENCE) and not cancelled.is_set()
    assert cancelled.wait(PATIENCE)


def test_never_more_requests_open_than_max_in_flight(connect, scripted):
    lock = threading.Lock()
    state = {"open": 0, "most": 0}
    both = threading.Barrier(2)

    def encode(request, context):
        with lock:
            state["open"] += 1
            state["most"] = max(state["most"], state["open"])
        both.wait(PATIENCE)  # there are always two to come: fewer would stop here
        with lock:
            state["open"] -= 1
        return script.reply(request)

    scripted.encode = encode
    client = connect(scripted.address, batch_tokens=4, max_in_flight=2)
    assert client.encode(["abcd"] * 20).shape == (20, 2)
    assert len(list(client.encode_iter(["abcd"] * 20))) == 20
    assert state == {"open": 0, "most": 2}


def test_a_request_that_fails_fails_its_elements_alone(connect, scripted):
    answered = itertools.count()

    def encode(request, context):
        if next(answered) == 1:
            script.refuse(context, grpc.StatusCode.INTERNAL, reason="INTERNAL")
        return script.reply(request)

    scripted.encode = encode
    client = connect(scripted.address, batch_tokens=8, max_in_flight=1)
    items = list(client.encode_iter(["abcd"] * 6))
    assert [item.error is not None for item in items] == [False, False, True, True, False, False]
    assert items[2].error.index == 2 and items[3].error.index == 3
