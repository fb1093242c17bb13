"""What is asked of embeddings: four tasks, made of documents that are held out from training."""

import dataclasses

import numpy as np

from . import metrics

HALF_BYTES = 4000
EVIDENCE_BYTES = 8000  # of the long-document task
PREAMBLE_BYTES = 8192
LEAST_BYTES = 2000  # of a document: halves of a few lines say little
PASSAGE_BYTES = (300, 900)
BLANK = b" \n"


@dataclasses.dataclass(frozen=True)
class Plan:
    """How many of everything; the same plan on the same corpus gives the same tasks."""

    documents: int = 1000
    long_documents: int = 500
    passages: int = 1000
    preambles: int = 8
    seed: int = 1


def cut(data, place):
    """The first blank at or after `place`, or the end."""
    while place < len(data) and data[place] not in BLANK:
        place += 1
    return place


def halves(data, size):
    """(first, second) half of a document, or of its first 2 `size` bytes if it is longer; the cut
    is at the first blank from the middle on. The halves share no byte."""
    end = len(data) if len(data) <= 2 * size else cut(data, 2 * size)
    middle = cut(data, end // 2)
    return data[:middle].strip(BLANK), data[middle:end].strip(BLANK)


def in_turns(entries, seed):
    """All entries, in turns from each source package, so that the first n of them are of as many
    packages as can be; packages and their pages in a seeded order."""
    random = np.random.default_rng(seed)
    by_source = {}
    for entry in entries:
        by_source.setdefault(entry.source, []).append(entry)
    piles = [[pile[i] for i in random.permutation(len(pile))] for pile in by_source.values()]
    piles = [piles[i] for i in random.permutation(len(piles))]
    result = []
    while piles:
        result += [pile.pop() for pile in piles]
        piles = [pile for pile in piles if pile]
    return result


class OtherHalf:
    """Given a second half, find the first half of the same document among those of all."""

    primary = "recall@1"
    metrics = ("recall@1", "recall@10")

    def __init__(self, title, queries, candidates, entries):
        self.title = title
        self.queries, self.candidates = queries, candidates
        self.clusters = [entry.source for entry in entries]

    @property
    def texts(self):
        return self.queries + self.candidates

    def measure(self, vectors):
        scores = vectors.similarities(self.queries, self.candidates)
        wanted = np.arange(len(scores))
        return {m: metrics.recall_at(scores, wanted, int(m[7:])) for m in self.metrics}

    def chance(self):
        full = np.ones(len(self.queries))
        return {m: full * min(1.0, int(m[7:]) / len(full)) for m in self.metrics}


class SameTopic:
    """Rank documents by similarity; those of the same topic count. Documents of the query's own
    source package are not ranked, so that what a package repeats on each page does not count."""

    primary = "nDCG@10"
    metrics = ("nDCG@10",)

    def __init__(self, title, documents, entries):
        self.title = title
        topics, sources = (np.array([getattr(e, k) for e in entries]) for k in ("topic", "source"))
        allowed = sources[:, None] != sources[None]
        relevant = (topics[:, None] == topics[None]) & allowed
        asked = relevant.any(1)
        self.allowed, self.relevant = allowed[asked], relevant[asked]
        self.candidates = documents
        self.queries = [d for d, a in zip(documents, asked) if a]
        self.clusters = list(sources[asked])

    @property
    def texts(self):
        return self.candidates

    def measure(self, vectors):
        scores = vectors.similarities(self.queries, self.candidates)
        return {"nDCG@10": metrics.ndcg_at(scores, self.relevant, self.allowed, 10)}

    def chance(self):
        return {"nDCG@10": metrics.random_ndcg_at(self.relevant, self.allowed, 10)}


class TeacherAgreement:
    """Whether similarities of pairs of passages are ordered as the teacher orders them.

    Passages come in twos of one document (2 i and 2 i + 1). "all": every pair. "strata": as many
    pairs of one document as of one package (another document), of one topic (another package) and
    of nothing in common.
    """

    primary = "Spearman, all pairs"
    metrics = ("Spearman, all pairs", "Spearman, strata")

    def __init__(self, title, passages, entries, seed):
        self.title, self.texts = title, passages
        self.clusters = [entry.source for entry in entries]
        self.pairs = np.triu_indices(len(passages), 1)
        self.strata = self._strata(entries, seed)

    def _strata(self, entries, seed):
        """Indices into pairs; strata with no pairs at all are left out."""
        i, j = self.pairs
        document = np.array([entry.name for entry in entries])
        source, topic = (np.array([getattr(e, k) for e in entries]) for k in ("source", "topic"))
        kind = np.select(
            [document[i] == document[j], source[i] == source[j], topic[i] == topic[j]], [0, 1, 2], 3
        )
        random = np.random.default_rng(seed)
        strata = [random.permutation(np.flatnonzero(kind == k)) for k in range(4)]
        strata = [s for s in strata if len(s)]
        return np.sort(np.concatenate([s[: min(map(len, strata))] for s in strata]))

    def measure(self, vectors):
        """float [pairs]."""
        return vectors.similarities(self.texts, self.texts)[self.pairs]

    def selections(self):
        """{metric: indices into pairs}."""
        return dict(zip(self.metrics, (np.arange(len(self.pairs[0])), self.strata)))


def documents(corpus, plan):
    """Held-out entries that tasks are made of, in turns from each package."""
    held_out = [e for e in corpus.split(held_out=True) if len(e) >= LEAST_BYTES]
    return in_turns(held_out, plan.seed)


def preambles(corpus, plan):
    """Beginnings of training documents of different packages, at least PREAMBLE_BYTES each."""
    found, sources = [], set()
    long = [e for e in corpus.split(held_out=False) if len(e) >= PREAMBLE_BYTES + 256]
    for entry in in_turns(long, plan.seed):
        data = corpus.bytes_of(entry)[: PREAMBLE_BYTES + 256].tobytes()
        end = cut(data, PREAMBLE_BYTES)
        if entry.source not in sources and end < len(data):
            found.append(data[:end] + b"\n\n")
            sources.add(entry.source)
        if len(found) == plan.preambles:
            return found
    raise ValueError(f"{corpus.folder} has {len(found)} training packages with a document of 8 kB")


def other_half(corpus, plan):
    chosen = documents(corpus, plan)[: plan.documents]
    first, second = zip(*(halves(corpus.bytes_of(e).tobytes(), HALF_BYTES) for e in chosen))
    return OtherHalf("other half", list(second), list(first), chosen)


def same_topic(corpus, plan):
    """Of the same texts as other_half's candidates."""
    chosen = documents(corpus, plan)[: plan.documents]
    first = [halves(corpus.bytes_of(e).tobytes(), HALF_BYTES)[0] for e in chosen]
    return SameTopic("same topic", first, chosen)


def long_document(corpus, plan):
    """other_half with a preamble before each candidate: whoever reads the first 8 k bytes alone
    reads nothing of the document. Preambles are dealt evenly, without regard to the document."""
    long = [e for e in documents(corpus, plan) if len(e) >= 2 * LEAST_BYTES]
    chosen = long[: plan.long_documents]
    pool = preambles(corpus, plan)
    dealt = np.random.default_rng(plan.seed).permutation(len(chosen)) % len(pool)
    queries, candidates = [], []
    for entry, which in zip(chosen, dealt):
        first, second = halves(corpus.bytes_of(entry).tobytes(), EVIDENCE_BYTES)
        candidates.append(pool[which] + first)
        queries.append(second[: cut(second, HALF_BYTES)])
    return OtherHalf("beyond 8 kB", queries, candidates, chosen)


def teacher_agreement(corpus, plan, fits):
    """fits: of a list of passages, which the teacher takes whole. Two passages a document, one of
    each half; documents where both fit and are not shorter than PASSAGE_BYTES."""
    chosen = documents(corpus, plan)[: plan.passages]  # twice as many as it takes if all fit
    random = np.random.default_rng(plan.seed)
    twos = []
    for entry in chosen:
        data = corpus.bytes_of(entry).tobytes()
        middle = cut(data, len(data) // 2)
        twos.append([_passage(part, random) for part in (data[:middle], data[middle:])])
    flat = [p for two in twos for p in two]
    fitting = np.array(fits(flat)) & (np.array([len(p) for p in flat]) >= PASSAGE_BYTES[0])
    fitting = fitting.reshape(-1, 2).all(1)
    kept = np.flatnonzero(fitting)[: plan.passages // 2]
    passages = [p for i in kept for p in twos[i]]
    entries = [chosen[i] for i in kept for _ in range(2)]
    if len(kept) < 2:
        raise ValueError(f"{len(kept)} documents have passages that the teacher takes whole")
    return TeacherAgreement("as the teacher", passages, entries, plan.seed)


def _passage(data, random):
    """Whole words of a random place, PASSAGE_BYTES long, or all of it."""
    size = int(random.integers(*PASSAGE_BYTES))
    begin = cut(data, int(random.integers(0, max(1, len(data) - size)))) if len(data) > size else 0
    return data[begin : cut(data, begin + size)].strip(BLANK)
