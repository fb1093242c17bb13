"""Rows 14 to 27: requests that are whole on the wire and wrong in what they say."""

import grpc
import pytest
from canary import Canary
from harness import (
    PATIENCE,
    StreamCall,
    await_true,
    encode_pb2,
    error_info,
    model_pb2,
    request,
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
    "14 no sequences": (encode_pb2.EncodeRequest(), INVALID, "EMPTY_REQUEST", ""),
    "15 an empty sequence": (request([1], [], [2]), INVALID, "EMPTY_SEQUENCE", "lengths[1]"),
    "07 an id that is the vocabulary's size": (
        request([1, 2], [3, 1000]), INVALID, "TOKEN_OUT_OF_RANGE", "[3]",
    ),
    "07 the largest id there is": (
        request([0xFFFFFFFF]), INVALID, "TOKEN_OUT_OF_RANGE", "[0]",
    ),
    "07 a packed id outside": (
        packed(b"\x01\x00\xff\xff", U16, 2), INVALID, "TOKEN_OUT_OF_RANGE", "tokens.ids[1]",
    ),
    "19 lengths above the ids": (packed(b"abc", U8, 2, 2), INVALID, "LENGTHS_MISMATCH", "lengths"),
    "19 lengths below the ids": (packed(b"abc", U8, 2), INVALID, "LENGTHS_MISMATCH", "lengths"),
    "19 half an id": (packed(b"abc", U16, 1), INVALID, "BAD_ID_WIDTH", "tokens.ids"),
    "25 no width": (packed(b"abc", 0, 3), INVALID, "BAD_ID_WIDTH", "id_width"),
    "25 an unknown width": (packed(b"abc", 77, 3), INVALID, "INVALID_ENUM", "id_width"),
    "19 ids twice": (with_tokens(ids=b"abc", id_width=U8), INVALID, "CONFLICTING_FIELDS", "ids_list"),
    "16 one token too many": (
        packed(b"\1" * (MAX_TOKENS + 1), U8), INVALID, "SEQUENCE_TOO_LONG", "tokens",
    ),
    "18 too many sequences": (request(*[[1]] * 1025), INVALID, "REQUEST_TOO_LARGE", "lengths"),
    "23 another model": (with_fields(model="other"), NOT_FOUND, "UNKNOWN_MODEL", "model"),
    "24 a path as model": (with_fields(model="../fake"), INVALID, "INVALID_MODEL_NAME", "model"),
    "24 a long model name": (with_fields(model="m" * 10240), INVALID, "INVALID_MODEL_NAME", "model"),
    "23 a model in capitals": (with_fields(model="FAKE"), INVALID, "INVALID_MODEL_NAME", "model"),
    "23 another version": (with_fields(model_version="0"), NOT_FOUND, "UNKNOWN_MODEL", "version"),
    "25 an unknown pooling": (request([1], pooling=99), INVALID, "INVALID_ENUM", "pooling"),
    "25 an unknown type": (request([1], dtype=99), INVALID, "INVALID_ENUM", "dtype"),
    "25 an unknown priority": (with_fields(priority=9), INVALID, "INVALID_ENUM", "priority"),
    "19 spans without any": (
        request([1], pooling=encode_pb2.POOLING_SPANS), INVALID, None, "spans",
    ),
    "19 a span beyond its sequence": (
        request([1, 2], pooling=encode_pb2.POOLING_SPANS, spans=[Span(begin=1, end=3)]),
        INVALID, "INVALID_FIELD", "spans[0].end",
    ),
    "19 a layer beyond the last": (request([1], layers=[9]), INVALID, "INVALID_FIELD", "layers[0]"),
    "19 more dims than there are": (
        request([1], truncate_dim=17), INVALID, "INVALID_FIELD", "truncate_dim",
    ),
    "19 odd bytes of row indices": (
        request([1, 2], pooling=encode_pb2.POOLING_NONE,
                rows=encode_pb2.RowSelection(indices=b"\0\0\0\0\1")),
        INVALID, None, "indices",
    ),
    # 100 000 x 16 x 4 bytes.
    "18 rows above one reply": (
        encode_pb2.EncodeRequest(
            tokens=encode_pb2.TokenBatch(ids=b"\1" * 100_000, id_width=U8),
            output=encode_pb2.OutputSpec(pooling=encode_pb2.POOLING_NONE),
        ),
        INVALID, "REQUEST_TOO_LARGE", "",
    ),
    "20 positions for a model without": (
        with_tokens(positions=b"\0\0\0\0"), INVALID, "UNSUPPORTED_INPUT", "positions",
    ),
    "21 frames for a model without": (
        with_tokens(frames=encode_pb2.Frames(feature_dim=1)), INVALID, "UNSUPPORTED_INPUT", "frames",
    ),
    "20 relations for a model without": (
        with_tokens(relations=encode_pb2.RelationGraph(edge_counts=[0])),
        INVALID, "UNSUPPORTED_INPUT", "relations",
    ),
    "23 another tokenizer": (
        with_fields(tokenizer_fingerprint="0" * 64),
        INVALID, "INVALID_FIELD", "tokenizer_fingerprint",
    ),
    "23 a route without permission": (
        with_fields(route_override=encode_pb2.ROUTE_FFT),
        PRECONDITION, "ROUTE_OVERRIDE_DISABLED", "route_override",
    ),
    "24 a long request id": (with_fields(request_id="x" * 129), INVALID, "INVALID_FIELD", "request_id"),
}


