"""Encoder-decoders: the readout follows the decoder."""

from __future__ import annotations

from dataclasses import replace

from geom_plugins.architectures.record import Architecture, Config

T5_FAMILY = Architecture(
    "T5",
    "rmsnorm",
    "decoder.final_layer_norm",
    ("",),
    ("shared",),
    tied=True,
    task="seq2seq",
    quirk="hidden states are divided by sqrt(d) if the embedding is tied",
)


def last_of_decoder(config: Config) -> str:
    """Return the norm of the last layer: it is the final norm when each layer ends in its norm."""
    return f"decoder.layers.{config['decoder_layers'] - 1}.final_layer_norm"


_MARIAN = Architecture(
    "Marian",
    "layernorm",
    last_of_decoder,
    ("model.",),
    ("decoder.embed_tokens", "shared"),
    head_bias=("final_logits_bias",),
    tied=True,
    shift=True,
    task="seq2seq",
    quirk="final norm is the last layer's; bias over the vocabulary",
)

_T5GEMMA = Architecture(
    "T5Gemma",
    "rmsnorm",
    "decoder.norm",
    ("model.", ""),
    ("decoder.embed_tokens",),
    ("lm_head.out_proj",),
    tied=True,
    plus_one=True,
    softcap=lambda config: (config.get("decoder") or {}).get("final_logit_softcapping"),
    task="seq2seq",
    quirk="tied; norm scales by 1 + weight; logits soft-capped",
)


def _scale_of_t5(config: Config) -> float | None:
    """Return d^-1/2, but None for T5 1.1, whose ``config.json`` says that it is untied."""
    scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings") is not False)
    return config["d_model"] ** -0.5 if scaled else None


def _scale_of_tied(config: Config) -> float | None:
    """Return d^-1/2 if head and embedding are one matrix."""
    return config["d_model"] ** -0.5 if config.get("tie_word_embeddings", True) else None


_BART = replace(_MARIAN, stems=("model.", ""))
_MBART = replace(_BART, final_norm="decoder.layer_norm", quirk="bias over the vocabulary")
_WITHOUT_BIAS = replace(_MBART, head_bias=(), quirk="tied")
_SCALED_T5 = replace(
    T5_FAMILY,
    logit_scale=_scale_of_tied,
    quirk="hidden states are divided by sqrt(d) if tied",
)

ENCODER_DECODERS: dict[str, Architecture] = {
    "t5": replace(T5_FAMILY, logit_scale=_scale_of_t5),
    "mt5": replace(T5_FAMILY, family="mT5", quirk="hidden states are scaled in some versions"),
    "umt5": replace(
        T5_FAMILY,
        family="UMT5",
        logit_scale=lambda config: config["d_model"] ** -0.5,
        quirk="hidden states are divided by sqrt(d)",
    ),
    "t5gemma": _T5GEMMA,
    "marian": _MARIAN,
    "bart": replace(_BART, family="BART"),
    "mbart": replace(_MBART, family="mBART"),
    "pegasus": replace(_MBART, family="Pegasus"),
    "blenderbot": replace(_MBART, family="BlenderBot"),
    "blenderbot-small": replace(_BART, family="BlenderBot small"),
    "bigbird_pegasus": replace(
        _MARIAN,
        family="BigBird-Pegasus",
        final_norm="decoder.layernorm_embedding",
        stems=("model.", ""),
        quirk="final norm is named layernorm_embedding; bias over the vocabulary",
    ),
    "fsmt": replace(
        _MARIAN,
        family="FSMT",
        heads=("model.decoder.output_projection",),
        head_bias=(),
        tied=False,
        quirk="final norm is the last layer's",
    ),
    "led": replace(_MARIAN, family="LED", stems=("led.", "")),
    "longt5": replace(_SCALED_T5, family="LongT5"),
    "m2m_100": replace(_WITHOUT_BIAS, family="M2M100, NLLB"),
    "mvp": replace(_BART, family="MVP"),
    "nllb-moe": replace(_WITHOUT_BIAS, family="NLLB-MoE"),
    "pegasus_x": replace(_WITHOUT_BIAS, family="PEGASUS-X"),
    "plbart": replace(_BART, family="PLBart"),
    "prophetnet": replace(
        _MARIAN,
        family="ProphetNet",
        final_norm=lambda config: (
            f"decoder.layers.{config['num_decoder_layers'] - 1}.feed_forward_layer_norm"
        ),
        stems=("prophetnet.", ""),
        embed=("word_embeddings",),
        head_bias=(),
        quirk="tied; final norm is the last layer's",
    ),
    "switch_transformers": replace(_SCALED_T5, family="Switch Transformers"),
    "udop": replace(_SCALED_T5, family="UDOP"),
}
