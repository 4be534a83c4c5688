"""Encoders with a head over the vocabulary, trained on masked tokens."""

from __future__ import annotations

from dataclasses import replace

from geom_plugins.architectures.record import Architecture

_BERT = Architecture(
    "BERT",
    "layernorm",
    "cls.predictions.transform.LayerNorm",
    ("",),
    ("bert.embeddings.word_embeddings",),
    ("cls.predictions.decoder",),
    ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    tied=True,
    shift=True,
    task="masked",
    quirk="final norm is that of the head's transform; bias over the vocabulary",
)
_ROBERTA = replace(
    _BERT,
    family="RoBERTa",
    final_norm="lm_head.layer_norm",
    embed=("roberta.embeddings.word_embeddings",),
    heads=("lm_head.decoder",),
    head_bias=("lm_head.decoder.bias", "lm_head.bias"),
    beside=("lm_head.dense",),
)


def _like_bert(family: str, module: str) -> Architecture:
    """Return BERT's entry for a model of another name, whose head has the same parts."""
    return replace(_BERT, family=family, embed=(f"{module}.embeddings.word_embeddings",))


def _like_xlm(family: str) -> Architecture:
    """Return the entry of a model whose layers end in their norms, with XLM's names."""
    return replace(
        _BERT,
        family=family,
        final_norm=lambda config: f"transformer.layer_norm2.{config['n_layers'] - 1}",
        embed=("transformer.embeddings",),
        heads=("pred_layer.proj",),
        head_bias=("pred_layer.proj.bias",),
        quirk="final norm is the last layer's; bias over the vocabulary",
    )


def _like_roberta(family: str, module: str) -> Architecture:
    """Return RoBERTa's entry for a model of another name, whose head has the same parts."""
    return replace(_ROBERTA, family=family, embed=(f"{module}.embeddings.word_embeddings",))


