"""The Open Inference Protocol under the same attacks: what is small on the wire and large in memory,
and streams whose caller takes nothing."""

import grpc
import pytest
from harness import PATIENCE, await_true, error_info

from inference import inference_service_pb2 as pb
from inference import inference_service_pb2_grpc

RECEIVE_LIMIT = (4 << 20) + (1 << 20)  # of FakeEncoder


def stub_of(server):
    return inference_service_pb2_grpc.GRPCInferenceServiceStub(server.channel())


def raw_infer(server):
    """ModelInfer of bytes as they are."""
    return server.channel().unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=lambda data: data,
        response_deserializer=lambda data: data,
    )


def request(shape, data, datatype="UINT8", **fields) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="fake", raw_input_contents=[data], **fields)
    message.inputs.add(name="input_ids", datatype=datatype).shape.extend(shape)
    return message


@pytest.mark.parametrize("field", [4, 5, 6, 7])
def test_two_bytes_that_would_be_an_object_each(server, sanitized, field):
    """2.5 million parameters, inputs, outputs or contents in 5 MiB."""
    body = bytes([field << 3 | 2, 0]) * (RECEIVE_LIMIT // 2 - 1000)
    call = raw_infer(server)
    before = server.resident_bytes()
    for _ in range(5):
        with pytest.raises(grpc.RpcError) as caught:
            call(body, timeout=PATIENCE)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert error_info(caught.value).reason == "REQUEST_TOO_LARGE"
    peak = server.peak_resident_bytes()
    # The bytes themselves, received and refused; built, they would be half a gigabyte.
    assert sanitized or peak < before + 8 * RECEIVE_LIMIT


def test_wide_batches_are_refused_before_they_are_made(server, sanitized):
    before = server.resident_bytes()
    for shape in ([5_000_000, 1], [1 << 62, 0]):
        message = request(shape, b"\1" * (5_000_000 if shape[1] else 0))
        with pytest.raises(grpc.RpcError) as caught:
            stub_of(server).ModelInfer(message, timeout=PATIENCE)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    peak = server.peak_resident_bytes()
    assert sanitized or peak < before + 8 * RECEIVE_LIMIT


def test_names_that_are_long_are_not_repeated(server):
    long = "x" * 4_000_000
    stream = stub_of(server).ModelStreamInfer(
        iter([request([1, 1], b"\1", id=long), request([1, 1], b"\1", id="short")]),
        timeout=PATIENCE,
    )
    answers = list(stream)
    assert sorted(answer.infer_response.id for answer in answers) == ["", "short"]
    (refused,) = [answer for answer in answers if answer.error_message]
    assert "INVALID_FIELD" in refused.error_message and len(refused.error_message) <= 1024


def test_a_caller_that_takes_no_answers_holds_little(server, sanitized):
    """Refused requests of megabytes on a stream that nobody reads."""
    sent = 300
    message = request([1, 1_000_000], b"\1" * 1_000_000, id="a" * 100)
    message.parameters["pooling"].string_param = "median"
    before = server.resident_bytes()
    refused = server.metric("longwave_requests_invalid_total")
    stream = stub_of(server).ModelStreamInfer(iter([message] * sent), timeout=PATIENCE)
    server.await_metric("longwave_requests_invalid_total", lambda value: value >= refused + 200)
    await_true(
        lambda: sanitized or server.resident_bytes() < before + 8 * RECEIVE_LIMIT,
        "refused requests stay in memory",
    )
    stream.cancel()


def test_a_flood_of_streams_beside_honest_callers(server):
    """Streams that are opened and left, each with requests under way."""
    message = request([1, 1000], b"\1" * 1000)
    for _ in range(50):
        stream = stub_of(server).ModelStreamInfer(iter([message] * 5), timeout=PATIENCE)
        stream.cancel()
    server.await_metric("longwave_queue_requests", lambda value: value == 0)
