"""The configuration of a toy model: that of a checkpoint, with every size made small.

transformers names the same sizes in many ways, so rules over the names decide. What is not a size
stays as it is: flags, scales, soft caps, epsilons, kinds of layers. So the toy ends in the same
norm and the same head as the model, which is all that is asked of it.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from typing import Any

V = 331
"""The size of the toy vocabulary: several times the width, so that logits overdetermine ``x``."""

TEXT_IDS = range(200, 300)
"""Ids of the toy vocabulary that no configuration gives a meaning to."""

_WIDTH, _HEADS, _KEYS, _HEAD, _FFN, _LAYERS, _POSITIONS = 64, 4, 2, 16, 96, 2, 128

_MOST_LAYERS_OF_A_MODEL = 2000
"""The largest number of layers that is believed."""

_ANY = 2 * 10**6
"""For what costs nothing at any size."""

_MOST_LAYERS = 8
"""The most layers that the toy has: two of each kind, if there are few kinds."""

_COUNTABLE = 2 * 10**6
"""The largest number that is believed before it is made small."""

_UNKNOWN = 128
"""The largest number that is kept where no rule knows its name: a strange size costs memory."""

_RULES = tuple(
    (re.compile(pattern), size)
    for pattern, size in (
        # Small in every model
        (r"num_feat_extract_layers|\w*chunk_(size|length)|sliding_window", _ANY),
        (r"n_group|topk_group|num_expert_group|pretraining_tp|first_k_dense_replace", 1),
        (r"(attn|expert)_layer_period", 2),
        (r"(attn|expert)_layer_offset", 1),
        (r"(num_)?nextn_predict_layers|mtp_num_hidden_layers|num_mtp_layers", 1),
        (r"mamba_n_?groups|n_groups|num_global_tokens", 1),
        # The vocabulary, and other tables
        (r"((un)?padded_|src_|tgt_|decoder_)?vocab_size(_per_layer_input)?|vocab_offset", V),
        (r"\w+_vocab_size|codebook_size|num_embeddings|num_embeds|num_centroids", 64),
        # Positions
        (r"(original_max|log_scaling)\w*|query_pre_attn_scalar|sampling_rate|sample_rate", _ANY),
        (r"num_position_embeddings", 16),
        (r"position_embedding_size|patch_dim|video_patch_dim", _ANY),
        (r"(\w+_)?position_embeddings|n_positions|n_ctx|seq_len|max_seq_len", _POSITIONS),
        (r"max_\w*positions|context_length|max_pos_emb|model_max_length", _POSITIONS),
        (r"(\w+_)?window(_size)?", 16),
        # Widths of a head, and heads
        (r"qk_head_dim", 2 * _HEAD),
        (r"head_dim|\w+_head_?dim|d_kv|d_head|dim_head|kv_channels|attention_head_size", _HEAD),
        (r"mamba_d_head|(q|kv|o)_lora_rank|qk_(nope|rope)_head_dim|rotary_dim", _HEAD),
        (r"\w*d_state|state_size|ssm_state_size|time_step_rank|mamba_dt_rank", 8),
        (r"mamba_(num|n)_heads|n_mamba_heads", 2 * _WIDTH // _HEAD),
        (r"mamba_d_ssm", 2 * _WIDTH),
        (r"(\w+_)?(key_value_heads|kv_heads|kv_n_heads)|num_query_groups", _KEYS),
        (r"linear_num_key_heads|index_n_heads", _KEYS),
        (r"(\w+_)?heads?|num_attention_heads\w*", _HEADS),
        # Layers
        (r"(\w+_)?(layers?|n_layers?|depth|num_blocks)", _LAYERS),
        # Experts
        (r"(\w+_)?experts|zero_expert_num", 4),
        (r"(num_)?experts_per_tok(en)?|moe_(top_?)?k|expert_capacity|top_k", 2),
        # Widths
        (r"(\w+_)?intermediate_size\w*|(\w+_)?ffn_(hidden_size|dim)|d_ff|dff|n_inner", _FFN),
        (r"base_channels|upsample_groups|intra_bottleneck_size|true_hidden_size", _WIDTH),
        (r"num_filters|n_filters", 4),
        (r"d_inner|dim_ff|feed_forward_size|mlp_dim|(\w+_)?hidden_dim|\w+_expert_dim", _FFN),
        (r"(\w+_)?hidden_size\w*|d_model|n_embd|(\w+_)?embed_dim|dim|emb_dim|d_embed", _WIDTH),
        (
            r"embedding_size|(\w+_)?embedding_dim|projection_dim|lru_width|word_embed_proj_dim",
            _WIDTH,
        ),
    )
)

_ABSENT = {
    "vocab_size": V,
    "head_dim": _HEAD,
    "num_key_value_heads": _HEADS,
    "n_routed_experts": 4,
    "num_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": _FFN,
}
"""The sizes that are given where a configuration leaves them to a class that needs them."""

_LAYER_COUNTS = (
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "decoder_layers",
    "depth",
)
_DROPPED = (
    *("quantization_config", "auto_map", "_name_or_path", "transformers_version", "dtype"),
    *("torch_dtype", "attn_implementation", "_attn_implementation", "architectures"),
    *("_attn_implementation_internal", "compression_config"),
)
_LAYER_INDICES = re.compile(r"\w*(layers?|layer_ids|idxs|indexes|indices)")
_SPECIAL = re.compile(r"\w*_(token_)?(id|ids|index)")


def bounded(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with numbers of a size that transformers may build lists from.

    A stranger may have written them, and transformers reads them once before they are small.
    """
    return {
        name: _bounded(value, _MOST_LAYERS_OF_A_MODEL if "layer" in str(name) else _COUNTABLE)
        for name, value in config.items()
        if name not in _DROPPED
    }


