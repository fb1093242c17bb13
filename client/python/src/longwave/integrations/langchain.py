"""LangChain: embeddings, and chunks that know their whole document.

from longwave.integrations.langchain import LateChunkingSplitter, LongwaveEmbeddings
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from longwave.integrations._clients import Clients
from longwave.integrations._extras import missing
from longwave.integrations._lists import as_list, as_lists
from longwave.results import Tls
from longwave.tokenizers import Tokenizer

try:
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.utils import secret_from_env
    from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr
except ImportError as error:
    raise missing("langchain_core", "langchain", error) from error

__all__ = ["LateChunkingSplitter", "LateChunks", "LongwaveEmbeddings", "PrecomputedEmbeddings"]


class LongwaveEmbeddings(BaseModel, Embeddings):
    """Embeddings of texts of any length, from a Longwave server.

    The asynchronous methods are asynchronous down to the socket. Connections are made at the first
    call and closed by `close` and `aclose`, or with the object. Safe from any thread.

    Raises:
        LongwaveError: from every method that calls the server; see its `reason`.
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", frozen=True, protected_namespaces=()
    )

    target: str = "127.0.0.1:50051"
    """Address of the server."""
    api_key: SecretStr | None = Field(
        default_factory=secret_from_env("LONGWAVE_API_KEY", default=None)
    )
    """Key of the caller; by default what LONGWAVE_API_KEY in the environment says."""
    allow_plaintext_key: bool = False
    """Send the key over a network without TLS."""
    tls: Tls | None = Field(default=None, repr=False, exclude=True)
    model: str = ""
    """Empty: the server's default model."""
    model_version: str = ""
    """A condition: any other version is refused. Empty: whichever is in service."""
    tokenizer: Tokenizer | None = Field(default=None, exclude=True)
    """None: the one that the model names, where it is one of the client's own."""
    timeout: float | None = 30.0
    """Seconds for a request; None: no limit."""
    priority: Literal["interactive", "batch"] = "interactive"
    max_in_flight: int = Field(default=4, ge=1)
    """Requests of one call under way at once."""
    batch_tokens: int | None = Field(default=None, ge=1)
    """Tokens of one request; None: by the server's limits."""
    truncate_dim: int | None = Field(default=None, ge=1)
    """The first values of each vector only."""
    normalize_embeddings: bool | None = None
    """To length 1; None: as the model says."""
    document_prompt: str | None = None
    """Put before each document."""
    query_prompt: str | None = None
    """Put before each query."""

    _clients: Clients = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        self._clients = Clients(
            self.target,
            {
                "api_key": self.api_key.get_secret_value() if self.api_key else None,
                "allow_plaintext_key": self.allow_plaintext_key,
                "tls": self.tls,
                "model": self.model,
                "model_version": self.model_version,
                "tokenizer": self.tokenizer,
                "timeout": self.timeout,
                "priority": self.priority,
                "max_in_flight": self.max_in_flight,
                "batch_tokens": self.batch_tokens,
            },
        )

    @property
    def clients(self) -> Clients:
        """The clients that calls go through."""
        return self._clients

    def encode_options(self, prompt: str | None) -> dict[str, Any]:
        """What each call says beside its texts."""
        return {
            "normalize_embeddings": self.normalize_embeddings,
            "truncate_dim": self.truncate_dim,
            "prompt": prompt,
        }

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text, in their order."""
        if not texts:
            return []
        options = self.encode_options(self.document_prompt)
        client = self._clients.blocking()
        return as_lists(client.encode(list(texts), show_progress_bar=False, **options))

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        client = self._clients.blocking()
        return as_list(client.encode(text, **self.encode_options(self.query_prompt)))

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text, in their order."""
        if not texts:
            return []
        options = self.encode_options(self.document_prompt)
        client = self._clients.asynchronous()
        return as_lists(await client.encode(list(texts), show_progress_bar=False, **options))

    async def aembed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        client = self._clients.asynchronous()
        return as_list(await client.encode(text, **self.encode_options(self.query_prompt)))

    def close(self) -> None:
        """Closes the blocking calls' connection."""
        self._clients.close()

    async def aclose(self) -> None:
        """Closes the connection of the running event loop's calls."""
        await self._clients.aclose()


class TextSplitter(Protocol):
    """What is needed of a LangChain TextSplitter, which is in a package of its own."""

    def create_documents(
        self, texts: list[str], metadatas: list[dict[Any, Any]] | None = None
    ) -> list[Document]:
        """Documents of the chunks of the texts."""
        ...


# Or a function from a text to the (begin, end) of its chunks in characters, as those of
# longwave.late_chunking are.
ChunkSplitter = TextSplitter | Callable[[str], Sequence[tuple[int, int]]]


@dataclass(frozen=True)
class LateChunks:
    """Chunks of documents, with vectors that know the whole document they stand in.

    Attributes:
        documents: the chunks. Metadata: their document's, and `start_index`, the character of it at
            which they begin.
        embeddings: float32 [len(documents), dim].
    """

    documents: list[Document]
    embeddings: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.documents)

    def text_embeddings(self) -> list[tuple[str, list[float]]]:
        """Pairs of text and vector, as the stores' `from_embeddings` and `add_embeddings` take."""
        return [
            (document.page_content, as_list(vector))
            for document, vector in zip(self.documents, self.embeddings)
        ]

    def as_embeddings(self, queries: Embeddings) -> PrecomputedEmbeddings:
        """Embeddings for a store that wants to embed documents by itself: see the class.

        Args:
            queries: who embeds the queries.
        """
        return PrecomputedEmbeddings(self, queries)


