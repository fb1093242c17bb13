"""Transport and identity under attack (rows 45 to 51 of the catalogue), beside a canary stream."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import subprocess
import threading
import time
import warnings

import grpc
import pytest
from certificates import Authority, Volume
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import (
    PATIENCE,
    Canary,
    Server,
    StreamCall,
    encode_pb2,
    error_info,
    model_pb2,
    request,
    service_pb2_grpc,
)

KEY = "canary-key-5f0e6c1d"
OTHER_KEY = "other-key-9a7b3c2e"


class SecureServer(Server):
    """A server with TLS, keys or both; its own channels are those of a good client."""

    def __init__(self, program, *flags, credentials=None, key=None):
        super().__init__(program, *flags)
        self._credentials = credentials
        self._key = key

    def channel(self, **options) -> grpc.Channel:
        settings = {"grpc.enable_retries": 0, "grpc.use_local_subchannel_pool": 1, **options}
        target, items = f"127.0.0.1:{self.port}", list(settings.items())
        if self._credentials is None:
            channel = grpc.insecure_channel(target, options=items)
        else:
            channel = grpc.secure_channel(target, self._credentials, options=items)
        return channel if self._key is None else with_key(channel, self._key)


class _KeyInterceptor(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    def __init__(self, key: str):
        self._key = key

    def _details(self, details):
        metadata = [*(details.metadata or ()), ("authorization", f"Bearer {self._key}")]
        return details._replace(metadata=metadata)

    def intercept_unary_unary(self, continuation, details, message):
        return continuation(self._details(details), message)

    def intercept_stream_stream(self, continuation, details, messages):
        return continuation(self._details(details), messages)


def with_key(channel: grpc.Channel, key: str) -> grpc.Channel:
    return grpc.intercept_channel(channel, _KeyInterceptor(key))


def tenants(**keys: str) -> str:
    """The file of tenants: name -> key."""
    return json.dumps(
        {
            "tenants": [
                {"name": name, "key_sha256": [hashlib.sha256(key.encode()).hexdigest()]}
                for name, key in keys.items()
            ]
        }
    )


def call_code(server: SecureServer, credentials: grpc.ChannelCredentials) -> grpc.StatusCode:
    """What a call over a connection of its own ends with."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"127.0.0.1:{server.port}", credentials, options=options) as channel:
        try:
            service_pb2_grpc.EncoderServiceStub(channel).Encode(request([1]), timeout=PATIENCE)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger") / "ca")


@pytest.fixture
def volume(tmp_path, authority) -> Volume:
    return Volume(tmp_path / "tls", authority.issue())


@pytest.fixture
def start(fake_program):
    servers = []

    def begin(*flags: str, **access) -> SecureServer:
        servers.append(SecureServer(fake_program, *flags, **access))
        return servers[-1].ready()

    yield begin
    for server in servers:
        # Killed, since leaving in good order takes the metrics port two seconds. The tests of the log
        # stop theirs and look at the exit code.
        if server.process.poll() is None:
            server.process.kill()
        server.wait()


@pytest.fixture
def start_tls(start, volume, authority):
    def begin(*flags: str, pair=None) -> SecureServer:
        files = [f"--tls_certificate={volume.path}/tls.crt", f"--tls_key={volume.path}/tls.key"]
        flags = (*files, "--reload_interval=0.02", *flags)
        return start(*flags, credentials=authority.credentials(pair))

    return begin


@pytest.fixture
def start_with_keys(start, tmp_path):
    def begin(*flags: str) -> SecureServer:
        path = tmp_path / "tenants.json"
        path.write_text(tenants(canary=KEY, other=OTHER_KEY))
        return start(f"--tenants={path}", "--reload_interval=0.02", *flags, key=KEY)

    return begin


