"""Golden vectors: which inputs, which outputs, how exact, and whether they would notice a wrong
weight. tests/golden/README.md has the reasons."""

import numpy as np

from . import rounding, twin

LONG = 4097  # one above a power of two and above every block size
SMALL = 512  # goldens up to this length take part in the perturbation check
NOISE = 1e-3  # of a tensor's root mean square
NOTICED = 3  # times the tolerance
DIGITS = 12


def inputs(config, seed):
    """(token ids, output specification, kept rows) of every golden."""
    random = np.random.RandomState(seed)
    vocabulary, limit = config["vocab_size"], config["max_position_embeddings"]
    width = config["hidden_size"]
    layers = list(range(config["num_hidden_layers"] + 1))

    def ids(n):
        return random.randint(0, vocabulary, min(n, limit))

    every_id = random.permutation(vocabulary)[: min(SMALL, limit)]
    long = ids(LONG)
    rows = [r for r in (0, 1, 127, 128, 129, 2047, 2048, 4095, 4096) if r < len(long)]
    n = len(ids(96))
    spans = [[0, n // 2], [n // 3, n]]
    return [
        (ids(1), {"pooling": "rows", "layers": layers}, [0]),
        (ids(5), {"pooling": "rows", "layers": layers}, [0, len(ids(5)) - 1]),
        (every_id, {"pooling": "mean", "layers": layers}, [0]),
        (ids(n), {"pooling": "spans", "spans": spans, "normalize": True,
                  "truncate_dim": max(1, width // 2)}, [0, 1]),
        (long, {"pooling": "rows"}, rows),
    ]  # fmt: skip


def evaluate(model, ids, output, rows, form="quadratic", disturbance=None):
    model = model if disturbance is None else rounding.disturbed(model, disturbance)
    states = model.states(ids, form)
    return twin.output_rows(states, output, disturbance)[rows]


def make(model, seed, progress=None):
    """The goldens of a model, in longwave.json's form. progress: None, or a function that is called
    with (what is done, how many steps it has) before the first step and (None, 1) after each."""
    goldens = []
    chosen = inputs(model.config, seed)
    tell(progress, "goldens", len(chosen))
    for ids, output, rows in chosen:
        form = "quadratic" if len(ids) <= SMALL or model.kind == "softmax" else "linear"
        values = evaluate(model, ids, output, rows)
        goldens.append(
            {
                "token_ids": ids.tolist(),
                "output": output,
                "rows": rows,
                "values": [[float(f"{v:.{DIGITS}g}") for v in row] for row in values],
                "tolerance": float(
                    "%.3g"
                    % rounding.tolerance(lambda r: evaluate(model, ids, output, rows, form, r))
                ),
            }
        )
        tell(progress, None, 1)
    return goldens


def tell(progress, what, count):
    if progress is not None:
        progress(what, count)


def cannot_matter(config):
    """Tensors that no output depends on, by algebra."""
    attention = config.get("attention", {})
    kind = attention.get("features", {}).get("kind", "prf")
    if kind == "softmax" and not attention.get("qk_norm", True):
        # A bias of all keys adds the same to all logits of a row.
        return {f"layers.{l}.attention.key.bias" for l in range(config["num_hidden_layers"])}
    return set()


def _first_state_that_changes(name, layers):
    if name.startswith("layers."):
        return int(name.split(".")[1]) + 1
    if name.startswith("attention_bias"):
        return 1
    return layers + 1 if name.startswith("final_norm") else 0


def root_mean_square(tensor):
    return np.sqrt((tensor**2).mean())


def usual_size(tensor):
    """What a layer of unit-sized values would have: 1 for biases, 1 / sqrt(inputs) for matrices."""
    return tensor.shape[-1] ** -0.5 if tensor.ndim > 1 else 1.0


def deviations(model, goldens, seed, names=None, size_of=root_mean_square, progress=None):
    """For each of these tensors (None: all), disturbed by noise of NOISE of its size: the largest
    deviation in any small golden, in units of that golden's tolerance."""
    small = [g for g in goldens if len(g["token_ids"]) <= SMALL]
    known = [model.raw_states(g["token_ids"]) for g in small]
    result = {}
    names = sorted(model.weights) if names is None else names
    tell(progress, "checking tensors", len(names))
    for name in names:
        random = np.random.RandomState([seed, sorted(model.weights).index(name)])
        tensor = model.weights[name]
        noisy = tensor + NOISE * size_of(tensor) * random.standard_normal(tensor.shape)
        disturbed = twin.Twin(model.config, {**model.weights, name: noisy})
        first = _first_state_that_changes(name, model.layers)
        result[name] = 0.0
        for golden, states in zip(small, known):
            changed = disturbed.states(golden["token_ids"], known=states[:first])
            values = twin.output_rows(changed, golden["output"])[golden["rows"]]
            deviation = np.abs(values - np.array(golden["values"])).max()
            result[name] = max(result[name], float(deviation / golden["tolerance"]))
        tell(progress, None, 1)
    return result


def check(model, goldens, seed, progress=None):
    """Raises unless every tensor that can matter is noticed; returns the least noticed one.

    A tensor that training has left near 0, a bias say, matters little: a thousandth of it moves
    nothing, and need not. It is noticed if a thousandth of what is usual is.
    """
    found = deviations(model, goldens, seed, progress=progress)
    for name in cannot_matter(model.config):
        del found[name]
    faint = sorted(name for name, deviation in found.items() if deviation < NOTICED)
    if faint:
        found.update(deviations(model, goldens, seed, faint, usual_size, progress))
    weak = {n: round(d, 2) for n, d in found.items() if d < NOTICED}
    if weak:
        raise ValueError(
            f"goldens refused: a change of {NOISE} of these tensors, or of their usual size, moves "
            f"no value by {NOTICED} times its tolerance: {weak}"
        )
    return min(found.items(), key=lambda item: item[1])
