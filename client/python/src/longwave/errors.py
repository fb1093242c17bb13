"""What can go wrong with a call, as exceptions that say what to do about it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from longwave import _api

Metadata = Iterable[tuple[str, "str | bytes"]]


class LongwaveError(Exception):
    """A call, or one sequence of it, failed.

    Attributes:
        code: the status code, a `grpc.StatusCode`.
        reason: why, from the server's closed list (`model/base/error.h`): "SEQUENCE_TOO_LONG".
            Empty where gRPC answered by itself. The client's own reasons are INVALID_FIELD,
            EMPTY_SEQUENCE, TOKEN_OUT_OF_RANGE, MISSING_FIELD, CONFLICTING_FIELDS,
            TOKENIZER_UNKNOWN, MODEL_CHANGED, CLIENT_CLOSED and DATA_LOSS.
        field: path of the offending field in the request as it was sent, "tokens.lengths[3]";
            empty where there is none.
        value: the offending value, short.
        limit: what would have been accepted, short.
        retry_after: seconds after which another try may succeed; None: it would fail again.
        details: the message, without what `index` adds to it.
        index: which of the caller's sequences failed, where it is known to be one of them.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        details: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        field: str = "",
        value: str = "",
        limit: str = "",
        retry_after: float | None = None,
        index: int | None = None,
    ) -> None:
        super().__init__(details)
        self.details = details
        if code is not None:
            self.code = code
        self.reason = reason
        self.field = field
        self.value = value
        self.limit = limit
        self.retry_after = retry_after
        self.index = index

    def __str__(self) -> str:
        where = "" if self.index is None else f"sequence {self.index}: "
        return f"{where}{self.details}"

    def _state(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "reason": self.reason,
            "field": self.field,
            "value": self.value,
            "limit": self.limit,
            "retry_after": self.retry_after,
            "index": self.index,
        }

    def at(self, index: int) -> LongwaveError:
        """The same error, of the caller's sequence with that number."""
        return type(self)(self.details, **{**self._state(), "index": index})

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.details, self._state())


def _rebuild(kind: type[LongwaveError], details: str, state: dict[str, Any]) -> LongwaveError:
    return kind(details, **state)


class InvalidArgument(LongwaveError, ValueError):
    """The request is wrong, whatever the server's state: never try it again."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(LongwaveError):
    """The server does not have the model or the version."""

    code = grpc.StatusCode.NOT_FOUND


class FailedPrecondition(LongwaveError):
    """Not allowed on this server; or, with reason MODEL_CHANGED, replies of one call came from
    different models."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Unauthenticated(LongwaveError):
    """No API key, or one that nobody has."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(LongwaveError):
    """The key does not have the right."""

    code = grpc.StatusCode.PERMISSION_DENIED


class ResourceExhausted(LongwaveError):
    """Queue, memory or quota is used up (`retry_after` says for how long), or the request is too
    large for this server or its deadline (`retry_after` is None)."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(LongwaveError):
    """No server, or one that is loading, draining or without its device."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(LongwaveError, TimeoutError):
    """The time for the call is over."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(LongwaveError):
    """The call was cancelled, or its client closed."""

    code = grpc.StatusCode.CANCELLED


class Internal(LongwaveError):
    """A fault of the server's, or a result that is not a number."""

    code = grpc.StatusCode.INTERNAL


class Unimplemented(LongwaveError):
    """The server does not have the call or the feature (yet)."""

    code = grpc.StatusCode.UNIMPLEMENTED


_KINDS: dict[grpc.StatusCode, type[LongwaveError]] = {
    kind.code: kind
    for kind in (
        InvalidArgument,
        NotFound,
        FailedPrecondition,
        Unauthenticated,
        PermissionDenied,
        ResourceExhausted,
        Unavailable,
        DeadlineExceeded,
        Cancelled,
        Internal,
        Unimplemented,
    )
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def make_error(code: grpc.StatusCode, details: str, **info: Any) -> LongwaveError:
    """The error of the class that the code asks for."""
    return _KINDS.get(code, LongwaveError)(details, code=code, **info)


def data_loss(details: str) -> LongwaveError:
    """A reply that contradicts itself or its request."""
    return make_error(grpc.StatusCode.DATA_LOSS, details, reason="DATA_LOSS")


def client_closed() -> LongwaveError:
    """The call's own client has been closed: no part of the call can succeed."""
    return Cancelled("the client is closed", reason="CLIENT_CLOSED")


def model_changed(field: str, value: object, limit: object, details: str) -> LongwaveError:
    """Replies of one call that must not be mixed; `limit` is what the first ones came from."""
    return FailedPrecondition(
        details, reason="MODEL_CHANGED", field=field, value=str(value), limit=str(limit)
    )


def _seconds(duration: Any) -> float:
    return float(duration.seconds) + float(duration.nanos) * 1e-9


def from_status(
    code: grpc.StatusCode, details: str | None, metadata: Metadata | None
) -> LongwaveError:
    """The error of a call that ended with this status and these trailers."""
    info: dict[str, Any] = {}
    for key, value in metadata or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            info = _read_details(value)
    return make_error(code, details or code.name, **info)


def _read_details(data: bytes) -> dict[str, Any]:
    """reason, field, value, limit and retry_after of a serialised google.rpc.Status: as many of
    them as can be read, for what a proxy has damaged must not hide the status itself."""
    found: dict[str, Any] = {}
    with contextlib.suppress(DecodeError):
        _read_status(_api.RpcStatus.FromString(data), found)
    return found


def _read_status(status: Any, found: dict[str, Any]) -> None:
    bad_field = ""
    for detail in status.details:
        name = detail.type_url.rpartition("/")[2]
        if name == "google.rpc.ErrorInfo":
            error = _api.ErrorInfo.FromString(detail.value)
            found["reason"] = error.reason
            for key in ("field", "value", "limit"):
                found[key] = error.metadata.get(key, "")
        elif name == "google.rpc.BadRequest":
            violations = _api.BadRequest.FromString(detail.value).field_violations
            bad_field = violations[0].field if violations else ""
        elif name == "google.rpc.RetryInfo":
            retry = _api.RetryInfo.FromString(detail.value)
            found["retry_after"] = _seconds(retry.retry_delay)
    if bad_field and not found.get("field"):
        found["field"] = bad_field


def from_rpc(error: Any) -> LongwaveError:
    """The error of a failed call: a `grpc.RpcError` of either gRPC API, or a finished call."""
    return from_status(error.code(), error.details(), error.trailing_metadata())


def from_stream_failed(failed: Any) -> LongwaveError:
    """The error of a StreamFailed message."""
    return make_error(
        _CODES.get(failed.code, grpc.StatusCode.UNKNOWN),
        failed.message,
        reason=failed.reason,
        field=failed.field,
        value=failed.value,
        limit=failed.limit,
        retry_after=_seconds(failed.retry_after) if failed.HasField("retry_after") else None,
    )
