"""A small corpus whose topics and documents have words of their own, and who reads it."""

import numpy as np
import pytest
import torch
from longwave_torch.config import AttentionConfig, BiasConfig, EncoderConfig, FeatureConfig
from longwave_torch.corpus import store
from longwave_torch.evaluation import competitors, scoring
from longwave_torch.evaluation.cache import Cache

TOPICS = ("games", "mail", "math")


def _word(random, prefix):
    return prefix + "".join(
        random.choice(list("abcdefghijklmnopqrstuvwxyz"), random.integers(4, 9))
    )


COMMON = [_word(np.random.default_rng(100), "") + str(i) for i in range(30)]
OF_TOPIC = {t: [f"{t}{i}" for i in range(30)] for t in TOPICS}


def _words(random, topic):
    """1400 words: most of them words that no other document has (they begin with "own"), others of
    the topic, others that all have."""
    own = [_word(random, "own") for _ in range(30)]
    pools = [own, OF_TOPIC[topic], COMMON]
    which, place = random.choice(3, 1400, p=[0.8, 0.1, 0.1]), random.integers(0, 30, 1400)
    return " ".join(pools[w][p] for w, p in zip(which, place))


def _document(random, source, topic, number):
    text = _words(random, topic)
    return store.Document(f"{source}-doc", source, topic, f"page{number}.html", "", text)


def _sources(held_out, count):
    names = (f"source{i}" for i in range(10**6))
    kept = (n for n in names if store.Entry("", n, "", "", "", 0, 0).held_out == held_out)
    return [next(kept) for _ in range(count)]


def write_corpus(folder):
    """Nine source packages held out, twelve for training, of three topics; six documents each."""
    random = np.random.default_rng(6)
    documents = []
    for held_out, count in ((True, 9), (False, 12)):
        for place, source in enumerate(_sources(held_out, count)):
            topic = TOPICS[place % 3]
            documents += [_document(random, source, topic, number) for number in range(6)]
    return store.write(folder, documents, {})


class FakeTeacher:
    """As teacher.Teacher: word pieces are words, vectors are counts of hashed words."""

    def __init__(self):
        self.encoded = 0

    def word_pieces(self, texts):
        return [len(text.split()) + 2 for text in texts]

    def encode(self, texts):
        self.encoded += len(texts)
        rows = np.zeros((len(texts), 512), np.float32)
        for row, text in zip(rows, texts):
            for word in text.split()[:254]:
                row[sum(word.encode()) * 31 % 512] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fake_chunks(cache=None):
    return competitors.TeacherChunks(FakeTeacher(), "teacher:fake", Cache(cache))


class Oracle:
    """Knows what a task asks: equal vectors for what belongs together."""

    name = "oracle"

    def __init__(self, labels):
        self._labels = labels  # {text: what it belongs to}

    def embed(self, texts):
        kinds = list(dict.fromkeys(self._labels.values()))
        return np.eye(len(kinds), dtype=np.float32)[[kinds.index(self._labels[t]) for t in texts]]


def score(task, competitor, teacher=None):
    vectors = {competitor.name: competitors.Vectors(task.texts, competitor.embed(task.texts))}
    if teacher is not None:
        vectors["teacher"] = competitors.Vectors(task.texts, teacher.embed(task.texts))
    part = scoring.score(task, vectors, "teacher", None, 50, 1)
    return {metric: f["value"] for metric, f in part["figures"][competitor.name].items()}


def small_config():
    return EncoderConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        vocab_size=256, max_position_embeddings=1 << 16,
        attention=AttentionConfig(
            features=FeatureConfig(num_features=8), bias=BiasConfig("t5", True, 64, 16)
        ),
    )  # fmt: skip


def write_teacher(folder):
    """A BERT of one layer, seeded, that knows some of the corpus's words, and words of a to h."""
    tokenizers, transformers = (
        pytest.importorskip("tokenizers"),
        pytest.importorskip("transformers"),
    )
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *COMMON,
        *(w for t in TOPICS for w in OF_TOPIC[t]),
    ]
    pieces += [*"abcdefgh", *(f"##{c}" for c in "abcdefgh")]
    tokenizer = tokenizers.BertWordPieceTokenizer(vocab={p: i for i, p in enumerate(pieces)})
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(5)
    config = transformers.BertConfig(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=512,
    )  # fmt: skip
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder
