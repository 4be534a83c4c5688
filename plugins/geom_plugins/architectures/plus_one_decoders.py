"""Decoders whose final norm multiplies by 1 + weight."""

from __future__ import annotations

from dataclasses import replace

from geom_plugins.architectures.record import Architecture
from geom_plugins.architectures.rmsnorm_decoders import RMSNORM_DECODER

_GEMMA = replace(RMSNORM_DECODER, tied=True, plus_one=True, mlx="keeps")
_QWEN = replace(RMSNORM_DECODER, plus_one=True, mlx="adds")
_PLUS_ONE = "norm scales by 1 + weight"

PLUS_ONE_DECODERS: dict[str, Architecture] = {
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
    "qwen3_next": replace(_QWEN, family="Qwen3-Next", quirk=_PLUS_ONE),
    "qwen3_5_text": replace(_QWEN, family="Qwen3.5", quirk=f"tied in the small ones; {_PLUS_ONE}"),
    "qwen3_5_moe_text": replace(_QWEN, family="Qwen3.5-MoE", quirk=_PLUS_ONE),
    "minimax_m3_vl_text": replace(
        RMSNORM_DECODER, family="MiniMax M3", plus_one=True, quirk=_PLUS_ONE
    ),
    "step3p5": replace(RMSNORM_DECODER, family="Step 3.5", plus_one=True, quirk=_PLUS_ONE),
    "vaultgemma": replace(
        _GEMMA,
        family="VaultGemma",
        mlx=None,
        softcap="final_logit_softcapping",
        quirk=f"tied; {_PLUS_ONE}; logits soft-capped",
    ),
    "nemotron": replace(
        RMSNORM_DECODER,
        family="Nemotron",
        norm="layernorm",
        shift=True,
        plus_one=True,
        mlx="keeps",
        quirk=_PLUS_ONE,
    ),
}
