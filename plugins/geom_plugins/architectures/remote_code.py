"""Decoders whose code is not in transformers but comes with their checkpoints.

geom never runs that code. Each entry follows it as it was published.
"""

from __future__ import annotations

from dataclasses import replace

from geom_plugins.architectures.record import Architecture, Config
from geom_plugins.architectures.rmsnorm_decoders import RMSNORM_DECODER

_PLAIN, _NORMALISED = 64_000, 125_696
"""The vocabularies of Baichuan 1, whose head is plain, and of Baichuan 2."""


def _is_baichuan_2(config: Config) -> bool:
    return config.get("vocab_size") == _NORMALISED


def _unknown_baichuan(config: Config) -> str | None:
    """Refuse what is neither; one ``model_type`` serves both, and nothing else tells them apart."""
    if config.get("vocab_size") in (_PLAIN, _NORMALISED):
        return None
    return (
        f"its vocabulary of {config.get('vocab_size')!r} is neither that of Baichuan 1 nor that of "
        "Baichuan 2, whose head divides its rows by their lengths"
    )


def _unknown_chatglm(config: Config) -> str | None:
    """Refuse the first ChatGLM, which ends otherwise, and models without a final norm."""
    if config.get("rmsnorm") is not True:
        return "config.json does not say rmsnorm true, as ChatGLM2 and its successors do"
    if config.get("post_layer_norm") is False:
        return "post_layer_norm is false: it has no final norm"
    return None


REMOTE_CODE: dict[str, Architecture] = {
    "qwen": replace(
        RMSNORM_DECODER,
        family="Qwen 1",
        final_norm="ln_f",
        stems=("transformer.", ""),
        embed=("wte",),
        quirk="RMSNorm, configured as layer_norm_epsilon",
    ),
    "telechat": replace(
        RMSNORM_DECODER,
        family="TeleChat",
        final_norm="ln_f",
        stems=("transformer.", ""),
        embed=("word_embeddings",),
        tied=True,
        quirk="RMSNorm, configured as layer_norm_epsilon",
    ),
    "baichuan": replace(
        RMSNORM_DECODER,
        family="Baichuan",
        unit_rows=_is_baichuan_2,
        refused=_unknown_baichuan,
        quirk="Baichuan 2 divides each row of its head by its length",
    ),
    "chatglm": replace(
        RMSNORM_DECODER,
        family="ChatGLM2, ChatGLM3, GLM-4-9B",
        final_norm="encoder.final_layernorm",
        stems=("transformer.", ""),
        embed=("embedding.word_embeddings",),
        heads=("transformer.output_layer", "output_layer"),
        refused=_unknown_chatglm,
        quirk="the unembedding is named output_layer",
    ),
}
