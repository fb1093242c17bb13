"""Rows 41 to 44, 71 and 72: who sees what, and what probes and scrapers may do."""

import concurrent.futures
import socket
import urllib.error
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import proto_reflection_descriptor_database as reflection
from harness import PATIENCE, await_true, encode_pb2, model_pb2, request
from http2 import Http2Connection, call_headers, message

SERVING = health_pb2.HealthCheckResponse.SERVING
MAX_WATCHES = 256


@pytest.fixture(scope="module")
def server_flags():
    return ("--no-reflection",)


def test_41_no_answer_is_anothers(server):
    """50 callers with sequences of their own, often in one batch: each gets its own vector."""
    stub = server.stub()
    sequences = [[n + 1, *[(n * k) % 999 for k in range(1 + 7 * n)]] for n in range(50)]
    alone = [
        stub.Encode(request(ids), timeout=PATIENCE).embeddings.data for ids in sequences
    ]
    assert len(set(alone)) == len(alone)

    def caller(number: int) -> bool:
        own = server.stub()
        message = request(sequences[number])
        return all(
            own.Encode(message, timeout=PATIENCE).embeddings.data == alone[number]
            for _ in range(40)
        )

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        assert all(pool.map(caller, range(50)))


def test_42_what_is_off_is_not_there(server):
    database = reflection.ProtoReflectionDescriptorDatabase(server.channel())
    with pytest.raises(grpc.RpcError) as caught:
        database.get_services()
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    for method in (
        "/grpc.channelz.v1.Channelz/GetServers",
        "/envoy.admin.v3.Admin/Config",
        "/grpc.testing.TestService/UnaryCall",
    ):
        with pytest.raises(grpc.RpcError) as caught:
            server.channel().unary_unary(method)(b"", timeout=PATIENCE)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def metrics_port(server) -> int:
    return server.await_event("listening")["metrics_port"]


def http_code(server, path: str, **options) -> int:
    url = f"http://127.0.0.1:{metrics_port(server)}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=30) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    "path",
    ["/", "/other", "/metrics/../../etc/passwd", "/..%2f..%2fetc/passwd", "/%00"],
)
def test_43_only_metrics_are_there(server, path):
    assert http_code(server, path) in (400, 403, 404)


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_43_nothing_but_get(server, method):
    data = b"x" * 1000 if method in ("POST", "PUT") else None
    assert http_code(server, "/metrics", method=method, data=data) in (400, 404, 405)
    assert http_code(server, "/metrics") == 200


def raw_http(server, text: bytes) -> bytes:
    """What the metrics port says to these bytes until it closes."""
    with socket.create_connection(("127.0.0.1", metrics_port(server)), timeout=30) as peer:
        answer = b""
        try:
            peer.sendall(text)
            while piece := peer.recv(1 << 16):
                answer += piece
        except OSError:
            pass  # closed in the middle of it, which is an answer too
        return answer


@pytest.mark.parametrize(
    "text",
    [
        b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"X-A: " + b"a" * (1 << 20) + b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"X-A: a\r\n" * 10000 + b"\r\n",
        b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"\x16\x03\x01" + bytes(100) + b"\r\n\r\n",
        b"\r\n" * 1000,
    ],
    ids=["path", "header", "headers", "length", "tls", "lines"],
)
def test_43_requests_of_every_size(server, sanitized, text):
    before = server.resident_bytes()
    assert b"200 OK" not in raw_http(server, text)[:100]
    assert http_code(server, "/metrics") == 200
    assert sanitized or server.resident_bytes() < before + (64 << 20)


def test_43_readers_that_do_not_read(server):
    """Both threads of the metrics port held: the service goes on, and the port comes back."""
    peers = [socket.create_connection(("127.0.0.1", metrics_port(server))) for _ in range(4)]
    for peer in peers:
        peer.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")  # and no more
    assert server.stub().Encode(request([1]), timeout=PATIENCE).embeddings.rows == 1
    # Each is closed after five seconds of silence.
    assert http_code(server, "/metrics") == 200
    for peer in peers:
        peer.close()


def test_44_hostile_names_create_no_series(server):
    def series() -> int:
        return len([line for line in server.scrape().splitlines() if not line.startswith("#")])

    before = series()
    # By the thousand on one connection: a stub would take a minute.
    with Http2Connection(server.port) as connection:
        streams = []
        for number in range(3000):
            body = encode_pb2.EncodeRequest(model=f"m{number}", request_id=f"r{number}")
            body.tokens.ids_list.append(1)
            headers = call_headers(f"/longwave.v1.EncoderService/{number % 3 or 'Encode'}")
            stream = connection.open(headers)
            connection.data(stream, message(body.SerializeToString()))
            streams.append(stream)
            if number % 200 == 199:  # fewer than may be open at once
                assert all(connection.status(stream) in (3, 5, 12) for stream in streams)
                streams.clear()
    stub = server.stub()
    with pytest.raises(grpc.RpcError):
        stub.GetModel(model_pb2.GetModelRequest(model="other"), timeout=PATIENCE)
    assert series() == before


def test_71_a_flood_of_health_calls(server):
    """1000 watches, of which 256 stay, and 2000 checks at once, which are answered."""
    channels = [server.channel() for _ in range(4)]
    stubs = [health_pb2_grpc.HealthStub(channel) for channel in channels]
    ask = health_pb2.HealthCheckRequest()
    watches = [stubs[n % 4].Watch(ask, timeout=PATIENCE) for n in range(1000)]
    assert all(next(watch).status == SERVING for watch in watches)
    # The canaries have one of their own.
    refused = lambda: [watch for watch in watches if not watch.is_active()]
    await_true(lambda: len(refused()) > 1000 - MAX_WATCHES, "more watches than the bound")
    assert len(refused()) == 1001 - MAX_WATCHES
    assert {watch.code() for watch in refused()} == {grpc.StatusCode.UNIMPLEMENTED}
    checks = [stubs[n % 4].Check.future(ask, timeout=PATIENCE) for n in range(2000)]
    assert {check.result().status for check in checks} == {SERVING}
    for watch in watches:
        watch.cancel()
    for channel in channels:
        channel.close()


def test_72_readiness_of_unknown_names(server):
    stub = health_pb2_grpc.HealthStub(server.channel())
    for name in ("other", "longwave.v1.Encoder", "../", "x" * 10000):
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
