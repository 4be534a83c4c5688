"""The architectures of transformers: where each keeps its readout, and what is special about it.

There is one entry per architecture, looked up by the ``model_type`` of ``config.json``. Each entry
follows transformers' own modelling code and is tested against the logits of the model that
transformers builds. The documentation shows this table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Config = Mapping[str, Any]

Task = Literal["causal", "masked", "seq2seq"]


@dataclass(frozen=True)
class Architecture:
    """The place where the checkpoints of an architecture keep their readout.

    ``stems`` are the prefixes under which the model's own tensors may lie, the usual one first;
    ``embed`` (the embedding, used if it is tied) and ``final_norm`` (a module with the tensors
    ``.weight`` and ``.bias``) follow a stem. ``final_norm`` may depend on the configuration.
    ``heads`` and ``head_bias`` are full names, in the order in which they are tried.

    ``scale`` and ``shift`` say whether the norm has a weight and a bias: always, never, or (None)
    if the file has one. With ``plus_one`` the norm multiplies by 1 + weight. ``projection`` follows
    a stem; OPT has one. ``logit_scale`` and ``softcap`` are keys of the configuration for what the
    model does to the logits afterwards. ``quirk`` says in words what a reader should know.
    """

    family: str
    norm: Literal["layernorm", "rmsnorm"]
    final_norm: str | Callable[[Config], str]
    stems: tuple[str, ...] = ("model.", "")
    embed: str = "embed_tokens.weight"
    heads: tuple[str, ...] = ("lm_head.weight",)
    head_bias: tuple[str, ...] = ()
    scale: bool = True
    shift: bool | None = False
    plus_one: bool = False
    projection: str | None = None
    logit_scale: str | None = None
    softcap: str | None = None
    task: Task = "causal"
    quirk: str = ""

    def final_norm_of(self, config: Config) -> str:
        """Return the name of the final norm's module for a configuration."""
        return self.final_norm if isinstance(self.final_norm, str) else self.final_norm(config)


_LLAMA = Architecture("Llama", "rmsnorm", "norm")
_GPT2 = Architecture("GPT-2", "layernorm", "ln_f", ("transformer.", ""), "wte.weight", shift=True)
_GEMMA = replace(_LLAMA, plus_one=True)
_PLUS_ONE = "norm scales by 1 + weight"
_BERT = Architecture(
    "BERT",
    "layernorm",
    "cls.predictions.transform.LayerNorm",
    ("",),
    "bert.embeddings.word_embeddings.weight",
    ("cls.predictions.decoder.weight",),
    ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    shift=True,
    task="masked",
    quirk="final norm is that of the head's transform; bias over the vocabulary",
)
_ROBERTA = replace(
    _BERT,
    family="RoBERTa",
    final_norm="lm_head.layer_norm",
    embed="roberta.embeddings.word_embeddings.weight",
    heads=("lm_head.decoder.weight",),
    head_bias=("lm_head.decoder.bias", "lm_head.bias"),
)
_T5 = Architecture(
    "T5",
    "rmsnorm",
    "decoder.final_layer_norm",
    ("",),
    "shared.weight",
    task="seq2seq",
    quirk="hidden states are divided by sqrt(d) if the embedding is tied",
)


def _last_of_decoder(config: Config) -> str:
    """Return the norm of the last layer: it is the final norm when each layer ends in its norm."""
    return f"decoder.layers.{config['decoder_layers'] - 1}.final_layer_norm"


def _of_opt(config: Config) -> str:
    """Return the final norm of an OPT model: only OPT-350m ends each layer in its norm."""
    if config.get("do_layer_norm_before", True):
        return "decoder.final_layer_norm"
    return f"decoder.layers.{config['num_hidden_layers'] - 1}.final_layer_norm"


_MARIAN = Architecture(
    "Marian",
    "layernorm",
    _last_of_decoder,
    ("model.",),
    "shared.weight",
    ("lm_head.weight", "model.decoder.embed_tokens.weight"),
    ("final_logits_bias",),
    shift=True,
    task="seq2seq",
    quirk="final norm is the last layer's; bias over the vocabulary",
)

