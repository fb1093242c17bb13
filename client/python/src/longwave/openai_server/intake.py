"""Reading bodies of requests, with a bound on everything that a caller can make grow."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from longwave.openai_server.errors import ApiError

# A refused body is not read to its end, so its connection cannot be used again.
_CLOSE = (("connection", "close"),)
_RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class IntakeLimits:
    """What requests may hold.

    Attributes:
        body_bytes: of one request.
        pending_bytes: of all bodies whose requests have not ended. Those of callers that left while
            a thread worked on them, four at most, come on top until it is done.
        requests: that have begun and not ended.
        body_seconds: for a body to arrive.
    """

    body_bytes: int = 16 << 20
    pending_bytes: int = 256 << 20
    requests: int = 1024
    body_seconds: float = 60.0


class Intake:
    """Counts what is held; for one event loop."""

    def __init__(self, limits: IntakeLimits) -> None:
        self.limits = limits
        self.requests = 0
        self.pending_bytes = 0

    @contextlib.asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The body, which counts as held until the block ends.

        Raises:
            ApiError: 408, 413, 415, 429.
            ClientDisconnect: the caller left before its body had arrived.
        """
        self._check_headers(request)
        if self.requests >= self.limits.requests:
            raise self._full("QUEUE_FULL", f"{self.limits.requests} requests are in progress")
        self.requests += 1
        held = _Held(self)
        try:
            try:
                data = await asyncio.wait_for(held.read(request), self.limits.body_seconds)
            except asyncio.TimeoutError:
                raise ApiError(
                    408,
                    f"The body did not arrive within {self.limits.body_seconds:g} s.",
                    "DEADLINE_EXPIRED",
                    headers=_CLOSE,
                ) from None
            yield data
        finally:
            self.requests -= 1
            self.pending_bytes -= held.bytes

    def _check_headers(self, request: Request) -> None:
        encoding = request.headers.get("content-encoding", "identity")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        # Also keeps out pages in a browser: without being asked they may send other types only.
        if kind != "application/json" or encoding.lower() != "identity":
            raise ApiError(
                415,
                f"content-type {kind[:64]!r}, content-encoding {encoding[:64]!r}: a body has to be "
                "application/json, not compressed.",
                "INVALID_FIELD",
                should_retry=False,
                headers=_CLOSE,
            )
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length[:20]) > self.limits.body_bytes:
            raise self.too_large(f"{length[:20]} bytes")

    def too_large(self, size: str) -> ApiError:
        return ApiError(
            413,
            f"The body has {size}; at most {self.limits.body_bytes} are taken.",
            "REQUEST_TOO_LARGE",
            should_retry=False,
            headers=_CLOSE,
        )

    def _full(self, code: str, what: str) -> ApiError:
        return ApiError(
            429,
            f"{what}, which is the limit of this server.",
            code,
            retry_after=_RETRY_SECONDS,
            should_retry=True,
            headers=_CLOSE,
        )

    def add(self, size: int) -> None:
        """Counts bytes that have arrived."""
        self.pending_bytes += size
        if self.pending_bytes > self.limits.pending_bytes:
            raise self._full(
                "MEMORY_FULL", f"Bodies of {self.limits.pending_bytes} bytes are in progress"
            )


class _Held:
    """What one request holds."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.bytes = 0

    async def read(self, request: Request) -> bytes:
        parts: list[bytes] = []
        more = True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part: bytes = message.get("body", b"")
            self.bytes += len(part)
            self._intake.add(len(part))
            if self.bytes > self._intake.limits.body_bytes:
                raise self._intake.too_large(f"more than {self._intake.limits.body_bytes} bytes")
            parts.append(part)
            more = message.get("more_body", False)
        return parts[0] if len(parts) == 1 else b"".join(parts)
