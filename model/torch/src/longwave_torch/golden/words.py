"""Words of bytes: which row of their table each one is (config.json's `words`).

Ids below 256 are bytes; a word is a longest run of letters (ASCII's and bytes from 128 on) or of ASCII
digits, of at most 64 bytes. Its key, modulo 2^64: h = 0; for each byte, ASCII's letters in lower case,
h = (h + byte + 1) * 0x9E3779B97F4A7C15, then h ^= h >> 32; the key is h mod 2^32.
"""

import re

import numpy as np

MULTIPLIER = 0x9E3779B97F4A7C15
WORD = re.compile(rb"[A-Za-z\x80-\xff]+|[0-9]+")
MAX_BYTES = 64
NONE = -1


def key_of(word):
    """The key of a word, bytes, in exact integers."""
    h = 0
    for byte in word.lower():
        h = (h + byte + 1) * MULTIPLIER % 2**64
        h ^= h >> 32
    return h % 2**32


def stored_keys(words):
    """[count, 4]: the keys of words, ascending, as they are stored: bytes, least first."""
    keys = sorted(key_of(word) for word in words)
    return np.array([list(key.to_bytes(4, "little")) for key in keys], np.float32)


def rows_of(ids, stored):
    """[n, 1] int64: at the last of each word's ids its key's place in the vocabulary (`stored`, as of
    stored_keys), NONE where it has none and at all other ids [n]."""
    places = {
        sum(int(byte) << (8 * k) for k, byte in enumerate(key)): place
        for place, key in enumerate(stored)
    }
    text = b"".join(bytes([token]) if token < 256 else b" " for token in np.asarray(ids).tolist())
    rows = np.full((len(text), 1), NONE, np.int64)
    for word in WORD.finditer(text):
        if len(word[0]) <= MAX_BYTES:
            rows[word.end() - 1] = places.get(key_of(word[0]), NONE)
    return rows
