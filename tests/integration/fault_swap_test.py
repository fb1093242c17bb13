"""Another version of the model takes over: no call fails, and every answer is of one version."""

import concurrent.futures
import json
import os
import pathlib
import signal
import threading

import grpc
import pytest
from harness import (
    PATIENCE,
    Server,
    StreamCall,
    await_true,
    encode_pb2,
    error_info,
    model_pb2,
    request,
)

IDS = [[1, 2, 3], [7] * 200]
DIGEST = "longwave_model_info"


class Versions:
    """A folder of versions of the fake model, written the way that operators should."""

    def __init__(self, path: pathlib.Path):
        self.path = path / "models"
        self.path.mkdir()
        self._staging = path / "staging"

    def put(self, number: int, digest: str = "", **fields) -> None:
        lines = {"digest": digest or f"digest-{number}", "row_seed": number, **fields}
        self._staging.mkdir()
        text = "".join(f"{key} {value}\n" for key, value in lines.items())
        (self._staging / "fake").write_text(text)
        folder = self.path / str(number)
        if folder.exists():
            os.replace(self._staging / "fake", folder / "fake")
            self._staging.rmdir()
        else:
            self._staging.rename(folder)

    def remove(self, number: int) -> None:
        folder = self.path / str(number)
        folder.rename(self._staging)
        (self._staging / "fake").unlink()
        self._staging.rmdir()


@pytest.fixture
def versions(tmp_path) -> Versions:
    folder = Versions(tmp_path)
    folder.put(1)
    return folder


@pytest.fixture
def start(start_fake, versions):
    def start_server(*flags: str, **env: str) -> Server:
        return start_fake(f"--model={versions.path}", *flags, **env)

    return start_server


def loads(server: Server, result: str) -> float:
    return server.metric("longwave_model_loads_total", result=result)


def hang_up(server: Server, result: str, count: int) -> None:
    """SIGHUP, and waits for the count-th load that ended like this."""
    server.signal(signal.SIGHUP)
    server.await_metric("longwave_model_loads_total", lambda value: value >= count, result=result)


def states(stub) -> dict[str, int]:
    models = stub.ListModels(model_pb2.ListModelsRequest(), timeout=PATIENCE).models
    return {model.version: model.state for model in models}


class Callers:
    """Unary calls and stream tags without end; every answer is kept by its version's digest."""

    def __init__(self, server: Server, threads: int = 4):
        self._stub = server.stub()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answers: dict[str, set[bytes]] = {}
        self.orders: list[list[str]] = []
        self.problems: list[str] = []
        workers = [self._unary] * threads + [self._stream]
        self._threads = [threading.Thread(target=self._run, args=[work]) for work in workers]

    def _run(self, work) -> None:
        order: list[str] = []
        try:
            work(order)
        except Exception as error:  # pylint: disable=broad-except
            self.problems.append(repr(error))
        self.orders.append(order)

    def _note(self, order: list[str], digest: str, fingerprint: str, rows: bytes) -> None:
        assert digest == fingerprint, "digest and fingerprint of one reply"
        order.append(digest)
        with self._lock:
            self.answers.setdefault(digest, set()).add(rows)

    def _unary(self, order: list[str]) -> None:
        while not self._stop.is_set():
            answer = self._stub.Encode(request(*IDS), timeout=PATIENCE)
            rows = answer.embeddings.data
            assert answer.model_version == answer.model_digest.removeprefix("digest-"), answer
            self._note(order, answer.model_digest, answer.execution.fingerprint, rows)

    def _stream(self, order: list[str]) -> None:
        """One long call, tag after tag."""
        stream = StreamCall(self._stub)
        tag = 0
        while not self._stop.is_set():
            tag += 1
            stream.open(tag, [len(ids) for ids in IDS])
            accepted = stream.read().accepted
            stream.data(tag, b"".join(bytes(ids) for ids in IDS))
            stream.end(tag)
            chunks, done = stream.read_all(tag)
            assert isinstance(done, encode_pb2.StreamDone), done
            assert accepted.fingerprint == done.execution.fingerprint
            rows = b"".join(chunk.embeddings.data for chunk in chunks)
            self._note(order, done.model_digest, accepted.fingerprint, rows)
        stream.close()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if exc[0] is None:
            assert not self.problems, self.problems[:5]

    def await_digest(self, digest: str) -> None:
        await_true(lambda: digest in self.answers, f"no answer of {digest}")


