"""The program `longwave` as a process: inputs, chunks, streams, and what survives a kill."""

from __future__ import annotations

import errno
import io
import json
import os
import pathlib
import signal
import struct
import subprocess

import numpy as np
import pytest
from cli_program import CLI, run, target
from harness import PATIENCE, await_true

DIM = 16  # the fake encoder's


def vectors(server, folder: pathlib.Path, *arguments: str, data: bytes = b"") -> np.ndarray:
    output = folder / "vectors-of-a-call.npy"
    run("encode", target(server), "--quiet", "--output", str(output), *arguments, data=data)
    return np.load(output)


def read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        dtype = {"F32": "<f4", "I64": "<i8"}[entry["dtype"]]
        tensors[name] = np.frombuffer(content[begin:end], dtype).reshape(entry["shape"])
    return tensors


def sample(size: int, seed: int = 3) -> bytes:
    return np.random.default_rng(seed).integers(97, 123, size, dtype=np.uint8).tobytes()


# Inputs


def test_every_format_says_the_same_of_the_same_tokens(start_fake, tmp_path):
    server = start_fake()
    texts = [b"ACGTACGT", b"TTTT"]
    expected = vectors(server, tmp_path, "--lines", data=b"\n".join(texts))
    assert expected.shape == (2, DIM)
    buffer = io.BytesIO()
    np.save(buffer, np.array([list(texts[0]), list(texts[0])], np.int64))
    formats = {
        "fasta": b">a first\nACGT\nACGT\n>b\nTTTT*\n",
        "jsonl": b'{"text": "ACGTACGT"}\n{"token_ids": [84, 84, 84, 84]}\n',
        "ids": b"65 67 71 84 65 67 71 84\n84,84,84,84\n",
        "lines": b"ACGTACGT\r\n\r\nTTTT\r\n",
    }
    for name, data in formats.items():
        path = tmp_path / f"input.{name}"
        path.write_bytes(data)
        by_stdin = vectors(server, tmp_path, "--input-format", name, data=data)
        by_file = vectors(server, tmp_path, "--input-format", name, str(path))
        assert np.array_equal(by_stdin, expected), name
        assert np.array_equal(by_file, expected), name
    by_npy = vectors(server, tmp_path, "--input-format", "npy", data=buffer.getvalue())
    assert np.array_equal(by_npy, expected[[0, 0]])


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i4", "i8", "u8"])
def test_what_numpy_saves_is_read(start_fake, tmp_path, dtype):
    server = start_fake()
    np.save(tmp_path / "one.npy", np.frombuffer(b"hello", np.uint8).astype(dtype))
    document = json.loads(
        run("encode", target(server), "--json", str(tmp_path / "one.npy")).stdout
    )["documents"][0]
    by_text = json.loads(run("encode", target(server), "--json", data=b"hello").stdout)
    assert document["first_values"] == by_text["documents"][0]["first_values"]


def test_a_directory_is_all_its_files_in_order(start_fake, tmp_path):
    server = start_fake()
    corpus = tmp_path / "corpus"
    (corpus / "sub" / ".git").mkdir(parents=True)
    (corpus / "b.txt").write_text("second")
    (corpus / "a.fasta").write_text(">seq\nMKV\n")
    (corpus / "sub" / "c.md").write_text("third")
    (corpus / "sub" / ".git" / "config").write_text("hidden")
    (corpus / "sub" / "loop").symlink_to(corpus, target_is_directory=True)
    call = ("encode", target(server), "--json", str(corpus))

    def names(*more: str) -> list[str]:
        return [entry["document"] for entry in json.loads(run(*call, *more).stdout)["documents"]]

    assert names() == ["seq", str(corpus / "b.txt"), str(corpus / "sub" / "c.md")]
    assert names("--exclude", "*.fasta") == [str(corpus / "b.txt"), str(corpus / "sub" / "c.md")]
    assert names("--include", "sub/*") == [str(corpus / "sub" / "c.md")]
    nothing = run(*call, "--include", "*.pdf", code=2)
    assert b"there is no file in it that is wanted" in nothing.stderr


# Chunks


def test_chunks_are_means_over_one_pass_of_the_whole(start_fake, tmp_path):
    """A chunk's vector depends on the whole document, and is what spans at its place give."""
    server = start_fake()
    text = sample(1000)
    chunks = vectors(server, tmp_path, "--chunk-tokens", "300:100", data=text)
    spans = vectors(
        server, tmp_path, "--pooling", "spans", "--spans", "0:300,200:500,400:700,600:900,800:1000",
        data=text,
    )  # fmt: skip
    assert np.array_equal(chunks, spans)
    alone = vectors(server, tmp_path, "--chunk-tokens", "300", data=text[:300])
    assert not np.array_equal(chunks[0], alone[0])


