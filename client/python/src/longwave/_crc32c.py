"""CRC-32C (Castagnoli) with numpy, some hundred MB/s: every chunk of a row stream carries one.

The buffer is cut into lanes of equal length whose checksums are computed side by side, and then
joined two by two: the checksum of A followed by B is that of A moved past len(B) zero bytes, xor
that of B, and moving is linear over GF(2), so it is a table lookup for each byte.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

_POLYNOMIAL = np.uint32(0x82F63B78)  # reflected
_LANE_BYTES = 128
_MIN_LANES = 8  # below, one lane after the other is as fast


def _step(crc: Words) -> Words:
    """One zero bit further."""
    return (crc >> np.uint32(1)) ^ (_POLYNOMIAL * (crc & np.uint32(1)))


@functools.cache
def _byte_table() -> Words:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = _step(table)
    return table


@functools.cache
def _word_tables() -> tuple[Words, Words]:
    """What the low and the high half of a word become 4 bytes on."""
    halves = np.arange(1 << 16, dtype=np.uint32)
    low, high = halves, halves << np.uint32(16)
    for _ in range(32):
        low, high = _step(low), _step(high)
    return low, high


@functools.cache
def _shift_tables(size: int) -> Words:
    """[4, 256]: what each byte of a checksum becomes `size` (a power of two) zero bytes on."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    if size == 1:
        for _ in range(8):
            bits = _step(bits)
    else:
        half = _shift_tables(size // 2)
        bits = _shift(_shift(bits, half), half)
    values = np.arange(256, dtype=np.uint32)
    tables = np.zeros((4, 256), np.uint32)
    for byte in range(4):
        for bit in range(8):
            tables[byte] ^= bits[8 * byte + bit] * (values >> np.uint32(bit) & np.uint32(1))
    return tables


def _shift(crc: Words, tables: Words) -> Words:
    out: Words = tables[0][crc & np.uint32(0xFF)]
    for byte in range(1, 4):
        out = out ^ tables[byte][crc >> np.uint32(8 * byte) & np.uint32(0xFF)]
    return out


def _lanes(words: Words) -> Words:
    """Checksums, without their first and last complement, of the columns of [words, lanes]."""
    low, high = _word_tables()
    lanes = words.shape[1]
    crc, other = np.zeros(lanes, np.uint32), np.empty(lanes, np.uint32)
    half = np.empty(lanes, np.intp)  # numpy looks up by this type alone, and would copy others
    for row in words:
        np.bitwise_xor(crc, row, out=crc)
        np.right_shift(crc, np.uint32(16), out=half)
        high.take(half, out=other, mode="wrap")
        np.bitwise_and(crc, np.uint32(0xFFFF), out=half)
        low.take(half, out=crc, mode="wrap")
        np.bitwise_xor(crc, other, out=crc)
    return crc


def _join(crc: Words, size: int) -> int:
    """The checksum of lanes of `size` bytes one after the other; a power of two of them."""
    while len(crc) > 1:
        crc = _shift(crc[0::2], _shift_tables(size)) ^ crc[1::2]
        size *= 2
    return int(crc[0])


def _move(crc: int, size: int) -> int:
    """A checksum, `size` zero bytes on."""
    word = np.array([crc], np.uint32)
    bit = 1
    while size:
        if size & 1:
            word = _shift(word, _shift_tables(bit))
        size >>= 1
        bit *= 2
    return int(word[0])


def crc32c(data: bytes) -> int:
    """The CRC-32C of these bytes."""
    crc = 0xFFFFFFFF
    position = 0
    while len(data) - position >= _MIN_LANES * _LANE_BYTES:
        lanes = 1 << (((len(data) - position) // _LANE_BYTES).bit_length() - 1)
        size = lanes * _LANE_BYTES
        words = np.frombuffer(data, "<u4", size // 4, position).reshape(lanes, _LANE_BYTES // 4)
        part = _join(_lanes(np.ascontiguousarray(words.T)), _LANE_BYTES)
        crc = _move(crc, size) ^ part
        position += size
    table = _byte_table()
    for byte in data[position:]:
        crc = crc >> 8 ^ int(table[(crc ^ byte) & 0xFF])
    return crc ^ 0xFFFFFFFF
