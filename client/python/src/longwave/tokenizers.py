"""Text to token ids, in the client: servers take ids.

A model says in GetModel which kind of tokenizer it was trained with and that tokenizer's
fingerprint. Ids from any other one would give vectors that look right and mean nothing, so kinds
and fingerprints are compared before a request is sent, and the server compares again.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

# Ids of one sequence: bytes where each is below 256 (one byte an id), else an unsigned array [n].
Ids = bytes | npt.NDArray[Any]
# Begin and end of each token in characters of the text: int64 [tokens, 2]. Tokens that stand for no
# text ([CLS]) have begin = end.
Offsets = npt.NDArray[np.int64]


@runtime_checkable
class Tokenizer(Protocol):
    """What a client needs of a tokenizer; any object with these will do.

    It must be safe to use from several threads, and to pickle where its client is pickled.
    """

    @property
    def kind(self) -> str:
        """As models name it in `tokenizer_kind`."""
        ...

    @property
    def fingerprint(self) -> str:
        """As models name it in `tokenizer_fingerprint`: the SHA-256 of the tokenizer's file, in
        lower-case hexadecimal digits. Empty: never compared."""
        ...

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text. ValueError: a text that cannot be written with these tokens."""
        ...

    def encode_with_offsets(self, text: str) -> tuple[Ids, Offsets]:
        """Ids of a text, and which of its characters each of them stands for."""
        ...


class ByteTokenizer:
    """Ids are the bytes of the text in UTF-8. It has no parameters and a single version."""

    kind = "byte"

    def __init__(self, fingerprint: str = "byte-v1") -> None:
        """`fingerprint`: only for models that give this tokenizer another name."""
        self.fingerprint = fingerprint

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        return [text.encode() for text in texts]

    def encode_with_offsets(self, text: str) -> tuple[Ids, Offsets]:
        ids = text.encode()
        # Every byte but those that continue a character (10xxxxxx) begins one.
        begins = (np.frombuffer(ids, np.uint8) & 0xC0) != 0x80
        character = np.cumsum(begins, dtype=np.int64) - 1
        return ids, np.stack([character, character + 1], axis=1)


class AlphabetTokenizer:
    """One id for each character: its place in the alphabet.

    The fingerprint is the SHA-256, in UTF-8, of "fold:" where lower case is taken as upper case,
    else "exact:"; then, where there is one, the character `unknown` and ":"; then the alphabet.
    """

    def __init__(
        self, alphabet: str, *, kind: str = "alphabet", fold_case: bool = False, unknown: str = ""
    ) -> None:
        """
        Args:
            alphabet: the characters, in the order of their ids; each once.
            kind: as the model names it.
            fold_case: take "a" as "A".
            unknown: the character of the alphabet that stands for all others; empty: a character
                outside the alphabet is an error.
        """
        if not alphabet or len(set(alphabet)) != len(alphabet):
            raise ValueError(f"alphabet: needs characters, each once, and is {alphabet!r}")
        if unknown and unknown not in alphabet:
            raise ValueError(f"unknown: {unknown!r} is not in the alphabet {alphabet!r}")
        self.alphabet = alphabet
        self.kind = kind
        self.fold_case = fold_case
        self.unknown = unknown
        rule = ("fold:" if fold_case else "exact:") + (unknown + ":" if unknown else "")
        self.fingerprint = hashlib.sha256((rule + alphabet).encode()).hexdigest()
        # Id of each code point up to the alphabet's last one; -1: none.
        spelled = alphabet + alphabet.lower() if fold_case else alphabet
        self._ids = np.full(max(map(ord, spelled)) + 1, -1, np.int32)
        for character in reversed(spelled):  # in "aA" each keeps its own id
            folded = character if character in alphabet else character.upper()
            self._ids[ord(character)] = alphabet.index(folded)

    @classmethod
    def dna(cls) -> AlphabetTokenizer:
        """Kind "dna": A, C, G, T, N = 0 to 4, lower case (soft masking) as upper case."""
        return cls("ACGTN", kind="dna", fold_case=True)

    @classmethod
    def protein(cls) -> AlphabetTokenizer:
        """Kind "protein": the 20 amino acids in the order of their letters = 0 to 19, then the
        ambiguous and rare ones X, B, Z, U, O = 20 to 24; lower case as upper case."""
        return cls("ACDEFGHIKLMNPQRSTVWYXBZUO", kind="protein", fold_case=True)

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        return [self._encode(text) for text in texts]

    def encode_with_offsets(self, text: str) -> tuple[Ids, Offsets]:
        begins = np.arange(len(text), dtype=np.int64)
        return self._encode(text), np.stack([begins, begins + 1], axis=1)

    def _encode(self, text: str) -> Ids:
        points = np.frombuffer(text.encode("utf-32-le"), "<u4")
        known = points < len(self._ids)
        ids = np.where(known, self._ids[np.where(known, points, 0)], -1)
        if self.unknown:
            ids = np.where(ids < 0, self.alphabet.index(self.unknown), ids)
        if len(ids) and ids.min() < 0:
            at = int(np.argmax(ids < 0))
            raise ValueError(
                f"character {at} is {text[at]!r}, which is not in the alphabet {self.alphabet!r}"
            )
        return narrow(ids)


