"""Who takes part: each makes unit vectors [texts, dim], dense or sparse, of texts as bytes."""

import hashlib
import pathlib

import numpy as np
import scipy.sparse
import torch

from . import tasks
from ..encoder import Encoder
from ..progress import Progress

TRIGRAM_BUCKETS = 1 << 16
TFIDF_DOCUMENTS = 3000  # training documents that word frequencies are counted in
TFIDF_BYTES = 8000  # of each
CHUNK_PIECES = 254  # word pieces that fit the teacher beside its two marks


class Vectors:
    """The embeddings of a list of distinct texts."""

    def __init__(self, texts, matrix):
        self._row = {text: row for row, text in enumerate(texts)}
        self._matrix = matrix

    def similarities(self, queries, candidates):
        """Cosines [queries, candidates]."""
        a, b = ([self._row[text] for text in texts] for texts in (queries, candidates))
        product = self._matrix[a] @ self._matrix[b].T
        return product.toarray() if scipy.sparse.issparse(product) else product


class Trigrams:
    """Counts of byte trigrams, hashed to 2^16 buckets (Knuth's multiplicative hash)."""

    name = "hashed byte trigrams"

    def embed(self, texts):
        rows, columns = [], []
        for row, text in enumerate(texts):
            b = np.frombuffer(text, np.uint8).astype(np.uint32)
            trigrams = b[:-2] << 16 | b[1:-1] << 8 | b[2:]
            columns.append(trigrams * np.uint32(2654435761) >> np.uint32(16))
            rows.append(np.full(len(trigrams), row))
        rows, columns = np.concatenate(rows), np.concatenate(columns)
        shape = (len(texts), TRIGRAM_BUCKETS)
        counts = scipy.sparse.coo_array((np.ones(len(rows), np.float32), (rows, columns)), shape)
        return _unit_rows(counts.tocsr())


def _unit_rows(matrix):
    sizes = np.sqrt(matrix.multiply(matrix).sum(1))
    return scipy.sparse.csr_array(scipy.sparse.diags_array(1 / np.maximum(sizes, 1e-12)) @ matrix)


class TfIdf:
    """scikit-learn's TfidfVectorizer with sublinear counts, of words that at least two training
    documents have."""

    name = "TF-IDF"

    def __init__(self, corpus, plan):
        from sklearn.feature_extraction.text import TfidfVectorizer

        training = tasks.in_turns(corpus.split(held_out=False), plan.seed)[:TFIDF_DOCUMENTS]
        self._vectorizer = TfidfVectorizer(
            decode_error="replace",
            sublinear_tf=True,
            min_df=min(2, len(training)),
            dtype=np.float32,
        )
        self._vectorizer.fit(corpus.bytes_of(e)[:TFIDF_BYTES].tobytes() for e in training)

    def embed(self, texts):
        return scipy.sparse.csr_array(self._vectorizer.transform(texts))


