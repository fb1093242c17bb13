"""Bodies of replies in OpenAI's form."""

from __future__ import annotations

import binascii
from typing import Any

import orjson

from longwave import ModelInfo
from longwave.openai_server.backend import Embeddings


def embeddings_body(result: Embeddings, model: str, base64: bool) -> bytes:
    """The list of embeddings, under the name of the model that the caller used.

    Numbers are printed with the fewest digits that give back the same float32, so that both
    formats have the same bits.
    """
    values: list[Any] = list(result.vectors)
    if base64:
        values = [
            binascii.b2a_base64(vector.astype("<f4", copy=False), newline=False).decode()
            for vector in values
        ]
    reply = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": value}
            for index, value in enumerate(values)
        ],
        "model": model,
        "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
    }
    return orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)


def model_entry(name: str, info: ModelInfo, created: int) -> dict[str, Any]:
    """One entry of the list of models.

    `root` and `max_model_len` are as vLLM's; what OpenAI's form has no place for is in `longwave`.
    """
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "longwave",
        "root": info.name,
        "max_model_len": info.max_tokens,
        "longwave": {
            "version": info.version,
            "model_digest": info.weights_digest,
            "fingerprint": info.fingerprint,
            "dimensions": info.dim,
            "truncate_dimensions": info.truncate_dims,
            "vocabulary": info.vocab_size,
            "tokenizer": info.tokenizer_kind,
        },
    }
