"""The words that a corpus's training documents have most often, and what a teacher says of each.

A vocabulary file (words.npz, beside a teacher's targets): `words` [count] of bytes in lower case, by
falling frequency; `frequencies` [count] int64: how many of `documents` have each; `embeddings`
[count, dim] float16, the teacher's of each word alone, if there was one.
"""

import collections
import dataclasses
import os
import pathlib

import numpy as np

from . import words
from .progress import Progress

FILE = "words.npz"
DOCUMENT_BYTES = 8000  # of each document are counted


@dataclasses.dataclass
class Vocabulary:
    words: np.ndarray  # [count] of bytes
    frequencies: np.ndarray  # [count] int64
    documents: int
    embeddings: np.ndarray | None = None  # [count, dim]

    @property
    def keys(self):
        """[count] int64, in the order of the words."""
        return np.array([int(words.find(np.frombuffer(w, np.uint8))[2][0]) for w in self.words])

    def rarity(self):
        """log((N + 1) / (df + 1)) of each word (initial.py)."""
        return np.log((self.documents + 1) / (self.frequencies + 1)).astype(np.float32)


def count(corpus, limit):
    """The Vocabulary of at most `limit` words of a corpus's training documents, without embeddings;
    of words as frequent as each other the first in alphabetical order."""
    training = corpus.split(held_out=False)
    frequencies = collections.Counter()
    with Progress("words", len(training)) as progress:
        for entry in training:
            data = corpus.bytes_of(entry)[:DOCUMENT_BYTES]
            begins, ends, _ = words.find(data)
            text = data.tobytes().lower()
            frequencies.update({text[a:b] for a, b in zip(begins.tolist(), ends.tolist())})
            progress.add(1)
    found = sorted(frequencies.items(), key=lambda item: (-item[1], item[0]))[:limit]
    return Vocabulary(
        np.array([word for word, _ in found], dtype=object),
        np.array([times for _, times in found], np.int64),
        len(training),
    )


def save(folder, vocabulary):
    path = pathlib.Path(folder) / FILE
    temporary = path.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        words=np.frombuffer(b"\n".join(vocabulary.words), np.uint8),
        frequencies=vocabulary.frequencies,
        documents=vocabulary.documents,
        embeddings=vocabulary.embeddings.astype(np.float16),
    )
    os.replace(temporary, path)


def load(folder):
    """The Vocabulary of a folder of targets, or None if it has none."""
    path = pathlib.Path(folder) / FILE
    if not path.exists():
        return None
    stored = np.load(path)
    return Vocabulary(
        np.array(stored["words"].tobytes().split(b"\n"), dtype=object),
        stored["frequencies"],
        int(stored["documents"]),
        stored["embeddings"].astype(np.float32),
    )