def _bounded(value: Any, most: int) -> Any:
    if isinstance(value, Mapping):
        return bounded(value)
    if isinstance(value, list):
        return [_bounded(item, most) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-most, min(value, most))
    return value


def shrunk(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of the toy model.

    Parameters
    ----------
    config : mapping
        All settings of the model, those of its parts in dictionaries within.

    Returns
    -------
    dict
        The same settings with small sizes; no size is made larger.
    """
    return _part(config, {})


def _part(config: Mapping[str, Any], ids: dict[int, int]) -> dict[str, Any]:
    """Return the small configuration of a part; ``ids`` are the special ids moved so far."""
    count, kept = _kept_layers(config)
    out: dict[str, Any] = {}
    for key, value in config.items():
        name = str(key)
        if name in _DROPPED:
            continue
        if name in ("rope_scaling", "rope_parameters"):
            out[key] = _rope(value, config)
        elif isinstance(value, Mapping) and name == "per_layer_config":
            out[key] = {kept.index(int(k)): v for k, v in value.items() if int(k) in kept}
        elif isinstance(value, Mapping):
            out[key] = _part(value, ids)
        elif isinstance(value, str):
            by_layer = len(value) == count and "pattern" in name
            out[key] = "".join(value[i] for i in kept) if by_layer else value
        elif isinstance(value, Sequence):
            out[key] = _listed(name, list(value), count, kept, ids)
        elif name in _LAYER_COUNTS and value == count:
            out[key] = len(kept)
        elif isinstance(value, int) and not isinstance(value, bool):
            out[key] = _number(name, value, config, ids)
        else:
            out[key] = _ABSENT.get(name) if value is None else value
    return out


def _kept_layers(config: Mapping[str, Any]) -> tuple[int, list[int]]:
    """Return the number of layers, and those that the toy keeps: the first of each kind."""
    count = next((config[n] for n in _LAYER_COUNTS if isinstance(config.get(n), int)), 0)
    lists = [
        value
        for name, value in config.items()
        if isinstance(value, (list, tuple)) or (isinstance(value, str) and "pattern" in str(name))
        if len(value) == count
    ]
    if count <= _LAYERS:
        return count, list(range(count))
    places: dict[str, list[int]] = {}
    for i in range(count):
        places.setdefault(repr([entry[i] for entry in lists]), []).append(i)
    kept = sorted(i for found in places.values() for i in found[:_LAYERS])[:_MOST_LAYERS]
    return count, kept


def _number(name: str, value: int, config: Mapping[str, Any], ids: dict[int, int]) -> int:
    """Return a small number in place of one setting; it keeps what it has to do with others."""
    if _SPECIAL.fullmatch(name):
        return _special(value, ids)
    related = _related(name, value, config)
    if related is not None:
        return related
    for pattern, size in _RULES:
        if pattern.fullmatch(name):
            return size if size == V else min(value, size)
    return min(value, _UNKNOWN)


def _related(name: str, value: int, config: Mapping[str, Any]) -> int | None:
    """Return the small size for one that other settings of the same part determine."""

    def of(other: str) -> int:
        found = config.get(other)
        return found if isinstance(found, int) else 0

    if name == "unpadded_vocab_size" and value < of("vocab_size"):
        return V - 1
    if "key_value_heads" in name or "kv_heads" in name:  # a head of keys for each of queries
        queries = of(name.replace("key_value_heads", "attention_heads"))
        return min(value, _HEADS) if queries == value else None
    if name == "num_heads" and "expand" in config:  # the heads of a state-space model
        return min(value, of("expand") * _WIDTH // _HEAD)
    if name == "mamba_d_ssm":
        heads, width = of("mamba_n_heads"), of("mamba_d_head")
        if heads * width == value:
            return min(heads, 2 * _WIDTH // _HEAD) * min(width, _HEAD)
    if name.endswith("head_dim") and value == of("qk_nope_head_dim") + of("qk_rope_head_dim"):
        return 2 * _HEAD if of("qk_rope_head_dim") else None
    if name in ("embedding_size", "word_embed_proj_dim") and value < of("hidden_size"):
        return min(value, _WIDTH // 2)
    if name == "attention_hidden_size" and value == 2 * of("hidden_size"):
        return 2 * _WIDTH
    if name == "attention_head_dim" and "attention_hidden_size" in config:
        return 2 * _WIDTH // _HEADS
    return None


def _special(value: int, ids: dict[int, int]) -> int:
    """Return the id of a special token in the toy's vocabulary, below `TEXT_IDS`."""
    if value < TEXT_IDS.start // 2:
        return value
    return ids.setdefault(value, min(TEXT_IDS.start // 2 + len(ids), TEXT_IDS.start - 1))


def _listed(
    name: str, values: list[Any], count: int, kept: Sequence[int], ids: dict[int, int]
) -> list[Any]:
    """Return a list of settings: one per layer that is kept, or small ones."""
    if len(values) == count > 1:
        values = [values[i] for i in kept]
    elif _LAYER_INDICES.fullmatch(name) and all(isinstance(v, int) for v in values):
        return [max(bisect(kept, v) - 1, 0) if v >= 0 else v for v in values]
    out: list[Any] = []
    for value in values:
        if isinstance(value, Mapping):
            out.append(_part(value, ids))
        elif isinstance(value, int) and not isinstance(value, bool):
            out.append(_number(name.removesuffix("_per_layer"), value, {}, ids))
        else:
            out.append(value)
    return out


def _rope(settings: Any, config: Mapping[str, Any]) -> Any:
    """Return the settings of the rotary embedding for heads of the toy's width."""
    if not isinstance(settings, Mapping):
        return settings
    pairs = int(_HEAD * float(settings.get("partial_rotary_factor") or 1)) // 2
    out: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            out[name] = _rope(value, config)
        elif name == "mrope_section" and isinstance(value, Sequence):
            out[name] = _sections(pairs, len(value))
        elif name in ("short_factor", "long_factor") and isinstance(value, Sequence):
            out[name] = list(value)[:pairs]
        else:
            out[name] = value
    if settings.get("rope_type") == "default":  # classes that use sections have larger defaults
        out.setdefault("mrope_section", _sections(pairs, 3))
    return out


def _sections(pairs: int, count: int) -> list[int]:
    """Return the sizes of ``count`` nearly equal sections."""
    each, rest = divmod(pairs, count)
    return [each + (i < rest) for i in range(count)]
