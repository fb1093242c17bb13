"""A server with TLS and keys, and connections to it: what the tests of this folder share."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import warnings

import grpc
from harness import PATIENCE, Server, request, service_pb2_grpc

KEY = "canary-key-5f0e6c1d"
OTHER_KEY = "other-key-9a7b3c2e"


class SecureServer(Server):
    """A server with TLS, keys or both; its own channels are those of a good client."""

    def __init__(self, program, *flags, credentials=None, key=None):
        super().__init__(program, *flags)
        self._credentials = credentials
        self._key = key

    def channel(self, **options) -> grpc.Channel:
        settings = {"grpc.enable_retries": 0, "grpc.use_local_subchannel_pool": 1, **options}
        target, items = f"127.0.0.1:{self.port}", list(settings.items())
        if self._credentials is None:
            channel = grpc.insecure_channel(target, options=items)
        else:
            channel = grpc.secure_channel(target, self._credentials, options=items)
        return channel if self._key is None else with_key(channel, self._key)


class _KeyInterceptor(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    def __init__(self, key: str):
        self._key = key

    def _details(self, details):
        metadata = [*(details.metadata or ()), ("authorization", f"Bearer {self._key}")]
        return details._replace(metadata=metadata)

    def intercept_unary_unary(self, continuation, details, message):
        return continuation(self._details(details), message)

    def intercept_stream_stream(self, continuation, details, messages):
        return continuation(self._details(details), messages)


def with_key(channel: grpc.Channel, key: str) -> grpc.Channel:
    return grpc.intercept_channel(channel, _KeyInterceptor(key))


def tenants(**keys: str) -> str:
    """The file of tenants: name -> key."""
    return json.dumps(
        {
            "tenants": [
                {"name": name, "key_sha256": [hashlib.sha256(key.encode()).hexdigest()]}
                for name, key in keys.items()
            ]
        }
    )


def call_code(server: SecureServer, credentials: grpc.ChannelCredentials) -> grpc.StatusCode:
    """What a call over a connection of its own ends with."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"127.0.0.1:{server.port}", credentials, options=options) as channel:
        try:
            service_pb2_grpc.EncoderServiceStub(channel).Encode(request([1]), timeout=PATIENCE)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def handshake(port: int, alpn=("h2",), version=None, ciphers=None) -> ssl.SSLSocket:
    """A TLS connection by Python's own library, as weak as asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = version or ssl.TLSVersion.TLSv1
        if version is not None:
            context.maximum_version = version
    context.set_ciphers(ciphers or "ALL:@SECLEVEL=0")
    if alpn:
        context.set_alpn_protocols(alpn)
    plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    try:
        return context.wrap_socket(plain)
    except Exception:
        plain.close()
        raise
