"""Models that are recurrent, wholly or in some of their layers."""

from __future__ import annotations

from dataclasses import replace

from geom_plugins.architectures.record import Architecture
from geom_plugins.architectures.rmsnorm_decoders import RMSNORM_DECODER

RECURRENT: dict[str, Architecture] = {
    "mamba": Architecture(
        "Mamba", "rmsnorm", "norm_f", ("backbone.", ""), ("embeddings",), tied=True
    ),
    "mamba2": Architecture("Mamba-2", "rmsnorm", "norm_f", ("backbone.", ""), ("embeddings",)),
    "falcon_mamba": Architecture(
        "Falcon-Mamba", "rmsnorm", "norm_f", ("backbone.", ""), ("embeddings",), tied=True
    ),
    "jamba": replace(RMSNORM_DECODER, family="Jamba", final_norm="final_layernorm"),
    "falcon_h1": replace(
        RMSNORM_DECODER,
        family="Falcon-H1",
        final_norm="final_layernorm",
        logit_scale="lm_head_multiplier",
        quirk="logits scaled",
    ),
    "nemotron_h": replace(
        RMSNORM_DECODER,
        family="Nemotron-H",
        final_norm="norm_f",
        stored_norms=("norm",),
        stems=("model.", "backbone."),
        embed=("embeddings",),
        quirk="RMSNorm, configured as layer_norm_epsilon",
    ),
    "rwkv": Architecture(
        "RWKV-4",
        "layernorm",
        "ln_out",
        ("rwkv.", ""),
        ("embeddings",),
        ("head",),
        shift=True,
    ),
    "bamba": replace(RMSNORM_DECODER, family="Bamba", final_norm="final_layernorm"),
    "kimi_linear": replace(RMSNORM_DECODER, family="Kimi Linear"),
    "lfm2": replace(RMSNORM_DECODER, family="LFM2", final_norm="embedding_norm", tied=True),
    "lfm2_moe": replace(RMSNORM_DECODER, family="LFM2-MoE", final_norm="embedding_norm", tied=True),
    "lfm3": replace(RMSNORM_DECODER, family="LFM3", final_norm="embedding_norm", tied=True),
    "olmo_hybrid": replace(RMSNORM_DECODER, family="OLMo Hybrid"),
    "xlstm": Architecture(
        "xLSTM",
        "rmsnorm",
        "out_norm",
        ("backbone.", ""),
        ("embeddings",),
        softcap="output_logit_soft_cap",
        quirk="logits soft-capped",
    ),
    "zamba": replace(RMSNORM_DECODER, family="Zamba", final_norm="final_layernorm", tied=True),
    "zamba2": replace(RMSNORM_DECODER, family="Zamba2", final_norm="final_layernorm", tied=True),
}
