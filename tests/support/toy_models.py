"""Toy models of every architecture, with random weights, norms and biases, by transformers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
import transformers

from geom_plugins.checkpoints.architectures import ARCHITECTURES

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

V = 97
"""The size of the toy vocabularies."""

_SIZES = {
    "vocab_size": V,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
_MOE = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
_SEQ2SEQ = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "decoder_start_token_id": 1,
}
_T5 = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
}
_DEEPSEEK = {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
    "head_dim": 8,
}
_OWN: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "codegen": {"rotary_dim": 4},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "falcon": {"head_dim": None},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64},
    "xglm": {"d_model": 32, "ffn_dim": 48, "attention_heads": 4, "num_layers": 2},
    "llama4_text": _MOE | {"intermediate_size_mlp": 48},
    "mixtral": _MOE,
    "phimoe": _MOE | {"lm_head_bias": True},
    "qwen2_moe": _MOE | {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "qwen3_moe": _MOE | {"moe_intermediate_size": 16},
    "qwen3_next": _MOE
    | {
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "granite": {"logits_scaling": 4.0},
    "granitemoe": _MOE | {"logits_scaling": 4.0},
    "granitemoehybrid": _MOE
    | {
        "logits_scaling": 4.0,
        "layer_types": ["attention", "attention"],
        "shared_intermediate_size": 16,
        "mamba_n_heads": 8,
    },
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "glm4_moe": _MOE
    | {
        "moe_intermediate_size": 16,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    },
    "gpt_oss": _MOE,
    "jamba": _MOE
    | {
        "mamba_d_state": 4,
        "use_mamba_kernels": False,
        "attn_layer_offset": 1,
        "attn_layer_period": 2,
    },
    "falcon_h1": {
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "mamba_n_groups": 1,
        "lm_head_multiplier": 0.5,
    },
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1},
    "recurrent_gemma": {
        "lru_width": 32,
        "attention_window_size": 16,
        "block_types": ["recurrent", "attention"],
    },
    "rwkv": {"attention_hidden_size": 32, "context_length": 64},
    "albert": {"embedding_size": 16},
    "electra": {"embedding_size": 16},
    "distilbert": {"dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 48},
    "t5": _T5,
    "mt5": _T5,
    "umt5": _T5,
    "marian": _SEQ2SEQ,
    "bart": _SEQ2SEQ,
    "mbart": _SEQ2SEQ,
    "pegasus": _SEQ2SEQ,
}
"""The settings that an architecture names differently or needs in addition."""

_AUTO = {
    "causal": transformers.AutoModelForCausalLM,
    "masked": transformers.AutoModelForMaskedLM,
    "seq2seq": transformers.AutoModelForSeq2SeqLM,
}


def build(kind: str, seed: int = 0, **changes: Any) -> transformers.PreTrainedModel:
    """Build a toy model of the architecture in float32, with all its numbers drawn at random."""
    sizes = _SIZES | _OWN.get(kind, {}) | changes
    sizes = {key: value for key, value in sizes.items() if value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # configurations warn about each other's settings
        config = transformers.AutoConfig.for_model(kind, **sizes)
        torch.manual_seed(seed)
        model = _AUTO[ARCHITECTURES[kind].task].from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("final_logits_bias"):
                tensor.copy_(noise)
            elif not isinstance(tensor, torch.nn.Parameter):
                continue
            elif tensor.ndim == 1:
                tensor.copy_(tensor + 0.3 * noise)
            else:
                tensor.copy_(noise / tensor.shape[-1] ** 0.5)
    return model.eval()


def save(model: transformers.PreTrainedModel, where: Path, **options: Any) -> Path:
    """Save the model as transformers does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(where, **options)
    return where


def forward(model: transformers.PreTrainedModel, kind: str) -> torch.Tensor:
    """Return the logits (n, V) of a few fixed tokens."""
    ids = torch.tensor([[5, 9, 30, 8, 77, 41]])
    given = {"decoder_input_ids": ids} if ARCHITECTURES[kind].task == "seq2seq" else {}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model(input_ids=ids, **given).logits[0]
