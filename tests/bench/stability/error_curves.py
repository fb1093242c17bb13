"""Fig. 1b of arXiv 2106.12566: how far PRF attention is from softmax, by the length R of q and k.

One query and 1024 keys in 64 dimensions, uniform on the sphere of radius R; A = softmax of their
products, A^ its estimate from m random features; |A - A^|_1, at most 2.
"""

import math

import torch

from longwave_torch import features

DIM = 64
KEYS = 1024
RADII = (1, 2, 4, 8)
FEATURES = (4, 16, 64, 256, 1024)
DRAWS = 20

# Means over 20 draws with independent normal directions, from an implementation of its own. The
# paper's figure has no numbers beside it.
EXPECTED = {
    1: (0.505, 0.316, 0.185, 0.102, 0.052),
    2: (1.148, 0.949, 0.767, 0.576, 0.409),
    4: (1.864, 1.805, 1.763, 1.673, 1.606),
    8: (1.998, 1.997, 1.996, 1.989, 1.987),
}
EXPECTED_DRAWS = 20
ROUNDING = 5e-4  # of three decimals


def directions(count, kind, generator):
    """W [1, count, DIM]: "iid" normal, as the paper's figure has it, or "orthogonal", as we train."""
    if kind == "orthogonal":
        return features.orthogonal_projection(count, DIM, generator=generator)[None]
    return torch.randn(1, count, DIM, generator=generator, dtype=torch.float64)


def one_error(radius, count, kind, generator):
    points = torch.randn(KEYS + 1, DIM, generator=generator, dtype=torch.float64)
    points = points * (radius / torch.linalg.vector_norm(points, dim=1, keepdim=True))
    exact = torch.softmax(points[1:] @ points[0], dim=0)
    w = directions(count, kind, generator)
    # At R = 8 exponents spread over tens: the common factor taken out changes no quotient.
    phi_q = features.feature_map(points[None, :1, None], w, "prf", "query")[0, 0, 0]
    phi_k = features.feature_map(points[None, 1:, None], w, "prf", "key")[0, :, 0]
    weights = phi_k @ phi_q
    return (weights / weights.sum() - exact).abs().sum().item()


def cell(radius, count, kind="iid", draws=DRAWS, seed=0):
    """(mean, its standard error) of |A - A^|_1."""
    generator = torch.Generator().manual_seed(1_000_000 * seed + 10_000 * radius + count)
    errors = [one_error(radius, count, kind, generator) for _ in range(draws)]
    mean = sum(errors) / draws
    variance = sum((e - mean) ** 2 for e in errors) / (draws - 1)
    return mean, math.sqrt(variance / draws)


def close(error, expected):
    """Within 10 % or 0.02: for means over DRAWS draws."""
    return abs(error - expected) <= max(0.02, 0.1 * expected)


def tolerance(standard_error, expected, draws):
    """What the mean over `draws` draws may differ from an expected one, over EXPECTED_DRAWS: 4
    standard errors of the difference, and the rounding of what is expected.

    Errors are at most 2. Where the mean is near that, a draw far below is rare, and few draws do not
    show how much they scatter; there the largest variance that values in [0, 2] of this mean can have
    takes the place of the measured one.
    """
    variance = draws * standard_error**2
    if expected > 1.9:
        variance = max(variance, expected * (2 - expected))
    return 4 * math.sqrt(variance * (1 / draws + 1 / EXPECTED_DRAWS)) + ROUNDING


def slope(means):
    """Of log error against log m, from the first number of features to the last."""
    return math.log(means[-1] / means[0]) / math.log(FEATURES[-1] / FEATURES[0])


def curves(kind, draws=DRAWS):
    """One object a cell, as they stand in the results."""
    found = []
    for radius in RADII:
        for count, expected in zip(FEATURES, EXPECTED[radius]):
            mean, error = cell(radius, count, kind, draws)
            found.append(
                {
                    "radius": radius,
                    "features": count,
                    "error": round(mean, 5),
                    "standard_error": round(error, 5),
                    "expected": expected,
                }
            )
    return found
