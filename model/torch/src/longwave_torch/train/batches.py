"""Batches: pairs of spans of one document each, drawn by (seed, step, process) alone."""

import dataclasses

import numpy as np
import torch

from ..ngrams import ngram_buckets


@dataclasses.dataclass
class Batch:
    """2 P spans: row p and row P + p are of one document.

    ids [2 P, n], lengths [2 P], targets [2 P, dim] (zeros where there is none), has_target [2 P],
    negatives [count, dim]: targets of other spans, buckets: ngram_buckets of ids, or None.
    """

    ids: torch.Tensor
    lengths: torch.Tensor
    targets: torch.Tensor
    has_target: torch.Tensor
    negatives: torch.Tensor
    buckets: torch.Tensor | None


class Batches:
    """corpus: store.Corpus. targets: targets.Targets or None. config: the encoder's."""

    def __init__(self, corpus, targets, config, seed):
        self.corpus = corpus
        self.targets = targets
        self.config = config
        self.seed = seed
        self.dim = config.hidden_size
        self._training = [e for e in corpus.entries if not e.held_out]
        if not self._training:
            raise ValueError(f"{corpus.folder} has no documents that are not held out")
        self._sizes = np.array([len(e) for e in self._training])
        self._longest_first = np.argsort(-self._sizes, kind="stable")
        self._sorted_sizes = -self._sizes[self._longest_first]
        if targets is not None:
            first = targets.first
            sizes = targets.spans[:, 1] - targets.spans[:, 0]
            total = np.concatenate([[0], np.cumsum(sizes)])
            self._chain_bytes = total[first[1:]] - total[first[:-1]]
            self._chains_longest_first = np.argsort(-self._chain_bytes, kind="stable")
            self._sorted_chain_bytes = -self._chain_bytes[self._chains_longest_first]

    def make(self, phase, step, rank=0):
        """The batch of a step (of the whole run) in one process."""
        random = np.random.default_rng([self.seed, step, rank])
        # All processes draw one length, so that none waits for another.
        shared = np.random.default_rng([self.seed, step])
        shares = np.array(phase.shares, np.float64)
        length = int(shared.choice(phase.lengths, p=shares / shares.sum()))
        pairs = max(2, phase.batch_bytes // (2 * length))
        spans = [self._pair(phase, length, random) for _ in range(pairs)]
        return self._pack([p[0] for p in spans] + [p[1] for p in spans], phase, random)

    def _pair(self, phase, length, random):
        if self.targets is not None and random.random() < phase.teacher_share:
            return self._taught_pair(length, random)
        return self._untaught_pair(length, random)

    def _taught_pair(self, length, random):
        """Two parts of a chain, each about `length` bytes where the chain has so many, and their
        targets."""
        t = self.targets
        long_enough = np.searchsorted(self._sorted_chain_bytes, -2 * length, side="right")
        among = max(int(long_enough), min(64, len(t)))
        chain = self._chains_longest_first[random.integers(among)]
        begin, end = int(t.first[chain]), int(t.first[chain + 1])
        ends = np.cumsum(t.spans[begin:end, 1] - t.spans[begin:end, 0])
        # A window of about 2 * length bytes, then its two halves.
        starts = np.concatenate([[0], ends[:-1]])
        last_start = np.searchsorted(ends[-1] - starts[::-1], 2 * length)
        first = int(random.integers(max(1, len(starts) - int(last_start))))
        stop = int(np.searchsorted(ends, starts[first] + 2 * length)) + 1
        stop = max(first + 2, min(stop, len(starts)))
        if stop > len(starts):
            first, stop = len(starts) - 2, len(starts)
        middle = (starts[first] + ends[stop - 1]) / 2
        cut = first + 1 + int(np.argmin(np.abs(starts[first + 1 : stop] - middle)))
        return [self._taught(chain, begin + a, begin + b, length) for a, b in ((first, cut), (cut, stop))]

    def _taught(self, chain, begin, end, length):
        t = self.targets
        data = self.corpus.bytes_of(self.corpus.entries[t.entries[chain]])
        span = data[t.spans[begin, 0] : t.spans[end - 1, 1]]
        return span[: 2 * length], t.mean(begin, end)

    def _untaught_pair(self, length, random):
        """Two spans of `length` bytes of a document, side by side at random places where it is long
        enough, else its halves."""
        long_enough = np.searchsorted(self._sorted_sizes, -2 * length, side="right")
        among = max(int(long_enough), min(64, len(self._training)))
        entry = self._training[self._longest_first[random.integers(among)]]
        data = self.corpus.bytes_of(entry)
        size = min(length, len(data) // 2)
        room = len(data) - 2 * size
        first = int(random.integers(room + 1))
        second = first + size + int(random.integers(room - first + 1))
        return [(data[a : a + size], None) for a in (first, second)]

    def _pack(self, spans, phase, random):
        lengths = np.array([len(data) for data, _ in spans])
        ids = np.zeros((len(spans), int(lengths.max())), np.int64)
        targets = np.zeros((len(spans), self.dim), np.float32)
        for row, (data, target) in enumerate(spans):
            ids[row, : len(data)] = data
            if target is not None:
                targets[row] = target
        ids = torch.from_numpy(ids)
        return Batch(
            ids=ids,
            lengths=torch.from_numpy(lengths),
            targets=torch.from_numpy(targets),
            has_target=torch.tensor([target is not None for _, target in spans]),
            negatives=self._negatives(phase.objectives, random),
            buckets=None if self.config.ngrams is None else ngram_buckets(ids, self.config),
        )

    def _negatives(self, objectives, random):
        if self.targets is None or not objectives.rank:
            return torch.zeros(0, self.dim)
        rows = random.integers(len(self.targets.embeddings), size=objectives.negatives)
        return torch.from_numpy(self.targets.embeddings[rows])
