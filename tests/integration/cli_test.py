"""The program `longwave` as a process: inputs, chunks, what survives a kill, manual, completion, top."""

from __future__ import annotations

import fcntl
import http.server
import io
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import struct
import subprocess
import termios
import threading

import numpy as np
import pytest
from harness import PATIENCE, ROOT, await_true

CLI = os.environ.get("LONGWAVE_CLI", str(ROOT / "build" / "release" / "client/cli/longwave"))
DIM = 16  # the fake encoder's


def target(server) -> str:
    return f"--server=127.0.0.1:{server.port}"


def run(*arguments: str, data: bytes = b"", code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [CLI, *arguments], input=data, capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == code, done.stderr.decode()
    return done


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


@pytest.mark.parametrize("ending", ["npy", "safetensors", "jsonl"])
def test_a_killed_corpus_is_taken_up_again(start_fake, tmp_path, ending):
    server = start_fake(seconds_per_token="2e-6")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(12):
        (corpus / f"{number:02}.txt").write_bytes(sample(40_000, number))
    output = tmp_path / f"vectors.{ending}"
    call = ("encode", target(server), str(corpus), "--output", str(output), "--resume", "--json")
    process = start(*call)
    await_true(lambda: records(output, DONE), "no document was ever done")
    process.kill()
    process.communicate()
    done = len(records(output, DONE))
    assert 0 < done < 12 and not output.exists()

    def computed() -> float:
        return server.metric("longwave_tokens_total", kind="real")

    before = computed()
    report = json.loads(run(*call).stdout)
    assert len(report["documents"]) == 12
    # What was in flight when the process died may still count; what was done does not.
    assert computed() - before <= (12 - done) * 40_000 + 4 * 40_000 and done >= 3
    whole = tmp_path / f"whole.{ending}"
    run("encode", target(server), str(corpus), "--output", str(whole))
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
    server = start_fake(seconds_per_token="5e-6")
    (tmp_path / "long.txt").write_bytes(sample(400_000))
    output = tmp_path / "rows.npy"
    call = ("stream", target(server), str(tmp_path / "long.txt"), "--output", str(output),
            "--resume")  # fmt: skip
    first = start(*call)
    await_true(lambda: journal_lines(output), "there was never a journal")
    refused = run(*call, code=2)
    assert b"in use by another process" in refused.stderr
    first.communicate(timeout=PATIENCE)
    assert first.returncode == 0 and np.load(output, mmap_mode="r").shape == (400_000, DIM)


# Manual and completion


def in_bash(script: str) -> list[str]:
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=PATIENCE,
        check=False, env={**os.environ, "PATH": f"{pathlib.Path(CLI).parent}:/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.split()


def candidates(*words: str, folder: pathlib.Path | None = None) -> list[str]:
    """What bash offers at the end of these words, with the script sourced as users source it."""
    quoted = " ".join(f"'{word}'" for word in words)
    return in_bash(
        f"cd '{folder or '/'}'; source <(longwave completion bash); "
        f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _longwave; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )


def options_in_help(command: str) -> set[str]:
    lines = run("help", command).stdout.decode().splitlines()
    return {line.split()[0] for line in lines if line.startswith("  --")}


def commands() -> list[str]:
    text = run("help").stdout.decode()
    return [line.split()[0] for line in text.splitlines() if line.startswith("  ")][:-1]


def test_bash_completes_commands_options_and_values(tmp_path):
    assert {"encode", "stream", "completion", "man"} <= set(commands())
    assert set(candidates("longwave", "")) == {*commands(), "--version", "--help"}
    assert candidates("longwave", "enc") == ["encode"]
    assert candidates("longwave", "encode", "--pool") == ["--pooling"]
    assert candidates("longwave", "encode", "--pooling", "m") == ["mean", "max"]
    assert candidates("longwave", "encode", "--pooling", "=", "c") == ["cls"]
    assert "fp16" in candidates("longwave", "stream", "--dtype", "=")
    assert candidates("longwave", "completion", "") == ["bash", "zsh", "fish"]
    assert candidates("longwave", "help", "heal") == ["health"]
    (tmp_path / "corpus.jsonl").touch()
    assert candidates("longwave", "encode", "cor", folder=tmp_path) == ["corpus.jsonl"]
    assert candidates("longwave", "encode", "--output", "cor", folder=tmp_path) == ["corpus.jsonl"]
    assert candidates("longwave", "encode", "--server", "cor", folder=tmp_path) == []
    for command in commands():
        offered = set(candidates("longwave", command, "--"))
        assert offered == options_in_help(command) | {"--help"}, command


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_scripts(shell):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} on this machine")
    script = run("completion", shell).stdout
    checked = subprocess.run([program, "-n"], input=script, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_fish_offers_values(tmp_path):
    if shutil.which("fish") is None:
        pytest.skip("there is no fish on this machine")
    script = tmp_path / "longwave.fish"
    script.write_bytes(run("completion", "fish").stdout)
    offered = subprocess.run(
        ["fish", "--no-config", "-c", f"source {script}; complete -C'longwave encode --pooling m'"],
        capture_output=True, text=True, check=True, timeout=PATIENCE,
    ).stdout  # fmt: skip
    assert [line.split("\t")[0] for line in offered.splitlines()] == ["max", "mean"]


def test_the_manual_is_a_manual(tmp_path):
    page = run("man").stdout
    checks = {"mandoc": ["-T", "lint", "-W", "warning"], "groff": ["-man", "-ww", "-z", "-Tutf8"]}
    programs = [name for name in checks if shutil.which(name)]
    if not programs:
        pytest.skip("there is neither mandoc nor groff on this machine")
    for name in programs:
        checked = subprocess.run(
            [name, *checks[name]], input=page, capture_output=True, check=False, timeout=PATIENCE
        )
        said = (checked.stderr + checked.stdout).decode().splitlines()
        # A date would have to be kept up to date; the version says which manual it is.
        assert [line for line in said if "missing date" not in line] == [], said
    if "groff" in programs:
        text = subprocess.run(
            ["groff", "-man", "-Tascii", "-P-cbou"], input=page, capture_output=True, check=True
        ).stdout.decode()
        for command in commands():
            for option in options_in_help(command):
                assert option in text, (command, option)


# top


def metrics_url(server) -> str:
    return f"http://127.0.0.1:{server.await_event('listening')['metrics_port']}/metrics"


class Pages:
    """An HTTP server that gives the pages of a script, one a request, and the last again."""

    def __init__(self, *pages: str | int):
        waiting = list(pages)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802, the library's name
                page = waiting.pop(0) if len(waiting) > 1 else waiting[0]
                self.send_response(page if isinstance(page, int) else 200)
                self.end_headers()
                self.wfile.write(page.encode() if isinstance(page, str) else b"no")

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/metrics"

    def __enter__(self) -> Pages:
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def page(requests: int, started: int = 100) -> str:
    return (
        f'longwave_requests_total{{method="Encode",code="OK"}} {requests}\n'
        f"longwave_ready 1\nprocess_start_time_seconds {started}\n"
    )


def test_one_look_tells_what_was_since_the_start(start_fake):
    server = start_fake()
    for _ in range(3):
        run("encode", target(server), "--quiet", data=b"some text")
    seen = json.loads(run("top", "--metrics", metrics_url(server), "--once", "--json").stdout)
    encode = [entry for entry in seen["requests"] if entry["method"] == "Encode"]
    assert [(entry["code"], entry["count"]) for entry in encode] == [("OK", 3)]
    assert seen["ready"] and seen["since_start"] and seen["model"]["name"] == "fake"
    assert 0 < seen["latency_seconds"]["total"]["p50"] <= seen["latency_seconds"]["total"]["p99"]
    assert seen["batch"]["tokens"] == 9 and seen["process_bytes"] > 1 << 20
    text = run("top", "--metrics", metrics_url(server), "--once").stdout.decode()
    assert "since the server's start" in text and "Encode" in text and "\x1b" not in text


def test_intervals_are_counted_from_look_to_look():
    with Pages(page(10), page(14), page(14), page(5, started=200)) as pages:
        call = ["top", "--metrics", pages.url, "--interval", "0.05", "--count", "3"]
        lines = run(*call, "--json").stdout.splitlines()
    looks = [json.loads(line) for line in lines]
    assert [sum(entry["count"] for entry in look["requests"]) for look in looks] == [4, 0, 5]
    assert [look["restarted"] for look in looks] == [False, False, True]
    assert all(0 < look["seconds"] < PATIENCE for look in looks)


def test_a_look_that_fails_costs_no_other():
    with Pages(page(10), 503, page(14)) as pages:
        done = run("top", "--metrics", pages.url, "--interval", "0.05", "--count", "2")
    assert b"HTTP 503" in done.stderr
    # A header and the second interval, which is compared with the look before the failed one.
    assert len(done.stdout.splitlines()) == 1 + 1


def test_what_is_no_server_is_named():
    gone = run("top", "--metrics", "http://127.0.0.1:1/metrics", "--once", code=3)
    assert b"127.0.0.1:1" in gone.stderr
    for bad, text in ((404, b"HTTP 404"), ("<html>", b"line 1"), ("other 1\n", b"no metrics of a"),
                      ("x" * (17 << 20), b"larger than 16777216")):  # fmt: skip
        with Pages(bad) as pages:
            assert text in run("top", "--metrics", pages.url, "--once", code=3).stderr
    assert b"is not a URL" in run("top", "--metrics", "file:///etc/passwd", code=2).stderr


@pytest.mark.parametrize("ending", ["q", "signal"])
def test_the_live_view_gives_the_terminal_back(start_fake, ending):
    server = start_fake()
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    before = termios.tcgetattr(terminal)
    process = subprocess.Popen(
        [CLI, "top", "--metrics", metrics_url(server), "--interval", "0.05"],
        stdin=terminal, stdout=terminal, stderr=terminal,
    )  # fmt: skip
    drawn = bytearray()
    seen = threading.Condition()

    def read() -> None:
        try:
            while block := os.read(main, 65536):
                with seen:
                    drawn.extend(block)
                    seen.notify_all()
        except OSError:  # what a terminal says at its end
            pass

    def await_drawn(what: bytes, behind: int = 0) -> None:
        with seen:
            assert seen.wait_for(lambda: what in drawn[behind:], PATIENCE), bytes(drawn[-2000:])

    reader = threading.Thread(target=read)
    reader.start()
    try:
        await_drawn(b"expected wait")
        assert termios.tcgetattr(terminal)[3] & termios.ECHO == 0
        # A narrow screen: what was drawn before it does not count.
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 4, 20, 0, 0))
        process.send_signal(signal.SIGWINCH)
        await_drawn(b"\x1b[J", behind=len(drawn))
        mark = len(drawn)
        await_drawn(b"\x1b[J", behind=mark)
        await_drawn(b"\x1b[J", behind=len(drawn))
        frame = bytes(drawn).split(b"\x1b[H")[-2]
        plain = re.sub(rb"\x1b\[[KJ]|\r", b"", frame)
        assert all(len(line) <= 20 for line in plain.split(b"\n"))
        assert 0 < plain.count(b"\n") < 4
        if ending == "q":
            os.write(main, b"q")
        else:
            process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert termios.tcgetattr(terminal) == before
        await_drawn(b"\x1b[?25h\x1b[?1049l")
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
        reader.join(PATIENCE)
        os.close(main)
