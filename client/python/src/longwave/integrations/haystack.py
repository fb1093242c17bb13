"""Haystack: components that embed texts and documents.

    from longwave.integrations.haystack import LongwaveDocumentEmbedder, LongwaveTextEmbedder

Haystack loads pipelines only from modules that it was told to trust:
`Pipeline.loads(text, allowed_modules=["longwave.integrations.haystack"])`.
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

from longwave.integrations._clients import Clients
from longwave.integrations._extras import missing
from longwave.integrations._lists import as_list
from longwave.results import EncodeResult, Tls
from longwave.tokenizers import HuggingFaceTokenizer

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import Secret
except ImportError as error:
    raise missing("haystack", "haystack", error) from error

__all__ = ["LongwaveDocumentEmbedder", "LongwaveTextEmbedder"]

logger = logging.getLogger(__name__)

# The variable need not be set: servers may ask for no key.
_KEY = Secret.from_env_var("LONGWAVE_API_KEY", strict=False)


@dataclasses.dataclass(frozen=True)
class _Settings:
    """What both components are made with, in types that a pipeline's file can hold."""

    target: str
    api_key: Secret | None
    model: str
    model_version: str
    allow_plaintext_key: bool
    tls_ca_file: str | None
    tls_certificate_file: str | None
    tls_key_file: str | None
    tokenizer_file: str | None
    timeout: float | None
    priority: str
    max_in_flight: int
    batch_tokens: int | None
    prefix: str
    suffix: str
    normalize_embeddings: bool | None
    truncate_dim: int | None

    def clients(self) -> Clients:
        """Reads the key and the files."""
        paths = (self.tls_ca_file, self.tls_certificate_file, self.tls_key_file)
        tls = Tls(*(pathlib.Path(path).read_bytes() if path else None for path in paths))
        return Clients(
            self.target,
            {
                "api_key": self.api_key.resolve_value() if self.api_key else None,
                "allow_plaintext_key": self.allow_plaintext_key,
                "tls": tls if any(paths) else None,
                "model": self.model,
                "model_version": self.model_version,
                "tokenizer": HuggingFaceTokenizer(self.tokenizer_file)
                if self.tokenizer_file
                else None,
                "timeout": self.timeout,
                "priority": self.priority,
                "max_in_flight": self.max_in_flight,
                "batch_tokens": self.batch_tokens,
            },
        )

    def options(self) -> dict[str, Any]:
        """What each call says beside its texts."""
        return {
            "normalize_embeddings": self.normalize_embeddings,
            "truncate_dim": self.truncate_dim,
            "errors": "return",
        }

    def to_dict(self) -> dict[str, Any]:
        """Parameters of the component. ValueError: its key is in the program's text."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["api_key"] = self.api_key.to_dict() if self.api_key else None
        return values


class _Embedder:
    """What both components do alike: clients, and how they come and go."""

    _settings: _Settings
    _clients: Clients | None

    def _set(self, settings: _Settings) -> None:
        # Haystack shows and inspects a component's parameters as its attributes.
        for field in dataclasses.fields(settings):
            setattr(self, field.name, getattr(settings, field.name))
        self._settings = settings
        self._clients = None

    def _ready(self) -> Clients:
        if self._clients is None:
            self._clients = self._settings.clients()
        return self._clients

    def warm_up(self) -> None:
        """Reads the key and the files, as a run does too; the first call connects."""
        self._ready().blocking()

    async def warm_up_async(self) -> None:
        """warm_up for runs on the running event loop."""
        self._ready().asynchronous()

    def close(self) -> None:
        """Closes the connection of blocking runs; another run opens a new one."""
        if self._clients is not None:
            self._clients.close()

    async def close_async(self) -> None:
        """Closes the connection of the running event loop's runs."""
        if self._clients is not None:
            await self._clients.aclose()


