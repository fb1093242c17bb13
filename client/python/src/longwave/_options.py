"""What a call asks for, checked once and in the API's terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from longwave import _api
from longwave.errors import InvalidArgument
from longwave.results import SpanInput, Truncation

# Names of precisions, and the type that travels.
PRECISIONS = {
    "float32": "DATA_TYPE_FP32",
    "float16": "DATA_TYPE_FP16",
    "bfloat16": "DATA_TYPE_BF16",
    "int8": "DATA_TYPE_INT8",
    "binary": "DATA_TYPE_BINARY",
    "ubinary": "DATA_TYPE_BINARY",
}
POOLINGS = {
    name.removeprefix("POOLING_").lower(): number
    for name, number in _api.POOLING.items()
    if number != 0
}
PRIORITIES = {
    name.removeprefix("PRIORITY_").lower(): number
    for name, number in _api.PRIORITY.items()
    if number != 0
}
SIDES = {
    name.removeprefix("TRUNCATION_SIDE_").lower(): number
    for name, number in _api.TRUNCATION_SIDE.items()
    if number != 0
}
_MAX_POSITION = 2**32 - 1
Spans = Sequence[SpanInput]


@dataclass(frozen=True)
class Options:
    """One call's options. `timeout` None: no deadline. `stream_timeout` bounds calls of
    EncodeStream, which may take any time unless the caller says so for this very call."""

    model: str = ""
    model_version: str = ""
    pooling: int = 0
    layers: tuple[int, ...] = ()
    precision: str = "float32"
    normalize: bool | None = None
    truncate_dim: int = 0
    truncation: Truncation | None = None
    priority: int = 0
    timeout: float | None = None
    stream_timeout: float | None = None
    batch_size: int | None = None
    batch_tokens: int = 1
    max_in_flight: int = 1

    @property
    def many_rows(self) -> bool:
        """Whether a sequence yields an array of rows rather than one vector."""
        return self.pooling in (POOLINGS["none"], POOLINGS["spans"])

    @property
    def dtype(self) -> int:
        return _api.DATA_TYPE[PRECISIONS[self.precision]]

    def fill_output(self, output: Any) -> None:
        """Sets an OutputSpec, but for spans."""
        output.pooling = self.pooling
        output.layers.extend(self.layers)
        output.dtype = self.dtype
        output.truncate_dim = self.truncate_dim
        if self.normalize is not None:
            output.normalize = self.normalize

    def request(self, tokenizer_fingerprint: str) -> Any:
        """An EncodeRequest with everything but tokens and spans."""
        request = _api.EncodeRequest(
            model=self.model,
            model_version=self.model_version,
            priority=self.priority,
            tokenizer_fingerprint=tokenizer_fingerprint,
        )
        self.fill_output(request.output)
        if self.truncation is not None:
            request.truncation.side = SIDES[self.truncation.side]
            request.truncation.max_tokens = self.truncation.max_tokens or 0
        return request


def choose(field: str, value: str, known: dict[str, Any]) -> Any:
    """known[value], or an error that lists what there is."""
    if value not in known:
        raise _invalid(field, value, "one of " + ", ".join(known))
    return known[value]


def pooling_of(pooling: str | None, spans: object) -> int:
    """The number of a pooling: by name, by spans being given, or 0, the model's default."""
    if spans is None:
        if pooling == "spans":
            raise InvalidArgument(
                "pooling is spans, and there are no spans", reason="MISSING_FIELD", field="spans"
            )
        return int(choose("pooling", pooling, POOLINGS)) if pooling is not None else 0
    if pooling not in (None, "spans"):
        raise InvalidArgument(
            f"spans are given, but pooling is {pooling}",
            reason="CONFLICTING_FIELDS",
            field="spans",
        )
    return int(POOLINGS["spans"])


def truncation_of(truncation: Truncation | str | None) -> Truncation | None:
    if isinstance(truncation, str):
        truncation = Truncation(truncation)
    if truncation is not None:
        choose("truncation", truncation.side, SIDES)
        if truncation.max_tokens is not None:
            positive("truncation.max_tokens", truncation.max_tokens)
    return truncation


def positive(field: str, value: Any) -> int:
    """A whole number that is at least 1."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise _invalid(field, value, "a whole number, at least 1")
    return int(value)


def timeout_of(timeout: float | None, otherwise: float | None) -> float | None:
    """Seconds or None for no deadline, which a call asks for by math.inf."""
    value = otherwise if timeout is None else timeout
    if value is None or value == math.inf:
        return None
    if not value > 0:
        raise _invalid("timeout", value, "seconds above 0, or math.inf for no deadline")
    return float(value)


def check_spans(spans: Any, count: int, single: bool) -> list[list[SpanInput]]:
    """The spans of each of `count` sequences.

    Args:
        spans: of a single sequence a list of (begin, end), else one such list for each sequence.
    """
    lists: list[Any] = [spans] if single else list(spans)
    if len(lists) != count:
        raise _invalid("spans", f"{len(lists)} lists", f"one list for each of {count} sequences")
    return [_check_list(entry, f"spans[{i}]") for i, entry in enumerate(lists)]


def _check_list(spans: Any, field: str) -> list[SpanInput]:
    out: list[SpanInput] = []
    for span in spans:
        try:
            begin, end = (int(value) for value in span)
        except (TypeError, ValueError):
            raise _invalid(field, span, "pairs (begin, end) of token positions") from None
        if not 0 <= begin < end <= _MAX_POSITION:
            raise _invalid(field, (begin, end), "0 <= begin < end")
        out.append((begin, end))
    if not out:
        raise InvalidArgument(
            f"{field} names no span of its sequence", reason="MISSING_FIELD", field=field
        )
    return out


def _invalid(field: str, value: object, limit: str) -> InvalidArgument:
    shown = str(value)[:64]
    return InvalidArgument(
        f"{field} = {shown}, needs {limit}",
        reason="INVALID_FIELD",
        field=field,
        value=shown,
        limit=limit,
    )


TruncationInput = Truncation | str | None
