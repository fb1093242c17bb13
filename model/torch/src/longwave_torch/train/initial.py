"""Where training begins, and what of that it leaves alone: tf-idf of hashed n-grams, projected.

Rows of the token and n-gram tables are weighted by log((N + 1) / (df + 1)), the inverse document
frequency (Spärck Jones 1972). As long as no norm stands between, the mean of the first states is then
a random projection of the text's tf-idf, and its cosines are tf-idf's, up to 1 / sqrt(dimensions)
(Johnson and Lindenstrauss 1984). That needs no training, and holds for words that no training
document has. A recipe may keep it in the embedding's last `lexical_dims` dimensions, which nothing
else writes to then: the others learn what tf-idf does not know. There, what all documents share is
better taken out: it says nothing, and as the largest part makes most of the projection's error (as
with word vectors: Mu and Viswanath 2018).
"""

import numpy as np
import torch

from ..ngrams import ngram_buckets

DOCUMENT_BYTES = 4000  # of each document are counted
WRITERS = ("attention.output.", "ffn.down.")  # of a layer, into the states


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

    ValueError: a model without n-grams, or with no more of their dimensions than lexical ones, or
    where something else writes to all dimensions.
    """
    config, embeddings, lexical = encoder.config, encoder.embeddings, recipe.lexical_dims
    if config.ngrams is None or lexical >= min(config.ngrams.dim, config.hidden_size):
        raise ValueError(
            f"lexical_dims = {lexical}: accepted: fewer than the model has (hidden_size and "
            "ngrams.dim of config.json)"
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
    learned = torch.empty(rows, columns)
    torch.nn.init.orthogonal_(learned, generator=torch.Generator().manual_seed(recipe.seed))
    projection.zero_()
    projection[:rows, :columns] = learned
    projection[rows:, columns:] = recipe.lexical_scale * torch.eye(lexical)
    for name, parameter in encoder.named_parameters():
        if any(writer in name for writer in WRITERS):
            parameter[rows:] = 0


def untrained_entries(encoder, lexical_dims):
    """{parameter: bool mask} of what makes the lexical dimensions."""
    masks = {}
    for name, parameter in encoder.named_parameters():
        mask = torch.zeros_like(parameter, dtype=torch.bool)
        if name in ("embeddings.token.weight", "embeddings.ngram.weight"):
            mask[:, parameter.shape[1] - lexical_dims :] = True
        elif name == "embeddings.ngram_projection.weight" or any(w in name for w in WRITERS):
            mask[parameter.shape[0] - lexical_dims :] = True
        if mask.any():
            masks[parameter] = mask
    return masks
