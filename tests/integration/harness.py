"""Starts server processes and speaks to them: what all integration tests share."""

from __future__ import annotations

import collections
import importlib
import json
import os
import pathlib
import re
import signal
import socket
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
from log_lines import problem

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICE = "longwave.v1.EncoderService"
# Long enough for a loaded machine; only a failing test waits for it.
PATIENCE = 60.0


def came_true(predicate, limit: float = PATIENCE, pause: float = 0.01) -> bool:
    """Whether the predicate becomes true within the limit: for what no event tells of."""
    waiting = threading.Event()
    deadline = time.monotonic() + limit
    while not predicate():
        if time.monotonic() >= deadline:
            return False
        waiting.wait(pause)
    return True


def await_true(predicate, what: str, limit: float = PATIENCE, pause: float = 0.01) -> None:
    """Waits until the predicate is true. `what` says what has not come about if it never is."""
    assert came_true(predicate, limit, pause), what


def own_ports(count: int) -> tuple[str, list[int]]:
    """An address that no other process of tests uses, and ports of it that are free: for servers
    that must be found again where they were, or cannot say which port they took."""
    pid = os.getpid()  # below 2^22
    host = f"127.{1 + (pid >> 16)}.{pid >> 8 & 255}.{pid & 255}"
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind((host, 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return host, ports


def _generate_stubs() -> pathlib.Path:
    """Makes the Python stubs of the API in a folder that lives as long as the tests."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="longwave-stubs-"))
    # Those of the inference protocol are made and not imported: its clients bring their own.
    files = sorted((ROOT / "proto").glob("longwave/v1/*.proto"))
    files += sorted((ROOT / "proto").glob("inference/*.proto"))
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}"]
    arguments += [f"--grpc_python_out={folder}"] + [str(path) for path in files]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc refused the API's files")
    return folder


sys.path.insert(0, str(_generate_stubs()))
encode_pb2 = importlib.import_module("longwave.v1.encode_pb2")
model_pb2 = importlib.import_module("longwave.v1.model_pb2")
service_pb2_grpc = importlib.import_module("longwave.v1.encoder_service_pb2_grpc")


def plain_channel(port: int, **options) -> grpc.Channel:
    settings = {
        "grpc.enable_retries": 0,
        "grpc.use_local_subchannel_pool": 1,
        "grpc.max_receive_message_length": 4 << 20,
        "grpc.max_send_message_length": -1,
        **options,
    }
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=list(settings.items()))


class Server:
    """One server process on free ports. As a context manager it ends with its block, whatever
    happens there."""

    metrics_host = "127.0.0.1"

    def __init__(self, program: str, *flags: str, env: dict[str, str] | None = None):
        given = {flag.split("=")[0] for flag in flags}
        free = [f"--{name}=127.0.0.1:0" for name in ("address", "metrics_address")]
        command = [program, *(flag for flag in free if flag.split("=")[0] not in given), *flags]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
        )
        self.lines: list[str] = []
        self.bad_lines: list[str] = []  # what is wrong with them
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
                    if (wrong := problem(entry)) is not None:
                        self.bad_lines.append(wrong)
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
        """The server, once it serves. One that does not get there is ended: nobody else would."""
        try:
            self._await_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def _await_ready(self) -> None:
        self.await_event("serving")

    def has_event(self, name: str) -> bool:
        with self._changed:
            return name in self._events

    @property
    def port(self) -> int:
        return self.await_event("listening")["port"]

    def channel(self, **options) -> grpc.Channel:
        return plain_channel(self.port, **options)

    def stub(self, **options):
        return service_pb2_grpc.EncoderServiceStub(self.channel(**options))

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert not self.bad_lines, self.bad_lines[0]
        return code

    def stop(self) -> int:
        if self.process.poll() is None:
            self.signal()
        return self.wait()

    def kill(self) -> None:
        """The end of a server that may have ended already."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc) -> None:
        self.kill()

    def freeze(self, seconds: float) -> None:
        """Stops the process for so long: until a call has waited in vain."""
        health = health_pb2_grpc.HealthStub(self.channel())
        self.signal(signal.SIGSTOP)
        try:
            await_true(self._stands_still, "it does not stop")
            call = health.Check.future(health_pb2.HealthCheckRequest(), timeout=seconds)
            assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED, call
        finally:
            self.signal(signal.SIGCONT)

    def _stands_still(self) -> bool:
        """Whether each of its threads has been stopped: one that runs still, is for a while."""
        stats = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats)

    # What /proc says of the process.

    def resident_bytes(self) -> int:
        return self._status_bytes("VmRSS")

    def peak_resident_bytes(self) -> int:
        """The most since its start."""
        return self._status_bytes("VmHWM")

    def _status_bytes(self, name: str) -> int:
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+) kB", text).group(1)) * 1024

    def cpu_seconds(self) -> float:
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def open_descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def thread_names(self) -> list[str]:
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task")
        return sorted(name.read_text().strip() for name in tasks.glob("*/comm"))

    def scrape(self) -> str:
        port = self.await_event("listening")["metrics_port"]
        url = f"http://{self.metrics_host}:{port}/metrics"
        with urllib.request.urlopen(url, timeout=PATIENCE) as reply:
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
        found = came_true(lambda: wanted(self.metric(name, **labels)))
        assert found, f"{name} {labels} = {self.metric(name, **labels)}"


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
