"""Errors: typed, with all that the server says of them; and one bad sequence costs nobody else."""

from __future__ import annotations

import pickle
import threading

import fake_rows
import grpc
import longwave
import numpy as np
import pytest
import scripted as script
from servers import PATIENCE

POISON = "666"


def fails(call, kind: type[longwave.LongwaveError]) -> longwave.LongwaveError:
    with pytest.raises(kind) as caught:
        call()
    return caught.value


def test_a_field_outside_its_range(fake):
    error = fails(lambda: fake.encode("hello", truncate_dim=7), longwave.InvalidArgument)
    assert isinstance(error, ValueError)
    assert error.code == grpc.StatusCode.INVALID_ARGUMENT
    assert (error.reason, error.field) == ("INVALID_FIELD", "output.truncate_dim")
    assert error.value == "7" and "8" in error.limit
    assert error.retry_after is None
    assert "output.truncate_dim" in str(error)


def test_a_bad_sequence_is_named_by_its_place_in_the_callers_list(connect, fake_server):
    client = connect(fake_server, batch_tokens=8)
    ids = [[1] * n for n in (3, 5, 2, 7, 4)]
    ids[2] = [1, 5000]
    error = fails(lambda: client.encode(ids), longwave.InvalidArgument)
    assert error.reason == "TOKEN_OUT_OF_RANGE" and error.index == 2
    assert error.value == "5000" and "1000" in error.limit
    assert str(error).startswith("sequence 2: ")


def test_too_long_a_sequence(connect, start_fake, tmp_path):
    (tmp_path / "fake").write_text("max_tokens 100\n")
    client = connect(start_fake(f"--model={tmp_path}"))
    error = fails(lambda: client.encode(["ok", "x" * 101]), longwave.InvalidArgument)
    assert (error.reason, error.index) == ("SEQUENCE_TOO_LONG", 1)
    assert (error.value, error.limit) == ("101", "100")


@pytest.mark.parametrize(
    ("ids", "reason"),
    [([], "EMPTY_SEQUENCE"), ([-1], "TOKEN_OUT_OF_RANGE"), ("", "EMPTY_SEQUENCE")],
)
def test_what_no_request_can_say_is_refused_at_home(fake, ids, reason):
    error = fails(lambda: fake.encode([[1], ids]), longwave.InvalidArgument)
    assert (error.reason, error.index) == (reason, 1)


@pytest.mark.parametrize("wrong", [[[1.5]], [[[1], [2]]], [None], [{"a": 1}], [True]])
def test_what_is_no_sequence_is_a_type_error(fake, wrong):
    with pytest.raises(TypeError):
        fake.encode(wrong)


def test_an_unknown_model(connect, fake_server):
    client = connect(fake_server, model="other")
    error = fails(lambda: client.encode("a"), longwave.NotFound)
    assert (error.reason, error.field, error.limit) == ("UNKNOWN_MODEL", "model", "fake")


def test_nobody_is_there(connect):
    client = connect("127.0.0.1:1", channel_options=[("grpc.enable_retries", 0)])
    assert fails(lambda: client.encode("a"), longwave.Unavailable).reason == ""
    assert client.health() is False


def test_a_server_that_loads_is_unhealthy_and_says_so(connect, start_fake):
    server = start_fake(ready=False, load_seconds="600")
    server.await_event("listening")
    client = connect(server, channel_options=[("grpc.enable_retries", 0)])
    error = fails(lambda: client.encode("a"), longwave.Unavailable)
    assert error.reason == "LOADING"
    assert client.health() is False


def test_the_time_is_over(connect, scripted):
    over = threading.Event()

    def encode(request, context):
        assert context.add_callback(over.set)
        over.wait(PATIENCE)

    scripted.encode = encode
    client = connect(scripted.address)
    client.info()  # with a connection, and all the time that it takes
    error = fails(lambda: client.encode("a", timeout=0.2), longwave.DeadlineExceeded)
    assert isinstance(error, TimeoutError)


def test_asking_for_the_model_takes_no_longer_than_the_call_may(connect, scripted):
    over = threading.Event()

    def get_model(request, context):
        context.add_callback(over.set)
        over.wait(PATIENCE)
        return script.model()

    scripted.get_model = get_model
    client = connect(scripted.address, timeout=None)
    fails(lambda: client.encode("a", timeout=0.2), longwave.DeadlineExceeded)


def test_a_deadline_that_cannot_be_met_is_refused_at_once(connect, start_fake):
    client = connect(start_fake(base_seconds="50"))
    error = fails(lambda: client.encode("a", timeout=5), longwave.ResourceExhausted)
    assert error.reason == "DEADLINE_UNMEETABLE" and error.retry_after is None


def test_a_full_queue_says_when_to_come_again(connect, scripted):
    calls = []

    def encode(request, context):
        calls.append(request)
        script.refuse(
            context, grpc.StatusCode.RESOURCE_EXHAUSTED, reason="QUEUE_FULL", retry_after=0.01
        )

    scripted.encode = encode
    error = fails(lambda: connect(scripted.address).encode("a"), longwave.ResourceExhausted)
    assert (error.reason, error.retry_after) == ("QUEUE_FULL", pytest.approx(0.01))
    assert len(calls) == 4  # gRPC's retries, after the time that the server named