def refused(call) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("name", CASES)
def test_row(server, name):
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


def test_14_refusals_take_no_batch_slot(start_fake):
    server = start_fake()
    stub = server.stub()
    with Canary(server) as canary:
        for message, *_ in CASES.values():
            refused(lambda: stub.Encode(message, timeout=PATIENCE))
    total = len(CASES) + canary.sent
    server.await_metric("longwave_requests_total", lambda value: value == total)
    assert server.metric("longwave_admission_total", decision="accept") == canary.sent
    assert server.metric("longwave_batch_sequences_sum") == 2 * canary.sent


def test_16_large_refused_messages_leave_no_memory_behind(server, sanitized):
    body = b"\1" * RECEIVE_LIMIT
    message = packed(body, U8)
    stub = server.stub()
    refused(lambda: stub.Encode(message, timeout=PATIENCE))
    before = server.resident_bytes()
    for _ in range(20):
        refused(lambda: stub.Encode(message, timeout=PATIENCE))
    # The allocator gives back what is free within seconds, not at once.
    if not sanitized:
        await_true(lambda: server.resident_bytes() < before + 4 * RECEIVE_LIMIT, "memory stays")


def test_23_unknown_method_and_service(server):
    for path in ("/longwave.v1.EncoderService/Nothing", "/other.Service/Encode"):
        error = refused(lambda: server.channel().unary_unary(path)(b"", timeout=PATIENCE))
        assert error.code() == UNIMPLEMENTED
        assert error.details() == f"no such method: {path}"


def test_50_hostile_texts_stay_on_one_log_line(server):
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
def test_25_bad_openings_fail_their_tag_alone(server, lengths, fields, reason):
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


def test_07_a_bad_id_in_a_stream_names_its_index(server):
    stream = StreamCall(server.stub())
    stream.open(1, [5], width=U16)
    assert stream.read().HasField("accepted")
    stream.data(1, b"\1\0\2\0\xe8\x03")
    failed = stream.read().failed
    assert failed.reason == "TOKEN_OUT_OF_RANGE"
    assert failed.field == "tokens.ids[2]"
    stream.close()


def test_21_a_poisoned_sequence_hurts_nobody_else(start_fake):
    server = start_fake(poison_id="13")
    with Canary(server):
        error = refused(lambda: server.stub().Encode(request([1, 13]), timeout=PATIENCE))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert error_info(error).reason == "NON_FINITE"


def test_16_the_longest_sequence_and_one_token_more(server):
    stub = server.stub()
    longest = packed(b"\1" * MAX_TOKENS, U8)
    assert stub.Encode(longest, timeout=PATIENCE).sequences[0].tokens_used == MAX_TOKENS
    for length in (MAX_TOKENS + 1, 1000 * MAX_TOKENS, 2**32 - 1):
        info = error_info(refused(lambda: stub.Encode(packed(b"", U8, length), timeout=PATIENCE)))
        assert info.reason in ("SEQUENCE_TOO_LONG", "LENGTHS_MISMATCH")


def test_18_totals_do_not_wrap_around(server):
    """1024 sequences of 2^32 - 1 tokens are 2^42, not a little."""
    message = packed(b"abc", U8, *[2**32 - 1] * 1024)
    error = refused(lambda: server.stub().Encode(message, timeout=PATIENCE))
    assert error.code() == INVALID


# After the names that such lists have: none may reach a file system.
TRAVERSALS = [
    "../x", "..", ".", "a/b", "a\\b", "%2e%2e", "/etc/passwd", "\\\\host\\share", "C:", "a\0b", " a",
    "a ", "", "\n", "fake/", "fake\0", "~", "$HOME", "`id`", "fake;", "-fake", "_fake", "\u202efake",
    "fa\u0000ke", "m" * 64, "..%2f", "....//", "fake.", "f" + "." * 10 + "e",
]


@pytest.mark.parametrize("name", [name for name in TRAVERSALS if name], ids=ascii)
def test_24_names_that_are_paths(server, name):
    stub = server.stub()
    for call in (
        lambda: stub.Encode(with_fields(model=name), timeout=PATIENCE),
        lambda: stub.GetModel(model_pb2.GetModelRequest(model=name), timeout=PATIENCE),
    ):
        error = refused(call)
        assert error.code() in (INVALID, NOT_FOUND)
        assert len(error.details()) < 512


def test_26_fields_of_a_newer_client(server):
    """A field that this version does not know is ignored, whatever its kind."""
    call = server.channel().unary_unary("/longwave.v1.EncoderService/Encode")
    known = request([1, 2, 3]).SerializeToString()
    newer = b"\xf8\x07\x01" + known + b"\xfa\x07\x02hi" + b"\xfd\x07\0\0\0\0"  # field 127
    answers = [
        encode_pb2.EncodeResponse.FromString(call(body, timeout=PATIENCE)).embeddings.data
        for body in (known, newer)
    ]
    assert answers[0] == answers[1]


def test_27_one_request_id_many_times_at_once(server):
    stub = server.stub()
    messages = [with_fields(request_id="same") for _ in range(50)]
    for number, message in enumerate(messages):
        message.tokens.ids_list[0] = number
    alone = [stub.Encode(message, timeout=PATIENCE).embeddings.data for message in messages]
    calls = [stub.Encode.future(message, timeout=PATIENCE) for message in messages]
    answers = [call.result() for call in calls]
    assert [answer.embeddings.data for answer in answers] == alone
    assert {answer.request_id for answer in answers} == {"same"}
