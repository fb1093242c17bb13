"""The log: one JSON object a line on standard error, in the form of longwave-server's.

A thread of its own writes it, so that a log which nobody reads costs lines, never requests. Texts,
token ids, embeddings and keys are never in it.
"""

from __future__ import annotations

import datetime
import logging
import os
import queue
import threading
from typing import Any

import orjson

LEVELS = ("debug", "info", "warning", "error")
_NUMBERS: dict[str, int] = {name: getattr(logging, name.upper()) for name in LEVELS}
# Lines that wait for a slow reader; more are dropped.
_MAX_WAITING = 4096
# For the lines that wait when the process ends.
_CLOSE_SECONDS = 1.0
_LOGGER = logging.getLogger("longwave.openai_server")


def event(level: str, name: str, **fields: Any) -> None:
    """Logs an event with its fields."""
    if _LOGGER.isEnabledFor(_NUMBERS[level]):
        _LOGGER.log(_NUMBERS[level], name, extra={"fields": fields})


def _format(record: logging.LogRecord) -> bytes:
    at = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
    line: dict[str, Any] = {
        "ts": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
    }
    fields = getattr(record, "fields", None)
    if fields is None:  # a library's line
        line |= {"event": record.name, "message": record.getMessage()}
    else:
        line |= {"event": record.getMessage(), **fields}
    if record.exc_info:
        line["exception"] = logging.Formatter().formatException(record.exc_info)
    return orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE)


class _QueueingHandler(logging.Handler):
    def __init__(self, lines: queue.Queue[bytes | None]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(_format(record))
        except queue.Full:
            pass  # a line less
        except Exception:
            self.handleError(record)


class Log:
    """The process's log, from its construction to close()."""

    def __init__(self, level: str, descriptor: int = 2) -> None:
        self._lines: queue.Queue[bytes | None] = queue.Queue(_MAX_WAITING)
        self._descriptor = descriptor
        handler = _QueueingHandler(self._lines)
        # Libraries' own lines are for when something is wrong.
        for name, least in (("longwave.openai_server", "debug"), ("uvicorn", "warning")):
            logger = logging.getLogger(name)
            logger.handlers = [handler]
            logger.propagate = False
            logger.setLevel(max(_NUMBERS[level], _NUMBERS[least]))
        # A daemon: it may stand in a write that nobody ever reads.
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                continue  # nobody reads: lines are lost, as they would be in a full queue

    def close(self) -> None:
        """Writes what waits, as far as it is read within a second."""
        try:
            self._lines.put(None, timeout=_CLOSE_SECONDS)
        except queue.Full:
            return
        self._writer.join(_CLOSE_SECONDS)
