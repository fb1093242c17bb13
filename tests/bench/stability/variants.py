"""The attentions that are compared, and the one recipe that trains them all."""

import dataclasses

from longwave_torch import EncoderConfig, config


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is the same in all runs. Adam's rate rises linearly over `warm_up` steps and then stays."""

    vocabulary: int = 32
    n: int = 96
    layers: int = 2
    hidden: int = 64
    intermediate: int = 128
    heads: int = 4
    features: int = 32
    batch: int = 16
    rate: float = 3e-3
    warm_up: int = 60
    steps: int = 600
    redraw_every: int = 100  # steps; at the first one too
    positions: str = "learned"  # of variants without relative bias
    bias_init: str = "zeros"  # of the relative bias


@dataclasses.dataclass(frozen=True)
class Variant:
    label: str
    features: str  # "prf" or "softmax"
    normalised: bool  # q and k of unit length
    relative: bool  # a relative bias, one free number per offset and head; else absolute positions


VARIANTS = {
    "softmax_abs": Variant("softmax + absolute", "softmax", False, False),
    "prf_abs": Variant("PRF + absolute", "prf", False, False),
    "nprf_abs": Variant("NPRF + absolute, no RPE", "prf", True, False),
    "prf_rpe": Variant("PRF + RPE, not normalised", "prf", False, True),
    "nprf_rpe": Variant("NPRF + RPE", "prf", True, True),
    "softmax_rpe": Variant("softmax + RPE", "softmax", False, True),
    "nsoftmax_abs": Variant("normalised softmax + absolute", "softmax", True, False),
    "nsoftmax_rpe": Variant("normalised softmax + RPE", "softmax", True, True),
}
COMPARED = ("softmax_abs", "prf_abs", "nprf_abs", "prf_rpe", "nprf_rpe")  # from scratch
SCALES = (1.0, 4.0)  # of the initial q and k
# Trained with exact softmax, then made PRF: in the order that the paper leads one to expect.
CONVERTED = ("nsoftmax_rpe", "nsoftmax_abs", "softmax_rpe", "softmax_abs")


def encoder_config(variant, recipe, features=None):
    """features: of the converted model, in place of the variant's own kind: a FeatureConfig."""
    if features is None:
        features = config.FeatureConfig(variant.features, recipe.features)
    positions, bias = config.PositionConfig(), config.BiasConfig()
    if variant.relative:
        # The paper's: a number for every offset, no clipping, shared by the layers.
        bias = config.BiasConfig("table", table_length=recipe.n)
    else:
        length = recipe.n if recipe.positions == "learned" else 0
        positions = config.PositionConfig(recipe.positions, length)
    return EncoderConfig(
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=recipe.intermediate,
        vocab_size=recipe.vocabulary,
        max_position_embeddings=recipe.n,
        positions=positions,
        attention=config.AttentionConfig(features=features, qk_norm=variant.normalised, bias=bias),
    )
