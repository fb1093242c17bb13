"""Hashed n-grams: which row of their table each one is (config.json's `ngrams`).

As in the Byte Latent Transformer (arXiv 2412.09871, section 3.2.1), with a hash of our own: all
modulo 2^64, h = s for an n-gram of s ids; for each id from the first to the last
h = (h + id + 1) * MULTIPLIER, then h ^= h >> 32; the row is (h mod 2^32) mod buckets.
"""

import numpy as np

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio
HALF = np.uint64(32)
LOW_HALF = np.uint64(0xFFFFFFFF)
NONE = -1


def buckets_of(ids, sizes, buckets):
    """[n, sizes] int64: the row of the n-gram of each size that ends at each of the ids [n] of one
    sequence; NONE where the sequence has fewer ids up to there."""
    ids = np.asarray(ids).astype(np.uint64)
    rows = np.full((len(ids), len(sizes)), NONE, np.int64)
    for column, size in enumerate(sizes):
        ngrams = len(ids) - size + 1
        if ngrams < 1:
            continue
        hashes = np.full(ngrams, size, np.uint64)  # arithmetic of arrays wraps around silently
        for k in range(size):
            hashes = (hashes + ids[k : k + ngrams] + np.uint64(1)) * MULTIPLIER
            hashes ^= hashes >> HALF
        rows[size - 1 :, column] = (hashes & LOW_HALF) % np.uint64(buckets)
    return rows


def sums(table, rows):
    """([n, dim], [n, dim]): the rows of the table [buckets, dim] summed over the sizes of
    buckets_of's result, missing ones left out, and the same of their absolute values."""
    total = np.zeros((len(rows), table.shape[1]))
    size = np.zeros_like(total)
    for column in rows.T:
        terms = np.where(column[:, None] == NONE, 0.0, table[np.maximum(column, 0)])
        total += terms
        size += np.abs(terms)
    return total, size
