"""The real server with the default model: what the wire carries is what the model computes."""

import concurrent.futures
import hashlib
import json
import random
import shutil
import signal
import subprocess

import grpc
import numpy as np
import pytest
from canary import Canary
from harness import (
    PATIENCE,
    Server,
    StreamCall,
    encode_pb2,
    error_info,
    model_pb2,
    parse_metrics,
    request,
)

ROUTES = {
    encode_pb2.ROUTE_DIRECT,
    encode_pb2.ROUTE_TILES,
    encode_pb2.ROUTE_CHUNKWISE,
    encode_pb2.ROUTE_FFT,
}
# One long computation on a loaded machine.
LONG = 120.0


@pytest.fixture(scope="module")
def server(real_server):
    return real_server


@pytest.fixture(scope="module")
def stub(server):
    return server.stub()


@pytest.fixture(scope="module")
def model(stub):
    return stub.GetModel(model_pb2.GetModelRequest(), timeout=PATIENCE).model


def text(length: int, seed: int = 0) -> list[int]:
    return [random.Random(f"{seed}.{length}").randrange(256) for _ in range(length)]


def values(block: encode_pb2.EmbeddingBlock) -> np.ndarray:
    """The block's rows as floats."""
    kinds = {
        encode_pb2.DATA_TYPE_FP32: "<f4",
        encode_pb2.DATA_TYPE_FP16: "<f2",
        encode_pb2.DATA_TYPE_BF16: "<u2",
        encode_pb2.DATA_TYPE_INT8: "i1",
        encode_pb2.DATA_TYPE_BINARY: "u1",
    }
    raw = np.frombuffer(block.data, kinds[block.dtype])
    if block.dtype == encode_pb2.DATA_TYPE_BINARY:
        bits = np.unpackbits(raw.reshape(block.rows, -1), axis=1)
        return np.where(bits == 1, 1.0, -1.0).astype(np.float32)
    rows = raw.reshape(block.rows, block.dim)
    if block.dtype == encode_pb2.DATA_TYPE_BF16:
        return (rows.astype(np.uint32) << 16).view(np.float32)
    if block.dtype == encode_pb2.DATA_TYPE_INT8:
        return rows * np.array(block.scales, np.float32)[:, None]
    return rows.astype(np.float32)


def encode(stub, *sequences, **output) -> np.ndarray:
    return values(stub.Encode(request(*sequences, **output), timeout=LONG).embeddings)


def stream_rows(stub, ids: bytes, **fields):
    """All rows of one sequence by EncodeStream, and the Done."""
    stream = StreamCall(stub, timeout=LONG)
    output = {"pooling": encode_pb2.POOLING_NONE, **fields.pop("output", {})}
    stream.open(1, [len(ids)], output=output, **fields)
    accepted = stream.read()
    assert accepted.HasField("accepted"), accepted
    stream.data(1, ids)
    stream.end(1)
    chunks, done = stream.read_all(1)
    assert isinstance(done, encode_pb2.StreamDone), done
    stream.close()
    assert list(stream.call) == []
    return chunks, done


def test_one_sequence(stub, model):
    answer = stub.Encode(request(text(100)), timeout=PATIENCE)
    rows = values(answer.embeddings)
    assert rows.shape == (1, model.dim)
    assert np.isfinite(rows).all()
    assert model.default_normalize
    assert np.linalg.norm(rows[0].astype(np.float64)) == pytest.approx(1, abs=1e-5)
    assert answer.model_digest == model.weights_digest
    assert answer.execution.fingerprint == model.fingerprint
    assert answer.execution.deterministic


def test_a_sequence_has_the_same_bits_in_every_company(stub):
    sequence = text(333)
    alone = stub.Encode(request(sequence), timeout=PATIENCE).embeddings.data
    mates = [text(length, seed=1) for length in (1, 2, 64, 127, 128, 129, 700, 1500)]
    together = encode(stub, *mates[:4], sequence, *mates[4:])
    assert together[4].tobytes() == alone


def test_the_same_bits_under_load(stub):
    requests = [request(text(50 + 13 * number)) for number in range(12)]
    alone = [stub.Encode(message, timeout=PATIENCE).embeddings.data for message in requests]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        rounds = [
            pool.submit(stub.Encode, message, timeout=PATIENCE)
            for _ in range(4)
            for message in requests
        ]
        for number, answer in enumerate(rounds):
            assert answer.result().embeddings.data == alone[number % len(alone)]


