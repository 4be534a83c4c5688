"""Speech models: the readout follows the decoder of text."""

from __future__ import annotations

from dataclasses import replace

from geom_plugins.architectures.encoder_decoders import T5_FAMILY, last_of_decoder
from geom_plugins.architectures.record import Architecture

_WHISPER = Architecture(
    "Whisper",
    "layernorm",
    "decoder.layer_norm",
    ("model.", ""),
    ("decoder.embed_tokens",),
    ("proj_out",),
    tied=True,
    shift=True,
    task="seq2seq",
    quirk="tied",
)

_SEAMLESS = replace(
    _WHISPER,
    family="SeamlessM4T",
    final_norm="text_decoder.layer_norm",
    stems=("",),
    embed=("shared", "text_decoder.embed_tokens"),
    heads=("lm_head",),
)

SPEECH: dict[str, Architecture] = {
    "whisper": _WHISPER,
    "speech_to_text": replace(_WHISPER, family="Speech2Text", heads=("lm_head",)),
    "moonshine": replace(
        _WHISPER, family="Moonshine", final_norm="decoder.norm", shift=False, quirk="tied; no shift"
    ),
    "moonshine_streaming": replace(
        _WHISPER,
        family="Moonshine streaming",
        final_norm="decoder.norm",
        tied=False,
        shift=False,
        quirk="no shift",
    ),
    "speecht5": replace(
        _WHISPER,
        family="SpeechT5",
        final_norm=lambda config: (
            f"decoder.wrapped_decoder.layers.{config['decoder_layers'] - 1}.final_layer_norm"
        ),
        stems=("speecht5.", ""),
        embed=("decoder.prenet.embed_tokens",),
        heads=("text_decoder_postnet.lm_head",),
        quirk="tied; final norm is the last layer's",
    ),
    "canary_decoder": replace(
        _WHISPER,
        family="Canary",
        final_norm="decoder.norm",
        head_bias=("proj_out.bias",),
        tied=False,
        quirk="tied by the larger model's flag; bias over the vocabulary",
    ),
    "seamless_m4t": _SEAMLESS,
    "seamless_m4t_v2": replace(_SEAMLESS, family="SeamlessM4T 2"),
    "trocr": replace(
        _WHISPER,
        family="TrOCR decoder",
        final_norm=last_of_decoder,
        heads=("output_projection",),
        task="causal",
        quirk="tied; final norm is the last layer's",
    ),
    "cohere_asr": replace(
        _WHISPER,
        family="Cohere ASR",
        final_norm="transf_decoder._decoder.final_layer_norm",
        embed=("transf_decoder._embedding.token_embedding",),
        heads=("log_softmax.mlp.layer0",),
        head_bias=("log_softmax.mlp.layer0.bias",),
        tied=False,
        quirk="bias over the vocabulary",
    ),
    "pop2piano": replace(
        T5_FAMILY,
        family="Pop2Piano",
        logit_scale=lambda config: config["d_model"] ** -0.5,
        quirk="hidden states are divided by sqrt(d)",
    ),
    "pp_formulanet_text": replace(
        _WHISPER, family="PP-FormulaNet", heads=("lm_head",), tied=False, quirk=""
    ),
}
"""The architectures by ``model_type``."""
