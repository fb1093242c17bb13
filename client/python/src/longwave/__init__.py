"""Longwave: embeddings of token sequences of any length, computed whole.

    client = longwave.Client("127.0.0.1:50051")
    vectors = client.encode(["a sentence", "another one"])

See README.md of the package, `Client`, and `AsyncClient` for asyncio.
"""

from longwave import late_chunking
from longwave._version import __version__
from longwave.aio import AsyncClient
from longwave.client import Client
from longwave.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    LongwaveError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from longwave.results import (
    EncodeResult,
    Estimate,
    Item,
    Limits,
    ModelInfo,
    Quantized,
    RowBlock,
    Tls,
    Truncation,
)
from longwave.tokenizers import (
    AlphabetTokenizer,
    ByteTokenizer,
    HuggingFaceTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
)

__all__ = [
    "AlphabetTokenizer",
    "AsyncClient",
    "ByteTokenizer",
    "Cancelled",
    "Client",
    "DeadlineExceeded",
    "EncodeResult",
    "Estimate",
    "FailedPrecondition",
    "HuggingFaceTokenizer",
    "Internal",
    "InvalidArgument",
    "Item",
    "Limits",
    "LongwaveError",
    "ModelInfo",
    "NotFound",
    "PermissionDenied",
    "Quantized",
    "ResourceExhausted",
    "RowBlock",
    "SentencePieceTokenizer",
    "Tls",
    "Tokenizer",
    "Truncation",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "__version__",
    "late_chunking",
]