def handshake(port: int, alpn=("h2",), version=None, ciphers=None) -> ssl.SSLSocket:
    """A TLS connection by Python's own library, as weak as asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = version or ssl.TLSVersion.TLSv1
        if version is not None:
            context.maximum_version = version
    context.set_ciphers(ciphers or "ALL:@SECLEVEL=0")
    if alpn:
        context.set_alpn_protocols(alpn)
    plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    try:
        return context.wrap_socket(plain)
    except Exception:
        plain.close()
        raise


# --- 45: versions, suites, ALPN, plaintext ------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(start_tls, version):
    server = start_tls()
    with Canary(server), pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(server.port, version=version)
    server.await_metric("longwave_tls_handshake_failures_total", lambda n: n >= 1)


def test_weak_suites_are_refused(start_tls):
    server = start_tls()
    with Canary(server):
        for suites in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-NULL-SHA", "aNULL"):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                handshake(
                    server.port, version=ssl.TLSVersion.TLSv1_2, ciphers=f"{suites}:@SECLEVEL=0"
                )


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_new_versions_with_h2_are_taken(start_tls, version):
    with handshake(start_tls().port, version=version, ciphers="DEFAULT") as connection:
        assert connection.selected_alpn_protocol() == "h2"
        assert connection.version() == {
            ssl.TLSVersion.TLSv1_2: "TLSv1.2",
            ssl.TLSVersion.TLSv1_3: "TLSv1.3",
        }[version]


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
def test_without_alpn_h2_nothing_is_said(start_tls, alpn):
    server = start_tls()
    with Canary(server):
        try:
            with handshake(server.port, alpn=alpn, ciphers="DEFAULT") as connection:
                connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
                assert connection.recv(1) == b"", "frames of HTTP/2 without ALPN"
        except (ssl.SSLError, ConnectionError):
            pass  # closed during or after the handshake: as good


@pytest.mark.parametrize(
    "words",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(range(256)) * 16,
        b"\x16\x03\x01\xff\xff" + b"\x01" * 100,
    ],
    ids=["h2", "http1", "noise", "half a hello"],
)
def test_plaintext_to_the_tls_port_is_cut_off(start_tls, words):
    server = start_tls("--handshake_timeout=0.5")
    with Canary(server):
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
            connection.sendall(words)
            try:
                # An alert of TLS at most, never a frame of HTTP/2; then the end.
                answer = b""
                while piece := connection.recv(4096):
                    answer += piece
                assert not answer or answer[0] == 0x15, answer
            except ConnectionError:
                pass


def test_connections_that_never_finish_their_handshake_are_closed(start_tls):
    server = start_tls("--handshake_timeout=0.5")
    with Canary(server):
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
        for connection in silent:
            connection.settimeout(PATIENCE)
            assert connection.recv(1) == b""
            connection.close()


def test_a_tls_hello_to_a_plaintext_port_is_cut_off(start):
    server = start()
    with Canary(server), pytest.raises((ssl.SSLError, OSError)):
        handshake(server.port)


def test_noise_does_not_flood_the_log(start_tls):
    server = start_tls()
    with Canary(server):
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(b"noise" * 10)
        server.await_metric("longwave_tls_handshake_failures_total", lambda n: n >= 200)
    seconds = 1 + len({json.loads(line)["ts"][:19] for line in server.lines if line[0] == "{"})
    told = sum('"event":"grpc"' in line for line in server.lines)
    assert told <= 21 * seconds


# --- 46: certificates of clients ----------------------------------------------------------------


def test_only_clients_of_the_ca_may_connect(start_tls, tmp_path, authority, stranger):
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.root)
    good = authority.issue()
    server = start_tls(f"--tls_client_ca={ca}", pair=good)
    refused = {
        "missing": None,
        "wrong CA": stranger.issue(),
        "expired": authority.issue(starts_in_days=-2, ends_in_days=-1),
        "not yet valid": authority.issue(starts_in_days=1, ends_in_days=2),
    }
    with Canary(server):
        failures = server.metric("longwave_tls_handshake_failures_total")
        for name, pair in refused.items():
            code = call_code(server, authority.credentials(pair))
            assert code == grpc.StatusCode.UNAVAILABLE, name
            failures += 1
            server.await_metric(
                "longwave_tls_handshake_failures_total", lambda n, least=failures: n >= least
            )
        assert call_code(server, authority.credentials(good)) == grpc.StatusCode.OK
    ends = "longwave_tls_certificate_not_after_timestamp_seconds"
    assert time.time() < server.metric(ends, which="server") < time.time() + 2 * 86400
    assert time.time() < server.metric(ends, which="client_ca") < time.time() + 3 * 86400


def test_a_client_checks_its_server_too(start_tls, stranger):
    server = start_tls()
    assert call_code(server, stranger.credentials()) == grpc.StatusCode.UNAVAILABLE


# --- 47, 48: rotation ---------------------------------------------------------------------------


def test_rotation_under_load_fails_no_call(start_tls, volume, authority):
    server = start_tls()
    problems: list[str] = []
    calls = [0]
    stop = threading.Event()

    def call_on_new_connections() -> None:
        while not stop.is_set():
            code = call_code(server, authority.credentials())
            calls[0] += 1
            if code != grpc.StatusCode.OK:
                problems.append(str(code))

    pairs = [authority.issue() for _ in range(4)]
    reloads = "longwave_tls_reloads_total"
    thread = threading.Thread(target=call_on_new_connections)
    with Canary(server):
        long_lived = server.stub()  # a connection from before the first change
        long_lived.Encode(request([1]), timeout=PATIENCE)
        thread.start()
        for turn in range(20):
            volume.swap(pairs[turn % len(pairs)])
            server.await_metric(reloads, lambda n, least=turn + 1: n >= least, result="success")
        long_lived.Encode(request([1]), timeout=PATIENCE)
        stop.set()
        thread.join()
    assert not problems, problems[:5]
    assert calls[0] >= 5, "the load was none"
    assert server.metric(reloads, result="failure") == 0
    shown = ssl.PEM_cert_to_DER_cert(pairs[19 % len(pairs)].certificate.decode())
    with handshake(server.port, ciphers="DEFAULT") as connection:
        assert connection.getpeercert(binary_form=True) == shown


def test_half_a_rotation_changes_nothing_but_a_counter(start_tls, volume, authority):
    server = start_tls()
    other = authority.issue()
    with handshake(server.port, ciphers="DEFAULT") as connection:
        before = connection.getpeercert(binary_form=True)
    whole = (volume.path / "tls.crt").read_bytes()
    expired = authority.issue(starts_in_days=-3, ends_in_days=-1)
    failures = 0
    with Canary(server):
        for name, content in [
            ("tls.crt", other.certificate),  # new certificate, old key
            ("tls.crt", b""),
            ("tls.crt", other.certificate[:100]),
            ("tls.crt", b"\0" * 4096),
            ("tls.key", b""),
            ("tls.key", None),
        ]:
            volume.tamper(name, content)
            failures += 1
            server.await_metric(
                "longwave_tls_reloads_total", lambda n, least=failures: n >= least, result="failure"
            )
            assert call_code(server, authority.credentials()) == grpc.StatusCode.OK, (name, content)
        volume.swap(expired)  # a pair, and of no use
        server.await_metric(
            "longwave_tls_reloads_total", lambda n: n >= failures + 1, result="failure"
        )
        with handshake(server.port, ciphers="DEFAULT") as connection:
            assert connection.getpeercert(binary_form=True) == before
        volume.swap(other)
        server.await_metric("longwave_tls_reloads_total", lambda n: n >= 1, result="success")
        assert call_code(server, authority.credentials()) == grpc.StatusCode.OK
    assert ssl.PEM_cert_to_DER_cert(whole.decode()) == before


# --- 49: keys -----------------------------------------------------------------------------------


def test_every_method_wants_a_key_and_health_does_not(start_with_keys):
    server = start_with_keys()
    plain = grpc.insecure_channel(f"127.0.0.1:{server.port}")
    stub = service_pb2_grpc.EncoderServiceStub(plain)
    calls = [
        lambda: stub.Encode(request([1]), timeout=PATIENCE),
        lambda: stub.EstimateEncode(encode_pb2_estimate(), timeout=PATIENCE),
        lambda: stub.GetModel(model_pb2.GetModelRequest(), timeout=PATIENCE),
        lambda: stub.ListModels(model_pb2.ListModelsRequest(), timeout=PATIENCE),
        lambda: StreamCall(stub).read(),
    ]
    with Canary(server):
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
            assert error_info(caught.value).reason == "UNAUTHENTICATED"
        health = health_pb2_grpc.HealthStub(plain)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def encode_pb2_estimate():
    return model_pb2.EstimateEncodeRequest(lengths=[8])


def test_absent_and_wrong_keys_get_one_answer(start_with_keys):
    server = start_with_keys()
    stub = service_pb2_grpc.EncoderServiceStub(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
    attempts = [
        [],
        [("authorization", "Bearer wrong")],
        [("authorization", f"Bearer {KEY[:-1]}")],
        [("authorization", f"Bearer {KEY}x")],
        [("authorization", KEY)],
        [("authorization", f"Basic {KEY}")],
        [("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {KEY}")],
        [("x-api-key", KEY)],
    ]
    answers = set()
    with Canary(server):
        for metadata in attempts:
            with pytest.raises(grpc.RpcError) as caught:
                stub.Encode(request([1]), timeout=PATIENCE, metadata=metadata)
            details = dict(caught.value.trailing_metadata()).get("grpc-status-details-bin")
            answers.add((caught.value.code(), caught.value.details(), details))
    assert len(answers) == 1, answers
    assert server.metric("longwave_auth_failures_total") == len(attempts)


def test_keys_are_withdrawn_and_added_while_serving(start_with_keys, tmp_path):
    server = start_with_keys()
    path = tmp_path / "tenants.json"
    channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
    other = service_pb2_grpc.EncoderServiceStub(with_key(channel, OTHER_KEY))
    new = service_pb2_grpc.EncoderServiceStub(with_key(channel, "new-key"))
    reloads = "longwave_tenant_reloads_total"
    with Canary(server):
        other.Encode(request([1]), timeout=PATIENCE)
        path.write_text('{"tenants": [{"na')  # half-written
        server.await_metric(reloads, lambda n: n >= 1, result="failure")
        other.Encode(request([1]), timeout=PATIENCE)
        path.write_text(tenants(canary=KEY, other="new-key"))
        server.await_metric(reloads, lambda n: n >= 1, result="success")
        new.Encode(request([1]), timeout=PATIENCE)
        with pytest.raises(grpc.RpcError) as caught:
            other.Encode(request([1]), timeout=PATIENCE)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_keys_are_nowhere_to_be_read(start_with_keys, tmp_path):
    server = start_with_keys("--log_level=debug")
    channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
    stub = service_pb2_grpc.EncoderServiceStub(channel)
    secret = "never-to-be-seen-4d2a"
    seen = []
    with Canary(server):
        for metadata in (
            [("authorization", f"Bearer {secret}")],
            [("authorization", secret)],
            [("authorization", f"Bearer {secret}")] * 2,
        ):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Encode(request([1]), timeout=PATIENCE, metadata=metadata)
            seen.append(f"{caught.value.details()} {caught.value.trailing_metadata()}")
        # A key where its digest belongs.
        (tmp_path / "tenants.json").write_text(
            json.dumps({"tenants": [{"name": "a", "key_sha256": [secret]}]})
        )
        server.await_metric("longwave_tenant_reloads_total", lambda n: n >= 1, result="failure")
    seen.append(server.scrape())
    assert server.stop() == 0
    seen += server.lines
    assert any('"event":"request"' in line for line in server.lines), "requests are logged"
    for text in seen:
        for word in (secret, KEY, OTHER_KEY, hashlib.sha256(KEY.encode()).hexdigest()):
            assert word not in text, text


def test_a_claim_to_be_another_tenant_is_denied(start_with_keys):
    server = start_with_keys()
    stub = server.stub()
    message = request([1])
    message.tenant = "canary"
    stub.Encode(message, timeout=PATIENCE)
    message.tenant = "other"
    with pytest.raises(grpc.RpcError) as caught:
        stub.Encode(message, timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert error_info(caught.value).metadata["field"] == "tenant"
    assert server.metric("longwave_auth_failures_total", reason="tenant_mismatch") == 1


# --- 50, 51: what clients write -----------------------------------------------------------------

NASTY = [
    "two\r\nlines",
    '{"level":"error","event":"forged"}',
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "nul\0byte",
    '"}\n{"event":"forged"',
    "\u202eright to left\u202c \u2066isolate\u2069",
    "\u2028line\u2029paragraph\u0085next",
    "\x7f\x9b31m",
    "x" * (1 << 20),
]
# What must not be in a line as it is: controls, separators, changes of direction.
RAW = [chr(c) for c in (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x202A, 0x202E, 0x2066)]


@pytest.mark.parametrize("field", ["model", "model_version", "request_id", "tenant"])
def test_nothing_that_clients_write_leaves_its_line_of_log(start, field):
    server = start("--log_level=debug")
    stub = server.stub()
    with Canary(server):
        for text in NASTY:
            message = request([1])
            setattr(message, field, text)
            try:
                stub.Encode(message, timeout=PATIENCE)
            except grpc.RpcError as error:
                assert error.code() in (
                    grpc.StatusCode.INVALID_ARGUMENT,
                    grpc.StatusCode.NOT_FOUND,
                )
    assert server.stop() == 0
    for line in server.lines:
        entry = json.loads(line)  # one event a line
        assert entry["event"] != "forged", line
        assert len(line) < 2048, line[:200]
        assert not [repr(c) for c in RAW if c in line], line


def test_metadata_is_not_logged(start):
    server = start("--log_level=debug")
    server.stub().Encode(
        request([1]),
        timeout=PATIENCE,
        metadata=[("x-custom", "seen-nowhere"), ("x-bin-bin", b"\r\n\x1b"), ("user", "x" * 4000)],
    )
    assert server.stop() == 0
    assert not [line for line in server.lines if "seen-nowhere" in line or "x" * 100 in line]


TRACE = "0af7651916cd43dd8448eb211c80319c"
GOOD_PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
BAD_PARENTS = {
    "empty": [""],
    "short": [GOOD_PARENT[:-1]],
    "long": [GOOD_PARENT + "0"],
    "zero trace": [f"00-{'0' * 32}-b7ad6b7169203331-01"],
    "zero parent": [f"00-{TRACE}-{'0' * 16}-01"],
    "upper case": [GOOD_PARENT.upper()],
    "version ff": ["ff" + GOOD_PARENT[2:]],
    "no hex": ["zz" + GOOD_PARENT[2:]],
    "4 KiB": ["0" * 4096],
}


def test_a_bad_traceparent_begins_a_trace_and_is_served(start):
    server = start("--log_level=debug")
    stub = server.stub()
    with Canary(server):
        for name, values in {"good": [GOOD_PARENT], **BAD_PARENTS}.items():
            message = request([1])
            message.request_id = name
            metadata = [("traceparent", value) for value in values]
            stub.Encode(message, timeout=PATIENCE, metadata=metadata)
    assert server.stop() == 0
    entries = [json.loads(line) for line in server.lines]
    traces = {e["request_id"]: e["trace_id"] for e in entries if e.get("request_id")}
    assert traces.pop("good") == TRACE
    assert traces.keys() == BAD_PARENTS.keys()
    for name, trace in traces.items():
        assert len(trace) == 32 and trace != TRACE and int(trace, 16), name
    assert len(set(traces.values())) == len(traces)


# --- The program `longwave` ---------------------------------------------------------------------


def test_the_program_speaks_mutual_tls_and_shows_its_key(start_tls, tmp_path, authority, stranger):
    program = os.environ.get("LONGWAVE_CLI")
    if program is None:
        pytest.skip("LONGWAVE_CLI does not say where the program is")
    for name, content in {
        "ca.pem": authority.root,
        "other.pem": stranger.root,
        "tenants.json": tenants(cli=KEY).encode(),
        "key": f"{KEY}\n".encode(),
    }.items():
        (tmp_path / name).write_bytes(content)
    pair = authority.issue()
    pair.write(tmp_path)
    server = start_tls(
        f"--tls_client_ca={tmp_path}/ca.pem", f"--tenants={tmp_path}/tenants.json", pair=pair
    )

    def info(*flags: str, **environment: str) -> subprocess.CompletedProcess:
        command = [program, "info", "--server", f"127.0.0.1:{server.port}", *flags]
        clean = {k: v for k, v in os.environ.items() if k != "LONGWAVE_API_KEY"}
        return subprocess.run(
            command, capture_output=True, text=True, env={**clean, **environment}, timeout=PATIENCE
        )

    ca = ["--tls-ca", f"{tmp_path}/ca.pem"]
    mine = ["--tls-certificate", f"{tmp_path}/tls.crt", "--tls-key", f"{tmp_path}/tls.key"]
    good = info(*ca, *mine, "--api-key-file", f"{tmp_path}/key")
    assert good.returncode == 0 and "fake" in good.stdout, good.stderr
    assert info(*ca, *mine, LONGWAVE_API_KEY=KEY).returncode == 0
    assert info(*ca, "--tls-server-name", "localhost", *mine, LONGWAVE_API_KEY=KEY).returncode == 0
    refused = info(*ca, *mine)
    assert refused.returncode == 4 and "UNAUTHENTICATED" in refused.stderr
    assert info("--tls-ca", f"{tmp_path}/other.pem", *mine, LONGWAVE_API_KEY=KEY).returncode == 3
    assert info(*ca, "--tls-server-name", "elsewhere", *mine, LONGWAVE_API_KEY=KEY).returncode == 3
    assert info(*ca, LONGWAVE_API_KEY=KEY).returncode == 3  # no certificate
    assert info(LONGWAVE_API_KEY=KEY).returncode == 3  # plaintext


# --- Start --------------------------------------------------------------------------------------


def test_the_configuration_check_reads_the_files(fake_program, tmp_path, authority, stranger):
    authority.issue().write(tmp_path)
    files = [f"--tls_certificate={tmp_path}/tls.crt", f"--tls_key={tmp_path}/tls.key"]

    def check(*flags: str) -> subprocess.CompletedProcess:
        command = [fake_program, "--check_config", *flags]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)

    assert check(*files).returncode == 0
    stranger.issue().write(tmp_path, "key")
    wrong = check(*files)
    assert wrong.returncode == 2 and "private key" in wrong.stderr, wrong.stderr
    bare = check("--address=0.0.0.0:1")
    assert bare.returncode == 2 and "--allow_plaintext" in bare.stderr
    assert check("--address=0.0.0.0:1", "--allow_plaintext").returncode == 0
