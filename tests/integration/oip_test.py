"""The Open Inference Protocol with the clients that people have: unmodified tritonclient.grpc."""

import hashlib
import json
import queue
import time

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_tools import protoc
from harness import (
    PATIENCE,
    ROOT,
    await_true,
    encode_pb2,
    error_info,
    model_pb2,
    plain_channel,
    request,
)

triton = pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
from tritonclient.grpc import service_pb2, service_pb2_grpc  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402

SERVICE = "inference.GRPCInferenceService"


@pytest.fixture(scope="module")
def server(real_server):
    return real_server


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as connected:
        yield connected


def tensor(name: str, values: np.ndarray) -> triton.InferInput:
    kind = {"int32": "INT32", "int64": "INT64", "uint8": "UINT8", "bool": "BOOL"}[str(values.dtype)]
    given = triton.InferInput(name, list(values.shape), kind)
    given.set_data_from_numpy(values)
    return given


def ids_of(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Texts as bytes, padded with -1, and their lengths."""
    encoded = [np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in texts]
    padded = np.full((len(texts), max(map(len, encoded))), -1, np.int32)
    for row, ids in zip(padded, encoded):
        row[: len(ids)] = ids
    return padded, np.array([[len(ids)] for ids in encoded], np.int32)


def by_encode(server, texts: list[str], **output) -> np.ndarray:
    """What our own API says of the same texts."""
    answer = server.stub().Encode(request(*(text.encode() for text in texts), **output), timeout=60)
    return np.frombuffer(answer.embeddings.data, np.float32).reshape(-1, answer.embeddings.dim)


def test_live_ready_metadata_and_configuration(client, server):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("default") and client.is_model_ready("default", "1")
    assert not client.is_model_ready("other") and not client.is_model_ready("default", "2")
    about = client.get_server_metadata()
    assert about.name == "longwave" and "statistics" in about.extensions
    model = client.get_model_metadata("default", as_json=True)
    assert [given["name"] for given in model["inputs"]] == ["input_ids"]
    assert model["inputs"][0]["shape"] == ["-1", "-1"]
    config = client.get_model_config("default").config
    assert config.max_batch_size == 1024
    assert config.output[0].dims[0] == int(model["outputs"][0]["shape"][1])
    index = client.get_model_repository_index()
    assert [(found.name, found.state) for found in index.models] == [("default", "READY")]


def test_infer_has_the_bits_of_encode(client, server):
    texts = ["Hello", "a somewhat longer text than the other one", "x"]
    expected = by_encode(server, texts)
    padded, lengths = ids_of(texts)
    mask = (np.arange(padded.shape[1]) < lengths).astype(bool)
    for form in ([tensor("lengths", lengths)], [tensor("attention_mask", mask)]):
        answer = client.infer("default", [tensor("input_ids", padded), *form], request_id="id 7")
        assert np.array_equal(answer.as_numpy("embeddings"), expected)
        assert answer.as_numpy("rows").tolist() == [[1], [1], [1]]
        assert answer.get_response().id == "id 7"
    wide = client.infer("default", [tensor("input_ids", padded[:1, :5].astype(np.int64))])
    assert np.array_equal(wide.as_numpy("embeddings"), expected[:1])


def test_parameters_reach_the_encoder(client, server):
    ids = np.frombuffer(b"parameters", np.uint8)[None, :]
    answer = client.infer(
        "default",
        [tensor("input_ids", ids)],
        parameters={"normalize": False, "pooling": "max", "unknown": "ignored"},
    )
    expected = by_encode(server, ["parameters"], pooling=encode_pb2.POOLING_MAX, normalize=False)
    assert np.array_equal(answer.as_numpy("embeddings"), expected)
    said = answer.get_response().parameters
    assert len(said["longwave_fingerprint"].string_param) == 64
    assert said["longwave_routes"].string_param


def test_asynchronous_calls(client, server):
    answers: queue.Queue = queue.Queue()
    texts = [f"text {n}" for n in range(20)]
    for n, text in enumerate(texts):
        ids = np.frombuffer(text.encode(), np.uint8)[None, :]
        client.async_infer(
            "default",
            [tensor("input_ids", ids)],
            lambda result, error, n=n: answers.put((n, result, error)),
        )
    expected = by_encode(server, texts)
    for _ in texts:
        n, result, error = answers.get(timeout=PATIENCE)
        assert error is None
        assert np.array_equal(result.as_numpy("embeddings")[0], expected[n])


def test_stream_goes_on_after_an_error(server):
    answers: queue.Queue = queue.Queue()
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        texts = {"first": "one text", "second": "another text", "bad": None}
        for name, text in texts.items():
            ids = (
                np.array([[70, -3]], np.int32)
                if text is None
                else np.frombuffer(text.encode(), np.uint8)[None, :]
            )
            client.async_stream_infer(
                "default",
                [tensor("input_ids", ids)],
                request_id=name,
                enable_empty_final_response=True,
            )
        good = {}
        errors = []
        for _ in texts:
            result, error = answers.get(timeout=PATIENCE)
            if error is None:
                good[result.get_response().id] = result
            else:
                errors.append(error)
        client.stop_stream()
    assert len(errors) == 1
    assert "TOKEN_OUT_OF_RANGE" in str(errors[0]) and "inputs[input_ids][0][1] = -3" in str(errors[0])
    for name, result in good.items():
        assert np.array_equal(result.as_numpy("embeddings"), by_encode(server, [texts[name]]))
        assert result.get_response().parameters["triton_final_response"].bool_param


def test_statistics_are_those_of_the_metrics(client, server):
    def sums() -> dict[str, float]:
        model = client.get_inference_statistics("default").model_stats[0]
        times = model.inference_stats
        return {
            "longwave_batch_sequences_sum": model.inference_count,
            "longwave_batch_sequences_count": model.execution_count,
            "longwave_request_queue_seconds_sum": times.queue.ns / 1e9,
            "longwave_request_queue_seconds_count": times.queue.count,
            "longwave_request_compute_seconds_sum": times.compute_infer.ns / 1e9,
        }

    ids = np.frombuffer(b"counted", np.uint8)[None, :]
    before = sums()
    began = time.time()
    for _ in range(3):
        client.infer("default", [tensor("input_ids", ids)])
    with pytest.raises(InferenceServerException):
        client.infer("default", [tensor("input_ids", ids.astype(np.int32) - 200)])
    after = sums()
    for name, value in after.items():
        assert value == pytest.approx(server.metric(name), abs=1e-6), name
    assert after["longwave_request_queue_seconds_count"] - before[
        "longwave_request_queue_seconds_count"
    ] == 3
    model = client.get_inference_statistics("default").model_stats[0]
    failed = model.inference_stats.fail.count
    of_metrics = sum(
        server.metric("longwave_request_duration_seconds_count", code=code)
        for code in ("client", "server", "shed")
    )
    assert failed == of_metrics >= 1
    assert began - 1 <= model.last_inference / 1000 <= time.time() + 1


def reason_of(error: InferenceServerException) -> str:
    """The ErrorInfo's reason. This client shows code and text alone, of what gRPC had raised."""
    assert isinstance(error.__context__, grpc.RpcError)
    return error_info(error.__context__).reason


@pytest.mark.parametrize(
    ("reason", "code", "change"),
    [
        ("TOKEN_OUT_OF_RANGE", "INVALID_ARGUMENT", {"ids": np.array([[1, 2**31 - 1]], np.int32)}),
        ("EMPTY_SEQUENCE", "INVALID_ARGUMENT", {"lengths": np.array([[0]], np.int32)}),
        ("LENGTHS_MISMATCH", "INVALID_ARGUMENT", {"lengths": np.array([[3]], np.int32)}),
        ("INVALID_FIELD", "INVALID_ARGUMENT", {"parameters": {"pooling": "median"}}),
        ("INVALID_FIELD", "INVALID_ARGUMENT", {"parameters": {"truncate_dim": 3}}),
        ("REQUEST_TOO_LARGE", "INVALID_ARGUMENT", {"ids": np.zeros((1025, 1), np.uint8)}),
        ("UNKNOWN_MODEL", "NOT_FOUND", {"model": "other"}),
        ("UNKNOWN_MODEL", "NOT_FOUND", {"version": "9"}),
    ],
)
def test_what_encode_refuses_is_refused_with_the_same_reason(client, reason, code, change):
    inputs = [tensor("input_ids", change.get("ids", np.array([[1, 2]], np.int32)))]
    if "lengths" in change:
        inputs.append(tensor("lengths", change["lengths"]))
    with pytest.raises(InferenceServerException) as caught:
        client.infer(
            change.get("model", "default"),
            inputs,
            model_version=change.get("version", ""),
            parameters=change.get("parameters"),
        )
    assert caught.value.status() == f"StatusCode.{code}"
    assert reason_of(caught.value) == reason


def test_a_timeout_that_nothing_can_meet(client):
    """A microsecond: over on arrival, or foreseen to be over before the end."""
    with pytest.raises(InferenceServerException) as caught:
        client.infer("default", [tensor("input_ids", np.array([[1, 2]], np.int32))], timeout=1)
    assert reason_of(caught.value) in {"DEADLINE_EXPIRED", "DEADLINE_UNMEETABLE"}


def test_what_is_not_there_is_unimplemented(client):
    region = triton.InferInput("input_ids", [1, 4], "INT32")
    region.set_shared_memory("region", 16)
    with pytest.raises(InferenceServerException, match="shared_memory_"):
        client.infer("default", [region])
    for call in (
        lambda: client.register_system_shared_memory("region", "/key", 16),
        lambda: client.get_cuda_shared_memory_status(),
        lambda: client.load_model("default"),
        lambda: client.unload_model("default"),
        lambda: client.get_trace_settings(),
        lambda: client.get_log_settings(),
    ):
        with pytest.raises(InferenceServerException) as caught:
            call()
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def test_a_million_tokens_fit_one_request(client, server):
    limit = server.stub().GetModel(model_pb2.GetModelRequest(), timeout=PATIENCE).model.max_tokens
    ids = np.zeros((1, limit), np.int32)
    with pytest.raises(InferenceServerException) as caught:
        # Refused by what it asks for, not by its size on the wire.
        client.infer("default", [tensor("input_ids", ids)], parameters={"pooling": "median"})
    assert "parameters[pooling]" in str(caught.value)
    with pytest.raises(InferenceServerException) as caught:
        client.infer("default", [tensor("input_ids", np.zeros((1, limit + 1), np.int32))])
    assert reason_of(caught.value) == "SEQUENCE_TOO_LONG"


def _fields(message) -> dict[str, tuple]:
    """Name -> number, type and label of each field, and the type's name where it has one."""
    kinds = descriptor_pb2.FieldDescriptorProto
    found = {}
    for field in message.field:
        named = field.type in (kinds.TYPE_MESSAGE, kinds.TYPE_ENUM)
        found[field.name] = (field.number, field.type, field.label, field.type_name if named else "")
    return found


def _messages(prefix: str, messages) -> dict[str, descriptor_pb2.DescriptorProto]:
    found = {}
    for message in messages:
        found[f"{prefix}.{message.name}"] = message
        found.update(_messages(f"{prefix}.{message.name}", message.nested_type))
    return found


def test_our_messages_are_those_of_the_client_on_the_wire(tmp_path):
    """Every field that we have is theirs: number, type and label."""
    described = tmp_path / "ours"
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"--descriptor_set_out={described}"]
    assert protoc.main([*arguments, "inference/inference_service.proto"]) == 0
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes()).file
    pool = descriptor_pool.Default()
    compared = 0
    # The open protocol's, which Triton's copy lacks.
    extra = ("inference.ModelMetadataResponse", "properties")
    for name, ours in _messages("inference", file.message_type).items():
        if name == "inference.ModelMetadataResponse.PropertiesEntry":
            continue
        theirs = descriptor_pb2.DescriptorProto()
        pool.FindMessageTypeByName(name).CopyToProto(theirs)
        known = _fields(theirs)
        for field, shape in _fields(ours).items():
            if (name, field) == extra:
                assert shape[0] not in {number for number, *_ in known.values()}
                continue
            assert known[field] == shape, f"{name}.{field}"
            compared += 1
    assert compared > 80
    for enum in file.enum_type:
        known = pool.FindEnumTypeByName(f"inference.{enum.name}").values_by_name
        for value in enum.value:
            assert known[value.name].number == value.number
    methods = pool.FindServiceByName(SERVICE).methods_by_name
    for method in file.service[0].method:
        theirs = methods[method.name]
        assert method.input_type == f".{theirs.input_type.full_name}"
        assert method.output_type == f".{theirs.output_type.full_name}"
        assert method.client_streaming == theirs.client_streaming