def test_every_route_can_be_forced_and_gives_the_same_function(server, stub, model):
    assert set(model.routes) == ROUTES
    ids = text(700)
    reference = None
    for route in [encode_pb2.ROUTE_DIRECT, *sorted(ROUTES - {encode_pb2.ROUTE_DIRECT})]:
        name = encode_pb2.Route.Name(route).removeprefix("ROUTE_").lower()
        before = server.metric("longwave_route_total", route=name)
        message = request(ids)
        message.route_override = route
        answer = stub.Encode(message, timeout=LONG)
        assert list(answer.execution.routes) == [route]
        assert answer.sequences[0].route == route
        rows = values(answer.embeddings)
        reference = rows if reference is None else reference
        # Unit vectors of an fp32 model: DIRECT computes attention in double.
        assert np.abs(rows - reference).max() < 1e-4, name
        server.await_metric("longwave_route_total", lambda value: value == before + 1, route=name)


@pytest.mark.parametrize(
    "route, length",
    [
        (encode_pb2.ROUTE_DIRECT, 16_385),
        (encode_pb2.ROUTE_TILES, 16_385),
        (encode_pb2.ROUTE_INTERPOLATION, 100),
    ],
)
def test_routes_that_do_not_serve_are_refused(stub, route, length):
    message = request(text(length))
    message.route_override = route
    with pytest.raises(grpc.RpcError) as caught:
        stub.Encode(message, timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(caught.value).reason == "ROUTE_NOT_EXACT"


def test_stage_times_add_up(stub):
    timings = stub.Encode(request(text(3000)), timeout=PATIENCE).timings
    stages = ("receive", "validate", "queue", "compute", "serialise", "other")
    parts = [getattr(timings, stage).ToNanoseconds() for stage in stages]
    assert all(part >= 0 for part in parts)
    assert sum(parts) == timings.total.ToNanoseconds()
    assert timings.compute.ToNanoseconds() > timings.total.ToNanoseconds() / 2


def test_a_stream_carries_the_rows_of_the_unary_call(stub):
    ids = text(900)
    unary = encode(stub, ids, pooling=encode_pb2.POOLING_NONE)
    chunks, done = stream_rows(stub, bytes(ids), max_chunk_bytes=65536)
    streamed = np.concatenate([values(chunk.embeddings) for chunk in chunks])
    assert streamed.tobytes() == unary.tobytes()
    assert done.total_rows == 900
    assert len(chunks) > 10
    stages = ("receive", "validate", "queue", "compute", "serialise", "other")
    parts = [getattr(done.timings, stage).ToNanoseconds() for stage in stages]
    assert sum(parts) == done.timings.total.ToNanoseconds()

    resumed, _ = stream_rows(stub, bytes(ids), resume_from_row=850)
    assert resumed[0].first_row == 850
    rest = np.concatenate([values(chunk.embeddings) for chunk in resumed])
    assert rest.tobytes() == unary[850:].tobytes()


def test_a_long_stream_comes_whole(stub, model):
    length = 30_000
    ids = bytes(text(length))
    chunks, done = stream_rows(
        stub, ids, output={"dtype": encode_pb2.DATA_TYPE_FP16}, progress=False
    )
    assert done.sequences[0].tokens_used == length
    next_row = 0
    for chunk in chunks:
        assert chunk.first_row == next_row
        assert len(chunk.embeddings.data) <= 1 << 20
        assert np.isfinite(values(chunk.embeddings)).all()
        next_row += chunk.embeddings.rows
    assert next_row == length
    # Rows of the end depend on the beginning, and the pooled vector is the mean of the rows.
    pooled = encode(stub, list(ids[:2000]), normalize=False)[0]
    head, _ = stream_rows(stub, ids[:2000], output={"normalize": False})
    rows = np.concatenate([values(chunk.embeddings) for chunk in head]).astype(np.float64)
    assert np.abs(rows.mean(axis=0) - pooled).max() < 1e-4 * np.abs(pooled).max()


def test_layers_spans_and_selections(stub, model):
    ids = text(60)
    dim = model.dim
    rows = encode(stub, ids, pooling=encode_pb2.POOLING_NONE, normalize=False)
    both = encode(
        stub, ids, pooling=encode_pb2.POOLING_NONE, normalize=False, layers=[0, -1]
    )
    assert both.shape == (60, 2 * dim)
    assert both[:, dim:].tobytes() == rows.tobytes()
    least = 1e-4 * np.abs(rows).max()
    assert np.abs(both[:, :dim] - rows).max() > least, "layer 0 is not the last one"

    spans = [encode_pb2.Span(begin=0, end=60), encode_pb2.Span(begin=7, end=8)]
    pooled = encode(stub, ids, pooling=encode_pb2.POOLING_SPANS, spans=spans, normalize=False)
    mean = encode(stub, ids, pooling=encode_pb2.POOLING_MEAN, normalize=False)
    scale = np.abs(rows).max()
    assert np.abs(pooled[0] - mean[0]).max() < 1e-5 * scale
    assert np.abs(pooled[1] - rows[7]).max() < 1e-5 * scale

    selection = encode_pb2.RowSelection(
        stride=5, ranges=[encode_pb2.Span(begin=50, end=60), encode_pb2.Span(begin=0, end=11)]
    )
    selected = encode(
        stub, ids, pooling=encode_pb2.POOLING_NONE, rows=selection, normalize=False
    )
    assert selected.tobytes() == rows[[50, 55, 0, 5, 10]].tobytes()
    indices = encode_pb2.RowSelection(indices=np.array([3, 59], "<u4").tobytes())
    single = encode(stub, ids, pooling=encode_pb2.POOLING_NONE, rows=indices, normalize=False)
    assert single.tobytes() == rows[[3, 59]].tobytes()

    for pooling, expected in (
        (encode_pb2.POOLING_CLS, rows[0]),
        (encode_pb2.POOLING_LAST, rows[-1]),
        (encode_pb2.POOLING_MAX, rows.max(axis=0)),
    ):
        assert encode(stub, ids, pooling=pooling, normalize=False)[0].tobytes() == expected.tobytes()


def test_types_are_roundings_of_fp32(stub):
    ids = text(40)
    exact = encode(stub, ids)
    largest = np.abs(exact).max()
    bounds = {
        encode_pb2.DATA_TYPE_FP16: largest * 2**-11,
        encode_pb2.DATA_TYPE_BF16: largest * 2**-8,
        encode_pb2.DATA_TYPE_INT8: largest / 127 * 0.5001,
    }
    for dtype, bound in bounds.items():
        assert np.abs(encode(stub, ids, dtype=dtype) - exact).max() <= bound
    signs = encode(stub, ids, dtype=encode_pb2.DATA_TYPE_BINARY)
    assert (signs == np.where(exact > 0, 1.0, -1.0)).all()


def test_truncation_is_explicit(stub):
    ids = text(100)
    message = request(ids)
    message.truncation.side = encode_pb2.TRUNCATION_SIDE_END
    message.truncation.max_tokens = 30
    answer = stub.Encode(message, timeout=PATIENCE)
    assert (answer.sequences[0].tokens_in, answer.sequences[0].tokens_used) == (100, 30)
    assert answer.sequences[0].truncated
    assert values(answer.embeddings).tobytes() == encode(stub, ids[:30]).tobytes()
    message.truncation.side = encode_pb2.TRUNCATION_SIDE_START
    answer = stub.Encode(message, timeout=PATIENCE)
    assert values(answer.embeddings).tobytes() == encode(stub, ids[-30:]).tobytes()


def test_widths_of_ids_do_not_matter(stub):
    ids = text(50)
    expected = encode(stub, ids).tobytes()
    for width, kind in (
        (encode_pb2.ID_WIDTH_U8, "u1"),
        (encode_pb2.ID_WIDTH_U16, "<u2"),
        (encode_pb2.ID_WIDTH_U32, "<u4"),
    ):
        message = encode_pb2.EncodeRequest()
        message.tokens.ids = np.array(ids, kind).tobytes()
        message.tokens.id_width = width
        assert stub.Encode(message, timeout=PATIENCE).embeddings.data == expected


def test_a_long_request_that_is_left_stops(server):
    stream = StreamCall(server.stub(), timeout=LONG)
    length = 1 << 18  # minutes on a busy machine would be refused
    stream.open(1, [length], output={"pooling": encode_pb2.POOLING_MEAN}, progress=True)
    assert stream.read().HasField("accepted")
    stream.data(1, b"a" * length)
    stream.end(1)
    assert stream.read().HasField("progress")
    stream.call.cancel()
    server.await_metric("longwave_running_requests", lambda value: value == 0)
    server.await_metric("longwave_resident_bytes", lambda value: value == 0)


def test_the_scrape_is_clean(server):
    text = server.scrape()
    parse_metrics(text)
    for phase in ("read", "convert", "goldens", "warmup"):
        assert server.metric("longwave_model_load_seconds_sum", phase=phase) > 0 or (
            server.metric("longwave_model_load_seconds", phase=phase) > 0
        ), phase
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    check = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=PATIENCE
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_a_signal_while_loading_ends_the_process(real_program, model_folder):
    with Server(real_program, f"--model={model_folder}") as server:
        server.await_event("listening")
        with pytest.raises(grpc.RpcError) as caught:
            server.stub().Encode(request([1]), timeout=PATIENCE)
        assert error_info(caught.value).reason == "LOADING"
        server.signal()
        assert server.wait() == 0


def test_a_changed_weight_is_not_served(real_program, model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    middle = len(weights) // 2
    weights[middle : middle + 4096] = bytes(4096)
    (folder / "model.safetensors").write_bytes(bytes(weights))
    with Server(real_program, f"--model={folder}") as server:
        assert server.wait() == 1
        assert any(line.startswith("longwave-server:") for line in server.lines), server.lines


def test_a_missing_model_is_a_configuration_error(real_program, tmp_path):
    command = [real_program, f"--model={tmp_path}/none"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 2
    assert "config.json" in result.stderr


def put_version(models, number: int, model_folder: str, note: str, spoil: bool = False) -> None:
    """A copy of the model in another weights file, consistent in itself; `spoil`: other weights."""
    folder = models.parent / "staging"
    shutil.copytree(model_folder, folder)
    weights = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8 : 8 + size])
    header["__metadata__"] = {**header.get("__metadata__", {}), "note": note}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = bytearray(weights[8 + size :])
    if spoil:
        data[: 1 << 20] = bytes(1 << 20)
    changed = len(text).to_bytes(8, "little") + text + bytes(data)
    (folder / "model.safetensors").write_bytes(changed)
    serving = json.loads((folder / "longwave.json").read_text())
    assert "weights_sha256" in serving
    serving["weights_sha256"] = hashlib.sha256(changed).hexdigest()
    (folder / "longwave.json").write_text(json.dumps(serving))
    folder.rename(models / str(number))


def compute_threads(server) -> list[str]:
    return [name for name in server.thread_names() if name.startswith("compute-")]


def test_a_new_version_takes_over_while_the_old_one_computes(real_program, model_folder, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    (models / "1").symlink_to(model_folder)
    # Loading beside it slows calls down; a loaded machine would have canaries refused for that.
    with Server(real_program, f"--model={models}", "--max_wait=60").ready() as server:
        stub = server.stub()
        first = stub.Encode(request(text(300)), timeout=LONG)
        computing = compute_threads(server)
        assert computing
        put_version(models, 2, model_folder, "the same numbers in another file")
        answers = []
        with Canary(server) as canary:
            server.signal(signal.SIGHUP)
            while not server.has_event("model_switched"):
                answers.append(stub.Encode(request(text(300)), timeout=LONG))
            second = stub.Encode(request(text(300)), timeout=LONG)
            put_version(models, 3, model_folder, "not what its goldens say", spoil=True)
            server.signal(signal.SIGHUP)
            server.await_metric("longwave_model_loads_total", lambda n: n == 1, result="failed")
            assert server.metric("longwave_ready") == 1
        assert max(canary.seconds) < 5, "loading holds up calls"
        assert first.model_version == "1" and second.model_version == "2"
        assert first.model_digest != second.model_digest
        assert first.execution.fingerprint != second.execution.fingerprint
        for answer in [*answers, second]:
            assert answer.embeddings.data == first.embeddings.data
            expected = first if answer.model_version == "1" else second
            assert answer.model_digest == expected.model_digest
            assert answer.execution.fingerprint == expected.execution.fingerprint
        assert "golden" in server.await_event("model_failed")["message"]
        server.await_event("model_released")
        assert compute_threads(server) == computing, "both versions compute on the same threads"
        assert server.stop() == 0
