"""What the platform does to a server: logs that cannot be written, full disks, no descriptors,
stopped and throttled processes, threads that are refused. Each beside callers who notice nothing.
"""

import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import grpc
import pytest
from canary import Canary
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import PATIENCE, Server, await_true, encode_pb2, error_info, own_ports, request


class UnreadServer(Server):
    """A server whose log goes elsewhere than to this test."""

    def __init__(self, program: str, folder: pathlib.Path, *flags: str, **popen):
        self.metrics_host, (self._metrics_port,) = own_ports(1)
        self._port_file = folder / "port"
        self.process = subprocess.Popen(
            [program, "--address=127.0.0.1:0",
             f"--metrics_address={self.metrics_host}:{self._metrics_port}",
             f"--port_file={self._port_file}", *flags],
            **popen,
        )
        self._events = {}
        self._changed = threading.Condition()
        self.lines = []

    def _await_ready(self) -> None:
        ended = lambda: self.process.poll() is not None
        await_true(lambda: self._port_file.exists() or ended(), "it listens nowhere")
        assert not ended(), "it does not stay"
        port = int(self._port_file.read_text())
        self._events["listening"] = {"port": port, "metrics_port": self._metrics_port}
        health = health_pb2_grpc.HealthStub(self.channel())
        ask = health_pb2.HealthCheckRequest()
        await_true(lambda: health.Check(ask, timeout=PATIENCE).status == 1, "it does not serve")

    def wait(self) -> int:
        return self.process.wait(PATIENCE)


def write_log_lines(server: Server, count: int) -> None:
    """Each of these requests is refused, and so writes a line."""
    stub = server.stub()
    for _ in range(count):
        with pytest.raises(grpc.RpcError):
            stub.Encode(request([5000]), timeout=PATIENCE)


def closed_pipe() -> int:
    ours, theirs = os.pipe()
    os.close(ours)
    return theirs


