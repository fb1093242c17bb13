"""What every request gets whatever becomes of it: an id, and a line in the log."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longwave.openai_server import log

_SCOPE_KEY = "longwave.record"
# What the API's request_id and a line of the log can carry.
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_MAX_PATH = 128


@dataclass
class Record:
    """What is known of a request beside its lines of HTTP. `code` says why it failed."""

    request_id: str
    inputs: int | None = None
    tokens: int | None = None
    code: str | None = None


def record_of(scope: Scope) -> Record:
    record: Record = scope[_SCOPE_KEY]
    return record


class AccessLog:
    """Middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        record = scope[_SCOPE_KEY] = Record(_request_id(scope))
        status = 0
        sent = 0

        async def send_counted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = record.request_id
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        finally:
            _write(scope, record, status, sent, time.perf_counter() - begin)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _write(scope: Scope, record: Record, status: int, sent: int, seconds: float) -> None:
    fields: dict[str, Any] = {
        "method": scope["method"],
        "path": scope["path"][:_MAX_PATH],
        "status": status,
        "seconds": round(seconds, 6),
        "reply_bytes": sent,
        "request_id": record.request_id,
    }
    for name in ("code", "inputs", "tokens"):
        value = getattr(record, name)
        if value is not None:
            fields[name] = value
    # Probes come every few seconds and say nothing while all is well.
    probe = scope["path"] in ("/healthz", "/readyz") and status == 200
    log.event("debug" if probe else "info", "request", **fields)
