"""Hashed n-grams of token ids: bucket numbers of a whole batch at once, in exact 64-bit arithmetic.

The n-gram of size s at token i is ids[i - s + 1 .. i]. Its hash, modulo 2^64: h = s; for each of
its
ids: h = (h + id + 1) * 0x9E3779B97F4A7C15, then h ^= h >> 32. Its bucket is the hash's lower half
modulo the number of buckets.
"""

import torch

MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)  # int64's arithmetic is modulo 2^64
LOWER_HALF = 0xFFFFFFFF


def ngram_buckets(ids, config):
    """Buckets [batch, n, sizes] int64 of ids [batch, n] int64 for an EncoderConfig with ngrams;
    -1 where an n-gram would begin before the sequence."""
    ngrams = config.ngrams
    batch, n = ids.shape
    result = ids.new_full((batch, n, len(ngrams.sizes)), -1)
    following = ids + 1
    for place, size in enumerate(ngrams.sizes):
        if size > n:
            break
        h = torch.full_like(ids[:, size - 1 :], size)
        for step in range(size):
            h += following[:, step : n - size + 1 + step]
            h *= MULTIPLIER
            h ^= (h >> 32) & LOWER_HALF  # int64 shifts copies of the sign in
        result[:, size - 1 :, place] = (h & LOWER_HALF) % ngrams.buckets
    return result
