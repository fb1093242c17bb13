"""A server in this process whose every answer a test decides, and a proxy that cuts connections."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import numpy as np
from longwave import _api
from longwave._crc32c import crc32c

DIM = 2
Handler = Callable[[Any, grpc.ServicerContext], Any]


def model(**fields: Any) -> Any:
    """A Model of 2 dims whose rows are [tokens, first id]."""
    own = {
        "name": "scripted",
        "version": "1",
        "dim": DIM,
        "layers": 1,
        "vocab_size": 256,
        "max_tokens": 1 << 20,
        "default_pooling": _api.POOLING["POOLING_MEAN"],
        "tokenizer_kind": "byte",
        "tokenizer_fingerprint": "byte-v1",
        "weights_digest": "digest-1",
        "fingerprint": "fingerprint-1",
    }
    return _api.GetModelResponse(model={**own, **fields})


def reply(request: Any, digest: str = "digest-1", fingerprint: str = "fingerprint-1") -> Any:
    """The EncodeResponse to a request of pooled fp32 rows."""
    lengths = list(request.tokens.lengths)
    firsts = np.frombuffer(request.tokens.ids, np.uint8)[np.cumsum([0, *lengths[:-1]])]
    response = _api.EncodeResponse(model_digest=digest)
    response.execution.fingerprint = fingerprint
    response.embeddings.data = np.stack([lengths, firsts], 1).astype("<f4").tobytes()
    response.embeddings.dtype = _api.DATA_TYPE["DATA_TYPE_FP32"]
    response.embeddings.rows = len(lengths)
    response.embeddings.dim = DIM
    for length in lengths:
        response.sequences.add(tokens_in=length, tokens_used=length, rows=1)
    return response


def refuse(
    context: grpc.ServicerContext, code: grpc.StatusCode, details: str = "scripted", **info: Any
) -> None:
    """Ends a call with an error, as Longwave's servers do; `retry_after` in seconds."""
    status = _api.RpcStatus(code=code.value[0], message=details)
    retry_after = info.pop("retry_after", None)
    reason = info.pop("reason", "INTERNAL")
    error = _api.ErrorInfo(reason=reason, domain="longwave", metadata=info)
    status.details.add(
        type_url="type.googleapis.com/google.rpc.ErrorInfo"
    ).value = error.SerializeToString()
    trailers: list[tuple[str, Any]] = []
    if retry_after is not None:
        retry = _api.RetryInfo()
        retry.retry_delay.seconds = int(retry_after)
        retry.retry_delay.nanos = round(retry_after % 1 * 1e9)
        status.details.add(
            type_url="type.googleapis.com/google.rpc.RetryInfo"
        ).value = retry.SerializeToString()
        trailers.append(("grpc-retry-pushback-ms", str(round(retry_after * 1000))))
    trailers.append(("grpc-status-details-bin", status.SerializeToString()))
    context.set_trailing_metadata(trailers)
    context.abort(code, details)


class StreamScript:
    """What a handler of EncodeStream answers to one stream."""

    def __init__(self, opened: Any, fingerprint: str = "fingerprint-1") -> None:
        self._tag = opened.tag
        (self.rows,) = opened.open.request.tokens.lengths
        self.begin = opened.open.resume_from_row
        self._fingerprint = fingerprint

    @staticmethod
    def read_ids(messages: Iterator[Any]) -> bytes:
        """All ids, up to the end."""
        ids = b""
        while (message := next(messages)).WhichOneof("message") == "data":
            ids += message.data.ids
        return ids

    def accepted(self, **fields: Any) -> Any:
        own = {"total_rows": self.rows, "dim": DIM, "fingerprint": self._fingerprint}
        return _api.EncodeStreamResponse(tag=self._tag, accepted={**own, **fields})

    def chunk(self, first: int, count: int, **fields: Any) -> Any:
        """Rows [row, row + 0.5]."""
        message = _api.EncodeStreamResponse(tag=self._tag)
        numbers = np.arange(first, first + count)
        block = message.chunk.embeddings
        block.data = np.stack([numbers, numbers + 0.5], 1).astype("<f4").tobytes()
        block.dtype = _api.DATA_TYPE["DATA_TYPE_FP32"]
        block.rows = count
        block.dim = DIM
        message.chunk.first_row = first
        message.chunk.crc32c = fields.pop("crc", crc32c(block.data))
        assert not fields
        return message

    def done(self, digest: str = "digest-1") -> Any:
        message = _api.EncodeStreamResponse(tag=self._tag)
        message.done.total_rows = self.rows
        message.done.model_digest = digest
        message.done.execution.fingerprint = self._fingerprint
        message.done.sequences.add(tokens_in=self.rows, tokens_used=self.rows, rows=self.rows)
        return message


class ScriptedServer:
    """Answers as its handlers say. `address` is where."""

    def __init__(self) -> None:
        self.get_model: Handler = lambda request, context: model()
        self.encode: Handler = lambda request, context: reply(request)
        self.encode_stream: Callable[[Iterator[Any], grpc.ServicerContext], Iterator[Any]]
        self.over = threading.Event()  # for tests: that a call has ended
        self._server = grpc.server(futures.ThreadPoolExecutor(16))
        handlers = {
            "GetModel": grpc.unary_unary_rpc_method_handler(
                lambda request, context: self.get_model(request, context),
                _api.GetModelRequest.FromString,
                _api.GetModelResponse.SerializeToString,
            ),
            "Encode": grpc.unary_unary_rpc_method_handler(
                lambda request, context: self.encode(request, context),
                _api.EncodeRequest.FromString,
                _api.EncodeResponse.SerializeToString,
            ),
            "EncodeStream": grpc.stream_stream_rpc_method_handler(
                lambda messages, context: self.encode_stream(messages, context),
                _api.EncodeStreamRequest.FromString,
                _api.EncodeStreamResponse.SerializeToString,
            ),
        }
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(_api.SERVICE, handlers)]
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()


class Proxy:
    """Passes bytes on to a server, and cuts every connection after so many bytes of its answers."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._cuts: list[int] = []
        self.cut = 0  # how often it did
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, *byte_counts: int) -> None:
        """The next connections end after so many bytes each; those after them last."""
        with self._lock:
            self._cuts += byte_counts

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                with self._lock:
                    self._sockets += [near, far]
                    budget = self._cuts.pop(0) if self._cuts else None
                for source, sink, limit in ((near, far, None), (far, near, budget)):
                    threading.Thread(
                        target=self._pass, args=(source, sink, limit), daemon=True
                    ).start()

    def _pass(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if limit is not None:
                    data = data[:limit]
                    limit -= len(data)
                sink.sendall(data)
                if limit == 0:
                    self.cut += 1
                    break
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        with self._lock:
            for end in self._sockets:
                end.close()
