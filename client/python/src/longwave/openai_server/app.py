"""The ASGI application: OpenAI's embeddings API over a Longwave server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from longwave import LongwaveError
from longwave._asyncio import in_thread
from longwave.openai_server.access_log import AccessLog, record_of
from longwave.openai_server.backend import Backend
from longwave.openai_server.embeddings_request import parse
from longwave.openai_server.errors import ApiError, from_longwave, model_not_found
from longwave.openai_server.intake import Intake, IntakeLimits
from longwave.openai_server.replies import embeddings_body, model_entry
from longwave.openai_server.settings import Settings

__all__ = ["IntakeLimits", "Settings", "create_app"]

Result = TypeVar("Result")
# As clients of the library may have: what servers take besides 16 KiB of metadata.
_MAX_KEY_BYTES = 1024
# A request may take several calls, of which each has the whole time; where one is refused because
# of its deadline, that says more.
_LAST_WORD_SECONDS = 1.0
_PROBE_SECONDS = 5.0
# About 5 ms of parsing or printing JSON: longer ones would be felt by whoever else asks.
_INLINE_BYTES = 256 << 10
# Nobody reads it; it is for the log.
_CLIENT_LEFT = 499


def create_app(settings: Settings) -> ASGIApp:
    """The application; its connections are opened at the first request that needs them."""
    service = _Service(settings)
    app = Starlette(
        routes=[
            Route("/v1/embeddings", service.embeddings, methods=["POST"]),
            Route("/v1/models", service.models),
            Route("/v1/models/{name:path}", service.model),
            Route("/healthz", service.healthz),
            Route("/readyz", service.readyz),
        ],
        exception_handlers={
            ApiError: _on_api_error,
            HTTPException: _on_http_exception,
            Exception: _on_crash,
        },
        lifespan=service.lifespan,
    )
    app.router.redirect_slashes = False
    return AccessLog(app)


class _Service:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._intake = Intake(settings.limits)
        self._backend = Backend(settings)
        self._started = int(time.time())

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        await self._backend.close()

    async def embeddings(self, request: Request) -> Response:
        record = record_of(request.scope)
        key = _key(request)
        try:
            async with self._intake.body(request) as body:
                wanted = await _beside(len(body), lambda: parse(body))
                record.inputs = len(wanted.inputs)
                timeout = self._timeout(request)
                work = self._backend.encode(wanted, key, timeout)
                result = await _unless_gone(request, work, timeout + _LAST_WORD_SECONDS)
        except ClientDisconnect:
            record.code = "CANCELLED"
            return Response(status_code=_CLIENT_LEFT)
        except LongwaveError as error:
            raise from_longwave(error, wanted.single, wanted.model) from error
        record.tokens = result.tokens
        size = sum(vector.nbytes for vector in result.vectors)
        reply = await _beside(size, lambda: embeddings_body(result, wanted.model, wanted.base64))
        # Vectors of two digests do not compare: callers that store them store it too.
        return _json(reply, headers={"longwave-model-digest": result.model_digest})

    async def models(self, request: Request) -> Response:
        entries = await self._entries(request)
        return _json(orjson.dumps({"object": "list", "data": entries}))

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        for entry in await self._entries(request):
            if entry["id"] == name:
                return _json(orjson.dumps(entry))
        raise model_not_found(name)

    async def healthz(self, _request: Request) -> Response:
        return _json(b'{"status":"ok"}')

    async def readyz(self, _request: Request) -> Response:
        try:
            ready = await asyncio.wait_for(self._backend.ready(), _PROBE_SECONDS)
        except asyncio.TimeoutError:
            ready = False
        except LongwaveError as error:
            raise from_longwave(error, single=True, model="") from error
        if ready:
            return _json(b'{"status":"ready"}')
        raise ApiError(503, "The server does not serve (yet, or any more).", "LOADING")

    async def _entries(self, request: Request) -> list[dict[str, Any]]:
        """The model by its name and by its aliases."""
        try:
            info = await self._backend.model(_key(request))
        except LongwaveError as error:
            raise from_longwave(error, single=True, model="") from error
        names = dict.fromkeys((info.name, *self._settings.aliases))
        return [model_entry(name, info, self._started) for name in names]

    def _timeout(self, request: Request) -> float:
        """Seconds for the embeddings: the official clients say how long they will wait, and what
        comes later is computed for nobody."""
        try:
            waits = float(request.headers.get("x-stainless-read-timeout", ""))
        except ValueError:
            return self._settings.timeout
        return min(waits, self._settings.timeout) if waits > 0 else self._settings.timeout


async def _beside(size: int, work: Callable[[], Result]) -> Result:
    """What `work` returns; beside the event loop where that many bytes would hold up the others."""
    return work() if size <= _INLINE_BYTES else await in_thread(work)


async def _unless_gone(
    request: Request, work: Coroutine[Any, Any, Result], timeout: float
) -> Result:
    """The result of the work, which is cancelled, and its calls with it, if the caller leaves or
    the time is over.

    Raises:
        ClientDisconnect: the caller left.
        ApiError: 504.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait((task, gone), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientDisconnect
        raise ApiError(
            504, "The time for the request is over.", "DEADLINE_EXPIRED", should_retry=False
        )
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _key(request: Request) -> str | None:
    """The caller's API key; None: it has none.

    Raises:
        ApiError: 401: something else than a bearer's key, or one that no call can carry.
    """
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, key = header.partition(" ")
    visible = all(33 <= ord(character) <= 126 for character in key)
    if scheme.lower() == "bearer" and visible and 0 < len(key) <= _MAX_KEY_BYTES:
        return key
    raise ApiError(
        401,
        f"authorization: has to be Bearer and a key of 1 to {_MAX_KEY_BYTES} visible ASCII "
        "characters.",
        "UNAUTHENTICATED",
        should_retry=False,
        headers=(("www-authenticate", "Bearer"), ("connection", "close")),
    )


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    record_of(request.scope).code = error.code
    return _json(error.body(), error.status, error.all_headers())


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """404 and 405 of the router."""
    assert isinstance(error, HTTPException)
    what = f"{request.method[:16]} {request.url.path[:128]}"
    known = "POST /v1/embeddings, GET /v1/models, /v1/models/{id}, /healthz, /readyz"
    code = "method_not_supported" if error.status_code == 405 else "unknown_url"
    headers = tuple((error.headers or {}).items())
    answer = ApiError(
        error.status_code,
        f"{what}: not here; there are {known}.",
        code,
        should_retry=False,
        headers=headers,
    )
    return await _on_api_error(request, answer)


async def _on_crash(request: Request, _error: Exception) -> Response:
    """A fault of our own; what it was is in the log, with the request's id."""
    answer = ApiError(
        500, f"Internal error; request {record_of(request.scope).request_id}.", "INTERNAL"
    )
    return await _on_api_error(request, answer)