@component
class LongwaveTextEmbedder(_Embedder):
    """Embeds a text, such as a query."""

    def __init__(
        self,
        target: str = "127.0.0.1:50051",
        api_key: Secret | None = _KEY,
        model: str = "",
        model_version: str = "",
        *,
        allow_plaintext_key: bool = False,
        tls_ca_file: str | None = None,
        tls_certificate_file: str | None = None,
        tls_key_file: str | None = None,
        tokenizer_file: str | None = None,
        timeout: float | None = 30.0,
        priority: str = "interactive",
        max_in_flight: int = 4,
        batch_tokens: int | None = None,
        prefix: str = "",
        suffix: str = "",
        normalize_embeddings: bool | None = None,
        truncate_dim: int | None = None,
    ) -> None:
        """
        Args:
            target: address of the server.
            api_key: key of the caller; None: none.
            model: empty: the server's default model.
            model_version: a condition; empty: whichever is in service.
            allow_plaintext_key: send the key over a network without TLS.
            tls_ca_file: PEM roots that the server's certificate must lead to: speak TLS.
            tls_certificate_file: PEM certificate of the client's own, where servers ask for one.
            tls_key_file: its private key.
            tokenizer_file: a tokenizer.json; None: the tokenizer that the model names.
            timeout: seconds for a request; None: no limit.
            priority: "interactive" or "batch".
            max_in_flight: requests of one run under way at once.
            batch_tokens: tokens of one request; None: by the server's limits.
            prefix, suffix: put before and after each text.
            normalize_embeddings: to length 1; None: as the model says.
            truncate_dim: the first values of each vector only.
        """
        given = {name: value for name, value in locals().items() if name in _SETTINGS}
        self._set(_Settings(**given))

    def to_dict(self) -> dict[str, Any]:
        """The component as a pipeline's file has it; a key only by the name of its variable."""
        return default_to_dict(self, **self._settings.to_dict())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LongwaveTextEmbedder:
        """The component of a pipeline's file."""
        made: LongwaveTextEmbedder = default_from_dict(cls, _with_secret(data))
        return made

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    def run(self, text: str) -> dict[str, Any]:
        """Embeds a text.

        Returns:
            `embedding`, and `meta` with `model`, `model_digest` and `usage`.

        Raises:
            TypeError: not a text.
            LongwaveError: it could not be encoded.
        """
        texts = self._texts(text)
        result = self._ready().blocking().encode(texts, **self._settings.options())
        return self._output(result)

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    async def run_async(self, text: str) -> dict[str, Any]:
        """run on the running event loop."""
        texts = self._texts(text)
        result = await self._ready().asynchronous().encode(texts, **self._settings.options())
        return self._output(result)

    def _texts(self, text: str) -> list[str]:
        if not isinstance(text, str):
            raise TypeError(
                f"text: a str is expected, not {type(text).__name__}; for documents there is"
                " LongwaveDocumentEmbedder"
            )
        return [self._settings.prefix + text + self._settings.suffix]

    def _output(self, result: EncodeResult) -> dict[str, Any]:
        if result.errors:
            raise result.errors[0]
        return {"embedding": as_list(result.embeddings[0]), "meta": _meta(self._settings, result)}


