"""Embeddings on disk, so that a slow competitor encodes a text once."""

import hashlib
import os
import pathlib

import numpy as np


class Cache:
    """A folder with one file for each competitor; folder None: nothing is kept.

    A competitor's key names all that its vectors depend on but the text. Vectors of other code
    under the same key are not noticed: delete the folder when arithmetic changes.
    """

    def __init__(self, folder=None):
        self.folder = None if folder is None else pathlib.Path(folder)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def embed(self, key, texts, function, progress=None, save_every=256):
        """float32 [texts, dim]; function(texts) -> [texts, dim] makes those that are not known.

        texts: bytes. Each distinct text is encoded once, shortest first. progress: told of bytes.
        save_every: texts; what an interruption loses at most.
        """
        digests = [hashlib.sha256(text).digest() for text in texts]
        known = self._load(key)
        missing = {d: t for d, t in zip(digests, texts) if d not in known}
        todo = sorted(missing.items(), key=lambda item: len(item[1]))
        for begin in range(0, len(todo), save_every):
            part = todo[begin : begin + save_every]
            rows = np.asarray(function([text for _, text in part]), np.float32)
            known.update(zip((digest for digest, _ in part), rows))
            self._save(key, known)
            if progress is not None:
                progress.add(sum(len(text) for _, text in part))
        return np.stack([known[digest] for digest in digests])

    def missing(self, key, texts):
        """Bytes of the distinct texts that embed would have to encode."""
        known = self._load(key)
        return sum(len(t) for t in set(texts) if hashlib.sha256(t).digest() not in known)

    def _path(self, key):
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"

    def _load(self, key):
        if self.folder is None or not self._path(key).exists():
            return {}
        stored = np.load(self._path(key))
        if str(stored["key"]) != key:
            raise ValueError(f"{self._path(key)} is of {stored['key']}, not of {key}")
        return {d.tobytes(): row for d, row in zip(stored["digests"], stored["vectors"])}

    def _save(self, key, known):
        if self.folder is None:
            return
        digests = np.frombuffer(b"".join(known), np.uint8).reshape(len(known), 32)
        temporary = self._path(key).with_suffix(f".{os.getpid()}.tmp.npz")
        np.savez(temporary, key=key, digests=digests, vectors=np.stack(list(known.values())))
        os.replace(temporary, self._path(key))
