"""Bodies that nobody should send."""

from __future__ import annotations

import json
import random
import socket
from typing import Any

import httpx
import pytest
from openai_processes import ALIAS, Sidecar
from servers import PATIENCE, Server

EMBEDDINGS = "/v1/embeddings"
JSON = {"content-type": "application/json"}


def refused(reply: httpx.Response, status: int, code: str, param: str | None = None) -> str:
    """Checks the form of an error; returns its message."""
    assert reply.status_code == status, reply.text[:300]
    assert reply.headers["content-type"] == "application/json"
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param), error
    if status < 500 and status not in (401, 403, 408, 429):
        assert error["type"] == "invalid_request_error"
        assert reply.headers["x-should-retry"] == "false"
    message: str = error["message"]
    return message


def send(http: httpx.Client, body: bytes) -> httpx.Response:
    return http.post(EMBEDDINGS, content=body, headers=JSON)


def still_serves(http: httpx.Client) -> None:
    reply = http.post(EMBEDDINGS, json={"model": ALIAS, "input": "Hello"})
    assert reply.status_code == 200
    assert reply.json()["usage"]["total_tokens"] == 5


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "character 0"),
        (b"{", "character 1"),
        (b'{"model": "m", "input": "a"', "line 1, column 28"),
        (b'{"model":\n "m",\n "input": [1, 2,, 3]}', "line 3"),
        (b'{"model": "m", "input": [NaN]}', "character 25"),
        (b'{"model": "m", "input": [Infinity]}', "character 25"),
        (b'{"model": "m", "input": [1e999]}', "character 25"),
        (b'{"model": "m", "input": [' + b"9" * 100_000 + b"]}", "character 25"),
        (b'{"model": "m", "input": "\\ud800"}', "surrogate"),
        (b'{"model": "m", "input": "\xed\xa0\x80"}', "UTF-8"),
        (b'{"model": "m", "input": "\xff"}', "UTF-8"),
        (b'\xef\xbb\xbf{"model": "m"}', "byte order mark"),
        (b"[" * 1_000_000, "depth"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "depth"),
        (b'{"model": "m"} trailing', "character 15"),
        (b"null", "null"),
        (b"[]", "an array"),
        (b'"model"', "a string"),
        (b"1.5", "a number"),
        (b"\0" * 100, "character 0"),
    ],
)
def test_what_is_not_a_json_object(http: httpx.Client, body: bytes, words: str) -> None:
    assert words in refused(send(http, body), 400, "MALFORMED_MESSAGE")
    still_serves(http)