def test_raw_contents_of_the_wrong_number(server):
    """What no client library sends."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(plain_channel(server.port))
    message = service_pb2.ModelInferRequest(model_name="default", raw_input_contents=[b"ab", b"c"])
    given = message.inputs.add(name="input_ids", datatype="UINT8")
    given.shape.extend([1, 2])
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(message, timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(caught.value).reason == "LENGTHS_MISMATCH"


def test_probes_need_no_key_and_all_else_does(start_fake, tmp_path):
    key = "a-key-of-the-protocol"
    tenants = tmp_path / "tenants.json"
    digest = hashlib.sha256(key.encode()).hexdigest()
    tenants.write_text(json.dumps({"tenants": [{"name": "a", "key_sha256": [digest]}]}))
    server = start_fake(f"--tenants={tenants}")
    headers = {"authorization": f"Bearer {key}"}
    ids = tensor("input_ids", np.array([[1, 2]], np.int32))
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert client.is_server_live() and client.is_server_ready()
        calls = {
            "ready": lambda **how: client.is_model_ready("fake", **how),
            "metadata": lambda **how: client.get_model_metadata("fake", **how),
            "config": lambda **how: client.get_model_config("fake", **how),
            "statistics": lambda **how: client.get_inference_statistics("fake", **how),
            "index": lambda **how: client.get_model_repository_index(**how),
            "server": lambda **how: client.get_server_metadata(**how),
            "infer": lambda **how: client.infer("fake", [ids], **how),
        }
        for name, call in calls.items():
            with pytest.raises(InferenceServerException) as caught:
                call()
            assert caught.value.status() == "StatusCode.UNAUTHENTICATED", name
            assert call(headers=headers), name


def test_readiness_ends_with_the_drain(start_fake):
    server = start_fake("--drain_delay=30", "--grace=30")
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert client.is_server_ready() and client.is_model_ready("fake")
        server.signal()
        await_true(lambda: not client.is_server_ready(), "the server says that it is ready")
        assert client.is_server_live()
        assert not client.is_model_ready("fake")
        server.signal()  # does not wait for the delay
        assert server.wait() == 0
