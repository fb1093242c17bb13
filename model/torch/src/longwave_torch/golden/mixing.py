"""sum_j c(j - i) phi(q_i) . phi(k_j) values_j for every row i, in two independent forms.

Both take phi(q) [rows, m], phi(k) [n, m], values [n, e] and a HeadBias, and return [rows, e].
c = exp(b - max b): a factor common to numerator and denominator.
"""

import numpy as np

BLOCK = 128  # tokens in a block of the linear form
BATCH = 64  # blocks that one numpy call works on
QUADRATIC_ELEMENTS = 1 << 24  # rows x keys held at once by the quadratic form


def _peak(bias, n):
    reach = min(n - 1, bias.reach)
    return bias.table(reach + 1).max()


def row_blocks(rows, n):
    """Slices of the rows that keep rows x n within bounds."""
    step = max(1, QUADRATIC_ELEMENTS // n)
    for begin in range(0, len(rows), step):
        yield slice(begin, begin + step)


def toeplitz_rows(table, rows, n):
    """table[(j - i) + n - 1] for the given rows i and all j: [len(rows), n]."""
    windows = np.lib.stride_tricks.sliding_window_view(table, n)
    return windows[n - 1 - rows]


def quadratic(phi_q, phi_k, values, bias, rows):
    """Row by row as it is written: the definition. phi_q holds the rows `rows` only."""
    n = len(phi_k)
    c = np.exp(bias.table(n) - _peak(bias, n))
    out = np.empty((len(rows), values.shape[1]))
    for part in row_blocks(rows, n):
        scores = phi_q[part] @ phi_k.T
        scores *= toeplitz_rows(c, rows[part], n)
        out[part] = scores @ values
    return out


def softmax(q, k, values, bias, rows):
    """The same with exp(q . k) instead of features; here each row has its own common factor."""
    n = len(k)
    b = bias.table(n)
    out = np.empty((len(rows), values.shape[1]))
    for part in row_blocks(rows, n):
        logits = q[part] @ k.T + toeplitz_rows(b, rows[part], n)
        logits -= logits.max(axis=1, keepdims=True)
        out[part] = np.exp(logits) @ values
    return out


def _blocks(x, count):
    """[n, e] -> [count, BLOCK, e], zeros at the end."""
    padded = np.zeros((count * BLOCK, x.shape[1]))
    padded[: len(x)] = x
    return padded.reshape(count, BLOCK, -1)


def _toeplitz_block(bias, shift, peak):
    """c between a block's queries and the keys of the block `shift` further on: [BLOCK, BLOCK]."""
    i = np.arange(BLOCK)
    return np.exp(bias.at(shift * BLOCK + i[None, :] - i[:, None]) - peak)


def _far_states(summaries, decay, band):
    """State of all blocks more than `band` before each one: a sum that decays from block to block."""
    state = np.zeros_like(summaries[0])
    states = np.zeros_like(summaries)
    for block in range(band + 1, len(summaries)):
        state = state * decay + summaries[block - band - 1]
        states[block] = state
    return states


def linear(phi_q, phi_k, values, bias, rows=None):
    """In O(n): a band of blocks with c in full, and a running sum for all that lies beyond.

    The band spans `band` blocks to each side, at least the bias's reach, so that what lies beyond
    has c = side * decay^(blocks between): constant sides, or ALiBi's exponential ones. All rows are
    computed; `rows` picks some.
    """
    n = len(phi_k)
    count = -(-n // BLOCK)
    band = -(-bias.reach // BLOCK)
    peak = _peak(bias, n)
    queries, keys, contents = (_blocks(x, count) for x in (phi_q, phi_k, values))
    out = np.zeros_like(contents)
    for shift in range(-band, 1 if bias.causal else band + 1):
        weights = _toeplitz_block(bias, shift, peak)
        first, last = max(0, -shift), min(count, count - shift)
        for begin in range(first, last, BATCH):
            here = slice(begin, min(begin + BATCH, last))
            there = slice(here.start + shift, here.stop + shift)
            scores = queries[here] @ keys[there].transpose(0, 2, 1)
            scores *= weights
            out[here] += scores @ contents[there]
    _add_side(out, queries, keys, contents, bias, band, peak)
    if not bias.causal:  # the other side, read from the end
        flip = (slice(None, None, -1), slice(None, None, -1))
        _add_side(
            out[flip], queries[flip], keys[flip], contents[flip], bias.reversed(), band, peak
        )
    out = out.reshape(count * BLOCK, -1)[:n]
    return out if rows is None else out[rows]


def _add_side(out, queries, keys, contents, bias, band, peak):
    """Adds what lies more than `band` blocks before each block."""
    # The distance of a query from a key so far back is the query's place in its block, the blocks
    # between, and the key's distance from the end of its own block, and one.
    place = np.arange(BLOCK)[:, None]
    key_weights = np.exp(-bias.slope * (BLOCK - 1 - place))
    nearest = bias.near[0] + bias.slope * bias.reach - bias.slope * (band * BLOCK + 1)
    query_weights = np.exp(nearest - peak - bias.slope * place)
    batches = [slice(b, b + BATCH) for b in range(0, len(out), BATCH)]
    summaries = np.concatenate(
        [(keys[b] * key_weights).transpose(0, 2, 1) @ contents[b] for b in batches]
    )
    states = _far_states(summaries, np.exp(-bias.slope * BLOCK), band)
    for b in batches:
        out[b] += (queries[b] * query_weights) @ states[b]