def test_chunks_of_documents_too_large_for_a_unary_call(start_fake, tmp_path):
    server = start_fake()
    text = sample(300_000)
    output = tmp_path / "chunks.safetensors"
    report = json.loads(
        run("encode", target(server), "--json", "--chunk-tokens", "1000", "--output", str(output),
            data=text).stdout
    )  # fmt: skip
    assert report["documents"][0]["streamed"] and report["documents"][0]["rows"] == 300
    tensors = read_safetensors(output)
    begins = np.arange(0, 300_000, 1000)
    assert np.array_equal(tensors["row_spans"], np.stack([begins, begins + 1000], 1))
    assert tensors["embeddings"].shape == (300, DIM)
    by_spans = vectors(server, tmp_path, "--pooling", "spans", "--spans", "7000:8000", data=text)
    assert np.array_equal(tensors["embeddings"][7], by_spans[0])


def test_lines_of_json_bring_their_own_spans(start_fake, tmp_path):
    server = start_fake()
    lines = [
        {"id": "own", "text": "naïve text", "char_spans": [[0, 5], [6, 10]]},
        {"id": "cut", "text": "One. Two!"},
        {"id": "bad", "text": "short", "spans": [[0, 99]]},
    ]
    output = tmp_path / "x.jsonl"
    done = run(
        "encode", target(server), "--input-format", "jsonl", "--chunk-by", "sentences", "--output",
        str(output), data="\n".join(map(json.dumps, lines)).encode(), code=5,
    )  # fmt: skip
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    places = [(row["id"], row["begin"], row["end"]) for row in rows]
    # Bytes are the tokens: ï has two.
    assert places == [("own", 0, 6), ("own", 7, 11), ("cut", 0, 4), ("cut", 5, 9)]
    assert b"bad: INVALID_ARGUMENT" in done.stderr and b"99" in done.stderr


# Streams and what survives


def test_a_pipe_takes_an_array_for_each_document(start_fake, tmp_path):
    server = start_fake()
    call = ("stream", target(server), "--lines", "--output", "-", "--format")
    text = b"first line\nsecond\n"
    done = run(*call, "npy", data=text)
    pipe = io.BytesIO(done.stdout)
    arrays = [np.load(pipe), np.load(pipe)]
    assert [array.shape for array in arrays] == [(10, DIM), (6, DIM)]
    assert not pipe.read() and b"second" not in done.stdout
    raw = np.frombuffer(run(*call, "raw", "--quiet", data=text).stdout, np.float32)
    assert np.array_equal(raw.reshape(16, DIM), np.concatenate(arrays))
    selected = run(*call, "raw", "--quiet", "--rows=2:6", "--row-stride=2", data=b"first line")
    assert np.array_equal(
        np.frombuffer(selected.stdout, np.float32).reshape(2, DIM), arrays[0][[2, 4]]
    )


def journal_lines(output: pathlib.Path) -> list[dict]:
    path = output.with_name(output.name + ".journal")
    if not path.exists():
        return []
    # The last one may be on its way.
    return [json.loads(line[9:]) for line in path.read_text().split("\n")[:-1]]


def records(output: pathlib.Path, kind: int) -> list[dict]:
    return [line for line in journal_lines(output) if line.get("kind") == kind]


DONE, PARTIAL = 0, 1


