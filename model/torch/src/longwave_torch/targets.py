"""What a teacher says of spans of a corpus: chains of spans that follow each other in a document.

A chain of n spans teaches lengths from one span to all of them, since the target of a longer span is
the mean of the targets of its parts; and two parts of a chain are two spans of one document.
"""

import dataclasses
import os

import numpy as np

from . import vocabulary

SPAN_BYTES = (160, 900)  # drawn between; below what a teacher of 256 word pieces takes in
CHAIN_LENGTHS = (2, 4, 8, 16, 32)
CHAIN_SHARES = (0.45, 0.25, 0.15, 0.09, 0.06)


@dataclasses.dataclass
class Chain:
    entry: int  # of the corpus
    spans: list  # [(begin, end)], bytes of the document, each span beginning where one ended


def _cut(data, place):
    """The first end of a word at or after `place`, or the end of the document."""
    place = min(place, len(data))
    while place < len(data) and data[place] not in b" \n":
        place += 1
    return place


def _chain(corpus, entry, random):
    data = corpus.bytes_of(corpus.entries[entry])
    wanted = random.choice(CHAIN_LENGTHS, p=CHAIN_SHARES)
    sizes = random.integers(*SPAN_BYTES, size=wanted)
    room = len(data) - int(sizes.sum())
    place = _cut(data, int(random.integers(0, room))) if room > 0 else 0
    spans = []
    for size in sizes:
        end = _cut(data, place + int(size))
        if end - place < SPAN_BYTES[0] // 2:
            break
        spans.append((place, end))
        place = end
    return Chain(entry, spans)


def shards(corpus, chains, shard, seed):
    """Lists of `shard` chains of training documents, documents in a seeded order, again and again;
    the same for the same corpus and seed."""
    random = np.random.default_rng(seed)
    training = np.array([i for i, e in enumerate(corpus.entries) if not e.held_out])
    if len(training) == 0:
        raise ValueError(f"{corpus.folder} has no documents that are not held out")
    order = np.concatenate(
        [random.permutation(training) for _ in range(-(-chains // len(training)))]
    )[:chains]
    made = []
    for entry in order:
        chain = _chain(corpus, int(entry), random)
        if len(chain.spans) >= 2:
            made.append(chain)
        if len(made) == shard:
            yield made
            made = []
    if made:
        yield made


def save(path, chains, embeddings):
    """One shard; embeddings [all spans, dim] in the order of the chains."""
    counts = np.array([len(c.spans) for c in chains])
    temporary = path.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        entries=np.array([c.entry for c in chains], np.int32),
        counts=counts.astype(np.int32),
        spans=np.array([s for c in chains for s in c.spans], np.int64),
        embeddings=embeddings.astype(np.float16),
    )
    os.replace(temporary, path)


class Targets:
    """All shards of a folder.

    entries [chains]: index of the document; first [chains + 1]: a chain's spans are
    first[c] .. first[c + 1]; spans [n, 2]; embeddings float32 [n, dim], of unit length; vocabulary:
    the folder's (vocabulary.py) or None, its embeddings projected alike.
    """

    def __init__(self, folder, dim=None):
        """dim: embeddings are projected to so many dimensions, by the directions that keep most of
        their products (their second moments' largest), and brought back to unit length."""
        paths = sorted(p for p in folder.glob("[0-9]*.npz") if not p.name.endswith(".tmp.npz"))
        if not paths:
            raise FileNotFoundError(f"{folder} holds no targets (longwave_torch.teacher makes them)")
        parts = [np.load(path) for path in paths]
        self.entries = np.concatenate([p["entries"] for p in parts])
        counts = np.concatenate([p["counts"] for p in parts])
        self.first = np.concatenate([[0], np.cumsum(counts)])
        self.spans = np.concatenate([p["spans"] for p in parts])
        self.embeddings = np.concatenate([p["embeddings"] for p in parts]).astype(np.float32)
        self.vocabulary = vocabulary.load(folder)
        self.kept = 1.0
        if dim is not None and dim < self.embeddings.shape[1]:
            self._project(folder / f"projection-{dim}.npy", dim)

    def _project(self, path, dim):
        """Onto the directions of the largest second moments. They are found once and kept, since a
        student that has learnt them must not meet others when more targets have come."""
        if not path.exists():
            moments = self.embeddings.T.astype(np.float64) @ self.embeddings
            directions = np.linalg.eigh(moments)[1][:, -dim:]
            temporary = path.with_suffix(".tmp.npy")
            np.save(temporary, directions.astype(np.float32))
            os.replace(temporary, path)
        directions = np.load(path)
        if self.vocabulary is not None:
            self.vocabulary.embeddings = self.vocabulary.embeddings @ directions
        rows = self.embeddings @ directions
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        self.kept = float((lengths**2).mean())
        self.embeddings = rows / lengths

    def __len__(self):
        return len(self.entries)

    def mean(self, begin, end):
        """The target of spans begin .. end - 1 together: their mean, weighted by size, normalised."""
        sizes = (self.spans[begin:end, 1] - self.spans[begin:end, 0]).astype(np.float32)
        total = sizes @ self.embeddings[begin:end]
        return total / np.linalg.norm(total)
