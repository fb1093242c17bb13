"""The program `longwave` as people have it before them: manual, completion, top."""

from __future__ import annotations

import fcntl
import http.server
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

import pytest
from cli_program import CLI, run, target
from harness import PATIENCE

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
    """An HTTP server that gives the pages of a script, one a request, and the last again. Of a
    number it answers with that code, of None not at all while the test lasts."""

    def __init__(self, *pages: str | int | None):
        waiting = list(pages)
        hanging = self.hanging = threading.Event()
        ended = self._ended = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802, the library's name
                page = waiting.pop(0) if len(waiting) > 1 else waiting[0]
                if page is None:
                    hanging.set()
                    ended.wait()
                    return
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
        self._ended.set()
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


def test_no_figures_are_a_failure():
    with Pages(page(10), 503) as pages:
        done = run("top", "--metrics", pages.url, "--interval", "0.05", "--count", "2", code=3)
    assert done.stderr.count(b"HTTP 503") == 2 and not done.stdout


class LiveView:
    """`longwave top` on a terminal of its own."""

    def __init__(self, url: str):
        self.main, self.terminal = pty.openpty()
        self.resize(24, 100)
        self.before = termios.tcgetattr(self.terminal)
        self.drawn = bytearray()
        self._seen = threading.Condition()
        self.process = subprocess.Popen(
            [CLI, "top", "--metrics", url, "--interval", "0.05"],
            stdin=self.terminal, stdout=self.terminal, stderr=self.terminal,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while block := os.read(self.main, 65536):
                with self._seen:
                    self.drawn.extend(block)
                    self._seen.notify_all()
        except OSError:  # what a terminal says at its end
            pass

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def await_drawn(self, what: bytes, behind: int = 0) -> None:
        with self._seen:
            found = self._seen.wait_for(lambda: what in self.drawn[behind:], PATIENCE)
            assert found, bytes(self.drawn[-2000:])

    def end(self, ending: str) -> None:
        if ending == "q":
            os.write(self.main, b"q")
        else:
            self.process.send_signal(signal.SIGINT)
        assert self.process.wait(PATIENCE) == 0
        assert termios.tcgetattr(self.terminal) == self.before
        self.await_drawn(b"\x1b[?25h\x1b[?1049l")

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *exc) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)
        self._reader.join(PATIENCE)
        os.close(self.main)


@pytest.mark.parametrize("ending", ["q", "signal"])
def test_the_live_view_gives_the_terminal_back(start_fake, ending):
    with LiveView(metrics_url(start_fake())) as view:
        view.await_drawn(b"expected wait")
        assert termios.tcgetattr(view.terminal)[3] & termios.ECHO == 0
        # A narrow screen: what was drawn before it does not count.
        view.resize(4, 20)
        view.process.send_signal(signal.SIGWINCH)
        view.await_drawn(b"\x1b[J", behind=len(view.drawn))
        mark = len(view.drawn)
        view.await_drawn(b"\x1b[J", behind=mark)
        view.await_drawn(b"\x1b[J", behind=len(view.drawn))
        frame = bytes(view.drawn).split(b"\x1b[H")[-2]
        plain = re.sub(rb"\x1b\[[KJ]|\r", b"", frame)
        assert all(len(line) <= 20 for line in plain.split(b"\n"))
        assert 0 < plain.count(b"\n") < 4
        view.end(ending)


@pytest.mark.parametrize("ending", ["q", "signal"])
def test_the_live_view_ends_while_the_server_hangs(ending):
    with Pages(page(10), None) as pages, LiveView(pages.url) as view:
        assert pages.hanging.wait(PATIENCE)
        view.end(ending)
