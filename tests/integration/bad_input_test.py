"""The catalogue of bad input, each case beside good requests that must not notice."""

import os

import grpc
import pytest
from harness import (
    PATIENCE,
    Canary,
    Server,
    StreamCall,
    encode_pb2,
    error_info,
    model_pb2,
    request,
    trailer,
)

MAX_TOKENS = 1 << 20  # of FakeEncoder
RECEIVE_LIMIT = 4 * MAX_TOKENS + (1 << 20)

INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
NOT_FOUND = grpc.StatusCode.NOT_FOUND
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED


def packed(ids: bytes, width, *lengths: int) -> encode_pb2.EncodeRequest:
    message = encode_pb2.EncodeRequest()
    message.tokens.ids = ids
    message.tokens.id_width = width
    message.tokens.lengths.extend(lengths)
    return message


def with_fields(**fields) -> encode_pb2.EncodeRequest:
    message = request([1, 2, 3])
    message.MergeFrom(encode_pb2.EncodeRequest(**fields))
    return message


def with_tokens(**fields) -> encode_pb2.EncodeRequest:
    return with_fields(tokens=encode_pb2.TokenBatch(**fields))


U8, U16, U32 = encode_pb2.ID_WIDTH_U8, encode_pb2.ID_WIDTH_U16, encode_pb2.ID_WIDTH_U32
Span = encode_pb2.Span

# name: request, code, reason (None: not pinned), part of the field's path.
CASES = {
    "no sequences": (encode_pb2.EncodeRequest(), INVALID, "EMPTY_REQUEST", ""),
    "an empty sequence": (request([1], [], [2]), INVALID, "EMPTY_SEQUENCE", "lengths[1]"),
    "an id that is the vocabulary's size": (
        request([1, 2], [3, 1000]), INVALID, "TOKEN_OUT_OF_RANGE", "[3]",
    ),
    "the largest id there is": (
        request([0xFFFFFFFF]), INVALID, "TOKEN_OUT_OF_RANGE", "[0]",
    ),
    "a packed id outside": (
        packed(b"\x01\x00\xff\xff", U16, 2), INVALID, "TOKEN_OUT_OF_RANGE", "tokens.ids[1]",
    ),
    "lengths above the ids": (packed(b"abc", U8, 2, 2), INVALID, "LENGTHS_MISMATCH", "lengths"),
    "lengths below the ids": (packed(b"abc", U8, 2), INVALID, "LENGTHS_MISMATCH", "lengths"),
    "half an id": (packed(b"abc", U16, 1), INVALID, "BAD_ID_WIDTH", "tokens.ids"),
    "no width": (packed(b"abc", 0, 3), INVALID, "BAD_ID_WIDTH", "id_width"),
    "an unknown width": (packed(b"abc", 77, 3), INVALID, "INVALID_ENUM", "id_width"),
    "ids twice": (with_tokens(ids=b"abc", id_width=U8), INVALID, "CONFLICTING_FIELDS", "ids_list"),
    "one token too many": (
        packed(b"\1" * (MAX_TOKENS + 1), U8), INVALID, "SEQUENCE_TOO_LONG", "tokens",
    ),
    "too many sequences": (request(*[[1]] * 1025), INVALID, "REQUEST_TOO_LARGE", "lengths"),
    "another model": (with_fields(model="other"), NOT_FOUND, "UNKNOWN_MODEL", "model"),
    "a path as model": (with_fields(model="../fake"), INVALID, "INVALID_MODEL_NAME", "model"),
    "a long model name": (with_fields(model="m" * 10240), INVALID, "INVALID_MODEL_NAME", "model"),
    "a model in capitals": (with_fields(model="FAKE"), INVALID, "INVALID_MODEL_NAME", "model"),
    "another version": (with_fields(model_version="0"), NOT_FOUND, "UNKNOWN_MODEL", "version"),
    "an unknown pooling": (request([1], pooling=99), INVALID, "INVALID_ENUM", "pooling"),
    "an unknown type": (request([1], dtype=99), INVALID, "INVALID_ENUM", "dtype"),
    "an unknown priority": (with_fields(priority=9), INVALID, "INVALID_ENUM", "priority"),
    "spans without any": (
        request([1], pooling=encode_pb2.POOLING_SPANS), INVALID, None, "spans",
    ),
    "a span beyond its sequence": (
        request([1, 2], pooling=encode_pb2.POOLING_SPANS, spans=[Span(begin=1, end=3)]),
        INVALID, "INVALID_FIELD", "spans[0].end",
    ),
    "a layer beyond the last": (request([1], layers=[9]), INVALID, "INVALID_FIELD", "layers[0]"),
    "more dims than there are": (
        request([1], truncate_dim=17), INVALID, "INVALID_FIELD", "truncate_dim",
    ),
    "odd bytes of row indices": (
        request([1, 2], pooling=encode_pb2.POOLING_NONE,
                rows=encode_pb2.RowSelection(indices=b"\0\0\0\0\1")),
        INVALID, None, "indices",
    ),
    # 100 000 x 16 x 4 bytes.
    "rows above one reply": (
        encode_pb2.EncodeRequest(
            tokens=encode_pb2.TokenBatch(ids=b"\1" * 100_000, id_width=U8),
            output=encode_pb2.OutputSpec(pooling=encode_pb2.POOLING_NONE),
        ),
        INVALID, "REQUEST_TOO_LARGE", "",
    ),
    "positions for a model without": (
        with_tokens(positions=b"\0\0\0\0"), INVALID, "UNSUPPORTED_INPUT", "positions",
    ),
    "frames for a model without": (
        with_tokens(frames=encode_pb2.Frames(feature_dim=1)), INVALID, "UNSUPPORTED_INPUT", "frames",
    ),
    "relations for a model without": (
        with_tokens(relations=encode_pb2.RelationGraph(edge_counts=[0])),
        INVALID, "UNSUPPORTED_INPUT", "relations",
    ),
    "another tokenizer": (
        with_fields(tokenizer_fingerprint="0" * 64),
        INVALID, "INVALID_FIELD", "tokenizer_fingerprint",
    ),
    "a route without permission": (
        with_fields(route_override=encode_pb2.ROUTE_FFT),
        PRECONDITION, "ROUTE_OVERRIDE_DISABLED", "route_override",
    ),
    "a long request id": (with_fields(request_id="x" * 129), INVALID, "INVALID_FIELD", "request_id"),
}
@pytest.fixture(scope="module")
def server(fake_program):
    server = Server(fake_program).ready()
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module", autouse=True)
def canary(server):
    with Canary(server) as canary:
        yield canary