class PrecomputedEmbeddings(Embeddings):
    """Answers with vectors that were computed before, so that any vector store can hold them.

    A store is made with this object and given `chunks.documents`, in their order. A text that
    occurs in several places has a vector for each: they are handed out in the order of the chunks,
    over and over. Queries are embedded by `queries`. Safe from any thread.
    """

    def __init__(self, chunks: LateChunks, queries: Embeddings) -> None:
        self._queries = queries
        self._lock = threading.Lock()
        self._places: dict[str, list[int]] = {}
        self._turns: dict[str, int] = {}
        self._vectors = chunks.embeddings
        for place, document in enumerate(chunks.documents):
            self._places.setdefault(document.page_content, []).append(place)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of these chunks.

        Raises:
            ValueError: a text is not one of the chunks.
        """
        return [as_list(self._vectors[place]) for place in self._find(texts)]

    def _find(self, texts: list[str]) -> list[int]:
        unknown = next((text for text in texts if text not in self._places), None)
        if unknown is not None:
            raise ValueError(
                f"the text {unknown[:60]!r} is not one of the {len(self._vectors)} chunks whose"
                " vectors are here; embed it with LongwaveEmbeddings"
            )
        found = []
        with self._lock:
            for text in texts:
                turn = self._turns.get(text, 0)
                self._turns[text] = turn + 1
                places = self._places[text]
                found.append(places[turn % len(places)])
        return found

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query, from `queries`."""
        return self._queries.embed_query(text)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of these chunks; nothing is waited for."""
        return self.embed_documents(texts)

    async def aembed_query(self, text: str) -> list[float]:
        """The vector of a query, from `queries`."""
        return await self._queries.aembed_query(text)


class LateChunkingSplitter:
    """Splits documents and embeds their chunks in one pass over each whole document.

    Where chunks are embedded one by one, "it" and "the company" mean nothing. Here every token has
    seen the document before the tokens of a chunk are averaged.
    """

    def __init__(self, embeddings: LongwaveEmbeddings, splitter: ChunkSplitter) -> None:
        """
        Args:
            embeddings: whose server, model and options are used. `document_prompt` is not: it would
                be part of the document.
            splitter: a LangChain TextSplitter made with add_start_index=True, or a function that
                gives the (begin, end) of each chunk.
        """
        self._embeddings = embeddings
        self._splitter = splitter

    def split_documents(self, documents: Iterable[Document]) -> LateChunks:
        """Splits and embeds documents, one after the other.

        Raises:
            ValueError: the splitter does not say where a chunk begins, or changed its text.
            LongwaveError: a document could not be encoded.
        """
        client = self._embeddings.clients.blocking()
        chunks: list[Document] = []
        vectors = []
        for document in documents:
            parts, spans = self._split(document)
            if parts:
                chunks += parts
                options = self._options()
                vectors.append(client.encode_chunks(document.page_content, spans, **options))
        return _collect(chunks, vectors)

    async def asplit_documents(self, documents: Iterable[Document]) -> LateChunks:
        """split_documents on the running event loop, which stays free while the server computes."""
        client = self._embeddings.clients.asynchronous()
        chunks: list[Document] = []
        vectors = []
        for document in documents:
            parts, spans = self._split(document)
            if parts:
                chunks += parts
                options = self._options()
                vectors.append(await client.encode_chunks(document.page_content, spans, **options))
        return _collect(chunks, vectors)

    def _options(self) -> dict[str, Any]:
        options = self._embeddings.encode_options(None)
        del options["prompt"]
        return options

    def _split(self, document: Document) -> tuple[list[Document], list[tuple[int, int]]]:
        text = document.page_content
        splitter = self._splitter
        if not callable(splitter):
            parts = splitter.create_documents([text], [document.metadata])
            return parts, [_span(part, text) for part in parts]
        spans = [(int(begin), int(end)) for begin, end in splitter(text)]
        parts = [
            Document(
                page_content=text[begin:end], metadata={**document.metadata, "start_index": begin}
            )
            for begin, end in spans
        ]
        return parts, spans


def _span(part: Document, text: str) -> tuple[int, int]:
    """Where a chunk made by a TextSplitter stands in its document."""
    begin = part.metadata.get("start_index")
    if begin is None:
        raise ValueError(
            "splitter: its chunks have no start_index; make it with add_start_index=True"
        )
    end = begin + len(part.page_content)
    if begin < 0 or text[begin:end] != part.page_content:
        raise ValueError(
            f"splitter: the chunk {part.page_content[:60]!r} is not in the document as it stands"
            f" (start_index {begin}); late chunking needs a splitter that leaves the text unchanged"
        )
    return begin, end


def _collect(chunks: list[Document], vectors: list[Any]) -> LateChunks:
    if not vectors:
        return LateChunks([], np.zeros((0, 0), np.float32))
    return LateChunks(chunks, np.concatenate(vectors).astype(np.float32, copy=False))
