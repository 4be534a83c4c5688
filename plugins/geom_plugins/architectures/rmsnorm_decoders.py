"""Decoders that end in an RMSNorm."""

from __future__ import annotations

from dataclasses import replace

from geom_plugins.architectures.record import Architecture, Config

RMSNORM_DECODER = Architecture("Llama", "rmsnorm", "norm")
"""The plainest decoder, from which most entries differ only in their name."""


_GEMMA_4 = replace(
    RMSNORM_DECODER,
    tied=True,
    softcap="final_logit_softcapping",
    quirk="tied; norm scales by its weight, unlike in Gemma 1 to 3; soft-cap if set",
)

_GRANITE = replace(
    RMSNORM_DECODER, logit_scale="logits_scaling", divides=True, quirk="logits divided"
)
_TIED_GRANITE = replace(_GRANITE, tied=True, quirk="tied; logits divided")

_INKLING = replace(
    RMSNORM_DECODER,
    stems=("model.llm.", "model.", ""),
    embed=("embed", "embed_tokens"),
    heads=("model.llm.unembed", "lm_head"),
)

_MUSE = replace(
    RMSNORM_DECODER,
    logit_scale="output_multiplier",
    softcap="final_logit_softcapping",
    quirk="logits scaled, then soft-capped",
)


def _scale_of_minicpm(config: Config) -> float:
    """Return what MiniCPM's logits are multiplied by: a base width over the model's own."""
    return float(config["dim_model_base"]) / float(config["hidden_size"])


_PLAIN = {
    "afmoe": "Arcee Trinity",
    "arcee": "Arcee AFM",
    "aria_text": "Aria",
    "axk1": "A.X K1",
    "axk2": "A.X K2",
    "bitnet": "BitNet b1.58",
    "cosmos3_edge_text": "Cosmos 3 Edge",
    "cwm": "Code World Model",
    "deepseek_ocr2_text": "DeepSeek-OCR 2",
    "deepseek_v32": "DeepSeek-V3.2",
    "diffllama": "DiffLlama",
    "doge": "Doge",
    "dots1": "dots.llm1",
    "emu3_text_model": "Emu3",
    "evolla": "Evolla",
    "exaone_moe": "K-EXAONE",
    "flex_olmo": "FlexOlmo",
    "flint": "Flint",
    "glm4_moe_lite": "GLM-4.7-Flash",
    "glm4v_moe_text": "GLM-4.5V",
    "glm4v_text": "GLM-4.1V, GLM-4.6V",
    "glm5_next_text": "GLM-5-Next",
    "glm_moe_dsa": "GLM-5",
    "glm_ocr_text": "GLM-OCR",
    "helium": "Helium",
    "hunyuan_v1_dense": "Hunyuan dense",
    "hunyuan_v1_moe": "Hunyuan MoE",
    "hy_v3": "Hunyuan 3",
    "hy_v4": "Hunyuan 4",
    "internlm3": "InternLM3",
    "iquestcoder": "IQuest-Coder",
    "kolibri1": "Kolibri 1",
    "laguna": "Laguna",
    "longcat_flash": "LongCat-Flash",
    "mellum": "Mellum",
    "mimo_v2_flash": "MiMo-V2-Flash",
    "minimax": "MiniMax-Text-01, M1",
    "minimax_m2": "MiniMax M2",
    "ministral3": "Ministral 3",
    "mistral4": "Mistral Small 4",
    "mllama_text_model": "Llama 3.2 Vision",
    "moshi": "Moshi",
    "olmoe": "OLMoE",
    "phi4_multimodal": "Phi-4-multimodal",
    "qwen2_5_vl_text": "Qwen2.5-VL",
    "qwen2_vl_text": "Qwen2-VL",
    "qwen3_omni_moe_text": "Qwen3-Omni",
    "qwen3_vl_text": "Qwen3-VL",
    "solar_open": "Solar Open",
    "unlimited_ocr_text": "Unlimited OCR",
    "voxtral_realtime_text": "Voxtral Realtime",
}
"""The families that differ from the plainest decoder in nothing but their names."""

_TIED = {
    "qwen2_5_omni_text": "Qwen2.5-Omni",
    "ernie4_5_moe": "ERNIE 4.5 MoE",
    "ernie4_5_vl_moe_text": "ERNIE 4.5 VL",
    "hunyuan_vl_text": "Hunyuan VL",
    "jetmoe": "JetMoE",
    "paddleocr_vl_text": "PaddleOCR-VL",
    "qwen3_vl_moe_text": "Qwen3-VL-MoE",
    "youtu": "Youtu-LLM",
    "zaya": "Zaya",
}
"""The same, but head and embedding are one matrix if ``config.json`` does not say."""


