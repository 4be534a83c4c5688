"""A head is a module: what lies under its name belongs to it, and is read, known or refused."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import geom
from geom import InputError
from geom_plugins.architectures.heads import head_of
from geom_plugins.architectures.parts import ByHand, find_parts
from geom_plugins.quantised.matrix import open_matrix
from support.own_logits import check, reconfigure, rename
from support.quantised import weights_of_floats
from support.toy_models import build, save

LLAMA = ("model.embed_tokens.weight", "model.norm.weight")

FORMS = (
    *("qweight", "qzeros", "scales", "g_idx", "weight_packed", "weight_scale", "weight_scale_inv"),
    *("weight_scales", "scale", "scale_inv", "qscale_weight", "SCB", "weight.absmax"),
    *("weight.quant_map", "trellis", "suh", "svh", "W_q", "meta", "q_weight", "biases"),
    *("base_layer.weight", "lora_A.default.weight", "lora_B.weight", "modules_to_save.weight"),
    *("weight._data", "weight_v", "parametrizations.weight.original0", "additional_fc.weight"),
)
"""The names that quantisers, adapters and wrappers of training give to a head's tensors."""

PLACES = (
    *("lm_head", "language_model.lm_head", "thinker.lm_head", "llm.lm_head", "model.lm_head"),
    *("output", "head", "embed_out", "language_model.output", "transformer.output_layer"),
    *("model.text_model.lm_head", "output_projection", "model.language_model.lm_head"),
)


def opened(config: dict[str, Any], names: tuple[str, ...]) -> None:
    """Find the parts among names, all of them of floats, and open the unembedding."""
    parts = find_parts(config, names, "the checkpoint", ByHand(norm="rmsnorm"))
    open_matrix(weights_of_floats(names), parts.unembed, config)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("config", [{"model_type": "llama"}, {"model_type": "new"}])
@pytest.mark.parametrize("tied", [{}, {"tie_word_embeddings": True}])
def test_a_head_in_another_form_is_not_replaced_by_the_embedding(
    form: str, config: dict[str, str], tied: dict[str, bool]
) -> None:
    names = (*LLAMA, f"lm_head.{form}")
    with pytest.raises(InputError, match=r"lm_head\.weight"):
        opened(config | tied, names)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["gpt2", "gemma", "new"])
def test_a_head_under_any_name_is_not_replaced_by_the_embedding(place: str, kind: str) -> None:
    body = {
        "gpt2": ("transformer.wte.weight", "transformer.ln_f.weight", "transformer.ln_f.bias")
    }.get(kind, LLAMA)
    config = {"model_type": kind, "tie_word_embeddings": True}
    by_hand = ByHand(norm="rmsnorm")
    with pytest.raises(InputError, match=re.escape(place)):
        opened(config, (*body, f"{place}.qweight"))
    known = kind == "new" or place.endswith("lm_head")
    with nullcontext() if known else pytest.raises(InputError, match=re.escape(place)):
        found = find_parts(config, (*body, f"{place}.weight"), "the checkpoint", by_hand)
        assert found.unembed == f"{place}.weight"


@pytest.mark.parametrize(
    "name",
    [
        *("model.layers.3.mlp.output.weight", "bert.encoder.layer.0.output.dense.weight"),
        *("vision_tower.head.weight", "model.layers.61.shared_head.head.weight"),
        *("audio_tower.proj_out.weight", "talker.lm_head.weight", "model.mtp.head.weight"),
        *("transformer.h.0.attn.head.weight", "model.embed_tokens.weight", "model.lm_final.weight"),
    ],
)
def test_what_lies_elsewhere_is_no_head(name: str) -> None:
    assert head_of(name) is None


def test_a_plain_head_beside_a_matrix_of_integers_is_refused(tmp_path: Path) -> None:
    where = save(build("llama", tie_word_embeddings=False), tmp_path)
    integers = {"lm_head.weight": torch.zeros(331, 64, dtype=torch.int8)}
    rename(where, lambda name: None if name == "lm_head.weight" else name, integers)
    with pytest.raises(InputError, match=r"lm_head\.weight is stored as I8, integers without"):
        geom.load(f"hf:{where}")


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "new"])
def test_two_heads_are_ambiguous(kind: str) -> None:
    body = ("gpt_neox.embed_in.weight", "gpt_neox.final_layer_norm.weight")
    names = {
        "gpt_neox": (*body, body[1].replace("weight", "bias"), "embed_out.weight"),
        "new": (*LLAMA, "output.weight"),
        "llama": (*LLAMA, "language_model.lm_head.weight"),
    }[kind]
    with pytest.raises(InputError, match=r"several heads, .*(, | and )"):
        find_parts(
            {"model_type": kind}, (*names, "lm_head.weight"), "the checkpoint", ByHand(norm="none")
        )