ARCHITECTURES: dict[str, Architecture] = {
    "gpt2": replace(_GPT2, quirk="tied"),
    "gpt_neo": replace(_GPT2, family="GPT-Neo", quirk="tied"),
    "gptj": replace(
        _GPT2, family="GPT-J", head_bias=("lm_head.bias",), quirk="bias over the vocabulary"
    ),
    "codegen": replace(
        _GPT2, family="CodeGen", head_bias=("lm_head.bias",), quirk="bias over the vocabulary"
    ),
    "gpt_bigcode": replace(_GPT2, family="StarCoder", quirk="tied"),
    "gpt_neox": Architecture(
        "GPT-NeoX, Pythia",
        "layernorm",
        "final_layer_norm",
        ("gpt_neox.", ""),
        "embed_in.weight",
        ("embed_out.weight", "lm_head.weight"),
        shift=True,
        quirk="the unembedding is named embed_out",
    ),
    "opt": Architecture(
        "OPT",
        "layernorm",
        _of_opt,
        ("model.", ""),
        "decoder.embed_tokens.weight",
        shift=None,
        projection="decoder.project_out.weight",
        quirk="tied; OPT-350m: the last layer's norm, then a projection, folded into W",
    ),
    "bloom": replace(_GPT2, family="BLOOM", embed="word_embeddings.weight", quirk="tied"),
    "falcon": replace(_GPT2, family="Falcon", embed="word_embeddings.weight", quirk="tied or not"),
    "mpt": replace(
        _GPT2, family="MPT", final_norm="norm_f", shift=None, quirk="tied; norm without shift"
    ),
    "xglm": replace(_LLAMA, family="XGLM", norm="layernorm", final_norm="layer_norm", shift=True),
    "biogpt": replace(
        _LLAMA,
        family="BioGPT",
        norm="layernorm",
        final_norm="layer_norm",
        stems=("biogpt.", ""),
        heads=("output_projection.weight",),
        shift=True,
        quirk="the unembedding is named output_projection",
    ),
    "llama": replace(_LLAMA, family="Llama 1 to 3", quirk="tied in the small ones"),
    "llama4_text": replace(_LLAMA, family="Llama 4"),
    "mistral": replace(_LLAMA, family="Mistral"),
    "ministral": replace(_LLAMA, family="Ministral"),
    "mixtral": replace(_LLAMA, family="Mixtral"),
    "qwen2": replace(_LLAMA, family="Qwen2, Qwen2.5", quirk="tied in the small ones"),
    "qwen2_moe": replace(_LLAMA, family="Qwen2-MoE"),
    "qwen3": replace(_LLAMA, family="Qwen3", quirk="tied in the small ones"),
    "qwen3_moe": replace(_LLAMA, family="Qwen3-MoE"),
    "qwen3_next": replace(_GEMMA, family="Qwen3-Next", quirk=_PLUS_ONE),
    "gemma": replace(_GEMMA, family="Gemma", quirk=f"tied; {_PLUS_ONE}"),
    "gemma2": replace(
        _GEMMA,
        family="Gemma 2",
        softcap="final_logit_softcapping",
        quirk=f"tied; {_PLUS_ONE}; logits soft-capped",
    ),
    "gemma3_text": replace(
        _GEMMA,
        family="Gemma 3",
        softcap="final_logit_softcapping",
        quirk=f"tied; {_PLUS_ONE}; soft-cap if set",
    ),
    "recurrent_gemma": replace(
        _GEMMA,
        family="RecurrentGemma",
        final_norm="final_norm",
        softcap="logits_soft_cap",
        quirk=f"tied; {_PLUS_ONE}; logits soft-capped",
    ),
    "phi": replace(
        _LLAMA,
        family="Phi-1, Phi-1.5, Phi-2",
        norm="layernorm",
        final_norm="final_layernorm",
        head_bias=("lm_head.bias",),
        shift=True,
        quirk="bias over the vocabulary",
    ),
    "phi3": replace(_LLAMA, family="Phi-3, Phi-4"),
    "phimoe": replace(
        _LLAMA,
        family="Phi-3.5-MoE",
        norm="layernorm",
        head_bias=("lm_head.bias",),
        shift=True,
        quirk="bias over the vocabulary",
    ),
    "stablelm": replace(_LLAMA, family="StableLM", norm="layernorm", shift=True),
    "starcoder2": replace(_LLAMA, family="StarCoder2", norm="layernorm", shift=True, quirk="tied"),
    "persimmon": replace(
        _LLAMA, family="Persimmon", norm="layernorm", final_norm="final_layernorm", shift=True
    ),
    "nemotron": replace(
        _LLAMA, family="Nemotron", norm="layernorm", shift=True, plus_one=True, quirk=_PLUS_ONE
    ),
    "olmo": replace(
        _LLAMA,
        family="OLMo",
        norm="layernorm",
        scale=False,
        quirk="norm without scale and shift",
    ),
    "olmo2": replace(_LLAMA, family="OLMo 2"),
    "olmo3": replace(_LLAMA, family="OLMo 3"),
    "cohere": replace(
        _LLAMA,
        family="Cohere Command R",
        norm="layernorm",
        logit_scale="logit_scale",
        quirk="tied; norm without shift; logits scaled",
    ),
    "cohere2": replace(
        _LLAMA,
        family="Cohere Command A, R7B",
        norm="layernorm",
        logit_scale="logit_scale",
        quirk="tied; norm without shift; logits scaled",
    ),
    "granite": replace(
        _LLAMA, family="Granite", logit_scale="logits_scaling", quirk="logits divided"
    ),
    "granitemoe": replace(
        _LLAMA, family="Granite MoE", logit_scale="logits_scaling", quirk="logits divided"
    ),
    "granitemoehybrid": replace(
        _LLAMA, family="Granite 4", logit_scale="logits_scaling", quirk="logits divided"
    ),
    "deepseek_v2": replace(_LLAMA, family="DeepSeek-V2"),
    "deepseek_v3": replace(_LLAMA, family="DeepSeek-V3, R1"),
    "gpt_oss": replace(_LLAMA, family="gpt-oss"),
    "glm": replace(_LLAMA, family="GLM-4"),
    "glm4": replace(_LLAMA, family="GLM-4-0414"),
    "glm4_moe": replace(_LLAMA, family="GLM-4.5"),
    "smollm3": replace(_LLAMA, family="SmolLM3", quirk="tied"),
    "exaone4": replace(_LLAMA, family="EXAONE 4"),
    "seed_oss": replace(_LLAMA, family="Seed-OSS"),
    "ernie4_5": replace(_LLAMA, family="ERNIE 4.5"),
    "apertus": replace(_LLAMA, family="Apertus"),
    "jamba": replace(_LLAMA, family="Jamba", final_norm="final_layernorm"),
    "falcon_h1": replace(
        _LLAMA,
        family="Falcon-H1",
        final_norm="final_layernorm",
        logit_scale="lm_head_multiplier",
        quirk="logits scaled",
    ),
    "mamba": Architecture(
        "Mamba", "rmsnorm", "norm_f", ("backbone.", ""), "embeddings.weight", quirk="tied"
    ),
    "mamba2": Architecture(
        "Mamba-2", "rmsnorm", "norm_f", ("backbone.", ""), "embeddings.weight", quirk="tied"
    ),
    "falcon_mamba": Architecture(
        "Falcon-Mamba", "rmsnorm", "norm_f", ("backbone.", ""), "embeddings.weight"
    ),
    "rwkv": Architecture(
        "RWKV-4",
        "layernorm",
        "ln_out",
        ("rwkv.", ""),
        "embeddings.weight",
        ("head.weight",),
        shift=True,
    ),
    "bert": _BERT,
    "roberta": replace(_ROBERTA),
    "xlm-roberta": replace(_ROBERTA, family="XLM-RoBERTa"),
    "camembert": replace(_ROBERTA, family="CamemBERT"),
    "electra": replace(
        _BERT,
        family="ELECTRA generator",
        final_norm="generator_predictions.LayerNorm",
        embed="electra.embeddings.word_embeddings.weight",
        heads=("generator_lm_head.weight",),
        head_bias=("generator_lm_head.bias",),
    ),
    "distilbert": replace(
        _BERT,
        family="DistilBERT",
        final_norm="vocab_layer_norm",
        embed="distilbert.embeddings.word_embeddings.weight",
        heads=("vocab_projector.weight",),
        head_bias=("vocab_projector.bias",),
    ),
    "albert": replace(
        _BERT,
        family="ALBERT",
        final_norm="predictions.LayerNorm",
        embed="albert.embeddings.word_embeddings.weight",
        heads=("predictions.decoder.weight",),
        head_bias=("predictions.decoder.bias", "predictions.bias"),
    ),
    "modernbert": replace(
        _BERT,
        family="ModernBERT",
        final_norm="head.norm",
        embed="model.embeddings.tok_embeddings.weight",
        heads=("decoder.weight",),
        head_bias=("decoder.bias",),
        shift=None,
    ),
    "t5": _T5,
    "mt5": replace(_T5, family="mT5", quirk="hidden states are scaled in some versions"),
    "umt5": replace(_T5, family="UMT5", quirk="hidden states are divided by sqrt(d) if tied"),
    "marian": _MARIAN,
    "bart": replace(_MARIAN, family="BART", stems=("model.", "")),
    "mbart": replace(
        _MARIAN,
        family="mBART",
        final_norm="decoder.layer_norm",
        stems=("model.", ""),
        quirk="bias over the vocabulary",
    ),
    "pegasus": replace(
        _MARIAN,
        family="Pegasus",
        final_norm="decoder.layer_norm",
        stems=("model.", ""),
        quirk="bias over the vocabulary",
    ),
}
"""The architectures by ``model_type``."""
