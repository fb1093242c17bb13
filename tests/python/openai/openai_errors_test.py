"""What callers hear when the server says no, is slow or is not there; and callers that leave."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import socket
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import longwave
import openai
import pytest
from longwave.openai_server.errors import from_longwave
from openai_processes import ALIAS, Sidecar
from servers import PATIENCE, Server

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "integration"))
from certificates import Authority

BODY = {"model": ALIAS, "input": "Hello"}


def ask(sidecar: Sidecar, body: object = None, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{sidecar.url}/v1/embeddings",
        json=body or BODY,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        timeout=PATIENCE,
    )


def error_of(reply: httpx.Response, status: int, code: str) -> dict[str, str]:
    assert reply.status_code == status, reply.text[:300]
    error: dict[str, str] = reply.json()["error"]
    assert error["code"] == code
    return error


def await_status(sidecar: Sidecar, status: int, body: object = None) -> httpx.Response:
    """Asks until the answer has that status, as callers do that are told to try again."""
    waiting = threading.Event()
    deadline = time.monotonic() + PATIENCE
    while (reply := ask(sidecar, body)).status_code != status:
        assert reply.headers["x-should-retry"] == "true", reply.text
        assert time.monotonic() < deadline, reply.text
        waiting.wait(0.05)
    return reply


def start_fake(*flags: str, **script: str) -> Server:
    """As a context manager, once it serves. `script`: LONGWAVE_FAKE_..."""
    return Server(os.environ["LONGWAVE_FAKE_SERVER"], *flags, env=scripted(**script)).ready()


def scripted(**script: str) -> dict[str, str]:
    return {f"LONGWAVE_FAKE_{name.upper()}": value for name, value in script.items()}


def behind(server: Server, *flags: str) -> Sidecar:
    return Sidecar(server.address, f"--model-alias={ALIAS}", *flags)


# Keys.

KEYS = {"alice": "alices-key", "bob": "bobs-key", "carol": "carols-key"}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """Before a server with keys; carol has next to no quota."""
    tenants = [
        {"name": name, "key_sha256": [hashlib.sha256(key.encode()).hexdigest()]}
        for name, key in KEYS.items()
    ]
    tenants[2] |= {"max_compute_share": 0.001, "burst_seconds": 0.005}  # type: ignore[dict-item]
    file = tmp_path_factory.mktemp("tenants") / "tenants.json"
    file.write_text(json.dumps({"tenants": tenants}))
    with start_fake(f"--tenants={file}") as server, behind(server) as sidecar:
        yield sidecar


def test_keys_are_the_servers(keyed: Sidecar) -> None:
    assert ask(keyed, authorization="Bearer alices-key").status_code == 200
    assert ask(keyed, authorization="bearer bobs-key").status_code == 200
    for headers in ({}, {"authorization": "Bearer nobodys-key"}):
        error = error_of(ask(keyed, **headers), 401, "UNAUTHENTICATED")
        assert error["type"] == "authentication_error"
        models = httpx.get(f"{keyed.url}/v1/models", headers=headers, timeout=PATIENCE)
        error_of(models, 401, "UNAUTHENTICATED")
    # Who was refused does not stand in the way of who has a key.
    assert ask(keyed, authorization="Bearer alices-key").status_code == 200


def test_a_wrong_model_needs_a_key_too(keyed: Sidecar) -> None:
    body = {"model": "other", "input": "Hello"}
    error_of(ask(keyed, body), 401, "UNAUTHENTICATED")
    error_of(ask(keyed, body, authorization="Bearer alices-key"), 404, "model_not_found")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer a b", "Bearer \x7f", "Basic YTpi", "Bearer " + "k" * 1025]
)
def test_headers_that_are_no_keys(keyed: Sidecar, header: str) -> None:
    error = error_of(ask(keyed, authorization=header), 401, "UNAUTHENTICATED")
    assert "k" * 20 not in error["message"]


def test_probes_need_no_key(keyed: Sidecar) -> None:
    for path in ("/healthz", "/readyz"):
        assert httpx.get(keyed.url + path, timeout=PATIENCE).status_code == 200


def test_the_official_client_raises_authentication_error(keyed: Sidecar) -> None:
    client = openai.OpenAI(api_key="nobodys-key", base_url=f"{keyed.url}/v1", max_retries=5)
    with client, pytest.raises(openai.AuthenticationError):
        client.embeddings.create(model=ALIAS, input="Hello")


def test_a_quota_says_when_to_come_back(keyed: Sidecar) -> None:
    headers = {"authorization": "Bearer carols-key"}
    body = {"model": ALIAS, "input": list(range(1000))}
    replies = [ask(keyed, body, **headers) for _ in range(20)]
    refused = next(reply for reply in replies if reply.status_code != 200)
    error = error_of(refused, 429, "QUOTA_EXCEEDED")
    assert error["type"] == "rate_limit_error"
    wait = int(refused.headers["retry-after-ms"]) / 1000
    assert wait > 0
    assert wait <= int(refused.headers["retry-after"]) < wait + 1.001
    assert refused.headers["x-should-retry"] == "true"
    # Others have quotas of their own.
    assert ask(keyed, authorization="Bearer bobs-key").status_code == 200


def test_keys_are_in_no_log(keyed: Sidecar) -> None:
    ask(keyed, authorization="Bearer alices-key", x_request_id="the-last")
    keyed.await_event("request", lambda event: event["request_id"] == "the-last")
    assert not [line for line in keyed.lines if "s-key" in line]


def test_ignored_keys_stay_here(tmp_path: pathlib.Path) -> None:
    tenants = [{"name": "a", "key_sha256": [hashlib.sha256(b"alices-key").hexdigest()]}]
    file = tmp_path / "tenants.json"
    file.write_text(json.dumps({"tenants": tenants}))
    with start_fake(f"--tenants={file}") as server, behind(server, "--ignore-keys") as sidecar:
        error_of(ask(sidecar, authorization="Bearer alices-key"), 401, "UNAUTHENTICATED")


# Servers that are not able to.


def test_a_deadline_that_cannot_be_met_is_not_tried_again(fake: Sidecar) -> None:
    body = {"model": ALIAS, "input": [1] * 120_000}  # 0.12 s
    reply = ask(fake, body, x_stainless_read_timeout="0.1")
    error = error_of(reply, 429, "DEADLINE_UNMEETABLE")
    assert "deadline" in error["message"]
    assert reply.headers["x-should-retry"] == "false"
    assert "retry-after" not in reply.headers


@pytest.mark.parametrize("header", ["", "soon", "nan", "-1", "0", "1e400"])
def test_a_deadline_that_is_none_is_ignored(fake: Sidecar, header: str) -> None:
    assert ask(fake, x_stainless_read_timeout=header).status_code == 200


def test_a_deadline_that_passes() -> None:
    with (
        start_fake(faults="hang@step:0") as server,
        behind(server, "--timeout=0.5") as sidecar,
    ):
        reply = ask(sidecar)
        error_of(reply, 504, "DEADLINE_EXPIRED")
        assert reply.headers["x-should-retry"] == "false"


def test_several_calls_have_one_deadline() -> None:
    """30 of 0.2 s, one after the other, of which each is done within its own 2 s."""
    with (
        start_fake("--max_batch_sequences=1", base_seconds="0.2") as server,
        behind(server, "--timeout=2") as sidecar,
    ):
        reply = ask(sidecar, {"model": ALIAS, "input": [[1] * 30_000] * 30})
        error_of(reply, 504, "DEADLINE_EXPIRED")
        assert reply.headers["x-should-retry"] == "false"
        server.await_metric("longwave_requests_cancelled_total", bool)


def test_a_sequence_above_the_models_limit(tmp_path: pathlib.Path) -> None:
    (tmp_path / "fake").write_text("max_tokens 10\n")
    with start_fake(f"--model={tmp_path}") as server, behind(server) as sidecar:
        text = "x" * 11
        error = error_of(ask(sidecar, {"model": ALIAS, "input": text}), 400, "SEQUENCE_TOO_LONG")
        assert error["param"] == "input"
        assert "11" in error["message"] and "10" in error["message"]
        reply = ask(sidecar, {"model": ALIAS, "input": ["a", text]})
        assert error_of(reply, 400, "SEQUENCE_TOO_LONG")["param"] == "input[1]"
        cut = ask(sidecar, {"model": ALIAS, "input": text, "truncate_prompt_tokens": -1})
        assert cut.json()["usage"]["total_tokens"] == 10


def test_a_result_that_is_no_number() -> None:
    with start_fake(poison_id="7") as server, behind(server) as sidecar:
        reply = ask(sidecar, {"model": ALIAS, "input": [[1], [2, 7], [3]]})
        error = error_of(reply, 500, "NON_FINITE")
        assert error["type"] == "server_error"
        assert error["message"].startswith("input[1]: ")
        assert ask(sidecar, {"model": ALIAS, "input": [1]}).status_code == 200


def test_work_without_memory_is_not_tried_again() -> None:
    with (
        start_fake(out_of_memory_above_tokens="100") as server,
        behind(server) as sidecar,
    ):
        reply = ask(sidecar, {"model": ALIAS, "input": [1] * 200})
        error_of(reply, 429, "OUT_OF_MEMORY")
        assert reply.headers["x-should-retry"] == "false"


def test_a_server_that_loads() -> None:
    with (
        Server(os.environ["LONGWAVE_FAKE_SERVER"], env=scripted(load_seconds="600")) as server,
        behind(server) as sidecar,
    ):
        assert httpx.get(f"{sidecar.url}/healthz", timeout=PATIENCE).status_code == 200
        ready = httpx.get(f"{sidecar.url}/readyz", timeout=PATIENCE)
        error_of(ready, 503, "LOADING")
        reply = ask(sidecar)
        error_of(reply, 503, "LOADING")
        assert reply.headers["x-should-retry"] == "true"


def test_a_server_that_is_not_there_and_comes_back() -> None:
    with start_fake() as server, behind(server, "--timeout=5") as sidecar:
        assert ask(sidecar).status_code == 200
        server.signal()
        assert server.wait() == 0
        error_of(ask(sidecar), 503, "UNAVAILABLE")
        assert httpx.get(f"{sidecar.url}/readyz", timeout=PATIENCE).status_code == 503
        assert httpx.get(f"{sidecar.url}/healthz", timeout=PATIENCE).status_code == 200
        with start_fake(f"--address={server.address}"):
            await_status(sidecar, 200)
            assert httpx.get(f"{sidecar.url}/readyz", timeout=PATIENCE).status_code == 200


def test_another_model_at_the_same_address(tmp_path: pathlib.Path) -> None:
    """Never are vectors of one model returned under the name of another."""

    def model(name: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "fake").write_text(f"name {name}\nrow_seed {ord(name[0])}\n")
        return f"--model={folder}"

    with start_fake(model("first")) as server, behind(server) as sidecar:
        first = ask(sidecar, {"model": "first", "input": "Hello"})
        assert first.status_code == 200
        server.signal()
        server.wait()
        with start_fake(model("other"), f"--address={server.address}"):
            gone = await_status(sidecar, 404, {"model": "first", "input": "a"})
            error_of(gone, 404, "model_not_found")
            other = ask(sidecar, {"model": "other", "input": "Hello"})
            assert other.status_code == 200
            assert other.json()["data"] != first.json()["data"]
            assert ask(sidecar).json()["data"] == other.json()["data"]
            listed = httpx.get(f"{sidecar.url}/v1/models", timeout=PATIENCE).json()["data"]
            assert [entry["id"] for entry in listed] == ["other", ALIAS]


# Callers that leave.


def start_slow(tokens: int) -> Server:
    """Takes 50 s for so many tokens, and looks 500 times meanwhile whether they are wanted."""
    return start_fake(
        seconds_per_token=str(50 / tokens),
        tokens_per_slice=str(tokens // 500),
    )


@pytest.mark.parametrize("tokens", [1000, 200_000])  # by Encode, by EncodeStream
def test_a_caller_that_leaves_ends_its_call(tokens: int) -> None:
    with start_slow(tokens) as server, behind(server) as sidecar:
        body = json.dumps({"model": ALIAS, "input": [1] * tokens}).encode()
        head = (
            "POST /v1/embeddings HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nx-request-id: leaves\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", sidecar.port), timeout=PATIENCE) as caller:
            caller.sendall(head.encode() + body)
            server.await_metric("longwave_running_requests", bool)
        left = sidecar.await_event("request", lambda event: event["request_id"] == "leaves")
        assert (left["status"], left["code"]) == (499, "CANCELLED")
        server.await_metric("longwave_requests_cancelled_total", bool)


def test_a_timeout_of_the_official_client_ends_its_call() -> None:
    with start_slow(1000) as server, behind(server) as sidecar:
        client = openai.OpenAI(api_key="k", base_url=f"{sidecar.url}/v1", max_retries=0)
        # It says that it would wait longer than it does, so that the call is not refused at once.
        headers = {"x-stainless-read-timeout": "100"}
        with client, pytest.raises(openai.APITimeoutError):
            client.embeddings.create(
                model=ALIAS, input="a" * 1000, timeout=1, extra_headers=headers
            )
        server.await_metric("longwave_requests_cancelled_total", bool)


def test_tls_to_the_server(tmp_path: pathlib.Path) -> None:
    authority = Authority(tmp_path / "ca")
    authority.issue().write(tmp_path / "server")
    authority.issue().write(tmp_path / "client")
    (tmp_path / "ca.pem").write_bytes(authority.root)
    tenants = [{"name": "a", "key_sha256": [hashlib.sha256(b"alices-key").hexdigest()]}]
    (tmp_path / "tenants.json").write_text(json.dumps({"tenants": tenants}))
    flags = [
        f"--tls_certificate={tmp_path}/server/tls.crt",
        f"--tls_key={tmp_path}/server/tls.key",
        f"--tls_client_ca={tmp_path}/ca.pem",
        f"--tenants={tmp_path}/tenants.json",
    ]
    own = [
        f"--tls-ca={tmp_path}/ca.pem",
        f"--tls-certificate={tmp_path}/client/tls.crt",
        f"--tls-key={tmp_path}/client/tls.key",
    ]
    with start_fake(*flags) as server:
        with behind(server, *own) as sidecar:
            assert ask(sidecar, authorization="Bearer alices-key").status_code == 200
            error_of(ask(sidecar, authorization="Bearer no-key"), 401, "UNAUTHENTICATED")
            assert httpx.get(f"{sidecar.url}/readyz", timeout=PATIENCE).status_code == 200
        with behind(server, own[0], "--timeout=5") as stranger:
            error_of(ask(stranger, authorization="Bearer alices-key"), 503, "UNAVAILABLE")


@pytest.mark.parametrize(
    ("error", "begins"),
    [
        (longwave.InvalidArgument("bad", field="tokens.ids[7]", index=3), "input[3]: bad"),
        (longwave.InvalidArgument("bad", field="sentences[3]", index=3), "input[3]: bad"),
        (longwave.Internal("bad", reason="NON_FINITE", index=3), "input[3]: bad"),
        # What it was that came with the first input of the request says nothing about that input.
        (longwave.ResourceExhausted("full", reason="QUEUE_FULL", index=0, retry_after=1), "full"),
        (longwave.InvalidArgument("bad", field="output.truncate_dim", index=0), "bad"),
        (longwave.DeadlineExceeded("late", index=0), "late"),
    ],
)
def test_errors_name_an_input_only_if_it_is_to_blame(
    error: longwave.LongwaveError, begins: str
) -> None:
    assert from_longwave(error, single=False, model=ALIAS).message == begins
    assert from_longwave(error, single=True, model=ALIAS).message == error.details