def test_two_final_norms_are_ambiguous() -> None:
    names = (*LLAMA, "lm_head.weight", "language_model.model.norm.weight")
    with pytest.raises(InputError, match=r"several final norms, model\.norm\.weight and language"):
        find_parts({"model_type": "llama"}, names, "the checkpoint", ByHand())


def test_a_bias_that_the_model_does_not_use_is_refused() -> None:
    names = (*LLAMA, "lm_head.weight", "lm_head.bias")
    with pytest.raises(InputError, match=r"has lm_head\.bias, and geom knows no such part"):
        find_parts({"model_type": "llama"}, names, "the checkpoint", ByHand())
    by_hand = find_parts({"model_type": "llama"}, names, "it", ByHand(bias="lm_head.bias"))
    assert by_hand.bias == "lm_head.bias"


@pytest.mark.parametrize(
    "kind", ["mpnet", "longformer", "esm", "nomic_bert", "gte", "luke", "roberta", "bert"]
)
def test_a_tied_head_keeps_its_own_bias(kind: str, tmp_path: Path) -> None:
    model = build(kind)
    readout = check(model, kind, save(model, tmp_path))
    assert readout.has_bias
    assert np.abs(readout.b).max() > 0.1


@pytest.mark.parametrize("kind", ["mpnet", "esm", "nomic_bert"])
def test_an_unknown_model_with_a_transform_before_its_head_is_refused(
    kind: str, tmp_path: Path
) -> None:
    where = save(build(kind), tmp_path)
    reconfigure(where, model_type="unheard-of")
    with pytest.raises(InputError, match=r"lm_head\.|is not certain|no unembedding"):
        geom.load(f"hf:{where}")


@pytest.mark.parametrize("kind", ["gptj", "phi"])
def test_a_tied_head_with_a_bias_is_known_by_its_bias(kind: str, tmp_path: Path) -> None:
    model = build(kind, tie_word_embeddings=True)
    assert check(model, kind, save(model, tmp_path)).has_bias


def test_a_shift_that_the_models_norm_does_not_use_is_refused() -> None:
    names = (*LLAMA, "lm_head.weight", "model.norm.bias")
    with pytest.raises(InputError, match=r"has model\.norm\.bias, and the final norm of Llama"):
        find_parts({"model_type": "llama"}, names, "the checkpoint", ByHand())


@pytest.mark.parametrize("kind", ["chameleon", "idefics", "musicgen"])
def test_a_model_whose_logits_are_no_linear_map_is_refused_by_name(kind: str) -> None:
    with pytest.raises(InputError, match=rf"the checkpoint is {kind}, and it.* \?unembed=NAME"):
        find_parts({"model_type": kind}, LLAMA, "the checkpoint", ByHand())


@pytest.mark.parametrize("name", ["GPT2ForSequenceClassification", "LlamaForTokenClassification"])
def test_a_classifiers_embedding_is_not_read_as_a_head(name: str) -> None:
    config: dict[str, Any] = {"model_type": "gemma", "architectures": [name]}
    names = (*LLAMA, "score.weight")
    with pytest.raises(InputError, match=f"saved from {name}, whose head does not score tokens"):
        find_parts(config, names, "the checkpoint", ByHand())
    find_parts(config | {"architectures": ["GemmaForCausalLM"]}, names, "it", ByHand())


def test_a_head_whose_columns_are_normalised_is_refused() -> None:
    config: dict[str, Any] = {"model_type": "bailing_moe", "rms_norm_eps": 1e-6}
    names = (*LLAMA, "lm_head.weight")
    with pytest.raises(InputError, match="norm_head says that the columns of its head are divided"):
        find_parts(config | {"norm_head": True}, names, "the checkpoint", ByHand())
    find_parts(config | {"norm_head": False}, names, "the checkpoint", ByHand())
