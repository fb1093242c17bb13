"""Batches: pairs of spans of one document each, drawn by (seed, step, process) alone."""

import dataclasses

import numpy as np
import torch


@dataclasses.dataclass
class Batch:
    """2 P spans: row p and row P + p are of one document.

    ids [2 P, n], lengths [2 P], targets [2 P, dim] (zeros where there is none), has_target [2 P],
    negatives [count, dim]: targets of other spans.
    """

    ids: torch.Tensor
    lengths: torch.Tensor
    targets: torch.Tensor
    has_target: torch.Tensor
    negatives: torch.Tensor


class _ByLength:
    """Draws one of some things that is long enough, from all or from one package."""

    LEAST = 64  # things to draw from, even if not all of them are long enough

    def __init__(self, sizes, packages):
        sizes = np.asarray(sizes)
        self._all = self._sorted(sizes, np.arange(len(sizes)))
        members = {}
        for index, package in enumerate(packages):
            members.setdefault(package, []).append(index)
        self._of_package = {p: self._sorted(sizes, np.array(m)) for p, m in members.items()}

    @staticmethod
    def _sorted(sizes, members):
        order = members[np.argsort(-sizes[members], kind="stable")]
        return order, -sizes[order]

    def draw(self, length, package, random):
        """The index of a thing of at least 2 * length bytes: of the package if it has two such, else
        of any; one of the longest if there are few."""
        if package in self._of_package:
            order, sizes = self._of_package[package]
            among = int(np.searchsorted(sizes, -2 * length, side="right"))
            if among >= 2:
                return int(order[random.integers(among)])
        order, sizes = self._all
        among = int(np.searchsorted(sizes, -2 * length, side="right"))
        return int(order[random.integers(max(among, min(self.LEAST, len(order))))])


class Batches:
    """corpus: store.Corpus. targets: targets.Targets or None. config: the encoder's."""

    def __init__(self, corpus, targets, config, seed):
        self.corpus = corpus
        self.targets = targets
        self.config = config
        self.seed = seed
        self.dim = config.hidden_size if targets is None else targets.embeddings.shape[1]
        self._training = [e for e in corpus.entries if not e.held_out]
        if not self._training:
            raise ValueError(f"{corpus.folder} has no documents that are not held out")
        self._documents = _ByLength(
            [len(e) for e in self._training], [e.package for e in self._training]
        )
        if targets is not None:
            sizes = targets.spans[:, 1] - targets.spans[:, 0]
            total = np.concatenate([[0], np.cumsum(sizes)])
            packages = [corpus.entries[e].package for e in targets.entries]
            self._chains = _ByLength(total[targets.first[1:]] - total[targets.first[:-1]], packages)

    def make(self, phase, step, rank=0):
        """The batch of a step (of the whole run) in one process."""
        random = np.random.default_rng([self.seed, step, rank])
        # All processes draw one length, so that none waits for another.
        shared = np.random.default_rng([self.seed, step])
        shares = np.array(phase.shares, np.float64)
        length = int(shared.choice(phase.lengths, p=shares / shares.sum()))
        pairs = max(2, phase.batch_bytes // (2 * length))
        spans, package = [], None
        for _ in range(pairs):
            near = package if random.random() < phase.neighbours else None
            package, pair = self._pair(phase, length, near, random)
            spans.append(pair)
        first, second = ([pair[side] for pair in spans] for side in (0, 1))
        if phase.preambles:
            second = self._with_preambles(second, phase, length, random)
        return self._pack(first + second, phase, random)

    def _with_preambles(self, spans, phase, length, random):
        """Some spans behind one of two others of about `length` bytes, without a target. That two
        share what comes first says nothing about them then."""
        both = [
            self._untaught_pair(
                self._training[self._documents.draw(length, None, random)], length, random
            )[0][0]
            for _ in range(2)
        ]
        chosen, which = random.random(len(spans)) < phase.preambles, random.integers(2, size=len(spans))
        return [
            (np.concatenate([both[w], span]), None) if c else (span, target)
            for (span, target), c, w in zip(spans, chosen, which)
        ]

    def _pair(self, phase, length, package, random):
        """(package, pair) of a document of `package`, or of any."""
        if self.targets is not None and random.random() < phase.teacher_share:
            chain = self._chains.draw(length, package, random)
            entry = self.corpus.entries[self.targets.entries[chain]]
            return entry.package, self._taught_pair(chain, length, random)
        entry = self._training[self._documents.draw(length, package, random)]
        return entry.package, self._untaught_pair(entry, length, random)

    def _taught_pair(self, chain, length, random):
        """Two parts of a chain, each about `length` bytes where the chain has so many, and their
        targets."""
        t = self.targets
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

    def _untaught_pair(self, entry, length, random):
        """Two spans of `length` bytes of a document, side by side at random places where it is long
        enough, else its halves."""
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
        )

    def _negatives(self, objectives, random):
        if self.targets is None or not objectives.rank:
            return torch.zeros(0, self.dim)
        rows = random.integers(len(self.targets.embeddings), size=objectives.negatives)
        return torch.from_numpy(self.targets.embeddings[rows])
