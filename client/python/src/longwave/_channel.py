"""How a connection is set up: the same for both clients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import grpc

from longwave._version import __version__
from longwave.results import Tls

_MAX_KEY_BYTES = 1024  # servers take 16 KiB of metadata in all
Option = tuple[str, Any]


def default_service_config() -> str:
    """The gRPC service config that all clients of Longwave use: unary calls are tried up to 4 times
    on UNAVAILABLE, RESOURCE_EXHAUSTED and CANCELLED (which only a server that shuts down in that
    very moment answers), after the time that the server names or 0.05 s to 2 s.

    It has no timeouts, unlike the other clients' copy: gRPC takes the smaller one, and here each
    call says its own, or that it has none."""
    return resources.files(__package__).joinpath("service_config.json").read_text()


def channel_options(
    target: str, service_config: str | None, extra: Sequence[tuple[str, Any]]
) -> list[Option]:
    """Options of the channel; `extra` goes before all else."""
    config = json.loads(service_config) if service_config else json.loads(default_service_config())
    if not isinstance(config, dict):
        raise ValueError("service_config: needs a JSON object, as gRPC defines service configs")
    if "," in target or target.startswith("dns:"):
        # Replicas: one is left alone as soon as its health says NOT_SERVING. With one address the
        # server's own reason (LOADING, DRAINING) is worth more than "no healthy backend".
        config.setdefault("healthCheckConfig", {"serviceName": "longwave.v1.EncoderService"})
    own: dict[str, Any] = {
        "grpc.service_config": json.dumps(config),
        "grpc.enable_retries": 1,
        # A request that does not fit is sent once only: the default of 256 KiB would leave long
        # sequences without retries. 4 bytes for each of 2^20 ids, twice.
        "grpc.per_rpc_retry_buffer_size": 8 << 20,
        # Replies stay below 4 MiB by contract; the rest is room for servers set up otherwise.
        "grpc.max_receive_message_length": 8 << 20,
        "grpc.max_send_message_length": -1,
        # gRPC servers refuse pings more often than every 5 minutes unless set up otherwise.
        "grpc.keepalive_time_ms": 360_000,
        "grpc.keepalive_timeout_ms": 20_000,
        # A server that restarts is found again within the time that retries last.
        "grpc.min_reconnect_backoff_ms": 1_000,
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 5_000,
        # A name is looked up again when a connection ends, but not more often than this. By gRPC's
        # own 30 s a roll-out can replace all the replicas that a client knows before it asks anew.
        "grpc.dns_min_time_between_resolutions_ms": 5_000,
        "grpc.primary_user_agent": f"longwave-client-python/{__version__}",
        # Embeddings are noise to any compression: neither asked for nor accepted.
        "grpc.default_compression_algorithm": 0,
        "grpc.compression_enabled_algorithms_bitset": 1,
    }
    if is_loopback(target):
        # What stays on this machine may carry a key in plaintext: not by way of a proxy that the
        # environment names (http_proxy).
        own["grpc.enable_http_proxy"] = 0
    return list({**own, **dict(extra)}.items())


def credentials(tls: Tls | None) -> grpc.ChannelCredentials | None:
    """None: plaintext."""
    if tls is None:
        return None
    return grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)


def call_metadata(
    target: str, api_key: str | None, tls: Tls | None, allow_plaintext_key: bool
) -> tuple[tuple[str, str], ...]:
    """What travels with each call.

    Raises:
        ValueError: the key cannot be a key, or would cross a network in plaintext. The text does
            not have the key in it.
    """
    if not api_key:
        return ()
    visible = all(32 < ord(character) < 127 for character in api_key)
    if not visible or len(api_key) > _MAX_KEY_BYTES:
        raise ValueError(
            f"api_key: 1 to {_MAX_KEY_BYTES} visible ASCII characters and no blanks; this one has "
            f"{len(api_key)} characters" + ("" if visible else " and some that are not")
        )
    if tls is None and not allow_plaintext_key and not is_loopback(target):
        raise ValueError(
            "api_key: it would travel in plaintext: give tls, or allow_plaintext_key=True"
        )
    return (("authorization", f"Bearer {api_key}"),)


def is_loopback(target: str) -> bool:
    """Whether a gRPC target is this machine by its looks: what is sent there crosses no network."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    for scheme in ("dns:", "ipv4:", "ipv6:"):
        target = target.removeprefix(scheme)
    target = target.lstrip("/")
    if "," in target:  # several addresses: each would need a look
        return False
    if target.startswith("[::1]"):
        return target == "[::1]" or target.startswith("[::1]:")
    host = target.partition(":")[0]
    # "127." may begin a host's name too.
    numeric = all(character in "0123456789." for character in host)
    return host == "localhost" or (host.startswith("127.") and numeric)