ENCODERS: dict[str, Architecture] = {
    "bert": _BERT,
    "roberta": replace(_ROBERTA),
    "xlm-roberta": replace(_ROBERTA, family="XLM-RoBERTa"),
    "camembert": replace(_ROBERTA, family="CamemBERT"),
    "electra": replace(
        _BERT,
        family="ELECTRA generator",
        final_norm="generator_predictions.LayerNorm",
        embed=("electra.embeddings.word_embeddings",),
        heads=("generator_lm_head",),
        head_bias=("generator_lm_head.bias",),
    ),
    "distilbert": replace(
        _BERT,
        family="DistilBERT",
        final_norm="vocab_layer_norm",
        embed=("distilbert.embeddings.word_embeddings",),
        heads=("vocab_projector",),
        head_bias=("vocab_projector.bias",),
    ),
    "albert": replace(
        _BERT,
        family="ALBERT",
        final_norm="predictions.LayerNorm",
        embed=("albert.embeddings.word_embeddings",),
        heads=("predictions.decoder",),
        head_bias=("predictions.decoder.bias", "predictions.bias"),
    ),
    "mpnet": _like_roberta("MPNet", "mpnet"),
    "longformer": _like_roberta("Longformer", "longformer"),
    "luke": _like_roberta("LUKE", "luke"),
    "esm": _like_roberta("ESM-2", "esm"),
    "gte": replace(_like_roberta("GTE", "gte"), stored_norms=("lm_head.norm",)),
    "jina_embeddings_v3": _like_roberta("Jina Embeddings 3", "roberta"),
    "roberta-prelayernorm": _like_roberta("RoBERTa-PreLayerNorm", "roberta_prelayernorm"),
    "xlm-roberta-xl": _like_roberta("XLM-RoBERTa-XL", "roberta"),
    "nomic_bert": replace(
        _BERT,
        family="Nomic BERT",
        final_norm="cls.predictions.transform.layer_norm",
        embed=("nomic_bert.embeddings.word_embeddings",),
    ),
    "modernbert": replace(
        _BERT,
        family="ModernBERT",
        final_norm="head.norm",
        embed=("model.embeddings.tok_embeddings",),
        heads=("decoder",),
        head_bias=("decoder.bias",),
        beside=("head.dense",),
        shift=None,
    ),
    "deberta": _like_bert("DeBERTa", "deberta"),
    "deberta-v2": _like_bert("DeBERTa 2 and 3", "deberta"),
    "ernie": _like_bert("ERNIE", "ernie"),
    "fnet": _like_bert("FNet", "fnet"),
    "layoutlm": _like_bert("LayoutLM", "layoutlm"),
    "megatron-bert": _like_bert("Megatron-BERT", "bert"),
    "mra": _like_bert("MRA", "mra"),
    "nystromformer": _like_bert("Nystromformer", "nystromformer"),
    "roc_bert": _like_bert("RoCBert", "roc_bert"),
    "roformer": _like_bert("RoFormer", "roformer"),
    "squeezebert": _like_bert("SqueezeBERT", "transformer"),
    "tapas": _like_bert("TAPAS", "tapas"),
    "yoso": _like_bert("YOSO", "yoso"),
    "big_bird": _like_bert("BigBird", "bert"),
    "data2vec-text": _like_roberta("Data2Vec text", "data2vec_text"),
    "xmod": _like_roberta("X-MOD", "roberta"),
    "convbert": replace(
        _BERT,
        family="ConvBERT",
        final_norm="generator_predictions.LayerNorm",
        embed=("convbert.embeddings.word_embeddings",),
        heads=("generator_lm_head",),
        head_bias=("generator_lm_head.bias",),
    ),
    "rembert": replace(
        _BERT,
        family="RemBERT",
        final_norm="cls.predictions.LayerNorm",
        embed=("rembert.embeddings.word_embeddings",),
        beside=("cls.predictions.dense",),
        tied=False,
        quirk="final norm is that of the head's transform, which is wider than the model",
    ),
    "bert-generation": replace(
        _BERT,
        family="BERT generation",
        final_norm=lambda config: (
            f"bert.encoder.layer.{config['num_hidden_layers'] - 1}.output.LayerNorm"
        ),
        heads=("lm_head.decoder", "lm_head"),
        head_bias=("lm_head.decoder.bias", "lm_head.bias"),
        task="causal",
        quirk="final norm is the last layer's; bias over the vocabulary",
    ),
    "git": replace(
        _BERT,
        family="GIT",
        final_norm=lambda config: (
            f"git.encoder.layer.{config['num_hidden_layers'] - 1}.output.LayerNorm"
        ),
        embed=("git.embeddings.word_embeddings",),
        heads=("output",),
        head_bias=("output.bias",),
        tied=False,
        task="causal",
        quirk="final norm is the last layer's; bias over the vocabulary",
    ),
    "flaubert": _like_xlm("FlauBERT"),
    "xlm": _like_xlm("XLM"),
    "eurobert": Architecture("EuroBERT", "rmsnorm", "norm", task="masked"),
    "blip_text_model": replace(
        _BERT,
        family="BLIP",
        stems=("text_decoder.", ""),
        heads=("text_decoder.cls.predictions.decoder",),
        head_bias=(
            "text_decoder.cls.predictions.decoder.bias",
            "text_decoder.cls.predictions.bias",
        ),
        task="causal",
    ),
    "funnel": replace(
        _BERT,
        family="Funnel",
        final_norm=lambda config: (
            f"funnel.decoder.layers.{config['num_decoder_layers'] - 1}.ffn.layer_norm"
        ),
        embed=("funnel.embeddings.word_embeddings",),
        heads=("lm_head",),
        head_bias=("lm_head.bias",),
        quirk="final norm is the last layer's; bias over the vocabulary",
    ),
    "modernvbert": replace(
        _BERT,
        family="ModernVBERT",
        final_norm="projection_head.norm",
        embed=("model.text_model.embeddings.tok_embeddings",),
        heads=("lm_head",),
        head_bias=("lm_head.bias",),
        tied=False,
        shift=None,
    ),
    "esmc": replace(
        _ROBERTA,
        family="ESM Cambrian",
        embed=("esmc.embed_tokens",),
        head_bias=("lm_head.decoder.bias",),
        tied=False,
    ),
}
