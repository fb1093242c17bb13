"""What calls take and return, beside arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from longwave import _api
from longwave.errors import LongwaveError

Array = npt.NDArray[Any]
# One sequence: text, bytes (byte tokenizer only), or token ids.
SequenceInput = str | bytes | Sequence[int] | Array
# Half-open range of token positions.
SpanInput = tuple[int, int]


@dataclass(frozen=True)
class Tls:
    """PEM data for a TLS connection.

    Attributes:
        ca: roots that the server's certificate must lead to; None: the system's.
        certificate: the client's own certificate chain, for servers that ask for one.
        key: its private key.
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Truncation:
    """Cut sequences above `max_tokens` (None: the model's limit) at their "end" or "start".

    Without one a sequence above the limit is refused, never cut. Ids are cut as they are, after
    tokenization: what a tokenizer puts around a text ([CLS], [SEP]) is cut with the rest, at the
    side that is cut. Where the model needs it, shorten the text instead.
    """

    side: str = "end"
    max_tokens: int | None = None


@dataclass(frozen=True)
class Quantized:
    """Vectors in 8 bits: a vector is `values * scale`, its scale the largest magnitude / 127.

    Attributes:
        values: int8, [n, dim], or [dim] of one vector.
        scales: float32, [n], or [] of one vector.
    """

    values: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]

    def dequantize(self) -> npt.NDArray[np.float32]:
        """float32 of the shape of `values`."""
        return self.values.astype(np.float32) * self.scales[..., np.newaxis]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> Quantized:
        """Rows by position, slice, mask or list of positions."""
        return Quantized(self.values[index], np.asarray(self.scales[index], np.float32))


Embedding = Array | Quantized


@dataclass(frozen=True)
class EncodeResult:
    """What encode(errors="return") returns.

    Attributes:
        embeddings: for each sequence its vector or rows, as encode returns them; None: it failed.
        errors: why, by position in the caller's list.
        tokens: for each sequence how many tokens were encoded; 0: it failed.
        model_digest: SHA-256 of the weights that all embeddings come from; empty: there are none.
    """

    embeddings: list[Embedding | None]
    errors: dict[int, LongwaveError]
    tokens: list[int]
    model_digest: str = ""


@dataclass(frozen=True)
class Item:
    """One element of encode_iter.

    Attributes:
        index: position in the iterable, from 0.
        embedding: its vector or rows, as encode returns them; None: it failed.
        error: why it failed; None: it did not.
        tokens: how many tokens were encoded.
    """

    index: int
    embedding: Embedding | None
    error: LongwaveError | None
    tokens: int


@dataclass(frozen=True)
class RowBlock:
    """Consecutive rows of stream_rows.

    Attributes:
        first_row: `values` are rows first_row, first_row + 1, ...
        values: [rows, dim].
        fingerprint: of what computed them (see ModelInfo). Whoever goes on at another row later
            gives it to stream_rows, so that rows of two models never lie side by side.
    """

    first_row: int
    values: Embedding
    fingerprint: str = ""


@dataclass(frozen=True)
class Estimate:
    """What a call of some shape would cost now.

    Attributes:
        tokens: in all.
        seconds: predicted time of computation.
        wait_seconds: until it would begin.
        peak_bytes: predicted memory.
        slices: between which other work may run.
        routes: how attention would be computed: "tiles", "chunkwise", "fft", ...
        admissible: whether it would be accepted now, and if not,
        reason: why.
    """

    tokens: int
    seconds: float
    wait_seconds: float
    peak_bytes: int
    slices: int
    routes: tuple[str, ...]
    admissible: bool
    reason: str


@dataclass(frozen=True)
class Limits:
    """What one request may hold; 0: not published."""

    max_sequences_per_request: int
    max_tokens_per_request: int
    max_unary_reply_bytes: int
    max_receive_message_bytes: int
    max_chunk_bytes: int


@dataclass(frozen=True)
class ModelInfo:
    """What a model is, takes and promises (GetModel).

    `fingerprint` names weights, build, device class and compute type: same input, same fingerprint
    and route, same bits. `weights_digest` is the SHA-256 of the weights: vectors of two digests do
    not compare.
    """

    name: str
    version: str
    dim: int
    layers: int
    vocab_size: int
    max_tokens: int
    truncate_dims: tuple[int, ...]
    default_pooling: str
    default_normalize: bool
    tokenizer_kind: str
    tokenizer_fingerprint: str
    weights_digest: str
    fingerprint: str
    device: str
    compute_dtype: str
    deterministic: bool
    routes: tuple[str, ...]
    input_kinds: tuple[str, ...]
    max_slice_seconds: float
    limits: Limits
    api_versions: tuple[str, ...]

    @classmethod
    def from_message(cls, model: Any) -> ModelInfo:
        """From a longwave.v1.Model."""
        poolings = {
            number: name.removeprefix("POOLING_").lower() for name, number in _api.POOLING.items()
        }
        limits = model.limits
        return cls(
            name=model.name,
            version=model.version,
            dim=model.dim,
            layers=model.layers,
            vocab_size=model.vocab_size,
            max_tokens=model.max_tokens,
            truncate_dims=tuple(model.truncate_dims),
            default_pooling=poolings.get(model.default_pooling, str(model.default_pooling)),
            default_normalize=model.default_normalize,
            tokenizer_kind=model.tokenizer_kind,
            tokenizer_fingerprint=model.tokenizer_fingerprint,
            weights_digest=model.weights_digest,
            fingerprint=model.fingerprint,
            device=model.device,
            compute_dtype=model.compute_dtype,
            deterministic=model.deterministic,
            routes=route_names(model.routes),
            input_kinds=tuple(model.input_kinds),
            max_slice_seconds=model.max_slice_seconds,
            limits=Limits(
                max_sequences_per_request=limits.max_sequences_per_request,
                max_tokens_per_request=limits.max_tokens_per_request,
                max_unary_reply_bytes=limits.max_unary_reply_bytes,
                max_receive_message_bytes=limits.max_receive_message_bytes,
                max_chunk_bytes=limits.max_chunk_bytes,
            ),
            api_versions=tuple(model.api_versions),
        )


def route_names(routes: Any) -> tuple[str, ...]:
    """Names of longwave.v1.Route numbers; a number that is not known stays a number."""
    return tuple(_api.ROUTE_NAMES.get(route, str(route)) for route in routes)
