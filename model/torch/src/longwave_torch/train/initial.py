"""Where training begins, and what of that it leaves alone.

Rows of the token and n-gram tables are weighted by log((N + 1) / (df + 1)), the inverse document
frequency (Spärck Jones 1972). As long as no norm stands between, the mean of the first states is then
a random projection of the text's tf-idf, and its cosines are tf-idf's, up to 1 / sqrt(dimensions)
(Johnson and Lindenstrauss 1984). That needs no training, and holds for words that no training
document has. A recipe may keep it in the embedding's last `lexical_dims` dimensions, which nothing
else writes to then: the others learn what tf-idf does not know. There, what all documents share is
better taken out: it says nothing, and as the largest part makes most of the projection's error (as
with word vectors: Mu and Viswanath 2018).

Rows of words begin as what the teacher says of each word alone, weighted by rarity (as in Tulkens and
van Dongen 2024, Model2Vec), small enough that training soon moves them.
"""

import numpy as np
import torch

from .. import vocabulary as vocabularies
from .. import words
from ..encoder import mean_pool
from ..ngrams import ngram_buckets

DOCUMENT_BYTES = 4000  # of each document are counted
WRITERS = ("attention.output.", "ffn.down.")  # of a layer, into the states
TABLES = ("embeddings.token.weight", "embeddings.ngram.weight", "embeddings.word.weight")
TABLE_PROJECTIONS = ("embeddings.ngram_projection.weight", "embeddings.word_projection.weight")
WORD_SIZE = 6.0  # of a word's first row, times its rarity: of about the size of an n-gram's lexical part
BALANCED_SPANS, BALANCED_BYTES = 256, 1000


class Counts:
    """What training documents hold: tokens [documents, vocab_size] bool, ngrams [documents, buckets]
    float32 counts, of the first DOCUMENT_BYTES of each of at most `documents` documents."""

    def __init__(self, corpus, config, documents, seed):
        training = corpus.split(held_out=False)
        chosen = np.random.default_rng(seed).permutation(len(training))[:documents]
        self.tokens = np.zeros((len(chosen), config.vocab_size), bool)
        self.ngrams = np.zeros((len(chosen), config.ngrams.buckets), np.float32)
        for row, index in enumerate(chosen):
            data = corpus.bytes_of(training[index])[:DOCUMENT_BYTES].astype(np.int64)
            self.tokens[row, data] = True
            found = ngram_buckets(torch.from_numpy(data)[None], config).numpy().ravel()
            np.add.at(self.ngrams[row], found[found >= 0], 1)


def rarity(present):
    """log((N + 1) / (df + 1)) of each column of [N, columns] bool."""
    return np.log((len(present) + 1) / (present.sum(0) + 1)).astype(np.float32)


def common_directions(rows, count):
    """[columns, at most count]: right singular vectors of rows' largest singular values, none of them
    zero."""
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    largest = np.flatnonzero(values > 1e-5 * values[-1])[-count:]
    return (rows.T @ vectors[:, largest] / np.sqrt(values[largest])).astype(np.float32)


@torch.no_grad()
def weight_by_rarity(encoder, corpus, recipe):
    """Scales the tables' rows by what recipe.idf_documents documents say (n-gram rows keep their mean
    square); makes the projection of n-grams orthogonal; and where recipe.lexical_dims are asked for,
    makes those of n-grams alone: without the directions that documents have in common, through the
    identity, and nothing that layers write to.

    ValueError: a model without n-grams, or with fewer of their dimensions than lexical ones, or
    where something else writes to all dimensions.
    """
    config, embeddings, lexical = encoder.config, encoder.embeddings, recipe.lexical_dims
    if config.ngrams is None or lexical > config.ngrams.dim or lexical >= config.hidden_size:
        raise ValueError(
            f"lexical_dims = {lexical}: accepted: at most ngrams.dim, and fewer than hidden_size, of "
            "config.json"
        )
    if lexical and (config.has_final_norm or not config.pre_norm or config.embedding_norm
                    or config.positions.kind != "none"):  # fmt: skip
        raise ValueError(
            f"lexical_dims = {lexical}: accepted: 0, unless config.json has norm_position pre, "
            "final_norm false, embedding_norm false and positions none, which write to all dimensions"
        )
    counts = Counts(corpus, config, recipe.idf_documents, recipe.seed)
    idf = rarity(counts.ngrams > 0)
    size = max(np.sqrt((idf**2).mean()), 1e-9)
    token, ngram = embeddings.token.weight, embeddings.ngram.weight
    projection = embeddings.ngram_projection.weight
    rows, columns = (size_of - lexical for size_of in projection.shape)
    if lexical and recipe.common_directions:
        documents = counts.ngrams * idf
        documents /= np.maximum(np.linalg.norm(documents, axis=1, keepdims=True), 1e-9)
        common = torch.from_numpy(common_directions(documents, recipe.common_directions))
        ngram[:, columns:] -= common @ (common.T @ ngram[:, columns:])
    ngram *= torch.from_numpy(idf / size)[:, None]
    token *= torch.from_numpy(rarity(counts.tokens) / size)[:, None]
    token[:, rows:] = 0
    projection.zero_()
    if columns:
        learned = torch.empty(rows, columns)
        torch.nn.init.orthogonal_(learned, generator=torch.Generator().manual_seed(recipe.seed))
        projection[:rows, :columns] = learned
    projection[rows:, columns:] = torch.eye(lexical)
    for name, parameter in encoder.named_parameters():
        if any(writer in name for writer in WRITERS):
            parameter[rows:] = 0


