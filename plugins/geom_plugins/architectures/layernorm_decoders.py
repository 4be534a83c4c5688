"""Decoders that end in a LayerNorm."""

from __future__ import annotations

from dataclasses import replace

from geom_plugins.architectures.record import Architecture, Config
from geom_plugins.architectures.rmsnorm_decoders import RMSNORM_DECODER

_GPT2 = Architecture(
    "GPT-2", "layernorm", "ln_f", ("transformer.", ""), ("wte",), tied=True, shift=True
)


def _of_opt(config: Config) -> str:
    """Return the final norm of an OPT model: only OPT-350m ends each layer in its norm."""
    if config.get("do_layer_norm_before", True):
        return "decoder.final_layer_norm"
    return f"decoder.layers.{config['num_hidden_layers'] - 1}.final_layer_norm"


_LLAMA_LIKE = replace(RMSNORM_DECODER, norm="layernorm", shift=True)

_COHERE = replace(
    _LLAMA_LIKE,
    tied=True,
    shift=False,
    logit_scale="logit_scale",
    quirk="tied; norm without shift; logits scaled",
)

LAYERNORM_DECODERS: dict[str, Architecture] = {
    "gpt2": replace(_GPT2, quirk="tied"),
    "gpt_neo": replace(_GPT2, family="GPT-Neo", quirk="tied"),
    "gptj": replace(
        _GPT2,
        family="GPT-J",
        tied=False,
        head_bias=("lm_head.bias",),
        quirk="bias over the vocabulary",
    ),
    "codegen": replace(
        _GPT2,
        family="CodeGen",
        tied=False,
        head_bias=("lm_head.bias",),
        quirk="bias over the vocabulary",
    ),
    "gpt_bigcode": replace(_GPT2, family="StarCoder", quirk="tied"),
    "gpt_neox": Architecture(
        "GPT-NeoX, Pythia",
        "layernorm",
        "final_layer_norm",
        ("gpt_neox.", ""),
        ("embed_in",),
        ("embed_out", "lm_head"),
        shift=True,
        quirk="the unembedding is named embed_out",
    ),
    "opt": Architecture(
        "OPT",
        "layernorm",
        _of_opt,
        ("model.", ""),
        ("decoder.embed_tokens",),
        tied=True,
        shift=None,
        projection="decoder.project_out",
        quirk="tied; OPT-350m: the last layer's norm, then a projection, folded into W",
    ),
    "bloom": replace(_GPT2, family="BLOOM", embed=("word_embeddings",), quirk="tied"),
    "falcon": replace(_GPT2, family="Falcon", embed=("word_embeddings",), quirk="tied or not"),
    "mpt": replace(
        _GPT2, family="MPT", final_norm="norm_f", shift=None, quirk="tied; norm without shift"
    ),
    "xglm": replace(_LLAMA_LIKE, tied=True, family="XGLM", final_norm="layer_norm"),
    "biogpt": replace(
        _LLAMA_LIKE,
        tied=True,
        family="BioGPT",
        final_norm="layer_norm",
        stems=("biogpt.", ""),
        heads=("output_projection",),
        quirk="the unembedding is named output_projection",
    ),
    "phi": replace(
        _LLAMA_LIKE,
        family="Phi-1, Phi-1.5, Phi-2",
        final_norm="final_layernorm",
        head_bias=("lm_head.bias",),
        quirk="bias over the vocabulary",
    ),
    "phimoe": replace(
        _LLAMA_LIKE,
        family="Phi-3.5-MoE",
        head_bias=("lm_head.bias",),
        quirk="bias over the vocabulary",
    ),
    "stablelm": replace(_LLAMA_LIKE, family="StableLM"),
    "starcoder2": replace(_LLAMA_LIKE, tied=True, family="StarCoder2", quirk="tied"),
    "persimmon": replace(
        _LLAMA_LIKE,
        family="Persimmon",
        final_norm="final_layernorm",
    ),
    "olmo": replace(
        _LLAMA_LIKE,
        shift=False,
        family="OLMo",
        scale=False,
        quirk="norm without scale and shift",
    ),
    "cohere": replace(_COHERE, family="Cohere Command R"),
    "cohere2": replace(_COHERE, family="Cohere Command A, R7B"),
    "cohere2_moe": replace(_COHERE, family="Cohere Command A MoE"),
    "ctrl": replace(
        _GPT2,
        family="CTRL",
        final_norm="layernorm",
        embed=("w",),
        head_bias=("lm_head.bias",),
        quirk="tied; bias over the vocabulary",
    ),
    "gpt_neox_japanese": Architecture(
        "GPT-NeoX Japanese",
        "layernorm",
        "final_layer_norm",
        ("gpt_neox_japanese.", ""),
        ("embed_in",),
        ("embed_out",),
        tied=True,
        shift=True,
        quirk="tied",
    ),
    "jais2": replace(_LLAMA_LIKE, family="Jais 2"),
    "kosmos_2_5_text_model": replace(
        _LLAMA_LIKE,
        family="Kosmos-2.5",
        final_norm="layer_norm",
        stems=("text_model.model.", "model.", ""),
        heads=("text_model.lm_head", "lm_head"),
        tied=True,
        quirk="tied",
    ),
    "openai-gpt": Architecture(
        "GPT-1",
        "layernorm",
        lambda config: f"h.{config['n_layer'] - 1}.ln_2",
        ("transformer.", ""),
        ("tokens_embed",),
        tied=True,
        shift=True,
        quirk="tied; final norm is the last layer's",
    ),
    "modernbert-decoder": Architecture(
        "ModernBERT decoder",
        "layernorm",
        "lm_head.norm",
        ("",),
        ("model.embeddings.tok_embeddings",),
        ("decoder",),
        head_bias=("decoder.bias",),
        beside=("lm_head.dense",),
        tied=True,
        shift=None,
        quirk="final norm is that of the head's transform; bias over the vocabulary",
    ),
    "xlnet": Architecture(
        "XLNet",
        "layernorm",
        lambda config: f"layer.{config['n_layer'] - 1}.ff.layer_norm",
        ("transformer.", ""),
        ("word_embedding",),
        ("lm_loss",),
        head_bias=("lm_loss.bias",),
        tied=True,
        shift=True,
        quirk="tied; final norm is the last layer's; bias over the vocabulary",
    ),
    "cohere_compass_text": replace(
        _LLAMA_LIKE, tied=True, shift=False, family="Cohere Compass", quirk="norm without shift"
    ),
    "dbrx": Architecture(
        "DBRX",
        "layernorm",
        "norm_f",
        ("transformer.", ""),
        ("wte",),
        quirk="norm without shift",
    ),
}
