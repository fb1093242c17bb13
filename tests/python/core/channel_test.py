"""How a connection is set up: its deadlines, and proxies."""

from __future__ import annotations

import json
import pathlib
import socket

import grpc
import longwave
import pytest
from longwave import _channel

ROOT = pathlib.Path(__file__).resolve().parents[3]


def test_the_service_config_is_the_shipped_one_without_its_timeouts():
    """gRPC takes the smaller of a call's own timeout and the config's."""
    own = json.loads(_channel.default_service_config())
    shipped = json.loads((ROOT / "client" / "service_config.json").read_text())
    assert any("timeout" in method for method in shipped["methodConfig"])
    for method in shipped["methodConfig"]:
        method.pop("timeout", None)
    assert own == shipped


@pytest.fixture
def proxy(monkeypatch):
    """A port that the environment names as the proxy for all, and that takes whoever comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for name in ("no_grpc_proxy", "no_proxy", "grpc_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{listener.getsockname()[1]}")
        listener.setblocking(False)
        yield listener


def test_what_stays_on_this_machine_goes_by_no_proxy(connect, fake_server, proxy):
    client = connect(fake_server, api_key="a-key-for-tests", timeout=20)
    assert client.encode("hello").shape == (16,)
    with pytest.raises(BlockingIOError):
        proxy.accept()


def test_other_targets_may_go_by_one():
    def option(target, extra=()):
        return dict(_channel.channel_options(target, None, extra)).get("grpc.enable_http_proxy")

    assert option("127.0.0.1:1") == option("localhost:1") == 0
    assert option("encoder.example:1") is None
    assert option("127.0.0.1:1", [("grpc.enable_http_proxy", 1)]) == 1


def test_damaged_details_do_not_hide_the_status(connect, scripted):
    def encode(request, context):
        context.set_trailing_metadata([("grpc-status-details-bin", b"\xff\xff\xff")])
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "what the server said")

    scripted.encode = encode
    with pytest.raises(longwave.FailedPrecondition, match="what the server said") as caught:
        connect(scripted.address).encode("abc")
    assert caught.value.reason == ""


def test_of_damaged_details_what_can_be_read_is_kept(connect, scripted):
    def encode(request, context):
        # google.rpc.Status: an ErrorInfo {reason: "DRAINING"}, then one that is cut short.
        kind = b"\x0a\x28type.googleapis.com/google.rpc.ErrorInfo"
        good = kind + b"\x12\x0a\x0a\x08DRAINING"
        bad = kind + b"\x12\x02\x0a\x7f"
        details = b"".join(b"\x1a" + bytes([len(part)]) + part for part in (good, bad))
        context.set_trailing_metadata([("grpc-status-details-bin", details)])
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "what the server said")

    scripted.encode = encode
    with pytest.raises(longwave.FailedPrecondition) as caught:
        connect(scripted.address).encode("abc")
    assert caught.value.reason == "DRAINING"
