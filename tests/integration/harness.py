"""Starts server processes and speaks to them: what all integration tests share."""

from __future__ import annotations

import collections
import importlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICE = "longwave.v1.EncoderService"
# Long enough for a loaded machine; only a failing test waits for it.
PATIENCE = 60.0


def _generate_stubs() -> pathlib.Path:
    """Makes the Python stubs of the API in a folder that lives as long as the tests."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="longwave-stubs-"))
    files = sorted((ROOT / "proto" / "longwave" / "v1").glob("*.proto"))
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}"]
    arguments += [f"--grpc_python_out={folder}"] + [str(path) for path in files]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc refused the API's files")
    return folder


sys.path.insert(0, str(_generate_stubs()))
encode_pb2 = importlib.import_module("longwave.v1.encode_pb2")
model_pb2 = importlib.import_module("longwave.v1.model_pb2")
service_pb2_grpc = importlib.import_module("longwave.v1.encoder_service_pb2_grpc")


class Server:
    """One server process on free ports."""

    def __init__(self, program: str, *flags: str, env: dict[str, str] | None = None):
        given = {flag.split("=")[0] for flag in flags}
        free = [f"--{name}=127.0.0.1:0" for name in ("address", "metrics_address")]
        command = [program, *(flag for flag in free if flag.split("=")[0] not in given), *flags]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
        )
        self.lines: list[str] = []
        self._events: dict[str, dict] = {}
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                if line.startswith("{"):
                    entry = json.loads(line)  # every line of the log is JSON
                    self._events[entry["event"]] = entry
                self._changed.notify_all()
        with self._changed:
            self._events["end of log"] = {}
            self._changed.notify_all()

    def await_event(self, name: str) -> dict:
        """The log's latest entry of that name; waits for the first."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: name in self._events or "end of log" in self._events, PATIENCE
            )
            if not found or name not in self._events:
                raise AssertionError(f"no event {name!r} in:\n" + "\n".join(self.lines[-20:]))
            return self._events[name]

    def ready(self) -> Server:
        self.await_event("serving")
        return self

    def has_event(self, name: str) -> bool:
        with self._changed:
            return name in self._events

    @property
    def port(self) -> int:
        return self.await_event("listening")["port"]

    def channel(self, **options) -> grpc.Channel:
        settings = {
            "grpc.enable_retries": 0,
            "grpc.use_local_subchannel_pool": 1,
            "grpc.max_receive_message_length": 4 << 20,
            "grpc.max_send_message_length": -1,
            **options,
        }
        return grpc.insecure_channel(f"127.0.0.1:{self.port}", options=list(settings.items()))

    def stub(self, **options):
        return service_pb2_grpc.EncoderServiceStub(self.channel(**options))

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def stop(self) -> int:
        if self.process.poll() is None:
            self.signal()
        return self.wait()

    def resident_bytes(self) -> int:
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) * 1024

    def scrape(self) -> str:
        port = self.await_event("listening")["metrics_port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as reply:
            return reply.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of a metric that have these labels."""
        total = 0.0
        for sample in parse_metrics(self.scrape()):
            if sample.name == name and all(sample.labels.get(k) == v for k, v in labels.items()):
                total += sample.value
        return total

    def await_metric(self, name: str, wanted, **labels: str) -> None:
        """Waits until a metric satisfies `wanted`."""
        pause = threading.Event()
        deadline = time.monotonic() + PATIENCE
        while not wanted(self.metric(name, **labels)):
            assert time.monotonic() < deadline, f"{name} {labels} = {self.metric(name, **labels)}"
            pause.wait(0.01)


Sample = collections.namedtuple("Sample", "name labels value")
_SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$')
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def parse_metrics(text: str) -> list[Sample]:
    """The samples of a scrape; anything that is not of the format fails."""
    samples = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = _SAMPLE.match(line)
        assert match, line
        samples.append(
            Sample(match.group(1), dict(_LABEL.findall(match.group(2) or "")), float(match.group(3)))
        )
    return samples


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    """The google.rpc.ErrorInfo of a failed call; empty if gRPC answered by itself."""
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Is(info.DESCRIPTOR):
                    detail.Unpack(info)
    return info


def trailer(error: grpc.RpcError, key: str) -> str | None:
    return dict(error.trailing_metadata() or ()).get(key)


def request(*sequences, **output) -> encode_pb2.EncodeRequest:
    """Sequences of ids as one request; `output` are fields of OutputSpec."""
    message = encode_pb2.EncodeRequest(output=encode_pb2.OutputSpec(**output))
    for ids in sequences:
        message.tokens.lengths.append(len(ids))
        message.tokens.ids_list.extend(ids)
    return message


class StreamCall:
    """One EncodeStream call: messages are sent when told and read in order."""

    def __init__(self, stub, timeout: float = PATIENCE):
        self._outgoing: collections.deque = collections.deque()
        self._changed = threading.Condition()
        self._closed = False
        self.call = stub.EncodeStream(self._messages(), timeout=timeout)

    def _messages(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._outgoing or self._closed)
                if not self._outgoing:
                    return
                message = self._outgoing.popleft()
            yield message

    def send(self, message) -> None:
        with self._changed:
            self._outgoing.append(message)
            self._changed.notify_all()

    def open(self, tag: int, lengths, width=encode_pb2.ID_WIDTH_U8, **fields) -> None:
        output = fields.pop("output", {})
        open_fields = {
            name: fields.pop(name)
            for name in ("resume_from_row", "progress", "max_chunk_bytes")
            if name in fields
        }
        inner = encode_pb2.EncodeRequest(
            tokens=encode_pb2.TokenBatch(id_width=width, lengths=lengths),
            output=encode_pb2.OutputSpec(**output),
            **fields,
        )
        opening = encode_pb2.StreamOpen(request=inner, **open_fields)
        self.send(encode_pb2.EncodeStreamRequest(tag=tag, open=opening))

    def data(self, tag: int, ids: bytes, offset: int = 0, piece: int = 1 << 20) -> None:
        for at in range(0, len(ids), piece):
            data = encode_pb2.StreamData(ids=ids[at : at + piece], offset=offset + at)
            self.send(encode_pb2.EncodeStreamRequest(tag=tag, data=data))

    def end(self, tag: int) -> None:
        self.send(encode_pb2.EncodeStreamRequest(tag=tag, end=encode_pb2.StreamEnd()))

    def cancel_tag(self, tag: int) -> None:
        self.send(encode_pb2.EncodeStreamRequest(tag=tag, cancel=encode_pb2.StreamCancel()))

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def read(self):
        return next(self.call)

    def read_all(self, tag: int):
        """Chunks of the only open tag, up to and including its Done or Failed."""
        chunks = []
        while True:
            message = self.read()
            assert message.tag == tag, message
            kind = message.WhichOneof("message")
            if kind == "chunk":
                chunks.append(message.chunk)
            elif kind in ("done", "failed"):
                return chunks, getattr(message, kind)


class Canary:
    """Good requests with a known answer, 20 a second, while a test does its worst: each must be
    answered, bit by bit as before, within LIMIT seconds; the readiness that a balancer watches
    must not drop, and the process must stay the same one."""

    INTERVAL = 0.05
    LIMIT = 5.0

    def __init__(self, server: Server, limit: float = LIMIT, **options):
        """`options` are those of its channel."""
        self._server = server
        self._pid = server.process.pid
        self._limit = limit
        self._stub = server.stub(**options)
        self._request = request([1, 2, 3], [5] * 50)
        self._expected = self._stub.Encode(self._request, timeout=PATIENCE).embeddings.data
        self._health = health_pb2_grpc.HealthStub(server.channel())
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._open = 0
        self._begun = 0
        self._threads = [
            threading.Thread(target=self._send),
            threading.Thread(target=self._watch, daemon=True),
        ]
        self.problems: list[str] = []
        self.seconds: list[float] = []
        # Where the soak wants to know how canaries fared (tests/soak/hostile.py).
        self._log = os.environ.get("LONGWAVE_CANARY_LOG")
        self._before = self._baseline() if self._log else {}

    def _baseline(self) -> dict:
        """Latencies and memory of the server before the test does its worst."""
        pause = threading.Event()
        seconds = []
        for _ in range(20):
            start = time.monotonic()
            self._stub.Encode(self._request, timeout=PATIENCE)
            seconds.append(time.monotonic() - start)
            pause.wait(self.INTERVAL)
        return {"baseline": seconds, "resident_before": self._server.resident_bytes()}

    def _write_log(self) -> None:
        # What the test held goes with its connections, which end in their own time; what the
        # allocator kept of it, within seconds (server/memory_trimmer.h).
        pause = threading.Event()
        for _ in range(250):
            if self._server.resident_bytes() <= self._before["resident_before"] + (8 << 20):
                break
            pause.wait(0.1)
        entry = {
            **self._before,
            "test": os.environ.get("PYTEST_CURRENT_TEST", ""),
            "seconds": self.seconds,
            "resident_after": self._server.resident_bytes(),
        }
        with open(self._log, "a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")

    def _send(self) -> None:
        start = time.monotonic()
        # By the clock, not by the answers: a slow answer holds up no other request.
        while not self._stop.wait(max(0.0, start + self._begun * self.INTERVAL - time.monotonic())):
            with self._changed:
                self._open += 1
                self._begun += 1
            sent = time.monotonic()
            call = self._stub.Encode.future(self._request, timeout=PATIENCE)
            call.add_done_callback(lambda done, sent=sent: self._ended(done, sent))

    def _ended(self, call, sent: float) -> None:
        seconds = time.monotonic() - sent
        problem = None
        if call.code() != grpc.StatusCode.OK:
            problem = f"{call.code()} {call.details()}"
        elif call.result().embeddings.data != self._expected:
            problem = "another answer than before"
        elif seconds > self._limit:
            problem = f"an answer after {seconds:.1f} s"
        with self._changed:
            self._open -= 1
            self.seconds.append(seconds)
            if problem is not None:
                self.problems.append(problem)
            self._changed.notify_all()

    def _watch(self) -> None:
        """Readiness as balancers see it. A stream that breaks is a drop too."""
        try:
            for answer in self._watching:
                if answer.status != health_pb2.HealthCheckResponse.SERVING:
                    self.problems.append(f"readiness: {answer.status}")
            ended = "ended"
        except grpc.RpcError as error:
            ended = f"{error.code()} {error.details()}"
        if not self._stop.is_set():
            self.problems.append(f"readiness watch: {ended}")

    def check(self) -> None:
        """Waits for the answers to what has been sent, then fails if anything was amiss."""
        with self._changed:
            # One more than those on their way, so that what the test did last has had its effect.
            wanted = self._begun + (not self._stop.is_set())
            assert self._changed.wait_for(lambda: len(self.seconds) >= wanted, PATIENCE), "no answer"
        assert not self.problems, self.problems[:5]
        assert self._server.process.poll() is None, "the server is gone"
        assert self._server.process.pid == self._pid

    def __enter__(self) -> Canary:
        self._watching = self._health.Watch(health_pb2.HealthCheckRequest())
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._stop.set()
        self._threads[0].join()
        with self._changed:
            self._changed.wait_for(lambda: self._open == 0, PATIENCE)
        self._watching.cancel()
        self._threads[1].join()
        if exc[0] is None:
            assert self.seconds
            self.check()
            if self._log:
                self._write_log()


class PromptCanary(Canary):
    """A canary that must also be answered in time, by a server that stays ready."""

    SECONDS = 5.0

    def __exit__(self, *exc) -> None:
        super().__exit__(*exc)
        if exc[0] is None:
            assert self.seconds and max(self.seconds) < self.SECONDS, max(self.seconds)
            assert self._server.metric("longwave_ready") == 1