def refused(call) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("name", CASES)
def test_bad_request_is_refused_with_its_reason(server, name):
    message, code, reason, field = CASES[name]
    before = server.metric("longwave_requests_invalid_total")
    error = refused(lambda: server.stub().Encode(message, timeout=PATIENCE))
    info = error_info(error)
    assert error.code() == code, error
    assert info.domain == "longwave"
    assert reason is None or info.reason == reason, info
    assert field in info.metadata.get("field", ""), info
    assert len(error.details()) < 1024
    # Counted once, under one reason.
    server.await_metric("longwave_requests_invalid_total", lambda value: value == before + 1)


def test_refusals_take_no_batch_slot(start_fake):
    server = start_fake()
    stub = server.stub()
    for message, *_ in CASES.values():
        refused(lambda: stub.Encode(message, timeout=PATIENCE))
    server.await_metric("longwave_requests_total", lambda value: value == len(CASES))
    assert server.metric("longwave_batch_tokens_count") == 0
    assert server.metric("longwave_admission_total", decision="accept") == 0


@pytest.mark.parametrize("method", ["Encode", "EstimateEncode", "GetModel", "ListModels"])
@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05ab", b"\x12\x02\xc3\x28", b"\x22" * 300])
def test_undecodable_bytes(server, method, body):
    call = server.channel().unary_unary(f"/longwave.v1.EncoderService/{method}")
    error = refused(lambda: call(body, timeout=PATIENCE))
    assert error.code() == INVALID
    assert error_info(error).reason == "MALFORMED_MESSAGE"


def test_undecodable_bytes_on_a_stream(server):
    call = server.channel().stream_stream("/longwave.v1.EncoderService/EncodeStream")
    error = refused(lambda: list(call(iter([b"\xff\xff"]), timeout=PATIENCE)))
    assert error.code() == INVALID
    assert error_info(error).reason == "MALFORMED_MESSAGE"


def test_the_receive_limit_to_the_byte(server):
    def sized(size: int) -> bytes:
        message = packed(b"\1" * (size - 16), U8)
        message.tokens.ids += b"\1" * (size - message.ByteSize())
        assert message.ByteSize() == size
        return message

    at_limit = refused(lambda: server.stub().Encode(sized(RECEIVE_LIMIT), timeout=PATIENCE))
    assert error_info(at_limit).reason == "SEQUENCE_TOO_LONG"  # it was read
    above = refused(lambda: server.stub().Encode(sized(RECEIVE_LIMIT + 1), timeout=PATIENCE))
    assert above.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(RECEIVE_LIMIT) in above.details()


@pytest.mark.skipif(
    bool(os.environ.get("LONGWAVE_SANITIZE")), reason="a sanitizer keeps freed memory"
)
def test_large_refused_messages_leave_no_memory_behind(server):
    body = b"\1" * RECEIVE_LIMIT
    message = packed(body, U8)
    stub = server.stub()
    refused(lambda: stub.Encode(message, timeout=PATIENCE))
    before = server.resident_bytes()
    for _ in range(20):
        refused(lambda: stub.Encode(message, timeout=PATIENCE))
    assert server.resident_bytes() < before + 4 * RECEIVE_LIMIT


