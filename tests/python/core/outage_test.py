"""What concerns the call as a whole ends it: an outage never becomes sequences that failed."""

from __future__ import annotations

import itertools

import fake_rows
import grpc
import longwave
import numpy as np
import pytest
import scripted as script

OF_THE_CALL = [
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.CANCELLED,
]


@pytest.mark.parametrize("count", [1, 3])
def test_a_server_that_goes_away_fails_the_call_and_no_sequence(connect, start_fake, count):
    server = start_fake()
    client = connect(server)
    texts = [f"text {n}" for n in range(count)]
    assert not client.encode(texts, errors="return").errors  # the model is known from here on
    server.kill()
    for call in (
        lambda: client.encode(texts, errors="return"),
        lambda: client.encode(["x" * 140_000], errors="return"),
        lambda: client.encode_tokens(texts, errors="return"),
        lambda: list(client.encode_iter(texts)),
    ):
        with pytest.raises(longwave.Unavailable) as caught:
            call()
        assert caught.value.index is None


def test_an_iterator_yields_what_it_had_and_then_fails(connect, scripted):
    answered = itertools.count()

    def encode(request, context):
        if next(answered) >= 2:
            script.refuse(context, grpc.StatusCode.PERMISSION_DENIED, reason="PERMISSION_DENIED")
        return script.reply(request)

    scripted.encode = encode
    client = connect(scripted.address, batch_tokens=4, max_in_flight=1)
    reached = []
    with pytest.raises(longwave.PermissionDenied):
        for item in client.encode_iter(["abcd"] * 10):
            assert item.error is None
            reached.append(item.index)
    assert reached == [0, 1]


@pytest.mark.parametrize("code", OF_THE_CALL)
@pytest.mark.parametrize("texts", [["one"], ["one", "two"]])
def test_codes_that_concern_the_call(connect, scripted, code, texts):
    scripted.encode = lambda request, context: script.refuse(context, code, reason="SCRIPTED")
    client = connect(scripted.address, service_config="{}")
    for call in (
        lambda: client.encode(texts, errors="return"),
        lambda: list(client.encode_iter(texts)),
    ):
        with pytest.raises(longwave.LongwaveError) as caught:
            call()
        assert (caught.value.code, caught.value.index) == (code, None)


def test_another_tokenizer_at_the_server_concerns_the_call(connect, scripted):
    def encode(request, context):
        script.refuse(
            context, grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_FIELD",
            field="tokenizer_fingerprint",
        )  # fmt: skip

    scripted.encode = encode
    client = connect(scripted.address)
    with pytest.raises(longwave.InvalidArgument) as caught:
        client.encode(["one", "two"], errors="return")
    assert caught.value.field == "tokenizer_fingerprint"


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ],
)
def test_codes_that_may_concern_a_sequence(connect, scripted, code):
    def encode(request, context):
        if request.tokens.ids == b"bad":
            script.refuse(context, code, reason="SCRIPTED")
        return script.reply(request)

    scripted.encode = encode
    client = connect(scripted.address, service_config="{}", batch_tokens=3)
    result = client.encode(["abc", "bad", "cde"], errors="return")
    assert {index: error.code for index, error in result.errors.items()} == {1: code}


def test_the_call_after_an_outage_succeeds(connect, start_fake):
    server = start_fake()
    port = server.port
    client = connect(server)
    client.encode("a")
    server.kill()
    with pytest.raises(longwave.Unavailable):
        client.encode(["a"], errors="return")
    start_fake(f"--address=127.0.0.1:{port}")
    # However long gRPC takes to connect anew, calls fail as a whole until then.
    for _ in range(100):
        try:
            result = client.encode(["a"], errors="return")
            break
        except longwave.Unavailable:
            continue
    assert np.array_equal(result.embeddings[0], fake_rows.row([97]))