@torch.no_grad()
def begin_with_words(encoder, corpus, targets, recipe):
    """Chooses the words of an encoder that has some: those of targets.vocabulary, or without one the
    corpus's most frequent. Their rows begin at what the teacher says of each, or at random; those of
    tokens, which are parts of words, at 0.

    ValueError: there are fewer words than the model has rows.
    """
    config, embeddings = encoder.config, encoder.embeddings
    count, dim = config.words.count, config.words.dim
    vocabulary = None if targets is None else targets.vocabulary
    if vocabulary is None:
        vocabulary = vocabularies.count(corpus, count)
    keys, firsts = np.unique(vocabulary.keys[:count], return_index=True)
    if len(keys) < count:
        raise ValueError(
            f"words.count = {count}: accepted: at most {len(keys)}, of which this vocabulary is"
        )
    rarity = vocabulary.rarity()[firsts]
    rarity /= max(np.sqrt((rarity**2).mean()), 1e-9)
    generator = torch.Generator().manual_seed(recipe.seed)
    rows = torch.randn(count, dim, generator=generator)
    if vocabulary.embeddings is not None:
        known = torch.from_numpy(vocabulary.embeddings[firsts])
        rows = torch.zeros(count, dim)
        rows[:, : known.shape[1]] = known[:, :dim]
    rows = torch.nn.functional.normalize(rows, dim=1) * torch.from_numpy(rarity)[:, None]
    embeddings.word_keys.copy_(torch.from_numpy(words.pack_keys(keys)))
    embeddings.word.weight.copy_(WORD_SIZE * rows)
    projection = embeddings.word_projection.weight
    projection.copy_(torch.eye(*projection.shape))
    projection[len(projection) - recipe.lexical_dims :] = 0
    embeddings.token.weight.zero_()


@torch.no_grad()
def balance(encoder, corpus, recipe, num_layers=None):
    """Gives the lexical dimensions recipe.lexical_weight times the length that the others have, in the
    median of spans of training documents; until then training only behaves as if they had."""
    training = corpus.split(held_out=False)
    chosen = np.random.default_rng(recipe.seed).permutation(len(training))[:BALANCED_SPANS]
    learned, lexical = [], []
    for index in chosen:
        data = corpus.bytes_of(training[index])[:BALANCED_BYTES].astype(np.int64)
        mean = mean_pool(encoder(torch.from_numpy(data)[None], num_layers=num_layers))[0]
        learned.append(mean[: -recipe.lexical_dims].norm())
        lexical.append(mean[-recipe.lexical_dims :].norm())
    ratio = (torch.stack(learned) / torch.stack(lexical).clamp(min=1e-9)).median()
    projection = encoder.embeddings.ngram_projection.weight
    projection[-recipe.lexical_dims :] *= recipe.lexical_weight * ratio


def untrained_entries(encoder, lexical_dims):
    """{parameter: bool mask} of what makes the lexical dimensions."""
    masks = {}
    for name, parameter in encoder.named_parameters():
        mask = torch.zeros_like(parameter, dtype=torch.bool)
        if name in ("embeddings.token.weight", "embeddings.ngram.weight"):
            mask[:, parameter.shape[1] - lexical_dims :] = True
        elif name in TABLE_PROJECTIONS or any(w in name for w in WRITERS):
            mask[parameter.shape[0] - lexical_dims :] = True
        if mask.any():
            masks[parameter] = mask
    return masks