def test_a_call_that_fills_the_queue_itself_opens_fewer_requests(connect, scripted):
    lock = threading.Lock()
    is_open = 0

    def encode(request, context):
        nonlocal is_open
        with lock:
            full = is_open > 0
            is_open += not full
        if full:
            script.refuse(
                context, grpc.StatusCode.RESOURCE_EXHAUSTED, reason="QUEUE_FULL", retry_after=0.001
            )
        with lock:
            is_open -= 1
        return script.reply(request)

    scripted.encode = encode
    client = connect(scripted.address, batch_tokens=4, max_in_flight=4)
    texts = [f"{n:04}" for n in range(100)]
    assert client.encode(texts)[:, 0].tolist() == [4.0] * 100
    assert [item.error for item in client.encode_iter(texts)] == [None] * 100


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, longwave.Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, longwave.PermissionDenied),
        (grpc.StatusCode.FAILED_PRECONDITION, longwave.FailedPrecondition),
        (grpc.StatusCode.UNIMPLEMENTED, longwave.Unimplemented),
        (grpc.StatusCode.INTERNAL, longwave.Internal),
        (grpc.StatusCode.OUT_OF_RANGE, longwave.LongwaveError),
    ],
)
def test_every_code_has_its_class(connect, scripted, code, kind):
    scripted.encode = lambda request, context: script.refuse(
        context, code, "so it is", reason="R", field="f", value="v", limit="l"
    )
    error = fails(lambda: connect(scripted.address).encode("a"), kind)
    assert type(error) is kind and error.code is code
    assert (error.reason, error.field, error.value, error.limit) == ("R", "f", "v", "l")
    assert error.details == "so it is"


def test_errors_pickle():
    error = longwave.InvalidArgument(
        "x", reason="R", field="f", limit="1", retry_after=2.0, index=3
    )
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is longwave.InvalidArgument
    assert (copy.reason, copy.field, copy.limit, copy.retry_after, copy.index) == (
        "R", "f", "1", 2.0, 3,
    )  # fmt: skip
    assert str(copy) == "sequence 3: x"


@pytest.mark.parametrize(
    "arguments",
    [
        {"precision": "float64"},
        {"pooling": "median"},
        {"pooling": "spans"},
        {"pooling": "mean", "spans": [(0, 1)]},
        {"spans": []},
        {"spans": [(1, 1)]},
        {"spans": [(0, 1, 2)]},
        {"truncate_dim": 0},
        {"batch_size": 0},
        {"truncation": "middle"},
        {"truncation": longwave.Truncation("end", 0)},
        {"priority": "urgent"},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"errors": "ignore"},
    ],
    ids=str,
)
def test_arguments_are_checked_before_anything_is_sent(connect, scripted, arguments):
    client = connect(scripted.address)
    scripted.encode = lambda request, context: pytest.fail("sent")
    error = fails(lambda: client.encode("hello", **arguments), longwave.InvalidArgument)
    assert error.field or error.reason == "CONFLICTING_FIELDS"


# errors="return".

BAD_IDS = [[1, 2], [5000], [3], [], [4, 5, 6], [-7], [7]]


def test_bad_sequences_cost_nobody_else(connect, start_fake):
    server = start_fake()
    client = connect(server)
    result = client.encode(BAD_IDS, errors="return")
    assert {index: error.reason for index, error in result.errors.items()} == {
        1: "TOKEN_OUT_OF_RANGE",
        3: "EMPTY_SEQUENCE",
        5: "TOKEN_OUT_OF_RANGE",
    }
    for index, ids in enumerate(BAD_IDS):
        if index in result.errors:
            assert result.embeddings[index] is None and result.tokens[index] == 0
            assert result.errors[index].index == index
        else:
            assert np.array_equal(result.embeddings[index], fake_rows.row(ids))
            assert result.tokens[index] == len(ids)
    assert result.model_digest == client.info().weights_digest
    # The one that only the server could find was named by its error: one request more.
    assert server.metric("longwave_requests_total", method="Encode") == 2


def test_a_bad_span_costs_its_sequence_alone(connect, start_fake):
    server = start_fake()
    client = connect(server)
    texts = ["abc", "de", "fghi"]
    spans = [[(0, 1), (1, 3)], [(0, 2), (1, 9)], [(0, 4)]]
    result = client.encode(texts, spans=spans, errors="return")
    assert list(result.errors) == [1] and result.errors[1].field.startswith("output.spans[")
    assert [None if rows is None else rows.shape for rows in result.embeddings] == [
        (2, 16), None, (1, 16),
    ]  # fmt: skip
    assert server.metric("longwave_requests_total", method="Encode") == 2