class HuggingFaceTokenizer:
    """A `tokenizer.json` of the library `tokenizers` (extra `tokenizers`).

    Truncation and padding that the file may ask for are switched off: a client never cuts, and
    requests are ragged. The fingerprint is the SHA-256 of the file.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        *,
        kind: str = "huggingface",
        add_special_tokens: bool = True,
    ) -> None:
        """
        Args:
            file: path of a tokenizer.json.
            kind: as the model names it.
            add_special_tokens: put [CLS] and the like around each text, if the file says so.
        """
        self.kind = kind
        self.add_special_tokens = add_special_tokens
        self._load(pathlib.Path(file).read_bytes())

    def _load(self, data: bytes) -> None:
        try:
            import tokenizers
        except ImportError as error:
            raise ImportError(
                "HuggingFaceTokenizer needs the package tokenizers: "
                'pip install "longwave-client[tokenizers]"'
            ) from error
        self._data = data
        self.fingerprint = hashlib.sha256(data).hexdigest()
        self._tokenizer: Any = tokenizers.Tokenizer.from_str(data.decode())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        for text in texts:
            _check_text(text)
        encodings = self._tokenizer.encode_batch_fast(
            list(texts), add_special_tokens=self.add_special_tokens
        )
        return [narrow(np.array(encoding.ids, np.uint32)) for encoding in encodings]

    def encode_with_offsets(self, text: str) -> tuple[Ids, Offsets]:
        _check_text(text)
        encoding = self._tokenizer.encode(text, add_special_tokens=self.add_special_tokens)
        offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2)
        return narrow(np.array(encoding.ids, np.uint32)), offsets

    def __getstate__(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "add_special_tokens": self.add_special_tokens,
            "data": self._data,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.kind = state["kind"]
        self.add_special_tokens = state["add_special_tokens"]
        self._load(state["data"])


class SentencePieceTokenizer:
    """A SentencePiece model file (extra `sentencepiece`). Fingerprint: the SHA-256 of the file."""

    def __init__(self, file: str | os.PathLike[str], *, kind: str = "sentencepiece") -> None:
        """
        Args:
            file: path of a SentencePiece `.model`.
            kind: as the model names it.
        """
        self.kind = kind
        self._load(pathlib.Path(file).read_bytes())

    def _load(self, data: bytes) -> None:
        try:
            import sentencepiece
        except ImportError as error:
            raise ImportError(
                "SentencePieceTokenizer needs the package sentencepiece: "
                'pip install "longwave-client[sentencepiece]"'
            ) from error
        self._data = data
        self.fingerprint = hashlib.sha256(data).hexdigest()
        self._processor: Any = sentencepiece.SentencePieceProcessor(model_proto=data)

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        for text in texts:
            _check_text(text)
        return [narrow(np.array(self._processor.encode(text), np.uint32)) for text in texts]

    def encode_with_offsets(self, text: str) -> tuple[Ids, Offsets]:
        _check_text(text)
        pieces = self._pieces(text)
        ids = np.array([piece.id for piece in pieces], np.uint32)
        offsets = np.array([(piece.begin, piece.end) for piece in pieces], np.int64)
        # Some releases of the library count in characters, some in bytes of UTF-8.
        if any(text[piece.begin : piece.end] != piece.surface for piece in pieces):
            begins = (np.frombuffer(text.encode(), np.uint8) & 0xC0) != 0x80
            offsets = np.concatenate([[0], np.cumsum(begins)])[offsets]
        return narrow(ids), offsets.reshape(-1, 2)

    def _pieces(self, text: str) -> Any:
        try:
            return self._processor.encode(text, return_type="proto").pieces
        except TypeError:  # before 0.2.2
            return self._processor.encode(text, out_type="immutable_proto").pieces

    def __getstate__(self) -> dict[str, Any]:
        return {"kind": self.kind, "data": self._data}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.kind = state["kind"]
        self._load(state["data"])


def _check_text(text: str) -> None:
    """ValueError: half a surrogate pair, which has no UTF-8. The libraries have other errors for
    that, or none."""
    text.encode()


def narrow(ids: npt.NDArray[Any]) -> Ids:
    """Ids (integers in [0, 2^32)) in the fewest bytes of 1, 2 or 4 that hold the largest one."""
    largest = int(ids.max()) if len(ids) else 0
    if largest <= 0xFF:
        return ids.astype(np.uint8).tobytes()
    return ids.astype("<u2" if largest <= 0xFFFF else "<u4")


def tokenizer_for(kind: str, fingerprint: str) -> Tokenizer | None:
    """The tokenizer that a model means by `kind` alone; None: it takes a file to know."""
    if kind == "byte":
        # There is one byte tokenizer, whatever name a model has for it.
        return ByteTokenizer(fingerprint)
    if kind == "dna":
        return AlphabetTokenizer.dna()
    if kind == "protein":
        return AlphabetTokenizer.protein()
    return None
