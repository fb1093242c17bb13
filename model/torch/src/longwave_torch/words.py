"""Words of bytes, looked up in a vocabulary: which row of its table each one is.

Token ids 0 to 255 are bytes here, all others stand between words. A word is a longest run of letters
(ASCII's and every byte from 128 on, so that UTF-8's are among them) or of ASCII digits, of at most
MAX_BYTES bytes. Its key is the lower half of a 64-bit hash of its bytes with ASCII's letters in lower
case, modulo 2^64: h = 0; for each byte h = (h + byte + 1) * 0x9E3779B97F4A7C15, then h ^= h >> 32.
Vocabularies keep sorted keys: a word that is not among them has no row (but for one in 2^32 / count
that has another's), where hashed buckets would give it the row of a word that it shares nothing with.
"""

import numpy as np

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
HALF = np.uint64(32)
MAX_BYTES = 64
KEY_BYTES = 4
BYTES = 256
OTHER, LETTER, DIGIT = 0, 1, 2


def _tables():
    """Of ids 0 .. 256: what kind each is, and the byte that is hashed. 256 stands for all others."""
    kinds = np.full(257, OTHER, np.int8)
    lower = np.arange(257, dtype=np.uint64)
    for first, last in ((ord("A"), ord("Z")), (ord("a"), ord("z")), (128, 255)):
        kinds[first : last + 1] = LETTER
    kinds[ord("0") : ord("9") + 1] = DIGIT
    lower[ord("A") : ord("Z") + 1] += 32
    return kinds, lower


KINDS, LOWER = _tables()


def find(ids):
    """(begins, ends, keys): [words] int64 each, of one sequence of ids [n]; ends are exclusive."""
    ids = np.asarray(ids)
    plain = np.where((ids >= 0) & (ids < 256), ids, 256)
    kinds = KINDS[plain]
    edges = np.flatnonzero(np.diff(kinds, prepend=OTHER, append=OTHER))
    begins, ends = edges[:-1], edges[1:]
    kept = (kinds[begins] != OTHER) & (ends - begins <= MAX_BYTES)
    begins, ends = begins[kept], ends[kept]
    return begins, ends, _keys(LOWER[plain], begins, ends)


def _keys(codes, begins, ends):
    sizes = ends - begins
    hashes = np.zeros(len(begins), np.uint64)
    for k in range(int(sizes.max(initial=0))):  # arithmetic of arrays wraps around silently
        longer = np.flatnonzero(sizes > k)
        h = (hashes[longer] + codes[begins[longer] + k] + np.uint64(1)) * MULTIPLIER
        hashes[longer] = h ^ (h >> HALF)
    return (hashes & np.uint64(0xFFFFFFFF)).astype(np.int64)


def rows_of(ids, keys):
    """[n] int64 of one sequence of ids [n]: at each word's last token its place among keys (sorted,
    [count]), -1 where it has none and at every other token."""
    rows = np.full(len(ids), -1, np.int64)
    _, ends, found = find(ids)
    places = np.minimum(np.searchsorted(keys, found), len(keys) - 1)
    rows[ends - 1] = np.where(keys[places] == found, places, -1)
    return rows


def pack_keys(keys):
    """[count, KEY_BYTES] float32 of keys [count]: their bytes, least first, as weights of a model are
    stored. Every type of weights holds numbers up to 255 exactly."""
    keys = np.asarray(keys, np.uint64)
    shifts = np.arange(KEY_BYTES, dtype=np.uint64) * np.uint64(8)
    return ((keys[:, None] >> shifts) & np.uint64(255)).astype(np.float32)


def unpack_keys(stored):
    """The keys [count] int64 of pack_keys' result. ValueError: not bytes, or not ascending."""
    stored = np.asarray(stored, np.float64)
    if (stored != np.clip(np.rint(stored), 0, 255)).any():
        raise ValueError("word keys are not bytes (integers from 0 to 255)")
    keys = (stored.astype(np.int64) << (8 * np.arange(KEY_BYTES))).sum(1)
    if (np.diff(keys) <= 0).any():
        raise ValueError("word keys are not in ascending order, each of them once")
    return keys