def test_one_that_the_server_does_not_name_is_found_by_halving(connect, start_fake):
    server = start_fake(poison_id=POISON)
    client = connect(server)
    ids = [[n + 1, n + 2] for n in range(64)]
    ids[13] = [1, int(POISON)]
    ids[50] = [int(POISON), 2]
    result = client.encode(ids, errors="return")
    assert {index: error.reason for index, error in result.errors.items()} == {
        13: "NON_FINITE",
        50: "NON_FINITE",
    }
    assert all(
        np.array_equal(row, fake_rows.row(ids[index]))
        for index, row in enumerate(result.embeddings)
        if index not in result.errors
    )
    assert server.metric("longwave_requests_total", method="Encode") <= 2 * 2 * 6 + 1


def test_what_concerns_all_is_said_of_all_without_asking_again(connect, start_fake):
    server = start_fake()
    client = connect(server)
    result = client.encode([[1], [2], [3]], truncate_dim=7, errors="return")
    assert sorted(result.errors) == [0, 1, 2]
    assert {error.field for error in result.errors.values()} == {"output.truncate_dim"}
    assert server.metric("longwave_requests_total", method="Encode") == 1


def test_a_sequence_that_goes_by_stream_fails_alone_too(connect, start_fake, tmp_path):
    (tmp_path / "fake").write_text("max_tokens 150000\n")
    client = connect(start_fake(f"--model={tmp_path}"))
    texts = ["a", "x" * 150_001, "y" * 140_000, "b"]
    result = client.encode(texts, errors="return")
    assert {index: error.reason for index, error in result.errors.items()} == {
        1: "SEQUENCE_TOO_LONG"
    }
    assert result.tokens == [1, 0, 140_000, 1]
    error = fails(lambda: client.encode(texts), longwave.InvalidArgument)
    assert (error.index, error.limit) == (1, "150000")


def test_a_calls_own_timeout_bounds_its_streams(connect, scripted):
    def stream(messages, context):
        answer = script.StreamScript(next(messages))
        yield answer.accepted()
        over = threading.Event()
        context.add_callback(over.set)
        over.wait(PATIENCE)

    scripted.encode_stream = stream
    client = connect(scripted.address)
    client.info()
    error = fails(lambda: client.encode("x" * 140_000, timeout=0.2), longwave.DeadlineExceeded)
    assert error.index == 0


def test_limits_that_have_shrunk_split_requests_further(connect, scripted):
    seen = []

    def encode(request, context):
        count = len(request.tokens.lengths)
        seen.append(count)
        if count > 3:
            script.refuse(
                context, grpc.StatusCode.INVALID_ARGUMENT, reason="REQUEST_TOO_LARGE",
                field="tokens.lengths", value=str(count), limit="3",
            )  # fmt: skip
        return script.reply(request)

    scripted.encode = encode
    vectors = connect(scripted.address).encode(["x" * n for n in range(1, 11)])
    assert vectors[:, 0].tolist() == list(range(1, 11))
    assert max(seen) == 10


# Replies that must not be used.


@pytest.mark.parametrize("errors", ["raise", "return"])
def test_replies_of_two_models_are_never_mixed(connect, scripted, errors):
    digests = iter(["digest-1", "digest-2"])
    scripted.encode = lambda request, context: script.reply(request, digest=next(digests))
    client = connect(scripted.address, batch_tokens=4, max_in_flight=1)
    error = fails(
        lambda: client.encode(["abcd", "efgh"], errors=errors), longwave.FailedPrecondition
    )
    assert error.reason == "MODEL_CHANGED"
    assert (error.value, error.limit) == ("digest-2", "digest-1")


def test_a_model_is_asked_for_again_once_an_answer_contradicts_it(connect, scripted):
    asked = []

    def get_model(request, context):
        asked.append(request)
        return script.model(fingerprint=f"fingerprint-{len(asked)}")

    scripted.get_model = get_model
    client = connect(scripted.address)
    client.encode("a")
    client.encode("a")
    assert len(asked) == 1
    scripted.encode = lambda request, context: script.reply(request, fingerprint="fingerprint-2")
    client.encode("a")
    client.encode("a")
    client.encode("a")
    assert len(asked) == 2


@pytest.mark.parametrize("damage", ["data", "sequences", "rows", "dtype", "dim"])
def test_replies_that_contradict_themselves_are_refused(connect, scripted, damage):
    def encode(request, context):
        response = script.reply(request)
        if damage == "data":
            response.embeddings.data = response.embeddings.data[:-1]
        elif damage == "sequences":
            del response.sequences[-1]
        elif damage == "rows":
            response.sequences[0].rows = 2
        elif damage == "dtype":
            response.embeddings.dtype = 4
        else:
            response.embeddings.dim = 3
        return response

    scripted.encode = encode
    client = connect(scripted.address)
    error = fails(lambda: client.encode(["a", "b"]), longwave.LongwaveError)
    assert error.code is grpc.StatusCode.DATA_LOSS and error.reason == "DATA_LOSS"
    result = client.encode(["a", "b"], errors="return")
    assert [error.reason for error in result.errors.values()] == ["DATA_LOSS"] * 2