def test_compressed_messages(server):
    error = refused(
        lambda: server.stub().Encode(
            request([1] * 10_000), compression=grpc.Compression.Gzip, timeout=PATIENCE
        )
    )
    assert error.code() == UNIMPLEMENTED


def test_oversize_metadata(server):
    error = refused(
        lambda: server.stub().Encode(
            request([1]), metadata=[("x-large", "x" * 40_000)], timeout=PATIENCE
        )
    )
    assert error.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL)


def test_unknown_method_and_service(server):
    for path in ("/longwave.v1.EncoderService/Nothing", "/other.Service/Encode"):
        error = refused(lambda: server.channel().unary_unary(path)(b"", timeout=PATIENCE))
        assert error.code() == UNIMPLEMENTED


def test_an_expired_deadline(server):
    error = refused(lambda: server.stub().Encode(request([1]), timeout=1e-6))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_an_enormous_deadline(server):
    server.stub().Encode(request([1]), timeout=1e9)


def test_hostile_names_create_no_series(server):
    def series() -> int:
        return len([line for line in server.scrape().splitlines() if not line.startswith("#")])

    before = series()
    stub = server.stub()
    for number in range(200):
        refused(lambda: stub.Encode(with_fields(model=f"m{number}"), timeout=PATIENCE))
        refused(
            lambda: stub.GetModel(model_pb2.GetModelRequest(model=f"m{number}"), timeout=PATIENCE)
        )
    assert series() == before


def test_hostile_texts_stay_on_one_log_line(server):
    hostile = 'a\n{"event":"forged"}\r\x1b[2J"\\\u202e\u0000'
    refused(lambda: server.stub().Encode(with_fields(request_id=hostile, model="x/"), timeout=9))
    # The harness reads every line of the log that begins as JSON as JSON.
    assert [line for line in server.lines if not line.startswith("{")] == []
    assert not server.has_event("forged")


@pytest.mark.parametrize(
    "lengths, fields, reason",
    [
        ([], {}, "MISSING_FIELD"),
        ([0], {}, "EMPTY_SEQUENCE"),
        ([MAX_TOKENS + 1], {}, "SEQUENCE_TOO_LONG"),
        ([2], {"width": 0}, "BAD_ID_WIDTH"),
        ([2], {"model": "other"}, "UNKNOWN_MODEL"),
        ([2], {"output": {"pooling": 99}}, "INVALID_ENUM"),
        ([2], {"resume_from_row": 9}, "INVALID_FIELD"),
        ([2], {"max_chunk_bytes": 1}, "INVALID_FIELD"),
        ([2], {"route_override": encode_pb2.ROUTE_FFT}, "ROUTE_OVERRIDE_DISABLED"),
    ],
)
def test_bad_openings_fail_their_tag_alone(server, lengths, fields, reason):
    stream = StreamCall(server.stub())
    stream.open(1, lengths, **fields)
    failed = stream.read().failed
    assert failed.reason == reason
    stream.open(2, [2])
    assert stream.read().HasField("accepted")
    stream.data(2, b"\1\2")
    stream.end(2)
    chunks, done = stream.read_all(2)
    assert done.sequences[0].tokens_used == 2
    stream.close()
    assert list(stream.call) == []


def test_a_bad_id_in_a_stream_names_its_index(server):
    stream = StreamCall(server.stub())
    stream.open(1, [5], width=U16)
    assert stream.read().HasField("accepted")
    stream.data(1, b"\1\0\2\0\xe8\x03")
    failed = stream.read().failed
    assert failed.reason == "TOKEN_OUT_OF_RANGE"
    assert failed.field == "tokens.ids[2]"
    stream.close()


def test_a_poisoned_sequence_hurts_nobody_else(start_fake):
    server = start_fake(poison_id="13")
    with Canary(server):
        error = refused(lambda: server.stub().Encode(request([1, 13]), timeout=PATIENCE))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert error_info(error).reason == "NON_FINITE"


def test_a_full_queue_tells_when_to_come_back(start_fake):
    server = start_fake("--max_queue_sequences=1", base_seconds="0.3")
    stub = server.stub()
    calls = [stub.Encode.future(request([1]), timeout=PATIENCE) for _ in range(20)]
    refusals = [call.exception() for call in calls if call.exception() is not None]
    assert refusals, "20 requests found room in a queue of one"
    for error in refusals:
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error_info(error).reason == "QUEUE_FULL"
        assert 10 <= int(trailer(error, "grpc-retry-pushback-ms")) <= 5000
