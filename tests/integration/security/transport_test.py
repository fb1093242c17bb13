"""TLS under attack and in rotation (rows 45 to 48 of the catalogue), beside a canary stream."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import time

import grpc
import pytest
from canary import Canary
from harness import PATIENCE, request
from secure_server import call_code, handshake

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