WRONG: list[tuple[dict[str, Any], str, str | None, str]] = [
    ({"model": None}, "MISSING_FIELD", "model", "missing"),
    ({"model": 1}, "INVALID_FIELD", "model", "an integer"),
    ({"model": ["m"]}, "INVALID_FIELD", "model", "an array"),
    ({"input": None}, "MISSING_FIELD", "input", "missing"),
    ({"input": ""}, "EMPTY_SEQUENCE", "input", "empty string"),
    ({"input": []}, "EMPTY_REQUEST", "input", "empty array"),
    ({"input": ["a", ""]}, "EMPTY_SEQUENCE", "input[1]", "empty string"),
    ({"input": [[1], []]}, "EMPTY_SEQUENCE", "input[1]", "empty array"),
    ({"input": 5}, "INVALID_FIELD", "input", "an integer"),
    ({"input": True}, "INVALID_FIELD", "input", "a boolean"),
    ({"input": {"text": "a"}}, "INVALID_FIELD", "input", "an object"),
    ({"input": ["a", 1]}, "INVALID_FIELD", "input[1]", "an integer"),
    ({"input": ["a", None]}, "INVALID_FIELD", "input[1]", "null"),
    ({"input": [[1], "a"]}, "INVALID_FIELD", "input[1]", "a string"),
    ({"input": [1, "a"]}, "INVALID_FIELD", "input[1]", "a string"),
    ({"input": [1, 2.5]}, "INVALID_FIELD", "input[1]", "fraction"),
    ({"input": [2.0]}, "INVALID_FIELD", "input[0]", "fraction"),
    ({"input": [1, True]}, "INVALID_FIELD", "input[1]", "a boolean"),
    ({"input": [[[1]]]}, "INVALID_FIELD", "input[0][0]", "an array"),
    ({"input": [[1], [2, None]]}, "INVALID_FIELD", "input[1][1]", "null"),
    ({"input": [0, -1]}, "TOKEN_OUT_OF_RANGE", "input[1]", "-1"),
    ({"input": [[0], [1, 1 << 32]]}, "TOKEN_OUT_OF_RANGE", "input[1][1]", "4294967296"),
    ({"input": [1 << 63]}, "TOKEN_OUT_OF_RANGE", "input[0]", str(1 << 63)),
    ({"input": [1 << 64]}, "INVALID_FIELD", "input[0]", "beyond 64 bits"),
    ({"encoding_format": "int8"}, "INVALID_ENUM", "encoding_format", "'int8'"),
    ({"encoding_format": 1}, "INVALID_ENUM", "encoding_format", "an integer"),
    ({"dimensions": 0}, "INVALID_FIELD", "dimensions", "1 to 4294967295"),
    ({"dimensions": "8"}, "INVALID_FIELD", "dimensions", "a string"),
    ({"dimensions": 8.0}, "INVALID_FIELD", "dimensions", "fraction"),
    ({"dimensions": True}, "INVALID_FIELD", "dimensions", "a boolean"),
    ({"dimensions": 1 << 40}, "INVALID_FIELD", "dimensions", "1099511627776"),
    ({"user": 7}, "INVALID_FIELD", "user", "an integer"),
    ({"truncate_prompt_tokens": 0}, "INVALID_FIELD", "truncate_prompt_tokens", "at least 1"),
    ({"truncate_prompt_tokens": -2}, "INVALID_FIELD", "truncate_prompt_tokens", "-2"),
    ({"truncate_prompt_tokens": "all"}, "INVALID_FIELD", "truncate_prompt_tokens", "a string"),
    ({"truncation_side": "left"}, "MISSING_FIELD", "truncation_side", "truncate_prompt_tokens"),
    ({"truncation_side": "up"}, "INVALID_ENUM", "truncation_side", "'up'"),
    ({"priority": 1.5}, "INVALID_FIELD", "priority", "fraction"),
    ({"priority": "urgent"}, "INVALID_ENUM", "priority", "'urgent'"),
    ({"priority": False}, "INVALID_FIELD", "priority", "a boolean"),
    ({"stream": True}, "INVALID_FIELD", "stream", "known are"),
    ({"Input": "a"}, "INVALID_FIELD", "Input", "Unknown parameter"),
    ({"k" * 10_000: 1}, "INVALID_FIELD", "k" * 64 + "...", "Unknown parameter"),
]


@pytest.mark.parametrize(("change", "code", "param", "words"), WRONG)
def test_wrong_fields(
    http: httpx.Client, change: dict[str, Any], code: str, param: str | None, words: str
) -> None:
    body = {"model": ALIAS, "input": "Hello", **change}
    message = refused(send(http, json.dumps(body).encode()), 400, code, param)
    assert words in message
    assert len(message) < 500


def test_null_means_not_given(http: httpx.Client) -> None:
    names = ("dimensions", "user", "encoding_format", "priority", "truncation_side", "anything")
    body = {"model": ALIAS, "input": "Hello", **dict.fromkeys(names)}
    assert send(http, json.dumps(body).encode()).status_code == 200


def test_of_duplicate_keys_the_last_counts(http: httpx.Client) -> None:
    body = b'{"model": "other", "input": "Hello", "model": "%s", "input": "a"}' % ALIAS.encode()
    assert send(http, body).json()["usage"]["total_tokens"] == 1


def test_deep_input_within_the_parsers_bound(http: httpx.Client) -> None:
    body = b'{"model": "%s", "input": %s}' % (ALIAS.encode(), b"[" * 900 + b"]" * 900)
    refused(send(http, body), 400, "INVALID_FIELD", "input[0][0]")


