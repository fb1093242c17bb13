"""LlamaIndex: embeddings.

from longwave.integrations.llama_index import LongwaveEmbedding
"""

from __future__ import annotations

import os
from typing import Any, Literal

from longwave.integrations._clients import Clients
from longwave.integrations._extras import missing
from longwave.integrations._lists import as_list, as_lists
from longwave.results import Tls
from longwave.tokenizers import Tokenizer

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import Field, PrivateAttr, SecretStr
except ImportError as error:
    raise missing("llama_index", "llama-index", error) from error

__all__ = ["LongwaveEmbedding"]


def _key_from_environment() -> SecretStr | None:
    key = os.environ.get("LONGWAVE_API_KEY")
    return SecretStr(key) if key else None


class LongwaveEmbedding(BaseEmbedding):
    """Embeddings of texts of any length, from a Longwave server.

    The asynchronous methods are asynchronous down to the socket. Connections are made at the first
    call, to the server that the fields named when the object was made, and closed by `close` and
    `aclose`, or with the object. Safe from any thread.

    `embed_batch_size` is how many texts LlamaIndex hands over at once. The client makes requests of
    them by tokens, so it is the bound of the memory and not of a request: 256 by default.

    Raises:
        LongwaveError: from every method that calls the server; see its `reason`.
    """

    target: str = Field(default="127.0.0.1:50051", description="Address of the server.")
    api_key: SecretStr | None = Field(
        default_factory=_key_from_environment,
        description="Key of the caller; by default LONGWAVE_API_KEY of the environment.",
        exclude=True,
    )
    allow_plaintext_key: bool = Field(
        default=False, description="Send the key over a network without TLS."
    )
    tls: Tls | None = Field(default=None, exclude=True, repr=False)
    model_name: str = Field(default="", description="Empty: the server's default model.")
    model_version: str = Field(default="", description="A condition; empty: any.")
    tokenizer: Tokenizer | None = Field(
        default=None, exclude=True, description="None: the one that the model names."
    )
    timeout: float | None = Field(default=30.0, description="Seconds for a request.")
    priority: Literal["interactive", "batch"] = "interactive"
    max_in_flight: int = Field(default=4, ge=1, description="Requests of a call at once.")
    batch_tokens: int | None = Field(default=None, ge=1, description="Tokens of a request.")
    truncate_dim: int | None = Field(default=None, ge=1)
    normalize_embeddings: bool | None = Field(default=None, description="None: as the model.")
    text_instruction: str | None = Field(default=None, description="Put before each text.")
    query_instruction: str | None = Field(default=None, description="Put before queries.")
    embed_batch_size: int = Field(default=256, gt=0, le=2048)

    _clients: Clients = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        self._clients = Clients(
            self.target,
            {
                "api_key": self.api_key.get_secret_value() if self.api_key else None,
                "allow_plaintext_key": self.allow_plaintext_key,
                "tls": self.tls,
                "model": self.model_name,
                "model_version": self.model_version,
                "tokenizer": self.tokenizer,
                "timeout": self.timeout,
                "priority": self.priority,
                "max_in_flight": self.max_in_flight,
                "batch_tokens": self.batch_tokens,
            },
        )

    @classmethod
    def class_name(cls) -> str:
        """The name by which LlamaIndex keeps it in files."""
        return "LongwaveEmbedding"

    def _options(self, prompt: str | None) -> dict[str, Any]:
        return {
            "normalize_embeddings": self.normalize_embeddings,
            "truncate_dim": self.truncate_dim,
            "prompt": prompt,
        }

    def _get_query_embedding(self, query: str) -> list[float]:
        options = self._options(self.query_instruction)
        return as_list(self._clients.blocking().encode(query, **options))

    async def _aget_query_embedding(self, query: str) -> list[float]:
        options = self._options(self.query_instruction)
        return as_list(await self._clients.asynchronous().encode(query, **options))

    def _get_text_embedding(self, text: str) -> list[float]:
        options = self._options(self.text_instruction)
        return as_list(self._clients.blocking().encode(text, **options))

    async def _aget_text_embedding(self, text: str) -> list[float]:
        options = self._options(self.text_instruction)
        return as_list(await self._clients.asynchronous().encode(text, **options))

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        options = self._options(self.text_instruction)
        client = self._clients.blocking()
        return as_lists(client.encode(list(texts), show_progress_bar=False, **options))

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        options = self._options(self.text_instruction)
        client = self._clients.asynchronous()
        return as_lists(await client.encode(list(texts), show_progress_bar=False, **options))

    def close(self) -> None:
        """Closes the blocking calls' connection."""
        self._clients.close()

    async def aclose(self) -> None:
        """Closes the connection of the running event loop's calls."""
        await self._clients.aclose()