def test_a_swap_under_load_loses_and_mixes_nothing(start, versions):
    server = start(base_seconds="0.002")
    ready = []
    swaps = 6
    with Callers(server) as callers:
        for number in range(2, 2 + swaps):
            callers.await_digest(f"digest-{number - 1}")
            versions.put(number, load_seconds=0.05)
            hang_up(server, "ok", number)
            ready.append(server.metric("longwave_ready"))
        callers.await_digest(f"digest-{1 + swaps}")
    assert ready == [1] * swaps
    # One answer to the same ids per version, and no two versions answer alike.
    assert all(len(rows) == 1 for rows in callers.answers.values()), "a version's rows differ"
    assert len(set.union(*callers.answers.values())) == 1 + swaps
    for order in callers.orders:
        assert order == sorted(order, key=lambda digest: int(digest[7:])), "an old one came back"
    server.await_metric(DIGEST, lambda value: value == 1, version=str(1 + swaps))
    assert server.metric(DIGEST) == 1
    assert loads(server, "failed") == 0
    assert server.stop() == 0


def test_calls_in_flight_end_with_their_version(start, versions):
    # 2 s of compute on the old one while the new one takes over.
    server = start(seconds_per_token="1e-4", tokens_per_slice="100")
    stub = server.stub()
    old = stub.Encode.future(request([5] * 20_000), timeout=PATIENCE)
    server.await_metric("longwave_running_requests", lambda value: value == 1)
    versions.put(2)
    hang_up(server, "ok", 2)
    assert not old.done()
    assert states(stub) == {
        "2": model_pb2.MODEL_STATE_READY,
        "1": model_pb2.MODEL_STATE_DRAINING,
    }
    assert stub.Encode(request([5]), timeout=PATIENCE).model_digest == "digest-2"
    named = request([5])
    named.model_version = "1"
    with pytest.raises(grpc.RpcError) as caught:
        stub.Encode(named, timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert error_info(caught.value).reason == "UNKNOWN_MODEL"
    assert old.result().model_digest == "digest-1"
    assert server.await_event("model_released")["digest"] == "digest-1"
    assert states(stub) == {"2": model_pb2.MODEL_STATE_READY}


def test_a_bad_version_changes_nothing(start, versions):
    server = start()
    stub = server.stub()
    with Callers(server, threads=1) as callers:
        callers.await_digest("digest-1")
        versions.put(2, fail="goldens differ by 0.5 in the layer 3")
        hang_up(server, "failed", 1)
        assert states(stub)["2"] == model_pb2.MODEL_STATE_FAILED
        assert server.await_event("model_failed")["message"].startswith("goldens differ")
        versions.put(3, max_tokens=1 << 21)
        hang_up(server, "refused", 1)
        versions.put(4, name="another")
        hang_up(server, "refused", 2)
        assert server.metric("longwave_ready") == 1
    assert set(callers.answers) == {"digest-1"}
    failures = [line for line in server.lines if '"model_failed"' in line]
    assert len(failures) == 1, "a version that has failed is left alone"
    # Repaired, it is served; removed, the one below is.
    versions.put(5)
    hang_up(server, "ok", 2)
    versions.remove(5)
    versions.put(2)
    hang_up(server, "ok", 3)
    assert stub.Encode(request([5]), timeout=PATIENCE).model_digest == "digest-2"


def test_a_copy_under_way_is_not_taken_by_a_poll(start, versions):
    server = start("--model_poll=0.05")
    folder = versions.path / "2"
    folder.mkdir()
    with Callers(server, threads=1) as callers:
        callers.await_digest("digest-1")
        # Every write is another state of the folder, and none is seen twice but the last.
        with open(folder / "fake", "w", encoding="utf-8") as file:
            for line in ("fail half a model\n", "row_seed 2\n", "digest digest-2\n"):
                file.write(line)
                file.flush()
        os.replace(folder / "fake", folder / "fake.partial")
        (folder / "fake").write_text("row_seed 2\ndigest digest-2\n")
        callers.await_digest("digest-2")
    assert all(len(rows) == 1 for rows in callers.answers.values())


def test_a_storm_of_signals_is_harmless(start, versions):
    server = start()
    with Callers(server, threads=2) as callers:
        for number in range(2, 6):
            versions.put(number, load_seconds=0.02)
            for _ in range(500):
                server.signal(signal.SIGHUP)
            callers.await_digest(f"digest-{number}")
    assert all(len(rows) == 1 for rows in callers.answers.values())
    assert loads(server, "ok") == 5
    assert loads(server, "failed") + loads(server, "refused") + loads(server, "unchanged") == 0
    assert server.stop() == 0


@pytest.mark.skipif(
    bool(os.environ.get("LONGWAVE_SANITIZE")), reason="the sanitizer keeps what is freed"
)
def test_a_released_versions_memory_comes_back(start, versions):
    size = 64 << 20
    versions.put(1, weights_bytes=size)
    server = start()
    stub = server.stub()
    stub.Encode(request(*IDS), timeout=PATIENCE)
    before = server.resident_bytes()
    assert before > size
    for number in range(2, 7):
        versions.put(number, weights_bytes=size)
        hang_up(server, "ok", number)
        gone = str(number - 1)
        await_true(
            lambda: json.loads(_last(server, "model_released"))["version"] == gone,
            f"version {gone} is still there",
        )
        stub.Encode(request(*IDS), timeout=PATIENCE)
    assert server.resident_bytes() < before + size / 2


def _last(server: Server, event: str) -> str:
    lines = [line for line in server.lines if f'"event":"{event}"' in line]
    return lines[-1] if lines else '{"version": ""}'


def test_a_signal_to_end_during_a_load(start, versions):
    server = start(base_seconds="0.5")
    call = server.stub().Encode.future(request([1]), timeout=PATIENCE)
    server.await_metric("longwave_running_requests", lambda value: value == 1)
    versions.put(2, load_seconds=600)
    server.signal(signal.SIGHUP)
    server.await_event("model_loading")
    assert states(server.stub())["2"] == model_pb2.MODEL_STATE_LOADING
    server.signal(signal.SIGTERM)
    assert call.result().model_digest == "digest-1"
    assert server.wait() == 0
    assert json.loads(_last(server, "stopped"))["clean"] is True


def test_a_plain_folder_is_read_again(start_fake, tmp_path):
    (tmp_path / "fake").write_text("digest digest-1\nversion 1\n")
    server = start_fake(f"--model={tmp_path}")
    stub = server.stub()
    (tmp_path / "new").write_text("digest digest-2\nversion 1\nrow_seed 2\n")
    os.replace(tmp_path / "new", tmp_path / "fake")
    server.signal(signal.SIGHUP)
    server.await_event("model_switched")
    answers = [stub.Encode(request([1]), timeout=PATIENCE) for _ in range(2)]
    assert {answer.model_digest for answer in answers} == {"digest-2"}
    server.await_metric("longwave_model_loads_total", lambda value: value == 2, result="ok")


def test_at_the_start_the_highest_good_one_is_served(start, versions):
    versions.put(2)
    versions.put(10)
    versions.put(11, fail="no model")
    server = start()
    assert server.await_event("serving")["version"] == "10"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        models = pool.submit(states, server.stub()).result()
    assert models == {"10": model_pb2.MODEL_STATE_READY, "11": model_pb2.MODEL_STATE_FAILED}
