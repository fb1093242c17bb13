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


def make(model, seed):
    """The goldens of a model, in longwave.json's form."""
    goldens = []
    for ids, output, rows in inputs(model.config, seed):
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
    return goldens


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


def deviations(model, goldens, seed):
    """For each tensor, disturbed by noise of NOISE of its root mean square: the largest deviation
    in any small golden, in units of that golden's tolerance."""
    small = [g for g in goldens if len(g["token_ids"]) <= SMALL]
    known = [model.raw_states(g["token_ids"]) for g in small]
    result = {}
    for index, name in enumerate(sorted(model.weights)):
        random = np.random.RandomState([seed, index])
        tensor = model.weights[name]
        size = NOISE * np.sqrt((tensor**2).mean())
        noisy = tensor + size * random.standard_normal(tensor.shape)
        disturbed = twin.Twin(model.config, {**model.weights, name: noisy})
        first = _first_state_that_changes(name, model.layers)
        result[name] = 0.0
        for golden, states in zip(small, known):
            changed = disturbed.states(golden["token_ids"], known=states[:first])
            values = twin.output_rows(changed, golden["output"])[golden["rows"]]
            deviation = np.abs(values - np.array(golden["values"])).max()
            result[name] = max(result[name], float(deviation / golden["tolerance"]))
    return result


def check(model, goldens, seed):
    """Raises unless every tensor that can matter is noticed; returns the least noticed one."""
    ignored = cannot_matter(model.config)
    noticed = {n: d for n, d in deviations(model, goldens, seed).items() if n not in ignored}
    weak = {n: round(d, 2) for n, d in noticed.items() if d < NOTICED}
    if weak:
        raise ValueError(
            f"goldens refused: a change of {NOISE} of these tensors moves no value by {NOTICED} "
            f"times its tolerance: {weak}"
        )
    return min(noticed.items(), key=lambda item: item[1])
