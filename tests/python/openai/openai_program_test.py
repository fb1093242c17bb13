"""The program: arguments, files, signals, log."""

from __future__ import annotations

import asyncio
import concurrent.futures
import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import httpx
import longwave
import longwave.openai_server.app as app_module
import numpy as np
import pytest
from longwave.openai_server.app import Settings, create_app
from longwave.openai_server.main import _listen
from longwave.tokenizers import Ids
from openai_processes import ALIAS, Sidecar, sidecar_command
from servers import PATIENCE, Server

BODY = {"model": ALIAS, "input": "Hello"}


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "longwave.openai_server", *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_help_names_every_option_with_its_default() -> None:
    done = run("--help")
    assert done.returncode == 0
    for word in ("--server", "127.0.0.1:50051", "--port-file", "--model-alias", "16777216"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--port=70000"], "0 to 65535"),
        (["--port=x"], "--port"),
        (["--timeout=0"], "above 0"),
        (["--timeout=nan"], "above 0"),
        (["--max-body-bytes=-1"], "above 0"),
        (["--log-level=loud"], "--log-level"),
        (["--tls-ca=/nonexistent"], "--tls-ca"),
        (["--tls-certificate=/nonexistent"], "--tls-key"),
        (["--tokenizer=/tmp/words.txt"], "tokenizer.json"),
        (["--tokenizer=/nonexistent/tokenizer.json"], "--tokenizer"),
        (["--server=encoder.example:50051"], "plaintext"),
        (["--unknown"], "--unknown"),
    ],
)
def test_wrong_arguments(flags: list[str], words: str) -> None:
    done = run(*flags)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("package", ["orjson", "starlette", "uvicorn"])
