"""The gRPC side: clients for callers' keys, and embeddings from them."""

from __future__ import annotations

import contextlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from longwave import AsyncClient, LongwaveError, ModelInfo
from longwave._channel import default_service_config
from longwave.openai_server.embeddings_request import EmbeddingsRequest
from longwave.openai_server.settings import Settings

# A client whose key or model nobody has is of no use to anybody.
_USELESS = ("UNAUTHENTICATED", "UNKNOWN_MODEL", "INVALID_MODEL_NAME")


def _service_config() -> str:
    """The library's, but that RESOURCE_EXHAUSTED is not tried again here: the caller hears at once
    when to come back (429, Retry-After), and two layers of retries would multiply."""
    config = json.loads(default_service_config())
    for method in config["methodConfig"]:
        codes = method.get("retryPolicy", {}).get("retryableStatusCodes", [])
        if "RESOURCE_EXHAUSTED" in codes:
            codes.remove("RESOURCE_EXHAUSTED")
    return json.dumps(config)


@dataclass(frozen=True)
class Embeddings:
    """float32 vectors [dim] in the order of the inputs, how many tokens went into all of them, and
    the SHA-256 of the weights that they come from."""

    vectors: list[npt.NDArray[np.float32]]
    tokens: int
    model_digest: str


@dataclass
class _Entry:
    client: AsyncClient
    users: int = 0


class Backend:
    """Speaks to the server; for one event loop.

    A client of the library has one key and one model for its life, so there is one for each pair
    that is in use. Without TLS gRPC gives them one connection, with it each has its own.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._service_config = _service_config()
        self._entries: OrderedDict[tuple[str | None, str], _Entry] = OrderedDict()

    async def encode(
        self, wanted: EmbeddingsRequest, key: str | None, timeout: float
    ) -> Embeddings:
        """
        Args:
            wanted: whose model is a name of the server's or an alias.
            key: the caller's API key.
            timeout: seconds.

        Raises:
            LongwaveError: refused or failed; nothing is returned where one of the inputs fails.
        """
        alias = wanted.model in self._settings.aliases
        async with self._client(key, "" if alias else wanted.model) as client:
            result = await client.encode(
                wanted.inputs,
                truncate_dim=wanted.dimensions,
                truncation=wanted.truncation,
                priority=wanted.priority,
                timeout=timeout,
                errors="return",
                show_progress_bar=False,
            )
        if result.errors:
            raise result.errors[min(result.errors)]
        vectors = [np.ascontiguousarray(vector, np.float32) for vector in result.embeddings]
        return Embeddings(vectors, sum(result.tokens), result.model_digest)

    async def model(self, key: str | None) -> ModelInfo:
        """The model in service."""
        async with self._client(key, "") as client:
            return await client.info()

    async def ready(self) -> bool:
        """Whether the server says that it serves."""
        async with self._client(None, "") as client:
            return await client.health()

    async def close(self) -> None:
        entries, self._entries = self._entries, OrderedDict()
        for entry in entries.values():
            await entry.client.close()

    @contextlib.asynccontextmanager
    async def _client(self, key: str | None, model: str) -> AsyncIterator[AsyncClient]:
        if not self._settings.forward_keys:
            key = None
        entry = self._entries.get((key, model))
        if entry is None:
            entry = self._entries[key, model] = _Entry(self._make_client(key, model))
        self._entries.move_to_end((key, model))
        entry.users += 1
        useless = False
        try:
            yield entry.client
        except LongwaveError as error:
            useless = error.reason in _USELESS
            raise
        finally:
            entry.users -= 1
            await self._tidy((key, model), entry, useless)

    def _make_client(self, key: str | None, model: str) -> AsyncClient:
        settings = self._settings
        return AsyncClient(
            settings.server,
            api_key=key,
            allow_plaintext_key=settings.plaintext_keys,
            tls=settings.tls,
            model=model,
            tokenizer=settings.tokenizer,
            timeout=settings.timeout,
            service_config=self._service_config,
        )

    async def _tidy(self, name: tuple[str | None, str], entry: _Entry, useless: bool) -> None:
        """Closes what nobody uses: clients that never will do, and the oldest above the bound."""
        closing = []
        if useless and entry.users == 0 and self._entries.get(name) is entry:
            closing.append(self._entries.pop(name))
        excess = len(self._entries) - self._settings.max_clients
        if excess > 0:
            idle = [key for key, kept in self._entries.items() if kept.users == 0][:excess]
            closing += [self._entries.pop(key) for key in idle]
        for gone in closing:
            await gone.client.close()