def full_pipe() -> int:
    """Nobody reads it, and it takes nothing more."""
    ours, theirs = os.pipe()
    os.set_inheritable(ours, True)  # stays open while the tests run
    os.set_blocking(theirs, False)
    try:
        while True:
            os.write(theirs, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(theirs, True)
    return theirs


@pytest.mark.parametrize("kind", ["closed pipe", "full pipe", "full disk"])
def test_a_log_that_cannot_be_written_costs_lines_and_nothing_else(fake_program, tmp_path, kind):
    opened = {
        "closed pipe": closed_pipe,
        "full pipe": full_pipe,
        "full disk": lambda: os.open("/dev/full", os.O_WRONLY),
    }[kind]()
    with UnreadServer(fake_program, tmp_path, "--log_level=debug", stderr=opened) as server:
        os.close(opened)
        with Canary(server.ready()):
            write_log_lines(server, 50)
            assert server.metric("longwave_log_dropped_total") >= 2  # listening, serving
        assert server.stop() == 0


def test_a_log_file_that_may_not_grow(fake_program, tmp_path):
    # As a disk that fills up while the server runs: some lines fit, then none does.
    most = 2048

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    with open(tmp_path / "log", "wb") as log, UnreadServer(
        fake_program, tmp_path, "--log_level=debug", stderr=log, preexec_fn=limit
    ) as server:
        with Canary(server.ready()):
            for _ in range(40):
                server.signal(signal.SIGHUP)  # ignored or logged, never the end
            write_log_lines(server, 10)
        assert server.stop() == 0
    assert (tmp_path / "log").stat().st_size <= most
    # Python's gRPC may have said something there between fork and exec.
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    assert json.loads(lines[0])["event"] == "listening"


def test_a_port_file_on_a_full_disk_is_an_error(fake_program, tmp_path):
    def no_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    port_file = tmp_path / "port"
    result = subprocess.run(
        [fake_program, "--address=127.0.0.1:0", "--metrics_address=127.0.0.1:0",
         f"--port_file={port_file}"],
        stderr=subprocess.PIPE, text=True, timeout=PATIENCE, preexec_fn=no_room,
    )
    assert result.returncode == 1, result.stderr
    assert "--port_file" in result.stderr
    assert list(tmp_path.iterdir()) == [], "no half-written file is left"


def test_out_of_descriptors_and_back(start_fake):
    server = start_fake()
    limit = 100
    subprocess.run(["prlimit", f"--pid={server.process.pid}", f"--nofile={limit}"], check=True)
    with Canary(server) as canary:
        flood = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
        server.await_metric("longwave_connections_refused_total", lambda value: value > 0)
        # The reserve is there: the metrics port, which just answered, and whatever else.
        assert server.open_descriptors() <= limit - 30
        seen, before, start = len(canary.seconds), server.cpu_seconds(), time.monotonic()
        canary.await_answers(seen + 20)
        busy = (server.cpu_seconds() - before) / (time.monotonic() - start)
        assert busy < 0.5, "the accept loop spins"
        for connection in flood:
            connection.close()
        await_true(lambda: server.open_descriptors() < 40, "the flood is still there")
        assert server.stub().Encode(request([1]), timeout=PATIENCE).embeddings.rows == 1
    assert any('"connections_refused"' in line for line in server.lines)


def test_no_descriptor_at_all_for_a_while(start_fake):
    server = start_fake()
    stub = server.stub()
    stub.Encode(request([1]), timeout=PATIENCE)
    with Canary(server):
        pid = server.process.pid
        await_true(lambda: server.open_descriptors() < 20, "too many descriptors")
        subprocess.run(["prlimit", f"--pid={pid}", "--nofile=3:"], check=True)
        waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
        late = server.stub().Encode.future(request([7]), timeout=PATIENCE, wait_for_ready=True)
        stub.Encode(request([2]), timeout=PATIENCE)  # old connections serve on
        subprocess.run(["prlimit", f"--pid={pid}", "--nofile=1024:"], check=True)
        assert late.result().embeddings.rows == 1, "the port answers again"
        for connection in waiting:
            connection.close()


def test_slow_and_silent_readers_of_the_metrics_port(start_fake):
    server = start_fake()
    port = server.await_event("listening")["metrics_port"]
    with Canary(server):
        flood = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
        for number, connection in enumerate(flood):
            if number % 2 == 0:  # asks and does not read; the others say nothing
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        stub = server.stub()
        for number in range(20):
            stub.Encode(request([number]), timeout=PATIENCE)
        assert server.open_descriptors() < 60, "the metrics port's connections are bounded"
        for connection in flood:
            connection.close()
        assert "longwave_ready 1" in server.scrape()


def test_stopped_for_seconds_what_expired_is_not_computed(start_fake):
    # A slice that was stopped for seconds makes waits look long for a while: none is too long here.
    server = start_fake(
        "--max_batch_sequences=1", "--max_batch_seconds=0.1", "--max_wait=60",
        base_seconds="0.005", seconds_per_token="1e-5", tokens_per_slice="1000",
    )
    health = health_pb2_grpc.HealthStub(server.channel())
    live = health_pb2.HealthCheckRequest(service="longwave.live")
    stub = server.stub()
    size, count = 10_000, 10
    with Canary(server, slowed="the process stands still"):
        doomed = [stub.Encode.future(request([n + 1] * size), timeout=2) for n in range(count)]
        server.await_metric("longwave_requests_started_total", lambda value: value >= count)
        server.freeze(3)
        computed = "longwave_tokens_total"
        before = server.metric(computed, kind="real")
        codes = [call.code() for call in doomed]
        assert grpc.StatusCode.DEADLINE_EXCEEDED in codes
        assert set(codes) <= {
            grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        }
        assert health.Check(live, timeout=PATIENCE).status == 1
        stub.Encode(request([3]), timeout=PATIENCE)
        server.await_metric("longwave_running_requests", lambda value: value <= 1)
        # At most what was under way, and the canaries'.
        assert server.metric(computed, kind="real") - before < 3 * size


def test_throttled_to_a_tenth(start_fake):
    # As a control group's quota would: 10 ms on, 90 ms off.
    server = start_fake()
    done = threading.Event()

    def throttle():
        while not done.is_set():
            server.signal(signal.SIGSTOP)
            done.wait(0.09)
            server.signal(signal.SIGCONT)
            done.wait(0.01)

    with Canary(server, slowed="nine tenths of the processor are taken away"):
        thread = threading.Thread(target=throttle)
        thread.start()
        try:
            stub = server.stub()
            for number in range(10):
                stub.Encode(request([number]), timeout=PATIENCE)
        finally:
            done.set()
            thread.join()


@pytest.fixture
def open_folder():
    """A folder that every user may enter and write to, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        path.chmod(0o777)
        yield path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start it as another user")
@pytest.mark.skipif(
    bool(os.environ.get("LONGWAVE_SANITIZE")), reason="looking for leaks at the end needs a thread"
)
def test_threads_are_refused(fake_program, open_folder):
    # Root is not bound by the limit, so the server runs as somebody else.
    program = shutil.copy(fake_program, open_folder / "server")
    as_nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    few = subprocess.run(
        ["prlimit", "--nproc=3", program, "--address=127.0.0.1:0", "--metrics_address=127.0.0.1:0"],
        capture_output=True, text=True, timeout=PATIENCE, **as_nobody,
    )
    assert few.returncode in (1, -signal.SIGABRT), few.stderr  # gRPC itself gives up by abort
    assert few.stderr.strip(), "it says something"

    with open(open_folder / "log", "wb") as log, UnreadServer(
        program, open_folder, stderr=log, **as_nobody
    ) as server:
        server.ready()

        def load():
            stubs = [server.stub() for _ in range(16)]
            calls = [
                stub.Encode.future(request([n + 1] * 9), timeout=10)
                for n in range(10) for stub in stubs
            ]
            for call in calls:
                assert call.result().embeddings.rows == 1

        load()  # gRPC has started what it needs by now
        limit = ["prlimit", f"--pid={server.process.pid}", "--nproc=1"]
        subprocess.run(limit, check=True, **as_nobody)
        with Canary(server):
            load()
        assert server.stop() == 0


@pytest.mark.skipif(bool(os.environ.get("LONGWAVE_SANITIZE")), reason="its memory is not ours")
def test_memory_stays_within_its_budget(start_fake):
    # Far more than may wait at once: what is refused is refused before it costs memory. No canary
    # among them: a full queue refuses it as well.
    server = start_fake(
        "--max_queue_tokens=4000000", seconds_per_token="1e-6", tokens_per_slice="20000"
    )
    server.stub().Encode(request([1]), timeout=PATIENCE)
    base = server.resident_bytes()
    peak = 0
    ids = bytes(1_000_000)
    message = encode_pb2.EncodeRequest(
        tokens=encode_pb2.TokenBatch(id_width=encode_pb2.ID_WIDTH_U8, lengths=[len(ids)], ids=ids)
    )
    stubs = [server.stub() for _ in range(4)]
    calls = [stub.Encode.future(message, timeout=PATIENCE) for _ in range(15) for stub in stubs]
    for call in calls:
        call.code()
        peak = max(peak, server.resident_bytes())
        assert server.metric("longwave_ready") == 1
    refused = [call for call in calls if call.code() != grpc.StatusCode.OK]
    assert {call.code() for call in refused} <= {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert {error_info(call.exception()).reason for call in refused} <= {
        "QUEUE_FULL", "MEMORY_FULL", "DEADLINE_UNMEETABLE",
    }
    # 16 MB of ids that wait, the same as they are computed, and what the wire holds.
    assert peak - base < 200 << 20, f"{(peak - base) >> 20} MiB"
    assert server.stub().Encode(request([1]), timeout=PATIENCE).embeddings.rows == 1
