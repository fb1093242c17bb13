"""Kernelised attention in encoders of Hugging Face transformers (5.0 or newer), and their export.

BERT, RoBERTa, XLM-RoBERTa, MiniLM and what else has their layers. Attention is swapped through
transformers' own registry: the layers' classes stay, `query`, `key`, `value` and the output's
weights are kept, and each self-attention gets a HeadMixer, `longwave`, that holds what is new.
"""

import dataclasses

import torch
from transformers import AttentionInterface, AttentionMaskInterface

from .config import AttentionConfig, EncoderConfig, FeatureConfig, PositionConfig
from .drop_in import DEFAULT_ATTENTION, HeadMixer, lengths_of
from .encoder import Encoder

IMPLEMENTATION = "longwave"  # its name among transformers' attention implementations
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
# Kinds whose embeddings and layers are BERT's, with the positions that come before the first
# token's.
FIRST_POSITION = {"bert": lambda config: 0}
for _kind in ("roberta", "xlm-roberta", "camembert"):
    FIRST_POSITION[_kind] = lambda config: config.pad_token_id + 1


def _attention(module, query, key, value, attention_mask, **_):
    """transformers' interface: [batch, heads, n, head_dim] in, ([batch, n, heads, head_dim],
    None)."""
    mixer = getattr(module, IMPLEMENTATION, None)
    if mixer is None:
        raise RuntimeError(f"{type(module).__name__} has no kernelised attention of its own")
    lengths = None
    if attention_mask is not None:
        if attention_mask.dim() != 2:
            raise ValueError(
                f"attention_mask has shape {list(attention_mask.shape)}: accepted: [batch, n]"
            )
        lengths = lengths_of(attention_mask == 0)
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    return mixer(q, k, v, lengths), None


def _mask(attention_mask=None, **_):
    """transformers would make [batch, 1, n, n] of it, in O(n^2) memory."""
    return attention_mask


AttentionInterface.register(IMPLEMENTATION, _attention)
AttentionMaskInterface.register(IMPLEMENTATION, _mask)


def replace_self_attention(model, attention=DEFAULT_ATTENTION, **mixer_options):
    """Gives every self-attention of a transformers encoder kernelised attention, in place.

    model: a PreTrainedModel such as BertModel; weights are kept. attention, mixer_options:
    HeadMixer's. Padding must be at the end. Attention dropout has no counterpart: weights are never
    formed. Returns the names of the self-attentions. ValueError: a decoder, or none is found.
    """
    if getattr(model.config, "is_decoder", False):
        raise ValueError(
            "decoders keep keys and values of earlier calls: encoders alone are converted"
        )
    found = {
        name: part
        for name, part in model.named_modules()
        if type(part).__name__.endswith("SelfAttention") and hasattr(part, "attention_head_size")
    }
    if not found:
        raise ValueError(f"{type(model).__name__} has no self-attention like BERT's")
    generator = mixer_options.pop("generator", None)
    generator = generator or torch.Generator().manual_seed(attention.features.seed)
    for part in found.values():
        mixer = HeadMixer(
            part.num_attention_heads,
            part.attention_head_size,
            attention,
            generator=generator,
            **mixer_options,
        )
        setattr(part, IMPLEMENTATION, mixer.to(part.query.weight.device))
    model.set_attn_implementation(IMPLEMENTATION)
    return list(found)


def to_encoder(model, torch_dtype="float32"):
    """The Encoder that computes what a transformers encoder computes: its last_hidden_state.

    model: a BertModel or RobertaModel, or a model that has one as `base_model`. With kernelised
    attention (replace_self_attention) the result can be served; as it comes, it has exact softmax,
    which is O(n^2): see convert.py. Embeddings of token type 0 are added to the tokens'; poolers
    and heads are left out. ValueError: a kind, an activation or shapes that have no counterpart.
    """
    model = model.base_model
    config = model.config
    if config.model_type not in FIRST_POSITION or getattr(config, "is_decoder", False):
        raise ValueError(
            f"model_type = {config.model_type!r}: accepted: encoders of {', '.join(FIRST_POSITION)}"
        )
    if config.hidden_act not in ACTIVATIONS:
        raise ValueError(f"hidden_act = {config.hidden_act!r}: accepted: {', '.join(ACTIVATIONS)}")
    first = FIRST_POSITION[config.model_type](config)
    positions = config.max_position_embeddings - first
    encoder = Encoder(
        EncoderConfig(
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            vocab_size=config.vocab_size,
            max_position_embeddings=positions,
            torch_dtype=torch_dtype,
            hidden_act=ACTIVATIONS[config.hidden_act],
            norm_position="post",
            embedding_norm=True,
            layer_norm_eps=config.layer_norm_eps,
            positions=PositionConfig("learned", positions),
            attention=_attention_config(model),
        )
    )
    encoder.load_state_dict(_tensors(model, first))
    return encoder


def _mixers(model):
    return [getattr(layer.attention.self, IMPLEMENTATION, None) for layer in model.encoder.layer]


def _attention_config(model):
    mixers = _mixers(model)
    if all(mixer is None for mixer in mixers):
        return AttentionConfig(FeatureConfig("softmax"), qk_norm=False)
    if any(mixer is None or mixer.config != mixers[0].config for mixer in mixers):
        raise ValueError("layers differ in their attention: one configuration holds for all")
    attention = mixers[0].config.attention
    if attention.bias.kind == "none":
        return attention
    return dataclasses.replace(
        attention, bias=dataclasses.replace(attention.bias, shared_layers=False)
    )


def _tensors(model, first_position):
    """The Encoder's state_dict."""
    embeddings = model.embeddings
    token = embeddings.word_embeddings.weight + embeddings.token_type_embeddings.weight[0]
    tensors = {
        "embeddings.token.weight": token,
        "embeddings.position.weight": embeddings.position_embeddings.weight[first_position:],
        **_named("embeddings.norm", embeddings.LayerNorm),
    }
    for index, (layer, mixer) in enumerate(zip(model.encoder.layer, _mixers(model))):
        name = f"layers.{index}."
        attention = layer.attention
        for part in ("query", "key", "value"):
            tensors |= _named(f"{name}attention.{part}", getattr(attention.self, part))
        tensors |= _named(f"{name}attention.output", attention.output.dense)
        tensors |= _named(f"{name}attention_norm", attention.output.LayerNorm)
        tensors |= _named(f"{name}ffn.up", layer.intermediate.dense)
        tensors |= _named(f"{name}ffn.down", layer.output.dense)
        tensors |= _named(f"{name}ffn_norm", layer.output.LayerNorm)
        if mixer is not None:
            stored = mixer.state_dict()
            tensors |= {f"{name}attention.{key}": tensor for key, tensor in stored.items()}
    return {key: tensor.detach().float() for key, tensor in tensors.items()}


def _named(name, module):
    return {f"{name}.{key}": tensor for key, tensor in module.state_dict().items()}
