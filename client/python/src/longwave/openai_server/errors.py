"""What callers are told when a request fails: OpenAI's shape of errors, with our reasons in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import grpc
import orjson

from longwave import LongwaveError

# What a caller should do next decides the HTTP status, as it decided the gRPC code.
_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    # Nobody here cancelled it: the server did, which is about to end.
    grpc.StatusCode.CANCELLED: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
# What gRPC says by itself has no reason; these are what the server would have said.
_REASONS = {grpc.StatusCode.DEADLINE_EXCEEDED: "DEADLINE_EXPIRED"}
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


@dataclass
class ApiError(Exception):
    """A request that gets no embeddings.

    Attributes:
        status: of HTTP.
        message: what is wrong, with field, value and limit; never the input's text.
        code: a reason of `model/base/error.h`, or one of OpenAI's own words (model_not_found).
        param: the field of the request, "input[3]"; None: none in particular.
        retry_after: seconds after which the same request may succeed; None: not known.
        should_retry: what the official clients are told to do, whatever the status: True, False,
            or None, where they decide by the status.
        headers: further ones.
    """

    status: int
    message: str
    code: str
    param: str | None = None
    retry_after: float | None = None
    should_retry: bool | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def body(self) -> bytes:
        kind = _TYPES.get(self.status)
        if kind is None:
            kind = "invalid_request_error" if self.status < 500 else "server_error"
        error: dict[str, Any] = {
            "message": self.message,
            "type": kind,
            "param": self.param,
            "code": self.code,
        }
        return orjson.dumps({"error": error})

    def all_headers(self) -> dict[str, str]:
        headers = dict(self.headers)
        if self.retry_after is not None:
            # Whole seconds are all that the standard has; the official clients read the second.
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after)))
            headers["retry-after-ms"] = str(max(1, math.ceil(self.retry_after * 1000)))
        if self.should_retry is not None:
            headers["x-should-retry"] = "true" if self.should_retry else "false"
        return headers


def invalid(message: str, param: str | None, code: str = "INVALID_FIELD") -> ApiError:
    """A request that is wrong whatever the server's state."""
    return ApiError(400, message, code, param, should_retry=False)


def model_not_found(model: str) -> ApiError:
    shown = model if len(model) <= 64 else model[:64] + "..."
    return ApiError(
        404,
        f"The model {shown!r} does not exist here; GET /v1/models has those that do.",
        "model_not_found",
        "model",
        should_retry=False,
    )


def from_longwave(error: LongwaveError, single: bool, model: str) -> ApiError:
    """The answer to a request that the server or the client library refused.

    Args:
        error: why.
        single: whether the request's input is one sequence rather than a list.
        model: as the caller named it.
    """
    if error.reason == "UNKNOWN_MODEL":
        return model_not_found(model)
    code = error.reason or _REASONS.get(error.code, error.code.name)
    status = _STATUS.get(error.code, 500)
    retry: bool | None = error.retry_after is not None
    if error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        retry = True
    if status == 500:
        retry = None  # once more may help: the official clients' own rule
    if code == "MODEL_CHANGED":
        status, retry = 503, True  # its replies came from two models; the next ones will not
    param = None
    if status == 400:
        param = _param(error, single)
    message = error.details
    if _blames_input(error) and not single:
        message = f"input[{error.index}]: {message}"
    headers = (("www-authenticate", "Bearer"),) if status == 401 else ()
    return ApiError(status, message, code, param, error.retry_after, retry, headers)


def _blames_input(error: LongwaveError) -> bool:
    """Whether it is about the input that it came with, rather than the server, its load, or another
    field: a request fails with the first of them, whose number would lead astray."""
    if error.index is None:
        return False
    about = error.field.startswith(("tokens", "sentences"))
    return about or error.reason in ("NON_FINITE", "DEGENERATE_DENOMINATOR")


# Fields of EncodeRequest by what they are called here.
_FIELDS = (
    ("output.truncate_dim", "dimensions"),
    ("truncation.side", "truncation_side"),
    ("truncation", "truncate_prompt_tokens"),
    ("priority", "priority"),
    ("model", "model"),
)


def _param(error: LongwaveError, single: bool) -> str | None:
    for field, name in _FIELDS:
        if error.field.startswith(field):
            return name
    if single or error.index is None:
        return "input" if error.field.startswith(("tokens", "sentences")) or single else None
    return f"input[{error.index}]"
