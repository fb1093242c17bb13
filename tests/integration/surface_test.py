"""What operators see: health, reflection, metrics, log."""

import json
import shutil
import subprocess

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import proto_reflection_descriptor_database as reflection
from harness import PATIENCE, SERVICE, encode_pb2, model_pb2, parse_metrics, request


def test_health_of_every_name(start_fake):
    stub = health_pb2_grpc.HealthStub(start_fake().channel())
    for name in ("", SERVICE, "longwave.live", "longwave.startup"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, name
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection_describes_the_services(start_fake):
    database = reflection.ProtoReflectionDescriptorDatabase(start_fake().channel())
    assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
    file = database.FindFileContainingSymbol(SERVICE)
    methods = {method.name for method in file.service[0].method}
    assert methods == {"Encode", "EncodeStream", "EstimateEncode", "GetModel", "ListModels"}
    database.FindFileContainingSymbol("grpc.health.v1.Health")
    file = database.FindFileContainingSymbol("inference.GRPCInferenceService")
    assert "ModelInfer" in {method.name for method in file.service[0].method}


def test_reflection_can_be_switched_off(start_fake):
    database = reflection.ProtoReflectionDescriptorDatabase(
        start_fake("--no-reflection").channel()
    )
    with pytest.raises(grpc.RpcError) as caught:
        database.get_services()
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_grpcurl_lists_and_calls(start_fake):
    grpcurl = shutil.which("grpcurl")
    if grpcurl is None:
        pytest.skip("grpcurl is not installed")
    address = f"127.0.0.1:{start_fake().port}"

    def run(*arguments: str) -> str:
        command = [grpcurl, "-plaintext", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=PATIENCE
        ).stdout

    assert SERVICE in run(address, "list").split()
    answer = run("-d", '{"tokens": {"ids_list": [1, 2, 3]}}', address, f"{SERVICE}/Encode")
    used = json.loads(answer)["sequences"][0]
    assert used.get("tokensUsed", used.get("tokens_used")) == 3
    assert '"SERVING"' in run(address, "grpc.health.v1.Health/Check")


def test_the_scrape_is_clean_and_agrees_with_the_replies(start_fake):
    server = start_fake(base_seconds="0.01")
    stub = server.stub()
    totals = {"queue": 0.0, "compute": 0.0, "total": 0.0}
    for number in range(10):
        timings = stub.Encode(request([number + 1] * 10), timeout=PATIENCE).timings
        stages = ["receive", "validate", "queue", "compute", "serialise", "other"]
        seconds = {name: getattr(timings, name).ToNanoseconds() for name in [*stages, "total"]}
        assert sum(seconds[name] for name in stages) == seconds["total"]
        for name in totals:
            totals[name] += seconds[name] * 1e-9
    with pytest.raises(grpc.RpcError):
        stub.Encode(request([5000]), timeout=PATIENCE)
    server.await_metric("longwave_requests_total", lambda value: value == 11)

    text = server.scrape()
    samples = {(s.name, tuple(sorted(s.labels.items()))): s.value for s in parse_metrics(text)}
    assert len(samples) == len(parse_metrics(text)), "a series appears twice"
    assert server.metric("longwave_requests_total", code="OK") == 10
    assert server.metric("longwave_requests_invalid_total", reason="TOKEN_OUT_OF_RANGE") == 1
    assert server.metric("longwave_tokens_total", kind="real") == 100
    assert server.metric("longwave_admission_total", decision="accept") == 10
    for name, metric in (("queue", "queue"), ("compute", "compute")):
        measured = server.metric(f"longwave_request_{metric}_seconds_sum")
        assert measured == pytest.approx(totals[name], abs=1e-6), name
    measured = server.metric("longwave_request_duration_seconds_sum", code="ok")
    assert measured == pytest.approx(totals["total"], abs=1e-6)
    assert server.metric("longwave_ready") == 1
    assert server.metric("longwave_model_info", model="fake") == 1

    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    check = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=PATIENCE
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_the_model_says_what_it_takes(start_fake):
    stub = start_fake("--max_sequences=5").stub()
    model = stub.GetModel(model_pb2.GetModelRequest(), timeout=PATIENCE).model
    assert model.name == "fake"
    assert model.limits.max_sequences_per_request == 5
    assert model.limits.max_receive_message_bytes == 4 * model.max_tokens + (1 << 20)
    listed = stub.ListModels(model_pb2.ListModelsRequest(), timeout=PATIENCE).models
    assert [entry.fingerprint for entry in listed] == [model.fingerprint]
    estimate = stub.EstimateEncode(
        model_pb2.EstimateEncodeRequest(
            lengths=[1 << 20], output=encode_pb2.OutputSpec(pooling=encode_pb2.POOLING_NONE)
        ),
        timeout=PATIENCE,
    )
    assert estimate.tokens == 1 << 20
    assert estimate.predicted_seconds > 0
    assert (estimate.admissible, estimate.reason) == (False, "REQUEST_TOO_LARGE")


def test_tokens_are_never_logged(start_fake):
    server = start_fake("--log_level=debug")
    stub = server.stub()
    stub.Encode(request([777, 778, 779]), timeout=PATIENCE)
    with pytest.raises(grpc.RpcError):
        stub.Encode(request([777, 54321]), timeout=PATIENCE)
    server.await_metric("longwave_requests_total", lambda value: value == 2)
    assert server.stop() == 0
    requests = [line for line in server.lines if '"event":"request"' in line]
    assert len(requests) == 2
    for line in requests:
        for token in ("777", "778", "779", "54321"):
            assert f":{token}" not in line and f"= {token}" not in line, line


@pytest.mark.parametrize(
    ("flags", "logged"),
    [
        ([], {"bad"}),
        (["--log_requests=failed"], {"bad"}),
        (["--log_requests=sampled"], {"bad", "sampled"}),
        (["--log_requests=all"], {"bad", "sampled", "unsampled"}),
    ],
)
def test_which_requests_have_a_line_of_log(start_fake, flags, logged):
    server = start_fake(*flags)
    stub = server.stub()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
    for name, sampled, ids in (("sampled", 1, [1]), ("unsampled", 0, [1])):
        message = request(ids)
        message.request_id = name
        metadata = [("traceparent", f"{parent}{sampled}")]
        stub.Encode(message, timeout=PATIENCE, metadata=metadata)
    with pytest.raises(grpc.RpcError):
        stub.Encode(request([]), timeout=PATIENCE, metadata=[("traceparent", f"{parent}0")])
    server.await_metric("longwave_requests_total", lambda value: value == 3)
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.lines]
    requests = [line for line in lines if line["event"] == "request"]
    assert {line["request_id"] or "bad" for line in requests} == logged