def test_what_the_server_refuses_has_its_reason(http: httpx.Client) -> None:
    """The fake server's vocabulary ends at 1000."""
    wanted = {"model": ALIAS, "input": [[1], [5, 1000]]}
    message = refused(http.post(EMBEDDINGS, json=wanted), 400, "TOKEN_OUT_OF_RANGE", "input[1]")
    assert "1000" in message
    wanted = {"model": ALIAS, "input": [1000]}
    refused(http.post(EMBEDDINGS, json=wanted), 400, "TOKEN_OUT_OF_RANGE", "input")
    bad_name = http.post(EMBEDDINGS, json={"model": "no such/\n", "input": "a"})
    refused(bad_name, 404, "model_not_found", "model")


def test_texts_never_come_back_in_errors(http: httpx.Client) -> None:
    secret = "the-secret-text"
    for body in (
        f'{{"model": "{ALIAS}", "input": ["{secret}", 1]}}',
        f'{{"model": "{ALIAS}", "input": ["{secret}", ""]}}',
        f'{{"model": "{ALIAS}", "input": "{secret}" oops}}',
        f'{{"model": "{ALIAS}", "input": "{secret}", "dimensions": 3}}',
    ):
        reply = send(http, body.encode())
        assert reply.status_code == 400
        assert secret not in reply.text


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "application/jsonp"},
    ],
)
def test_other_types_of_bodies(http: httpx.Client, headers: dict[str, str]) -> None:
    body = json.dumps({"model": ALIAS, "input": "Hello"}).encode()
    refused(http.post(EMBEDDINGS, content=body, headers=headers), 415, "INVALID_FIELD")


def test_a_charset_is_ignored(http: httpx.Client) -> None:
    body = json.dumps({"model": ALIAS, "input": "Hello"}).encode()
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert http.post(EMBEDDINGS, content=body, headers=headers).status_code == 200


def test_unknown_paths_and_methods(http: httpx.Client) -> None:
    for path in ("/", "/v1", "/v1/embeddings/", "/v1/chat/completions", "//v1/models", "/%00"):
        message = refused(http.post(path, json={"model": ALIAS}), 404, "unknown_url")
        assert "POST /v1/embeddings" in message
    reply = http.get(EMBEDDINGS)
    refused(reply, 405, "method_not_supported")
    assert reply.headers["allow"] == "POST"
    refused(http.delete("/v1/models"), 405, "method_not_supported")
    still_serves(http)


@pytest.mark.parametrize("seed", range(4))
def test_no_body_is_a_fault_of_ours(http: httpx.Client, seed: int) -> None:
    """Bodies of all kinds of values, and such with bytes changed: each is served or refused for a
    reason, and the sidecar stays."""
    random_of = random.Random(seed)
    seen = set()
    for _ in range(400):
        text = json.dumps(random_body(random_of), ensure_ascii=random_of.random() < 0.5)
        body = bytearray(text.encode("utf-8", "surrogatepass"))
        for _ in range(random_of.choice((0, 0, 0, 1, 2))):
            body[random_of.randrange(len(body))] = random_of.randrange(256)
        reply = send(http, bytes(body))
        seen.add(reply.status_code)
        assert reply.status_code in (200, 400, 404), (bytes(body), reply.text)
        assert reply.status_code == 200 or reply.json()["error"]["code"]
    assert seen == {200, 400, 404}
    still_serves(http)


FIELDS = (
    "model input encoding_format dimensions user truncate_prompt_tokens truncation_side priority x"
).split()
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 8, 2, 1.5, 1e300, -0.0, 1 << 31, 1 << 32, 1 << 63, 1 << 64),
    *("", "a", "\x00", "\ud800", "\U0001f600", "left", "right", "base64", "float", "batch", ALIAS),
    *([], {}, [[]], [None], [1, 2], ["a", "b"], [[1], [2]], [1, "a"], {"a": 1}, [[1, -1]]),
]