RMSNORM_DECODERS: dict[str, Architecture] = {
    "llama": replace(RMSNORM_DECODER, family="Llama 1 to 3", quirk="tied in the small ones"),
    "llama4_text": replace(RMSNORM_DECODER, family="Llama 4"),
    "mistral": replace(RMSNORM_DECODER, family="Mistral"),
    "ministral": replace(RMSNORM_DECODER, family="Ministral"),
    "mixtral": replace(RMSNORM_DECODER, family="Mixtral"),
    "qwen2": replace(RMSNORM_DECODER, family="Qwen2, Qwen2.5", quirk="tied in the small ones"),
    "qwen2_moe": replace(RMSNORM_DECODER, family="Qwen2-MoE"),
    "qwen3": replace(RMSNORM_DECODER, family="Qwen3", quirk="tied in the small ones"),
    "qwen3_moe": replace(RMSNORM_DECODER, family="Qwen3-MoE"),
    "phi3": replace(RMSNORM_DECODER, family="Phi-3, Phi-4"),
    "olmo2": replace(RMSNORM_DECODER, family="OLMo 2"),
    "olmo3": replace(RMSNORM_DECODER, family="OLMo 3"),
    "granite": replace(_GRANITE, family="Granite"),
    "granitemoe": replace(_GRANITE, family="Granite MoE"),
    "granitemoehybrid": replace(_GRANITE, family="Granite 4"),
    "deepseek_v2": replace(RMSNORM_DECODER, family="DeepSeek-V2"),
    "deepseek_v3": replace(RMSNORM_DECODER, family="DeepSeek-V3, R1"),
    "gpt_oss": replace(RMSNORM_DECODER, family="gpt-oss"),
    "glm": replace(RMSNORM_DECODER, family="GLM-4"),
    "glm4": replace(RMSNORM_DECODER, family="GLM-4-0414"),
    "glm4_moe": replace(RMSNORM_DECODER, family="GLM-4.5"),
    "smollm3": replace(RMSNORM_DECODER, tied=True, family="SmolLM3", quirk="tied"),
    "exaone4": replace(RMSNORM_DECODER, family="EXAONE 4"),
    "seed_oss": replace(RMSNORM_DECODER, family="Seed-OSS"),
    "ernie4_5": replace(RMSNORM_DECODER, tied=True, family="ERNIE 4.5"),
    "apertus": replace(RMSNORM_DECODER, family="Apertus"),
    "bailing_hybrid": replace(RMSNORM_DECODER, family="Ling, Ring 2.5", embed=("word_embeddings",)),
    "beam": replace(
        RMSNORM_DECODER,
        family="Beam",
        softcap="final_logit_softcapping",
        quirk="logits soft-capped",
    ),
    "cpmant": replace(
        RMSNORM_DECODER,
        family="CPM-Ant",
        final_norm="encoder.output_layernorm",
        stems=("cpmant.", ""),
        embed=("input_embedding",),
        tied=True,
        quirk="tied; RMSNorm, named output_layernorm",
    ),
    "deepseek_v4": replace(RMSNORM_DECODER, family="DeepSeek-V4", heads=("lm_head", "head")),
    "gemma3n_text": replace(
        RMSNORM_DECODER,
        family="Gemma 3n",
        tied=True,
        softcap="final_logit_softcapping",
        quirk="tied; logits soft-capped",
    ),
    "gemma4_text": replace(_GEMMA_4, family="Gemma 4"),
    "gemma4_unified_text": replace(_GEMMA_4, family="Gemma 4 unified"),
    "granite_swa": replace(_TIED_GRANITE, family="Granite SWA"),
    "granite_docling_text": replace(_TIED_GRANITE, family="Granite Docling"),
    "granitemoe_swa": replace(_GRANITE, family="Granite MoE SWA"),
    "granitemoeshared": replace(_GRANITE, family="Granite MoE shared"),
    "hrm_text": replace(
        RMSNORM_DECODER,
        family="HRM-Text",
        final_norm="H_module.final_norm",
        scale=False,
        quirk="norm without scale",
    ),
    "hyperclovax": replace(
        RMSNORM_DECODER, family="HyperCLOVA X", logit_scale="logits_scaling", quirk="logits scaled"
    ),
    "inkling_text": replace(
        _INKLING,
        family="Inkling",
        logit_scale="logits_mup_width_multiplier",
        divides=True,
        quirk="logits divided",
    ),
    "inkling2_text": replace(
        _INKLING,
        family="Inkling 2",
        softcap="final_logit_softcapping",
        quirk="logits soft-capped",
    ),
    "molmo2_text": replace(RMSNORM_DECODER, family="Molmo 2", stored_norms=("transformer.ln_f",)),
    "minicpm3": replace(
        RMSNORM_DECODER,
        family="MiniCPM3",
        tied=True,
        logit_scale=_scale_of_minicpm,
        quirk="tied; logits divided",
    ),
    "muse_glimmer_text": replace(_MUSE, family="Muse Glimmer"),
    "muse_spark_text": replace(_MUSE, family="Muse Spark"),
    "nanochat": replace(
        RMSNORM_DECODER,
        family="nanochat",
        scale=False,
        softcap="final_logit_softcapping",
        quirk="norm without scale; logits soft-capped",
    ),
    **{kind: replace(RMSNORM_DECODER, family=family) for kind, family in _PLAIN.items()},
    **{kind: replace(RMSNORM_DECODER, family=name, tied=True) for kind, name in _TIED.items()},
}