def test_without_the_extras_packages(package: str) -> None:
    """As if one of them were not installed."""
    code = f"import sys; sys.modules[{package!r}] = None; " + (
        "from longwave.openai_server.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2
    assert f"needs the package {package!r}" in done.stderr
    assert "longwave-client[openai-server]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(fake: Sidecar) -> None:
    done = run(f"--port={fake.port}")
    assert done.returncode == 1
    assert f"127.0.0.1:{fake.port}" in done.stderr


def test_keys_may_cross_a_network_where_that_is_said() -> None:
    for flag in ("--ignore-keys", "--plaintext-key", "--tls"):
        with Sidecar("encoder.invalid:50051", flag) as sidecar:
            assert httpx.get(f"{sidecar.url}/healthz", timeout=PATIENCE).status_code == 200


def test_the_port_file_has_the_port(fake_server: Server, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "port"
    with Sidecar(fake_server.address, f"--port-file={file}") as sidecar:
        assert file.read_text() == f"{sidecar.port}\n"
        assert list(tmp_path.iterdir()) == [file]
        assert sidecar.stop() == 0
        assert sidecar.events[-1]["event"] == "stopped"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_replies_do_not_wait_for_acknowledgements(host: str) -> None:
    """A socket without TCP_NODELAY holds the second part of each reply back for 40 ms."""

    async def accepted() -> int:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[int] = loop.create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                taken = transport.get_extra_info("socket")
                found.set_result(taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        listener = _listen(host, 0)
        port = listener.getsockname()[1]
        # As uvicorn serves a socket that it is given.
        server = await loop.create_server(Protocol, sock=listener)
        _, writer = await asyncio.open_connection(host, port)
        value = await asyncio.wait_for(found, PATIENCE)
        writer.close()
        server.close()
        return value

    assert asyncio.run(accepted()) != 0


def test_applications_need_leave_for_keys_in_plaintext_too() -> None:
    with pytest.raises(ValueError, match="plaintext"):
        create_app(Settings(server="encoder.example:50051"))
    for allowed in ({"forward_keys": False}, {"plaintext_keys": True}, {"tls": longwave.Tls()}):
        create_app(Settings(server="encoder.example:50051", **allowed))
    create_app(Settings(server="127.0.0.1:50051"))


def test_ipv6(fake_server: Server) -> None:
    with Sidecar(fake_server.address, "--host=::1") as sidecar:
        reply = httpx.get(f"http://[::1]:{sidecar.port}/readyz", timeout=PATIENCE)
        assert reply.json() == {"status": "ready"}


def test_a_tokenizer_must_be_the_models(fake_server: Server, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "tokenizer.json"
    vocabulary = {"[UNK]": 0, "Hello": 1, "world": 2}
    file.write_text(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [],
                "pre_tokenizer": {"type": "Whitespace"},
                "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
            }
        )
    )
    flags = (f"--tokenizer={file}", f"--model-alias={ALIAS}")
    with Sidecar(fake_server.address, *flags) as sidecar:
        reply = httpx.post(f"{sidecar.url}/v1/embeddings", json=BODY, timeout=PATIENCE)
        assert reply.status_code == 400
        assert "tokenizer" in reply.json()["error"]["message"]
        # Ids need none.
        ids = httpx.post(
            f"{sidecar.url}/v1/embeddings", json={"model": ALIAS, "input": [1]}, timeout=PATIENCE
        )
        assert ids.status_code == 200


def start_slow() -> Server:
    """Takes 2 s for 1000 tokens."""
    script = {
        "LONGWAVE_FAKE_SECONDS_PER_TOKEN": "0.002",
        "LONGWAVE_FAKE_TOKENS_PER_SLICE": "10",
    }
    return Server(os.environ["LONGWAVE_FAKE_SERVER"], env=script).ready()


def test_sigterm_lets_requests_end() -> None:
    with start_slow() as server, Sidecar(server.address, f"--model-alias={ALIAS}") as sidecar:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            body = {"model": ALIAS, "input": [1] * 1000}
            url = f"{sidecar.url}/v1/embeddings"
            reply = pool.submit(httpx.post, url, json=body, timeout=PATIENCE)
            server.await_metric("longwave_running_requests", bool)
            assert sidecar.stop() == 0
            assert reply.result().status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{sidecar.url}/healthz", timeout=PATIENCE)


def test_grace_ends() -> None:
    flags = (f"--model-alias={ALIAS}", "--grace=1")
    with start_slow() as server, Sidecar(server.address, *flags) as sidecar:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            body = {"model": ALIAS, "input": [1] * 25_000}  # 50 s
            url = f"{sidecar.url}/v1/embeddings"
            reply = pool.submit(httpx.post, url, json=body, timeout=PATIENCE)
            server.await_metric("longwave_running_requests", bool)
            begin = time.monotonic()
            assert sidecar.stop() == 0
            assert time.monotonic() - begin < 30
            failed = reply.exception()
            assert failed is not None or reply.result().status_code >= 500
        server.await_metric("longwave_requests_cancelled_total", bool)


def test_a_log_that_nobody_reads_stops_nobody(fake_server: Server) -> None:
    """A pipe holds 64 KiB: some 300 lines."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        sidecar_command(fake_server.address, f"--model-alias={ALIAS}"), stderr=writing
    )
    os.close(writing)
    try:
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(reading, 1)
        connection = http.client.HTTPConnection(
            "127.0.0.1", json.loads(line)["port"], timeout=PATIENCE
        )
        for _ in range(1500):
            connection.request("GET", "/v1/nothing")
            reply = connection.getresponse()
            reply.read()
            assert reply.status == 404
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reading)


def test_what_the_log_says(fake: Sidecar) -> None:
    headers = {"x-request-id": "for-the-log"}
    body = {"model": ALIAS, "input": ["a secret", ""]}
    httpx.post(f"{fake.url}/v1/embeddings", json=body, headers=headers, timeout=PATIENCE)
    line = fake.await_event("request", lambda event: event["request_id"] == "for-the-log")
    assert line["level"] == "info"
    assert (line["method"], line["path"]) == ("POST", "/v1/embeddings")
    assert (line["status"], line["code"]) == (400, "EMPTY_SEQUENCE")
    assert line["seconds"] > 0
    assert line["reply_bytes"] > 0
    assert not [line for line in fake.lines if "secret" in line]


def test_many_callers_at_once(fake: Sidecar) -> None:
    """Connections of 32 threads, each with replies of its own."""
    barrier = threading.Barrier(32)

    def call(number: int) -> list[int]:
        barrier.wait(PATIENCE)
        with httpx.Client(base_url=fake.url, timeout=PATIENCE) as client:
            return [
                client.post("/v1/embeddings", json={"model": ALIAS, "input": "x" * length}).json()[
                    "usage"
                ]["total_tokens"]
                for length in range(number + 1, number + 6)
            ]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        for number, got in enumerate(pool.map(call, range(32))):
            assert got == list(range(number + 1, number + 6))


def test_as_an_application_of_any_server(fake_server: Server) -> None:
    async def call() -> httpx.Response:
        app = create_app(Settings(server=fake_server.address, aliases=(ALIAS,)))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post("/v1/embeddings", json=BODY, timeout=PATIENCE)

    assert asyncio.run(call()).json()["usage"]["total_tokens"] == 5


@pytest.mark.parametrize("held", ["parse", "embeddings_body"])
def test_large_bodies_are_read_and_written_beside_the_loop(
    fake_server: Server, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    begun, may_end = threading.Event(), threading.Event()
    work = getattr(app_module, held)

    def waiting(*arguments: object) -> object:
        begun.set()
        assert may_end.wait(PATIENCE)
        return work(*arguments)

    monkeypatch.setattr(app_module, held, waiting)
    if held == "embeddings_body":
        monkeypatch.setattr(app_module, "_INLINE_BYTES", 0)
    texts = ["x" * 1000] * 300

    async def run() -> tuple[httpx.Response, httpx.Response]:
        app = create_app(Settings(server=fake_server.address, aliases=(ALIAS,)))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://here", timeout=PATIENCE
        ) as client:
            body = {"model": ALIAS, "input": texts}
            long = asyncio.ensure_future(client.post("/v1/embeddings", json=body))
            await asyncio.to_thread(begun.wait, PATIENCE)
            short = await client.get("/v1/models")
            assert not long.done()
            may_end.set()
            return short, await long

    short, long = asyncio.run(run())
    assert (short.status_code, long.status_code) == (200, 200)
    assert len(long.json()["data"]) == 300


class SlowTokenizer(longwave.ByteTokenizer):
    """The first time it takes until somebody says so."""

    def __init__(self) -> None:
        super().__init__(fingerprint="")
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        self.begun.set()
        assert self.may_end.wait(PATIENCE)
        if "wrong" in texts:
            raise ValueError("no such text")
        return super().encode_batch(texts)


@pytest.mark.parametrize("last", ["right", "wrong"])
def test_while_a_long_text_is_tokenized_others_are_served(fake_server: Server, last: str) -> None:
    tokenizer = SlowTokenizer()
    texts = ["x" * 5000, "x" * 6000, "x" * 5000, last]

    async def run() -> tuple[httpx.Response, httpx.Response]:
        app = create_app(
            Settings(server=fake_server.address, aliases=(ALIAS,), tokenizer=tokenizer)
        )
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            body = {"model": ALIAS, "input": texts}
            long = asyncio.ensure_future(client.post("/v1/embeddings", json=body))
            await asyncio.to_thread(tokenizer.begun.wait, PATIENCE)
            # Were the event loop busy with the text, this would have to wait for itself.
            short = await client.get("/v1/models")
            assert not long.done()
            tokenizer.may_end.set()
            return short, await long

    short, long = asyncio.run(run())
    assert short.status_code == 200
    if last == "wrong":
        assert long.status_code == 400
        assert long.json()["error"]["param"] == "input[3]"
        return
    with longwave.Client(fake_server.address) as client:
        wanted = client.encode(texts)
    got = [entry["embedding"] for entry in long.json()["data"]]
    assert np.array_equal(np.array(got).astype(np.float32), wanted)