class Model:
    """An Encoder over bytes, mean pooling. Texts are batched by length; batch_tokens counts
    padding."""

    def __init__(self, name, encoder, key, cache, device="cpu", batch_tokens=32768):
        self.name = name
        self._encoder = encoder.eval().to(device)
        self._key, self._cache, self._device = key, cache, device
        self._batch_tokens = batch_tokens

    def embed(self, texts):
        with Progress(self.name, self._cache.missing(self._key, texts), "B") as progress:
            return self._cache.embed(self._key, texts, self._encode, progress)

    @torch.inference_mode()
    def _encode(self, texts):
        """Of texts in order of length."""
        result, begin = [], 0
        while begin < len(texts):
            end = begin + 1
            while end < len(texts) and (end - begin + 1) * len(texts[end]) <= self._batch_tokens:
                end += 1
            result.append(self._batch(texts[begin:end]))
            begin = end
        return np.concatenate(result)

    def _batch(self, texts):
        lengths = torch.tensor([max(1, len(text)) for text in texts])
        ids = np.zeros((len(texts), int(lengths.max())), np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = np.frombuffer(text, np.uint8)
        # Of one length no row is padded, and None spares the masks.
        same = bool((lengths == lengths[0]).all())
        sizes = None if same else lengths.to(self._device)
        states = self._encoder.encode(torch.from_numpy(ids).to(self._device), sizes)
        return states.float().cpu().numpy()


def trained(folder, cache, **options):
    """The model of a folder that longwave-server serves."""
    from .. import serving

    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        digest.update((pathlib.Path(folder) / name).read_bytes())
    encoder = serving.load_for_training(folder)
    return Model("Longwave", encoder, f"model:{digest.hexdigest()}", cache, **options)


def untrained(config, cache, seed, **options):
    """The same architecture with weights as training begins."""
    encoder = Encoder(config, generator=torch.Generator().manual_seed(seed))
    key = f"untrained:{hashlib.sha256(config.to_json().encode()).hexdigest()}:{seed}"
    return Model("random weights", encoder, key, cache, **options)


class FirstBytes:
    """Another competitor that sees the first bytes of each text alone."""

    def __init__(self, inner, size):
        self.name = f"{inner.name}, first {size} bytes"
        self._inner, self._size = inner, size

    def embed(self, texts):
        cut = [text[: self._size] for text in texts]
        distinct = list(dict.fromkeys(cut))
        row = {text: i for i, text in enumerate(distinct)}
        return self._inner.embed(distinct)[[row[text] for text in cut]]


class TeacherChunks:
    """Texts as chunks of whole words, each of which the teacher takes in whole.

    Chunks are counted from a text's beginning, so that texts which begin alike share them, and each
    is encoded once. A word alone of more word pieces than fit is cut by the teacher.
    """

    def __init__(self, teacher, key, cache):
        self._teacher, self._key, self._cache = teacher, key, cache
        self._pieces = {}

    def fits(self, passages):
        """[passages] bool: whether the teacher takes each whole."""
        pieces = self._teacher.word_pieces([p.decode(errors="replace") for p in passages])
        return np.array(pieces) <= CHUNK_PIECES + 2

    def split(self, text, most=None):
        """[(chunk, its word pieces)], the first `most` of them."""
        words = text.split()
        new = [w for w in dict.fromkeys(words) if w not in self._pieces]
        if new:
            counts = self._teacher.word_pieces([w.decode(errors="replace") for w in new])
            self._pieces.update((w, n - 2) for w, n in zip(new, counts))
        chunks, begin, size = [], 0, 0
        for place, word in enumerate(words):
            pieces = self._pieces[word]
            if place > begin and size + pieces > CHUNK_PIECES:
                chunks.append((b" ".join(words[begin:place]), size))
                if len(chunks) == most:
                    return chunks
                begin, size = place, 0
            size += pieces
        return chunks + [(b" ".join(words[begin:]), max(1, size))]

    def embed(self, chunks):
        def encode(part):
            return self._teacher.encode([c.decode(errors="replace") for c in part])

        return self._cache.embed(self._key, chunks, encode, save_every=256)  # it has a bar itself


class TruncatedTeacher:
    """The teacher on each text's first chunk: what it makes of a text that is too long."""

    name = "teacher, truncated"

    def __init__(self, chunks):
        self._chunks = chunks

    def embed(self, texts):
        return self._chunks.embed([self._chunks.split(text, most=1)[0][0] for text in texts])


class ChunkedTeacher:
    """The mean of a text's chunks, weighted by their word pieces."""

    name = "teacher, mean of chunks"

    def __init__(self, chunks):
        self._chunks = chunks

    def embed(self, texts):
        parts = [self._chunks.split(text) for text in texts]
        rows = self._chunks.embed([chunk for part in parts for chunk, _ in part])
        weights = np.array([size for part in parts for _, size in part], np.float32)
        begins = np.cumsum([0, *(len(part) for part in parts[:-1])])
        sums = np.add.reduceat(rows * weights[:, None], begins, axis=0)
        return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def teacher_chunks(path, cache):
    from ..teacher import Teacher

    path = pathlib.Path(path)
    files = [path] if path.is_file() else sorted(path.rglob("model.safetensors"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return TeacherChunks(Teacher(path), f"teacher:{digest.hexdigest()}", cache)
