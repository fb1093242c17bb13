"""FAISS: indexes of floats and of bits, that know which model their vectors are of.

from longwave.integrations.faiss import FaissIndex
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from longwave.client import Client
from longwave.integrations._extras import require
from longwave.integrations._records import OnError, Record, check_digest, encode_batches

__all__ = ["FaissIndex", "Hits", "OnError", "Record"]

_FORMAT = 1


@dataclass(frozen=True)
class Hits:
    """The nearest texts of some queries, nearest first.

    Attributes:
        ids: for each query the ids of its hits; fewer than asked for if the index has fewer.
        scores: as FAISS gives them, [queries, hits]: inner product (the cosine) of float indexes,
            float32; of binary ones the number of bits that differ, int32.
    """

    ids: list[list[str]]
    scores: npt.NDArray[Any]


class FaissIndex:
    """A flat FAISS index of embeddings: exact nearest neighbours.

    Float: `IndexFlatIP` over vectors of length 1. Binary: `IndexBinaryFlat` over the signs of their
    values, 1/32 of the memory. `index` is FAISS's own object, to be used with anything of FAISS;
    its position `i` belongs to `ids[i]`. One thread at a time may add; searches may share it.
    """

    def __init__(
        self,
        index: Any,
        ids: list[str],
        model_digest: str,
        *,
        binary: bool,
        offered: int | None = None,
    ) -> None:
        """Puts together what `build` and `load` made; `model_digest` may be empty only without
        vectors. `offered`: records that it was ever given, skipped ones among them: the next text
        gets its id from that; None: as many as there are ids."""
        self.index = index
        self.ids = ids
        self.model_digest = model_digest
        self.binary = binary
        self.offered = len(ids) if offered is None else offered

    @classmethod
    def build(
        cls,
        client: Client,
        records: Iterable[str | Record],
        *,
        binary: bool = False,
        truncate_dim: int | None = None,
        batch_size: int = 1024,
        on_error: OnError = "raise",
    ) -> FaissIndex:
        """An index of these records.

        Args:
            client: who encodes.
            records: texts, whose ids are then "0", "1", ... by their place among all that were
                ever offered, or records. Read a batch at a time.
            binary: keep the signs only. The dimension must be a multiple of 8.
            truncate_dim: the first values of each vector only.
            batch_size: records that are encoded before they are added.
            on_error: "raise", or "skip" what cannot be encoded.

        Raises:
            LongwaveError: a record failed and on_error is "raise"; with reason MODEL_CHANGED, the
                server went to another model on the way.
            ImportError: no faiss.
        """
        dim = truncate_dim or client.get_sentence_embedding_dimension()
        made = cls(_flat(dim, binary), [], "", binary=binary)
        made.add(client, records, batch_size=batch_size, on_error=on_error)
        return made

    @property
    def dim(self) -> int:
        """Values of each vector."""
        return int(self.index.d)

    def __len__(self) -> int:
        return len(self.ids)

    def add(
        self,
        client: Client,
        records: Iterable[str | Record],
        *,
        batch_size: int = 1024,
        on_error: OnError = "raise",
    ) -> None:
        """Adds records after those that are there; arguments and errors as of `build`. What was
        added before an error stays."""
        options = self._options(client)
        for batch in encode_batches(
            client, self._named(records), batch_size=batch_size, on_error=on_error, **options
        ):
            if batch.records:
                self.model_digest = check_digest(batch.model_digest, self.model_digest, "the index")
                self.index.add(_matrix(batch.embeddings))
                self.ids += [record.id for record in batch.records]

    def _named(self, records: Iterable[str | Record]) -> Iterator[Record]:
        """Records, of texts with the next ids: one that is left out has had its id all the same."""
        for record in records:
            self.offered += 1
            yield Record(str(self.offered - 1), record) if isinstance(record, str) else record

    def search(self, client: Client, queries: str | Sequence[str], k: int = 10) -> Hits:
        """The k nearest texts of each query (a single text: of that one).

        Raises:
            LongwaveError: a query failed; with reason MODEL_CHANGED, the server has another model
                in service than the index has vectors of.
            ValueError: k is below 1.
        """
        if k < 1:
            raise ValueError(f"k = {k}, at least 1 is needed")
        texts = [queries] if isinstance(queries, str) else list(queries)
        result = client.encode(
            texts, errors="return", show_progress_bar=False, **self._options(client)
        )
        if result.errors:
            raise result.errors[min(result.errors)]
        check_digest(result.model_digest, self.model_digest, "the index")
        k = min(k, len(self.ids))
        if not texts or k == 0:
            kind = np.int32 if self.binary else np.float32
            return Hits([[] for _ in texts], np.zeros((len(texts), 0), kind))
        vectors = _matrix(result.embeddings)
        scores, places = self.index.search(vectors, k)
        return Hits([[self.ids[place] for place in row] for row in places], scores)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the index to `path` (in FAISS's own format) and `path`.json (ids, model).

        Both are written beside their places and moved there. Should the program end between the
        two moves, `load` sees that they do not belong together.
        """
        faiss = require("faiss", "faiss")
        target = pathlib.Path(path)
        about = {
            "format": _FORMAT,
            "binary": self.binary,
            "model_digest": self.model_digest,
            "ids": self.ids,
            "offered": self.offered,
        }
        fresh, fresh_about = _beside(target, ".new"), _beside(target, ".json.new")
        write = faiss.write_index_binary if self.binary else faiss.write_index
        write(self.index, str(fresh))
        about["sha256"] = _sha256(fresh)
        fresh_about.write_text(json.dumps(about), encoding="utf-8")
        os.replace(fresh, target)
        os.replace(fresh_about, _beside(target, ".json"))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FaissIndex:
        """What `save` wrote.

        Raises:
            FileNotFoundError: one of the two files is missing.
            ValueError: they are not of one index.
        """
        faiss = require("faiss", "faiss")
        target = pathlib.Path(path)
        about = json.loads(_beside(target, ".json").read_text(encoding="utf-8"))
        if about.get("format") != _FORMAT:
            raise ValueError(f"{target}.json: format {about.get('format')!r}, not {_FORMAT}")
        if _sha256(target) != about["sha256"]:
            raise ValueError(f"{target}: not the index that {target}.json was written with")
        read = faiss.read_index_binary if about["binary"] else faiss.read_index
        return cls(
            read(str(target)),
            about["ids"],
            about["model_digest"],
            binary=about["binary"],
            offered=about["offered"],
        )

    def _options(self, client: Client) -> dict[str, Any]:
        shorter = self.dim if self.dim != client.get_sentence_embedding_dimension() else None
        return {
            "precision": "ubinary" if self.binary else "float32",
            "normalize_embeddings": True,
            "truncate_dim": shorter,
        }


def _flat(dim: int, binary: bool) -> Any:
    faiss = require("faiss", "faiss")
    if binary and dim % 8:
        raise ValueError(f"dim = {dim}: a binary index needs a multiple of 8")
    return faiss.IndexBinaryFlat(dim) if binary else faiss.IndexFlatIP(dim)


def _matrix(vectors: Sequence[Any]) -> npt.NDArray[Any]:
    """[n, dim], as FAISS reads memory."""
    return np.ascontiguousarray(np.stack(vectors))


def _beside(path: pathlib.Path, suffix: str) -> pathlib.Path:
    return path.with_name(path.name + suffix)


def _sha256(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
