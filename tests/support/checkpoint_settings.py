"""What the ``config.json`` of real checkpoints says beyond the defaults of transformers' classes.

A class's defaults may describe no model at all: a size is left out, or one does not fit another.
"""

from __future__ import annotations

from typing import Any

_ROPE = {"rope_type": "default", "rope_theta": 1e4}
_QSA = {
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 16,
    "indexer_budget": 64,
    "indexer_compress_ratio": 4,
}
_BY_KIND = {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}}

SETTINGS: dict[str, dict[str, Any]] = {
    "chameleon": {"vocabulary_map": {"<image>": 150, "IMGIMGAZ": 4, "IMGIMGBZ": 5}},
    "cohere_compass": {"text_config": _BY_KIND},
    "cohere_compass_text": _BY_KIND,
    "dbrx": {"attn_config": {"rope_theta": 5e5, "kv_n_heads": 2, "clip_qkv": 8.0}},
    "deepseek_ocr2": {
        "text_config": {"num_hidden_layers": 2, "mlp_layer_types": ["dense", "sparse"]}
    },
    "diffusion_gemma": {"text_config": {"top_k_experts": 2}},
    "emu3": {"vocabulary_map": {"<image>": 150, "<|extra_200|>": 151}},
    "esm": {"vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32},
    "granitemoehybrid": {"num_hidden_layers": 2, "layer_types": ["mamba", "attention"]},
    "lfm2_moe": {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]},
    "moonshine_streaming": {"num_key_value_heads": 8},
    "qwen4_exp": {"text_config": _QSA},
    "qwen4_exp_text": _QSA,
    "reformer": {"is_decoder": True, "axial_pos_embds": False},
    "xmod": {"default_language": "en_XX"},
}
"""By ``model_type``; a dictionary is merged into the part of that name."""
