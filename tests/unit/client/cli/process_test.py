"""The program `longwave` as a process, against the server as a process (with the fake encoder)."""

from __future__ import annotations

import json
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import threading
import time
import urllib.request

import numpy as np
import pytest

CLI = os.environ["LONGWAVE_CLI"]
FAKE_SERVER = os.environ["LONGWAVE_FAKE_SERVER"]
DIM = 16  # the fake encoder's
# Long enough for a loaded machine; only a failing test waits for it.
PATIENCE = 60.0


def await_that(condition, what: str):
    """Looks again and again until `condition` gives something true, and returns it."""
    pause = threading.Event()
    deadline = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        pause.wait(0.01)


class Server:
    """A fake server on free ports."""

    def __init__(self, *flags: str, **environment: str):
        command = [FAKE_SERVER, "--address=127.0.0.1:0", "--metrics_address=127.0.0.1:0", *flags]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self._ports: dict = {}
        for line in self.process.stderr:
            entry = json.loads(line)
            if entry["event"] == "listening":
                self._ports = entry
            if entry["event"] == "serving":
                break
        assert self._ports, "the server did not come up"
        # The log must be read on, or the server would wait for its reader.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._ports['port']}"

    def chunks_sent(self) -> float:
        url = f"http://127.0.0.1:{self._ports['metrics_port']}/metrics"
        with urllib.request.urlopen(url, timeout=PATIENCE) as reply:
            text = reply.read().decode()
        found = re.search(r"^longwave_stream_chunks_total(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def server():
    running = Server("--allow_route_override")
    yield running
    running.stop()


def start(*arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen([CLI, *arguments], **options)


def run(*arguments: str, text: bytes = b"") -> subprocess.CompletedProcess:
    return subprocess.run(
        [CLI, *arguments], input=text, capture_output=True, timeout=PATIENCE, check=False
    )


def encode(address: str, *arguments: str, text: bytes = b"") -> dict:
    """Runs `encode --json`, which must succeed, and returns the summary."""
    done = run("encode", "--server", address, "--json", *arguments, text=text)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""  # no progress where there is no terminal
    return json.loads(done.stdout)


def read_safetensors(path: pathlib.Path) -> tuple[dict, dict]:
    """Tensors and metadata; the layout is checked as readers of the format check it."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__")
    tensors, expected_begin = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        assert begin == expected_begin, "a hole between tensors"
        expected_begin = end
        dtype = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}[entry["dtype"]]
        data = content[8 + length + begin : 8 + length + end]
        tensors[name] = np.frombuffer(data, dtype).reshape(entry["shape"])
    assert 8 + length + expected_begin == len(content)
    return tensors, metadata


def sample_bytes(size: int) -> bytes:
    return np.random.default_rng(3).integers(32, 127, size, dtype=np.uint8).tobytes()


def test_numpy_reads_what_is_written(server, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"first document")
    (tmp_path / "b.txt").write_bytes(b"and the second one")
    output = tmp_path / "vectors.npy"
    files = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    report = encode(server.address, *files, "--output", str(output))
    vectors = np.load(output)
    assert vectors.shape == (2, DIM) and vectors.dtype == np.float32
    for document in report["documents"]:
        row = vectors[document["first_row"]]
        assert np.array_equal(row[:3], np.array(document["first_values"], dtype=np.float32))
    assert [document["tokens"] for document in report["documents"]] == [14, 18]


def test_formats_and_types_agree(server, tmp_path):
    text = sample_bytes(2000)
    arguments = ["--pooling", "none", "--output"]
    encode(server.address, *arguments, str(tmp_path / "full.npy"), text=text)
    full = np.load(tmp_path / "full.npy")
    assert full.shape == (2000, DIM)

    encode(server.address, *arguments, str(tmp_path / "x.safetensors"), text=text)
    tensors, metadata = read_safetensors(tmp_path / "x.safetensors")
    assert np.array_equal(tensors["embeddings"], full)
    assert tensors["row_offsets"].tolist() == [0, 2000]
    assert json.loads(metadata["documents"]) == ["-"]

    encode(server.address, *arguments, str(tmp_path / "x.jsonl"), text=text)
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert np.array_equal(np.array([line["embedding"] for line in lines], np.float32), full)

    encode(
        server.address, *arguments, str(tmp_path / "half.npy"), "--dtype", "fp16", text=text
    )
    half = np.load(tmp_path / "half.npy")
    # The server rounds to nearest, and the file holds exactly what it sent.
    assert half.dtype == np.float16 and np.array_equal(half, full.astype(np.float16))


def test_a_long_document_streams_and_gives_the_same_rows(server, tmp_path):
    text = sample_bytes(40_000)
    arguments = ["--pooling", "none", "--output"]
    unary = encode(server.address, *arguments, str(tmp_path / "unary.npy"), text=text)
    streamed = encode(
        server.address, *arguments, str(tmp_path / "streamed.npy"), "--stream", text=text
    )
    assert not unary["documents"][0]["streamed"]
    assert streamed["documents"][0]["streamed"]
    assert np.array_equal(np.load(tmp_path / "unary.npy"), np.load(tmp_path / "streamed.npy"))


def peak_kib(address: str, path: pathlib.Path, output: pathlib.Path) -> int:
    process = start(
        "encode", "--server", address, "--quiet", "--pooling", "none", "--output", str(output),
        str(path),
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss


@pytest.mark.skipif(
    bool(os.environ.get("LONGWAVE_SANITIZE")), reason="sanitizers keep freed memory back"
)
def test_a_million_rows_do_not_pass_through_memory(server, tmp_path):
    (tmp_path / "short.txt").write_bytes(sample_bytes(10))
    (tmp_path / "long.txt").write_bytes(sample_bytes(1_000_000))
    short = peak_kib(server.address, tmp_path / "short.txt", tmp_path / "short.npy")
    long = peak_kib(server.address, tmp_path / "long.txt", tmp_path / "long.npy")
    rows_kib = 1_000_000 * DIM * 4 // 1024
    assert np.load(tmp_path / "long.npy", mmap_mode="r").shape == (1_000_000, DIM)
    # Ids (4 bytes each in memory, 1 on the way) and a few chunks are held; the rows are not.
    assert long - short < rows_kib / 2, (short, long)


def slow_server() -> Server:
    """Takes its time, so that a test can interfere: 200 000 tokens last for a second."""
    return Server(LONGWAVE_FAKE_SECONDS_PER_TOKEN="5e-6")


def await_rows(folder: pathlib.Path) -> None:
    """Waits until rows lie in the unfinished output."""
    await_that(
        lambda: any(part.stat().st_size > 200_000 for part in folder.glob("*.part-*")),
        "rows in the unfinished output",
    )


def test_a_killed_replica_costs_nothing_but_time(tmp_path):
    text_path = tmp_path / "long.txt"
    text_path.write_bytes(sample_bytes(400_000))
    output = tmp_path / "rows.npy"
    replicas = [slow_server(), slow_server()]
    try:
        target = "ipv4:" + ",".join(replica.address for replica in replicas)
        arguments = ["encode", "--server", target, "--json", "--pooling", "none"]
        process = start(
            *arguments, "--output", str(output), str(text_path),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        await_rows(tmp_path)
        serving = [replica for replica in replicas if replica.chunks_sent() > 0]
        assert len(serving) == 1
        serving[0].stop(signal.SIGKILL)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err.decode()
        assert json.loads(out)["documents"][0]["resumes"] == 1
        whole = tmp_path / "whole.npy"
        encode(target, "--pooling", "none", "--output", str(whole), str(text_path))
        assert output.read_bytes() == whole.read_bytes()
    finally:
        for replica in replicas:
            replica.stop()


def test_an_interrupt_leaves_nothing_behind(tmp_path):
    (tmp_path / "long.txt").write_bytes(sample_bytes(400_000))
    folder = tmp_path / "out"
    folder.mkdir()
    server = slow_server()
    try:
        process = start(
            "encode", "--server", server.address, "--pooling", "none",
            "--output", str(folder / "rows.npy"), str(tmp_path / "long.txt"),
        )  # fmt: skip
        await_rows(folder)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == -signal.SIGINT
        assert list(folder.iterdir()) == []
    finally:
        server.stop()


def test_progress_is_drawn_on_a_terminal(tmp_path):
    (tmp_path / "long.txt").write_bytes(sample_bytes(400_000))
    server = slow_server()
    main, terminal = pty.openpty()
    try:
        process = start(
            "encode", "--server", server.address, "--pooling", "none", str(tmp_path / "long.txt"),
            stdout=subprocess.DEVNULL, stderr=terminal,
        )  # fmt: skip
        os.close(terminal)
        drawn = b""
        try:
            while block := os.read(main, 65536):
                drawn += block
        except OSError:  # what a terminal says at its end
            pass
        assert process.wait(PATIENCE) == 0
    finally:
        os.close(main)
        server.stop()
    frames = re.findall(rb"(\d+)/400000 rows", drawn)
    assert frames, drawn[-500:]
    assert [int(rows) for rows in frames] == sorted(int(rows) for rows in frames)
    assert drawn.endswith(b"\r\x1b[K")  # the line is taken away at the end


def test_routes_and_errors_come_through(server, tmp_path):
    for route in ("direct", "tiles", "chunkwise", "fft"):
        report = encode(server.address, "--route", route, text=b"some text")
        assert report["documents"][0]["route"] == route
    (tmp_path / "too_long.txt").write_bytes(sample_bytes((1 << 20) + 1))
    refused = run("encode", "--server", server.address, str(tmp_path / "too_long.txt"))
    assert refused.returncode == 4
    assert b"SEQUENCE_TOO_LONG" in refused.stderr and b"1048576" in refused.stderr
    partial = run("encode", "--server", server.address, "--lines", str(tmp_path / "no"), "-",
                  text=b"line\n")  # fmt: skip
    assert partial.returncode == 5


def test_ids_and_json_lines(server):
    ids = " ".join(str(byte) for byte in b"some text").encode()
    lines = json.dumps({"id": "j", "text": "some text"}).encode() + b"\n"
    lines += json.dumps({"id": "k", "token_ids": list(b"some text")}).encode()
    by_text = encode(server.address, text=b"some text")["documents"][0]
    by_ids = encode(server.address, "--input-format", "ids", text=ids)["documents"][0]
    by_json = encode(server.address, "--input-format", "jsonl", text=lines)["documents"]
    assert [document["document"] for document in by_json] == ["j", "k"]
    for document in (by_ids, *by_json):
        assert document["first_values"] == by_text["first_values"]


def test_health_and_info(server):
    assert run("health", "--server", server.address).returncode == 0
    info = run("info", "--server", server.address, "--json")
    assert info.returncode == 0 and json.loads(info.stdout)["dim"] == DIM
    estimate = run("estimate", "--server", server.address, "1000000", "--json")
    assert estimate.returncode == 0 and json.loads(estimate.stdout)["tokens"] == 1_000_000
    gone = run("health", "--server", "127.0.0.1:1")
    assert gone.returncode == 3 and b"127.0.0.1:1" in gone.stderr
