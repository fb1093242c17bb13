"""API keys and the tenants behind them (row 49 of the catalogue), beside a canary stream."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess

import grpc
import pytest
from canary import Canary
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import PATIENCE, StreamCall, error_info, model_pb2, request, service_pb2_grpc
from secure_server import KEY, OTHER_KEY, tenants, with_key


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
