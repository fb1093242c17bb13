"""One sequence by EncodeStream, without input and output: messages in, messages and rows out.

A stream that breaks is opened again from the first row not yet read, as often as RetryPolicy says
and only where the server's fingerprint is the same: rows of one stream all come from the same
weights, build and device class. While only other servers answer it goes on trying, then fails with
MODEL_CHANGED.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from longwave import _api
from longwave._crc32c import crc32c
from longwave._decode import Block, decode_block
from longwave._options import Options
from longwave.errors import (
    Internal,
    LongwaveError,
    data_loss,
    from_stream_failed,
    model_changed,
)

_TAG = 1  # one request a stream
_DATA_BYTES = 1 << 20  # the API's bound on StreamData
Progress = Callable[[float], None]


@dataclass(frozen=True)
class RetryPolicy:
    """How a broken stream is taken up again; unary calls are retried by the service config alone.

    Attributes:
        before_first_row: attempts, as the service config gives unary calls.
        without_progress: attempts once rows have come: about 7 s of waiting altogether.
        initial_backoff, max_backoff: seconds; doubled from one to the next.
        draining_backoff: at least, once refused twice by replicas that shut down: such a one is
            still chosen, and refuses, for up to a second before its port closes.
    """

    before_first_row: int = 4
    without_progress: int = 8
    initial_backoff: float = 0.05
    max_backoff: float = 2.0
    draining_backoff: float = 1.25


class RowStream:
    """The state of one sequence's stream over all its attempts.

    For each attempt a client sends `opening()`, gives each message of the server to `receive`,
    sends `id_messages()` as soon as `must_send_ids()`, and ends with `done`; where the attempt
    fails it asks `retry_delay`.
    """

    def __init__(
        self,
        request: Any,
        ids: bytes,
        options: Options,
        start_row: int = 0,
        progress: Progress | None = None,
        policy: RetryPolicy | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """`request`: an EncodeRequest without ids, of one sequence. `fingerprint`: of rows before
        start_row; None: there are none, or nobody cares."""
        self.done: Any = None  # the StreamDone, at the end
        self.total_rows = -1  # of the whole output, those before start_row included
        self.next_row = start_row
        self.attempts = 0
        self._request = request
        self._ids = ids
        self._options = options
        self._progress = progress
        self._policy = policy or RetryPolicy()
        self._admitted = False  # this attempt, and its ids have not been sent
        self._first_row = start_row
        self._dim = 0
        self.fingerprint = fingerprint or ""  # of the rows
        self._bound = bool(fingerprint)  # whether there are rows that others would mix with
        self._failures = 0  # attempts that failed since the last row

    def opening(self) -> Any:
        """The first message of an attempt. Ids travel only once the request has been admitted."""
        self._admitted = False
        self.attempts += 1
        message = _api.EncodeStreamRequest(tag=_TAG)
        message.open.request.CopyFrom(self._request)
        message.open.resume_from_row = self.next_row
        message.open.progress = self._progress is not None
        return message

    def must_send_ids(self) -> bool:
        """Whether the server has just admitted the attempt: true once."""
        admitted, self._admitted = self._admitted, False
        return admitted

    def id_messages(self) -> Iterator[Any]:
        """The messages after the opening, up to the last."""
        for offset in range(0, len(self._ids), _DATA_BYTES):
            message = _api.EncodeStreamRequest(tag=_TAG)
            message.data.ids = self._ids[offset : offset + _DATA_BYTES]
            message.data.offset = offset
            yield message
        end = _api.EncodeStreamRequest(tag=_TAG)
        end.end.SetInParent()
        yield end

    def receive(self, message: Any) -> Block | None:
        """Takes a message of the server's.

        Returns:
            rows next_row, next_row + 1, ... of before the call, if the message has any.

        Raises:
            LongwaveError: the attempt has failed.
        """
        kind = message.WhichOneof("message")
        if message.tag != _TAG:
            return None
        if kind == "accepted":
            self._take_accepted(message.accepted)
        elif kind == "chunk":
            return self._take_chunk(message.chunk)
        elif kind == "done":
            if self.next_row != self.total_rows:
                raise data_loss(
                    f"the server is done after {self.next_row} of {self.total_rows} rows"
                )
            self.done = message.done
        elif kind == "failed":
            raise from_stream_failed(message.failed)
        elif kind == "progress" and self._progress is not None:
            self._progress(message.progress.fraction)
        return None  # what later versions add may be passed over

    def _take_accepted(self, accepted: Any) -> None:
        shape = (accepted.total_rows, accepted.dim)
        if self.total_rows >= 0 and shape != (self.total_rows, self._dim):
            raise model_changed(
                "total_rows, dim",
                shape,
                (self.total_rows, self._dim),
                "the stream broke, and the server that would go on has another shape",
            )
        # As long as there is no row to mix with, another replica may do all of it.
        bound = self._bound or self.next_row > self._first_row
        if bound and accepted.fingerprint != self.fingerprint:
            raise model_changed(
                "fingerprint",
                accepted.fingerprint,
                self.fingerprint,
                f"the server that would go on at row {self.next_row} of {shape[0]} has fingerprint "
                f"{accepted.fingerprint!r} where the rows before came from {self.fingerprint!r}; "
                "their rows must not be mixed",
            )
        self.total_rows, self._dim = shape
        self.fingerprint = accepted.fingerprint
        self._admitted = True

    def _take_chunk(self, chunk: Any) -> Block:
        block = chunk.embeddings
        rows = block.rows
        if (
            chunk.first_row != self.next_row
            or rows > self.total_rows - self.next_row
            or block.dim != self._dim
        ):
            raise data_loss(
                f"rows {chunk.first_row} to {chunk.first_row + rows} of width {block.dim} came "
                f"where row {self.next_row} of {self.total_rows} of width {self._dim} was due"
            )
        checksum = crc32c(block.data)
        if checksum != chunk.crc32c:
            raise data_loss(
                f"rows from {chunk.first_row} on were damaged on the way: CRC-32C {checksum}, "
                f"announced {chunk.crc32c}"
            )
        decoded = decode_block(block, self._options.precision, self._options.dtype)
        self.next_row += rows
        self._failures = 0
        return decoded

    def ended_early(self) -> LongwaveError:
        """The error of an attempt whose call ended well, but before its end."""
        return _EndedEarly("the server ended the stream before it had sent everything")

    def retry_delay(self, error: LongwaveError) -> float:
        """Seconds to wait before another attempt; or raises `error`, for which there is none."""
        policy = self._policy
        begun = self.next_row > self._first_row
        self._failures += 1
        most = policy.without_progress if begun else policy.before_first_row
        if not _may_retry(error) or self._failures >= most:
            raise error
        if error.retry_after is not None:
            return error.retry_after  # such a server has already spread its clients
        delay = min(policy.initial_backoff * 2.0 ** (self._failures - 1), policy.max_backoff)
        # Twice in turn may have been the same one.
        if self._failures > 1 and error.reason == "DRAINING":
            delay = max(delay, policy.draining_backoff)
        # Clients that broke off together should not come back together.
        return delay * random.uniform(0.8, 1.2)


class _EndedEarly(Internal):
    """Of a server that is broken: another attempt would end alike."""


def _may_retry(error: LongwaveError) -> bool:
    if error.reason == "CLIENT_CLOSED":
        return False
    if error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return True  # cancelled, and not by us: a server that was shut down in that very moment
    # Our servers give a reason with every error. Without one it is the transport's: a proxy whose
    # replica is killed behind the first rows can but reset the stream, which gRPC calls INTERNAL.
    if error.code == grpc.StatusCode.INTERNAL and not error.reason:
        return not isinstance(error, _EndedEarly)
    # Another replica may still have what the first rows came from.
    if error.reason == "MODEL_CHANGED":
        return True
    return error.code == grpc.StatusCode.RESOURCE_EXHAUSTED and error.retry_after is not None


class RowCollector:
    """All rows of a stream in one array."""

    def __init__(self) -> None:
        self._whole: Block | None = None

    def put(self, stream: RowStream, first_row: int, block: Block) -> None:
        if self._whole is None:
            rows, width = stream.total_rows, block.values.shape[1]
            scales = None if block.scales is None else np.empty(rows, np.float32)
            self._whole = Block(np.empty((rows, width), block.values.dtype), scales)
        end = first_row + len(block.values)
        self._whole.values[first_row:end] = block.values
        if self._whole.scales is not None:
            self._whole.scales[first_row:end] = block.scales

    def take(self) -> Block:
        """The rows; there is at least one."""
        if self._whole is None:
            raise data_loss("a stream had no rows")
        return self._whole
