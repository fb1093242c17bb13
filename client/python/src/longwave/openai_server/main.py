"""The program `longwave-openai`."""

from __future__ import annotations

import argparse
import os
import pathlib
import signal
import socket
import sys
from collections.abc import Callable, Sequence

import uvicorn

from longwave import HuggingFaceTokenizer, SentencePieceTokenizer, Tls, Tokenizer
from longwave._version import __version__
from longwave.openai_server import log
from longwave.openai_server.app import create_app
from longwave.openai_server.intake import IntakeLimits
from longwave.openai_server.settings import Settings, exposed

_BACKLOG = 2048
_DESCRIPTION = """\
OpenAI's embeddings API over a Longwave server: POST /v1/embeddings, GET /v1/models,
/v1/models/{id}, /healthz (this process lives) and /readyz (the server serves).

Point an OpenAI client at it with base_url="http://HOST:PORT/v1". Its API key goes with
each call to the Longwave server, which says whether it is one."""
_EPILOG = """\
SIGTERM or SIGINT: no new connections; requests in progress have --grace seconds to end.
Exit code 0; 1: the port cannot be opened; 2: wrong arguments."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        settings = _settings(given)
    except (OSError, ValueError, ImportError) as error:
        parser.error(str(error))
    try:
        listener = _listen(given.host, given.port)
    except OSError as error:
        print(f"longwave-openai: {given.host}:{given.port}: {error}", file=sys.stderr)
        return 1
    output = log.Log(given.log_level)
    try:
        _serve(given, settings, listener)
    finally:
        listener.close()
        log.event("info", "stopped")
        output.close()
    return 0


def _serve(given: argparse.Namespace, settings: Settings, listener: socket.socket) -> None:
    config = uvicorn.Config(
        create_app(settings),
        # Whatever else is installed: h11 bounds the headers of a request, and httptools does not.
        http="h11",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=given.grace,
    )
    server = uvicorn.Server(config)
    # Before anybody can know that this process is there. uvicorn has handlers of its own while it
    # serves, and raises the signals that ended it once more afterwards, which is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    port = listener.getsockname()[1]
    if given.port_file:
        _write_file(given.port_file, f"{port}\n")
    log.event("info", "listening", host=given.host, port=port, server=settings.server)
    server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; connections wait in it until the server takes them."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named: asyncio sets TCP_NODELAY only where it is, and without that a reply,
    # which is written in two parts, waits 40 ms for the acknowledgement of the first.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _write_file(name: str, text: str) -> None:
    """The file appears whole."""
    partial = pathlib.Path(f"{name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(name)


def _settings(given: argparse.Namespace) -> Settings:
    """
    Raises:
        ValueError, OSError, ImportError: an option's value cannot be used, with its name.
    """
    tls = _tls(given)
    # As Settings would say it, in the words of the options.
    if exposed(given.server, tls) and not (given.plaintext_key or given.ignore_keys):
        raise ValueError(
            f"--server {given.server}: callers' API keys would cross the network in plaintext; "
            "give --tls-ca or --tls, or --ignore-keys (the server has no keys), or --plaintext-key "
            "(the network is encrypted by other means)"
        )
    return Settings(
        server=given.server,
        tls=tls,
        aliases=tuple(given.model_alias),
        tokenizer=_tokenizer(given.tokenizer, given.tokenizer_kind),
        timeout=given.timeout,
        forward_keys=not given.ignore_keys,
        plaintext_keys=given.plaintext_key,
        limits=IntakeLimits(
            body_bytes=given.max_body_bytes,
            pending_bytes=max(given.max_pending_bytes, given.max_body_bytes),
            requests=given.max_requests,
            body_seconds=given.body_timeout,
        ),
    )


def _tls(given: argparse.Namespace) -> Tls | None:
    if bool(given.tls_certificate) != bool(given.tls_key):
        raise ValueError("--tls-certificate and --tls-key: one needs the other")
    if not (given.tls or given.tls_ca or given.tls_certificate):
        return None
    return Tls(
        ca=_read("--tls-ca", given.tls_ca),
        certificate=_read("--tls-certificate", given.tls_certificate),
        key=_read("--tls-key", given.tls_key),
    )


def _read(option: str, name: str | None) -> bytes | None:
    if name is None:
        return None
    try:
        return pathlib.Path(name).read_bytes()
    except OSError as error:
        raise OSError(f"{option}: {error}") from error


def _tokenizer(name: str | None, kind: str | None) -> Tokenizer | None:
    """By the file's name: *.json is Hugging Face's, *.model SentencePiece's."""
    if name is None:
        return None
    try:
        if name.endswith(".json"):
            return HuggingFaceTokenizer(name, kind=kind or "huggingface")
        if name.endswith(".model"):
            return SentencePieceTokenizer(name, kind=kind or "sentencepiece")
    except ImportError:
        raise
    except Exception as error:  # the libraries have no common one for a file they cannot read
        raise ValueError(f"--tokenizer {name}: {error}") from error
    raise ValueError(f"--tokenizer {name}: has to be a tokenizer.json or a *.model")


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = kind(text)
        if not 0 < value < 1 << 53:
            raise argparse.ArgumentTypeError(f"{text}: has to be above 0")
        return value

    convert.__name__ = "whole number" if kind is int else "number"
    return convert


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text}: has to be 0 to 65535")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="longwave-openai",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    add = parser.add_argument
    add(
        "--server",
        default="127.0.0.1:50051",
        metavar="HOST:PORT",
        help="the Longwave server; several: ipv4:A:PORT,B:PORT or dns:///NAME:PORT (%(default)s)",
    )
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=_port, default=8080, help="0 takes any free one (%(default)s)")
    add("--port-file", metavar="FILE", help="gets the port's number once it is open")
    add(
        "--model-alias",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name for the server's model, such as text-embedding-3-small; may be given "
        "more than once. Any other name but the model's own is 404, model_not_found",
    )
    add(
        "--tokenizer",
        metavar="FILE",
        help="tokenizer.json (Hugging Face) or *.model (SentencePiece) for texts; without it the "
        "tokenizer that the model's kind stands for",
    )
    add("--tokenizer-kind", metavar="KIND", help="what the model calls that tokenizer")
    add("--tls", action="store_true", help="speak TLS to the server, with the system's roots")
    add("--tls-ca", metavar="FILE", help="PEM roots for the server's certificate")
    add("--tls-certificate", metavar="FILE", help="PEM certificate of this client's own")
    add("--tls-key", metavar="FILE", help="its PEM key")
    add(
        "--ignore-keys",
        action="store_true",
        help="leave callers' API keys here: for servers without keys",
    )
    add(
        "--plaintext-key",
        action="store_true",
        help="let callers' API keys cross a network without TLS",
    )
    _add_limits(parser)
    add(
        "--log-level",
        choices=log.LEVELS,
        default="info",
        help="one JSON line an event on standard error (%(default)s)",
    )
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = IntakeLimits()
    add = parser.add_argument
    add(
        "--timeout",
        type=_positive(float),
        default=120.0,
        metavar="SECONDS",
        help="for the embeddings of a request; a client that says it waits less (OpenAI's say it) "
        "gets less (%(default)s)",
    )
    add(
        "--grace",
        type=_positive(int),
        default=120,
        metavar="SECONDS",
        help="that requests in progress may take after SIGTERM (%(default)s)",
    )
    add(
        "--max-body-bytes",
        type=_positive(int),
        default=limits.body_bytes,
        metavar="N",
        help="of one request (%(default)s)",
    )
    add(
        "--max-pending-bytes",
        type=_positive(int),
        default=limits.pending_bytes,
        metavar="N",
        help="bodies of all requests in progress (%(default)s)",
    )
    add(
        "--max-requests",
        type=_positive(int),
        default=limits.requests,
        metavar="N",
        help="in progress at once; more get 429 (%(default)s)",
    )
    add(
        "--body-timeout",
        type=_positive(float),
        default=limits.body_seconds,
        metavar="SECONDS",
        help="for a request's body to arrive (%(default)s)",
    )