@component
class LongwaveDocumentEmbedder(_Embedder):
    """Embeds documents: the same documents come out, with their `embedding`."""

    def __init__(
        self,
        target: str = "127.0.0.1:50051",
        api_key: Secret | None = _KEY,
        model: str = "",
        model_version: str = "",
        *,
        allow_plaintext_key: bool = False,
        tls_ca_file: str | None = None,
        tls_certificate_file: str | None = None,
        tls_key_file: str | None = None,
        tokenizer_file: str | None = None,
        timeout: float | None = 30.0,
        priority: str = "batch",
        max_in_flight: int = 4,
        batch_tokens: int | None = None,
        prefix: str = "",
        suffix: str = "",
        normalize_embeddings: bool | None = None,
        truncate_dim: int | None = None,
        meta_fields_to_embed: Sequence[str] = (),
        embedding_separator: str = "\n",
        progress_bar: bool = False,
        raise_on_failure: bool = True,
    ) -> None:
        """
        Args:
            meta_fields_to_embed: metadata that is put before the content of each document.
            embedding_separator: between those and the content.
            progress_bar: draw one.
            raise_on_failure: whether a document that cannot be encoded fails the run. If not, it
                comes out without an embedding, and a warning says why.

        The others are those of LongwaveTextEmbedder.
        """
        given = {name: value for name, value in locals().items() if name in _SETTINGS}
        self._set(_Settings(**given))
        self.meta_fields_to_embed = list(meta_fields_to_embed)
        self.embedding_separator = embedding_separator
        self.progress_bar = progress_bar
        self.raise_on_failure = raise_on_failure

    def to_dict(self) -> dict[str, Any]:
        """The component as a pipeline's file has it; a key only by the name of its variable."""
        return default_to_dict(
            self,
            **self._settings.to_dict(),
            meta_fields_to_embed=self.meta_fields_to_embed,
            embedding_separator=self.embedding_separator,
            progress_bar=self.progress_bar,
            raise_on_failure=self.raise_on_failure,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LongwaveDocumentEmbedder:
        """The component of a pipeline's file."""
        made: LongwaveDocumentEmbedder = default_from_dict(cls, _with_secret(data))
        return made

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Embeds documents.

        Returns:
            `documents`, copies in the same order, and `meta` as of LongwaveTextEmbedder.

        Raises:
            TypeError: not a list of documents.
            LongwaveError: one could not be encoded, and raise_on_failure.
        """
        texts = self._texts(documents)
        if not texts:
            return {"documents": [], "meta": {}}
        result = self._ready().blocking().encode(texts, **self._options())
        return self._output(documents, result)

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """run on the running event loop."""
        texts = self._texts(documents)
        if not texts:
            return {"documents": [], "meta": {}}
        result = await self._ready().asynchronous().encode(texts, **self._options())
        return self._output(documents, result)

    def _options(self) -> dict[str, Any]:
        return {**self._settings.options(), "show_progress_bar": self.progress_bar}

    def _texts(self, documents: list[Document]) -> list[str]:
        if not isinstance(documents, list) or not all(isinstance(d, Document) for d in documents):
            raise TypeError(
                "documents: a list of Document is expected; for a text there is"
                " LongwaveTextEmbedder"
            )
        texts = []
        for document in documents:
            fields = (document.meta.get(name) for name in self.meta_fields_to_embed)
            parts = [str(value) for value in fields if value is not None]
            body = self.embedding_separator.join([*parts, document.content or ""])
            texts.append(self._settings.prefix + body + self._settings.suffix)
        return texts

    def _output(self, documents: list[Document], result: EncodeResult) -> dict[str, Any]:
        for index, failure in result.errors.items():
            if self.raise_on_failure:
                raise failure
            logger.warning("document %s has no embedding: %s", documents[index].id, failure)
        embedded = [
            dataclasses.replace(
                document, embedding=None if embedding is None else as_list(embedding)
            )
            for document, embedding in zip(documents, result.embeddings)
        ]
        return {"documents": embedded, "meta": _meta(self._settings, result)}


_SETTINGS = frozenset(field.name for field in dataclasses.fields(_Settings))


def _with_secret(data: dict[str, Any]) -> dict[str, Any]:
    parameters = dict(data.get("init_parameters", {}))
    if isinstance(parameters.get("api_key"), dict):
        parameters["api_key"] = Secret.from_dict(parameters["api_key"])
    return {**data, "init_parameters": parameters}


def _meta(settings: _Settings, result: EncodeResult) -> dict[str, Any]:
    tokens = sum(result.tokens)
    return {
        "model": settings.model,
        "model_digest": result.model_digest,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