def random_body(random_of: random.Random) -> dict[str, Any]:
    """Mostly a good one, with some fields that are anything."""
    body: dict[str, Any] = {"model": ALIAS, "input": random_of.choice(("a", ["a", "b"], [1, 2]))}
    for _ in range(random_of.choice((0, 1, 1, 2, 3))):
        body[random_of.choice(FIELDS)] = random_of.choice(VALUES)
    return body


# Bodies as bytes on the wire.


def talk(sidecar: Sidecar, *parts: bytes) -> bytes:
    """Sends the parts, and returns all that comes back until the sidecar closes."""
    with socket.create_connection(("127.0.0.1", sidecar.port), timeout=PATIENCE) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while more := connection.recv(65536):
            received += more
        return received


def head(length: str) -> bytes:
    return (
        f"POST {EMBEDDINGS} HTTP/1.1\r\nhost: here\r\n"
        f"content-type: application/json\r\n{length}\r\n"
    ).encode()


def test_a_claim_of_a_large_body_is_refused_before_it_comes(
    fake: Sidecar, http: httpx.Client
) -> None:
    reply = talk(fake, head("content-length: 104857600\r\n"))
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"104857600 bytes; at most 16777216" in reply
    reply = talk(fake, head("content-length: 104857600\r\nexpect: 100-continue\r\n"))
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert talk(fake, head("content-length: " + "9" * 400 + "\r\n")).startswith(b"HTTP/1.1 4")
    still_serves(http)


def test_a_body_without_a_length_ends_at_the_limit(fake_server: Server) -> None:
    with Sidecar(fake_server.address, "--max-body-bytes=1000") as sidecar:
        chunk = b"200\r\n" + b" " * 512 + b"\r\n"
        reply = talk(sidecar, head("transfer-encoding: chunked\r\n"), chunk, chunk)
        assert reply.startswith(b"HTTP/1.1 413 ")
        assert b"more than 1000 bytes; at most 1000" in reply


def test_a_slow_body_is_given_up(fake_server: Server) -> None:
    with Sidecar(fake_server.address, "--body-timeout=0.2") as sidecar:
        reply = talk(sidecar, head("content-length: 100\r\n"), b'{"model": ')
        assert reply.startswith(b"HTTP/1.1 408 ")
        assert b"0.2 s" in reply


def test_all_bodies_together_are_bounded(fake_server: Server) -> None:
    with Sidecar(
        fake_server.address, "--max-body-bytes=1000", "--max-pending-bytes=1500"
    ) as sidecar:
        half = head("content-length: 1000\r\n") + b" " * 800
        with socket.create_connection(("127.0.0.1", sidecar.port), timeout=PATIENCE) as first:
            first.sendall(half)
            _settle(sidecar)
            reply = talk(sidecar, half)
            assert reply.startswith(b"HTTP/1.1 429 ")
            assert b"MEMORY_FULL" in reply and b"retry-after: 1" in reply
            first.sendall(b" " * 200)
            assert first.recv(12) == b"HTTP/1.1 400"  # blanks are no JSON, but they were taken


def _settle(sidecar: Sidecar) -> None:
    """Until what was sent on other connections before has been read: it came before these, and the
    sidecar takes what has come in turns."""
    with httpx.Client(base_url=sidecar.url, timeout=PATIENCE) as http:
        for _ in range(2):
            assert http.get("/healthz").status_code == 200


def test_requests_at_once_are_bounded(fake_server: Server) -> None:
    with Sidecar(fake_server.address, "--max-requests=1") as sidecar:
        with socket.create_connection(("127.0.0.1", sidecar.port), timeout=PATIENCE) as first:
            first.sendall(head("content-length: 100\r\n"))
            _settle(sidecar)
            reply = talk(sidecar, head("content-length: 2\r\n"), b"{}")
            assert reply.startswith(b"HTTP/1.1 429 ")
            assert b"QUEUE_FULL" in reply
        # The first has left, and its place is free.
        left = sidecar.await_event("request", lambda event: event["status"] == 499)
        assert left["code"] == "CANCELLED"
        assert talk(sidecar, head("content-length: 2\r\nconnection: close\r\n"), b"{}").startswith(
            b"HTTP/1.1 400 "
        )