def start(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen([CLI, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def fill(fifo: pathlib.Path, data: bytes) -> None:
    """Gives data to whoever opens the FIFO to read it; waits for that."""
    opened = []

    def has_reader() -> bool:
        try:
            opened.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            assert error.errno == errno.ENXIO, error
        return bool(opened)

    await_true(has_reader, f"nobody reads {fifo}")
    os.set_blocking(opened[0], True)
    with os.fdopen(opened[0], "wb") as file:
        file.write(data)


@pytest.mark.parametrize("ending", ["npy", "safetensors", "jsonl"])
def test_a_killed_corpus_is_taken_up_again(start_fake, tmp_path, ending):
    server = start_fake()
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    files = [corpus / f"{number:02}.txt" for number in range(12)]
    for number, path in enumerate(files):
        path.write_bytes(sample(40_000, number))
    # Where the process is to be killed it waits for an input, however fast it was until there.
    done = 8
    files[done].unlink()
    os.mkfifo(files[done])
    output = tmp_path / f"vectors.{ending}"
    call = ("encode", target(server), *map(str, files), "--output", str(output), "--resume",
            "--json")  # fmt: skip
    process = start(*call)
    await_true(lambda: len(records(output, DONE)) == done, "the first documents were never done")
    process.kill()
    process.communicate()
    assert not output.exists()
    files[done].unlink()
    files[done].write_bytes(sample(40_000, done))

    def computed() -> float:
        for waiting in ("longwave_queue_requests", "longwave_running_requests"):
            server.await_metric(waiting, lambda requests: requests == 0)
        return server.metric("longwave_tokens_total", kind="real")

    before = computed()
    assert before == done * 40_000
    report = json.loads(run(*call).stdout)
    assert len(report["documents"]) == 12
    assert computed() - before == (12 - done) * 40_000
    whole = tmp_path / f"whole.{ending}"
    run("encode", target(server), *map(str, files), "--output", str(whole))
    assert output.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["corpus", output.name, whole.name]
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_stream_goes_on_at_its_row(start_fake, tmp_path, number):
    server = start_fake(seconds_per_token="5e-6")
    (tmp_path / "short.txt").write_bytes(sample(50))
    (tmp_path / "long.txt").write_bytes(sample(1_000_000))
    output = tmp_path / "rows.npy"
    inputs = [str(tmp_path / "short.txt"), str(tmp_path / "long.txt")]
    call = ("stream", target(server), *inputs, "--output", str(output), "--resume", "--json")
    process = start(*call)
    await_true(lambda: records(output, PARTIAL), "no rows were ever noted")
    process.send_signal(number)
    process.communicate()
    assert process.returncode == -number
    kept = records(output, PARTIAL)[-1]["report"]["rows"]
    assert 0 < kept < 1_000_000 and not output.exists()
    sent = server.metric("longwave_stream_bytes_total")
    report = json.loads(run(*call).stdout)
    row_bytes = DIM * 4
    assert server.metric("longwave_stream_bytes_total") - sent < (1_000_000 - kept + 200_000) * (
        row_bytes
    )
    assert report["documents"][1]["rows"] == 1_000_000
    whole = tmp_path / "whole.npy"
    run("stream", target(server), *inputs, "--output", str(whole), "--quiet")
    assert output.read_bytes() == whole.read_bytes()


def test_a_server_that_went_away_is_waited_for_by_running_again(start_fake, tmp_path):
    server = start_fake(seconds_per_token="5e-6")
    (tmp_path / "long.txt").write_bytes(sample(600_000))
    output = tmp_path / "rows.npy"
    call = [str(tmp_path / "long.txt"), "--output", str(output), "--resume"]
    process = start("stream", target(server), *call)
    await_true(lambda: records(output, PARTIAL), "no rows were ever noted")
    server.process.kill()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3 and b"are kept, and the same command goes on" in err
    other = start_fake()
    run("stream", target(other), *call)
    whole = tmp_path / "whole.npy"
    run("stream", target(other), call[0], "--output", str(whole))
    assert output.read_bytes() == whole.read_bytes()


def test_two_processes_do_not_write_one_output(start_fake, tmp_path):
    server = start_fake()
    # The first waits for it until the second has been refused.
    os.mkfifo(tmp_path / "text")
    output = tmp_path / "rows.npy"
    call = ("stream", target(server), str(tmp_path / "text"), "--output", str(output), "--resume")
    first = start(*call)
    try:
        await_true(lambda: journal_lines(output), "there was never a journal")
        refused = run(*call, code=2)
        assert b"in use by another process" in refused.stderr
        fill(tmp_path / "text", sample(5000))
        first.communicate(timeout=PATIENCE)
        assert first.returncode == 0 and np.load(output).shape == (5000, DIM)
    finally:
        first.kill()
        first.wait()


@pytest.mark.parametrize("form", ["text", "lines", "ids", "jsonl", "fasta", "npy"])
def test_an_input_that_cannot_be_read_is_named(start_fake, form):
    server = start_fake()
    folder = os.open("/", os.O_RDONLY)
    try:
        done = subprocess.run(
            [CLI, "encode", target(server), "--input-format", form], stdin=folder,
            capture_output=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    finally:
        os.close(folder)
    assert done.returncode == 2, done.stderr
    assert b"cannot read -: Is a directory" in done.stderr
