"""Where training begins, and what of that it leaves alone: tf-idf of hashed n-grams, projected.

Rows of the token and n-gram tables are weighted by log((N + 1) / (df + 1)), the inverse document
frequency (Spärck Jones 1972). As long as no norm stands between, the mean of the first states is then
a random projection of the text's tf-idf, and its cosines are tf-idf's, up to 1 / sqrt(dimensions)
(Johnson and Lindenstrauss 1984). That needs no training, and holds for words that no training
document has. A recipe may keep it in the embedding's last `lexical_dims` dimensions, which nothing
else writes to then: the others learn what tf-idf does not know.
"""

import numpy as np
import torch

from ..ngrams import ngram_buckets

DOCUMENT_BYTES = 4000  # of each document are counted
WRITERS = ("attention.output.", "ffn.down.")  # of a layer, into the states


def document_frequencies(corpus, config, documents, seed):
    """(documents counted, [vocab_size], [buckets]): in how many of them each byte and each bucket
    of n-grams occurs."""
    training = corpus.split(held_out=False)
    chosen = np.random.default_rng(seed).permutation(len(training))[:documents]
    tokens, buckets = np.zeros(config.vocab_size), np.zeros(config.ngrams.buckets)
    for index in chosen:
        data = corpus.bytes_of(training[index])[:DOCUMENT_BYTES].astype(np.int64)
        tokens[np.unique(data)] += 1
        found = np.unique(ngram_buckets(torch.from_numpy(data)[None], config).numpy())
        buckets[found[found >= 0]] += 1
    return len(chosen), tokens, buckets


@torch.no_grad()
def weight_by_rarity(encoder, corpus, documents, lexical_dims, seed):
    """Scales the tables' rows, counting in so many documents (n-gram rows keep their mean square);
    makes the projection of n-grams orthogonal, the lexical dimensions' part of it the identity; and
    stops layers from writing to lexical dimensions.

    ValueError: a model without n-grams, or with fewer of their dimensions than lexical ones.
    """
    config, embeddings = encoder.config, encoder.embeddings
    if config.ngrams is None or lexical_dims >= min(config.ngrams.dim, config.hidden_size):
        raise ValueError(
            f"lexical_dims = {lexical_dims}: accepted: fewer than the model has (hidden_size and "
            "ngrams.dim of config.json)"
        )
    count, *frequencies = document_frequencies(corpus, config, documents, seed)
    tokens, buckets = (np.log((count + 1) / (df + 1)) for df in frequencies)
    size = max(np.sqrt((buckets**2).mean()), 1e-9)
    for table, rarity in ((embeddings.token, tokens), (embeddings.ngram, buckets)):
        table.weight.mul_(torch.from_numpy((rarity / size).astype(np.float32))[:, None])
    projection = embeddings.ngram_projection.weight
    rows, columns = (size - lexical_dims for size in projection.shape)
    learned = torch.empty(rows, columns)
    torch.nn.init.orthogonal_(learned, generator=torch.Generator().manual_seed(seed))
    projection.zero_()
    projection[:rows, :columns] = learned
    projection[rows:, columns:] = torch.eye(lexical_dims)
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
