"""Rows 1 to 13: frames, messages and metadata that no library would send."""

import gzip
import zlib
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from canary import Canary
from harness import PATIENCE, await_true, encode_pb2, error_info, request
from http2 import (
    ENCODE,
    ErrorCodes,
    Http2Connection,
    RawSocket,
    call_headers,
    message,
    varint,
)

RECEIVE_LIMIT = 4 * (1 << 20) + (1 << 20)  # of FakeEncoder's million tokens
OK, INVALID, EXHAUSTED = 0, 3, 8
UNIMPLEMENTED = 12
GOOD = request([1, 2, 3]).SerializeToString()
MiB = 1 << 20


@pytest.fixture
def connection(server):
    with Http2Connection(server.port) as connection:
        yield connection


@pytest.mark.parametrize("method", ["Encode", "EstimateEncode", "GetModel", "ListModels"])
@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05ab", b"\x12\x02\xc3\x28", b"\x22" * 300])
def test_01_undecodable_bytes(server, method, body):
    call = server.channel().unary_unary(f"/longwave.v1.EncoderService/{method}")
    with pytest.raises(grpc.RpcError) as caught:
        call(body, timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(caught.value).reason == "MALFORMED_MESSAGE"


def test_01_undecodable_bytes_on_a_stream(server):
    call = server.channel().stream_stream("/longwave.v1.EncoderService/EncodeStream")
    with pytest.raises(grpc.RpcError) as caught:
        list(call(iter([b"\xff\xff"]), timeout=PATIENCE))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(caught.value).reason == "MALFORMED_MESSAGE"


@pytest.mark.parametrize("cut", [0, 1, 4, 5, 5 + len(GOOD) // 2, 4 + len(GOOD)])
def test_02_a_message_that_ends_early(connection, cut):
    stream = connection.open(call_headers())
    connection.data(stream, message(GOOD)[:cut])
    # gRPC 1.51 hands on an empty message, which is no request with sequences.
    assert connection.status(stream) in (INVALID, 13)
    assert connection.status(connection.call(GOOD)) == OK, "the connection goes on"


def test_03_the_receive_limit_to_the_byte(server):
    def sized(size: int) -> bytes:
        text = encode_pb2.EncodeRequest()
        text.tokens.id_width = encode_pb2.ID_WIDTH_U8
        text.tokens.ids = b"\1" * (size - 16)
        text.tokens.ids += b"\1" * (size - text.ByteSize())
        assert text.ByteSize() == size
        return text

    with pytest.raises(grpc.RpcError) as at_limit:
        server.stub().Encode(sized(RECEIVE_LIMIT), timeout=PATIENCE)
    assert error_info(at_limit.value).reason == "SEQUENCE_TOO_LONG"  # it was read
    with pytest.raises(grpc.RpcError) as above:
        server.stub().Encode(sized(RECEIVE_LIMIT + 1), timeout=PATIENCE)
    assert above.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(RECEIVE_LIMIT) in above.value.details()
    assert str(RECEIVE_LIMIT + 1) in above.value.details()


def test_04_an_announced_length_of_4_gib_takes_no_memory(server, connection, sanitized):
    before = server.resident_bytes()
    streams = [connection.open(call_headers()) for _ in range(100)]
    for stream in streams:
        connection.data(stream, message(b"", length=2**32 - 1), end=False)
    assert connection.answers()
    # 1.51 looks at the length only once the message is whole, so there is no answer yet.
    assert sanitized or server.resident_bytes() < before + 16 * MiB
    assert connection.status(connection.call(GOOD)) == OK


def test_04_a_message_of_4_gib_that_really_comes(start_fake, sanitized):
    """The one row where the canaries may notice: 1.51 holds a message until it is whole, and at
    --max_transport_bytes it gives up streams without asking whose. What must hold is that memory
    is bounded, the process lives, and who calls again is answered, meanwhile too."""
    server = start_fake("--max_transport_bytes=67108864")
    stub = server.stub()
    expected = stub.Encode(request([1, 2, 3]), timeout=PATIENCE).embeddings.data

    def answered() -> bool:
        try:
            answer = stub.Encode(request([1, 2, 3]), timeout=PATIENCE)
        except grpc.RpcError:
            return False
        assert answer.embeddings.data == expected
        return True

    with Http2Connection(server.port) as connection, ThreadPoolExecutor() as pool:
        stream = connection.open(call_headers())
        connection.data(stream, message(b"", length=2**32 - 1), end=False)
        flood = pool.submit(connection.push, stream, 512 * MiB)
        while not flood.done():
            await_true(answered, "no answer to who calls again", limit=5)
        assert flood.result() < 512 * MiB, "all of it was taken"
        # "Buffers full": the call is given up, not the connection.
        assert connection.reset_code(stream) == ErrorCodes.ENHANCE_YOUR_CALM
        with Canary(server):
            assert sanitized or server.resident_bytes() < 256 * MiB


@pytest.mark.parametrize("levels", [99, 101, 5000])
def test_05_deep_nesting(connection, levels):
    """Unknown groups in groups: 100 levels are protobuf's limit."""
    body = GOOD + b"\xa3\x06" * levels + b"\xa4\x06" * levels  # field 100: start, end
    assert connection.status(connection.call(body)) == (OK if levels < 100 else INVALID)


def test_05_unknown_fields_are_ignored(connection):
    unknown = b"\xa2\x06" + varint(4 * MiB) + b"x" * (4 * MiB)  # field 100, bytes
    stream = connection.open(call_headers())
    sent = connection.push(stream, 0, message(GOOD + unknown))
    assert sent == len(GOOD) + len(unknown) + 5
    assert connection.status(stream) == OK


def test_06_varints_that_grow_in_memory(server, sanitized):
    """One byte per id on the wire, 4 bytes and more in memory."""
    stub = server.stub()
    ids = b"\1" * (RECEIVE_LIMIT - 64)
    tokens = b"\x22" + varint(len(ids)) + ids  # ids_list, packed
    body = b"\x22" + varint(len(tokens)) + tokens
    assert encode_pb2.EncodeRequest.FromString(body).tokens.ids_list[:2] == [1, 1]
    call = server.channel().unary_unary(ENCODE)
    before = server.resident_bytes()
    for _ in range(5):
        with pytest.raises(grpc.RpcError) as caught:
            call(body, timeout=PATIENCE)
        assert error_info(caught.value).reason == "SEQUENCE_TOO_LONG"
    # The message, its fields and a copy of them: 1 + 4 + 4 bytes a byte, and what is not yet freed.
    assert sanitized or server.resident_bytes() < before + 16 * RECEIVE_LIMIT
    gone = lambda: sanitized or server.resident_bytes() < before + 8 * MiB
    await_true(gone, "the allocator keeps it", pause=0.2)
    assert stub.Encode(request([1]), timeout=PATIENCE).embeddings.rows == 1


BOUNDARIES = [1000, 2**31 - 1, 2**31, 2**32 - 1]


@pytest.mark.parametrize("bad", BOUNDARIES)
def test_07_ids_outside_the_vocabulary(server, bad):
    with pytest.raises(grpc.RpcError) as caught:
        server.stub().Encode(request([1, 2, bad]), timeout=PATIENCE)
    info = error_info(caught.value)
    assert (info.reason, info.metadata["field"]) == ("TOKEN_OUT_OF_RANGE", "tokens.ids_list[2]")
    assert "1000" in caught.value.details()


@pytest.mark.parametrize("number", [2**64 - 1, 2**33 + 1])
def test_07_ids_too_wide_for_their_field(connection, number):
    """A negative id is ten bytes; protobuf keeps the lower 32 bits of a uint32."""
    tokens = b"\x22" + varint(len(varint(number))) + varint(number)
    stream = connection.call(b"\x22" + varint(len(tokens)) + tokens)
    assert connection.status(stream) == (OK if number % 2**32 < 1000 else INVALID)


def test_08_other_spellings_of_the_same_request(server):
    """Long varints, a repeated field in parts, packed and not: one meaning, one answer."""
    call = server.channel().unary_unary(ENCODE)

    def vector(tokens: bytes) -> bytes:
        body = b"\x22" + varint(len(tokens)) + tokens
        return encode_pb2.EncodeResponse.FromString(call(body, timeout=PATIENCE)).embeddings.data

    plain = vector(b"\x22\x03\x01\x02\x03")
    assert vector(b"\x22\x06\x81\x80\x00\x82\x00\x03") == plain  # not minimal
    assert vector(b"\x22\x01\x01\x22\x02\x02\x03") == plain  # in two parts
    assert vector(b"\x20\x01\x20\x02\x20\x03") == plain  # not packed
    assert vector(b"\x20\x01\x22\x02\x02\x03") == plain  # mixed
    assert vector(b"\x10\x01\x22\x03\x01\x02\x03\x10\x00") == plain  # a scalar, twice
    halves = b"\x22\x03\x22\x01\x01" + b"\x22\x04\x22\x02\x02\x03"  # a message, twice
    merged = encode_pb2.EncodeResponse.FromString(call(halves, timeout=PATIENCE))
    assert merged.embeddings.data == plain


@pytest.mark.parametrize("field", [b"\x0a", b"\x12", b"\x1a", b"\x5a"])
def test_09_text_that_is_not_utf8(server, connection, field):
    assert connection.status(connection.call(field + b"\x03a\xc3\x28" + GOOD)) == INVALID
    # The harness reads the log as UTF-8 and every line of it as JSON.
    assert [line for line in server.lines if not line.startswith("{")] == []


def test_10_oversize_metadata(server):
    assert server.stub().Encode(
        request([1]), metadata=[("x-large", "x" * 8000)], timeout=PATIENCE
    )
    with pytest.raises(grpc.RpcError) as caught:
        server.stub().Encode(request([1]), metadata=[("x-large", "x" * 40_000)], timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_10_repeated_and_reserved_metadata(server):
    metadata = [("x-one", str(n)) for n in range(100)]
    metadata += [("grpc-timeout-x", "1"), ("grpc-previous-rpc-attempts", "x"), ("x-b-bin", b"\0")]
    server.stub().Encode(request([1]), metadata=metadata, timeout=PATIENCE)


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        bytes.fromhex("16030100500100004c0303") + bytes(80),  # a TLS ClientHello
        b"hello\n",
        bytes(range(256)) * 64,
        b"",
    ],
    ids=["http1", "tls", "text", "bytes", "nothing"],
)
def test_11_another_protocol_on_the_port(server, junk):
    lines = len(server.lines)
    with RawSocket(server.port) as peer:
        peer.send(junk)
        peer.finish()
        assert peer.await_close(), "the connection stays open"
    assert len(server.lines) - lines < 10, "the log is flooded"


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/grpcx", None])
def test_11_another_content_type(connection, kind):
    """1.51 logs it and serves; what matters is that nobody else notices."""
    assert connection.status(connection.call(GOOD, content_type=kind)) in (OK, INVALID)
    assert connection.answers()


@pytest.mark.parametrize("name, squeeze", [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_12_a_compression_bomb(server, connection, sanitized, name, squeeze):
    bomb = squeeze(bytes(256 * MiB), 1)
    assert len(bomb) < 2 * MiB
    before = server.resident_bytes()
    stream = connection.open(call_headers(grpc_encoding=name))
    connection.push(stream, 0, message(bomb, compressed=1))
    assert connection.status(stream) == UNIMPLEMENTED
    assert sanitized or server.resident_bytes() < before + 32 * MiB
    assert connection.answers()


def test_13_an_unknown_encoding(connection):
    """1.51 takes it for identity, so the bytes are what they are: a request or not."""
    stream = connection.open(call_headers(grpc_encoding="snappy"))
    connection.data(stream, message(b"\xff\x06\x00\x00sNaPpY", compressed=1))
    assert connection.status(stream) in (INVALID, UNIMPLEMENTED, 13)
    assert connection.trailers(connection.call(GOOD))["grpc-accept-encoding"] == "identity"
