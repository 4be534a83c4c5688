"""The kind of the final norm and its scale: not taken from a name, nor 1 off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import geom
from geom import InputError
from geom_plugins.architectures.parts import ByHand, find_parts
from geom_plugins.architectures.table import ARCHITECTURES
from support.own_logits import before_the_norm, check, norm_path, reconfigure, rename
from support.toy_models import build, save

LLAMA = ("lm_head.weight", "model.embed_tokens.weight", "model.norm.weight")
PLUS_ONE = [kind for kind, entry in ARCHITECTURES.items() if entry.plus_one and kind != "step3p5"]


@pytest.mark.parametrize("epsilon", ["layer_norm_epsilon", "layer_norm_eps", "norm_eps", "eps"])
def test_an_epsilons_name_does_not_make_a_layernorm(epsilon: str) -> None:
    config = {"model_type": "new", epsilon: 1e-5}
    with pytest.raises(InputError, match=r"RMSNorm is often configured as layer_norm_epsilon"):
        find_parts(config, LLAMA, "the checkpoint", ByHand())


def test_a_shift_and_a_setting_of_rmsnorm_contradict_each_other() -> None:
    config = {"model_type": "new", "rms_norm_eps": 1e-5}
    with pytest.raises(InputError, match=r"does not say which kind of norm model\.norm\.weight is"):
        find_parts(config, (*LLAMA, "model.norm.bias"), "the checkpoint", ByHand())


def test_a_setting_of_rmsnorm_that_is_null_says_nothing() -> None:
    config = {"model_type": "new", "rms_norm_eps": None, "layer_norm_eps": 1e-5}
    with pytest.raises(InputError, match=r"does not say which kind of norm model\.norm\.weight is"):
        find_parts(config, LLAMA, "the checkpoint", ByHand())


@pytest.mark.parametrize(
    "norm", ["model.multi_modal_projector.layer_norm", "model.visual.merger.norm", "aligner.norm"]
)
def test_the_norm_of_another_part_is_not_the_final_norm(norm: str) -> None:
    config = {"model_type": "new", "rms_norm_eps": 1e-5}
    parts = find_parts(config, (*LLAMA, f"{norm}.weight"), "the checkpoint", ByHand())
    assert parts.gamma == "model.norm.weight"
    with pytest.raises(InputError, match=r"the final norm is not certain .found: none"):
        find_parts(config, (*LLAMA[:2], f"{norm}.weight"), "the checkpoint", ByHand())


@pytest.mark.parametrize("value", [-1.0, 0, float("nan"), float("inf"), "2"])
@pytest.mark.parametrize("key", ["logit_scale", "final_logit_softcapping"])
def test_logits_that_may_be_turned_round_are_refused(key: str, value: object) -> None:
    config = {"model_type": "new", "rms_norm_eps": 1e-5, key: value}
    with pytest.raises(InputError, match=f"its {key} is .* scaled by a positive number"):
        find_parts(config, LLAMA, "the checkpoint", ByHand())
    guessed = find_parts(config | {key: 2.0}, LLAMA, "the checkpoint", ByHand()).notes[1]
    assert guessed.endswith(f"as {key} is 2; no argmax changes")


def test_every_guess_is_named() -> None:
    config = {"model_type": "new", "rms_norm_eps": 1e-5}
    (note,) = find_parts(config, LLAMA, "the checkpoint", ByHand()).notes
    assert note == (
        "new, which is not an architecture geom knows: read by the usual names, lm_head.weight "
        "after model.norm.weight as rmsnorm; guessed: the final norm is rmsnorm, by the setting "
        "rms_norm_eps; the norm multiplies by its weight, not by 1 + weight; nothing lies between "
        "model.norm and lm_head, or after it"
    )
    told = find_parts(config, LLAMA, "it", ByHand(norm="rmsnorm", gamma_plus_one=True))
    assert told.plus_one
    assert told.guesses == ("nothing lies between model.norm and lm_head, or after it",)


@pytest.mark.parametrize("kind", ["nemotron_h"])
def test_rmsnorm_configured_as_layernorm_is_rmsnorm(kind: str, tmp_path: Path) -> None:
    model = build(kind)
    where = save(model, tmp_path)
    assert "layer_norm_epsilon" in json.loads((where / "config.json").read_bytes())
    assert check(model, kind, where).norm == "rmsnorm"
    reconfigure(where, model_type="unheard-of")
    with pytest.raises(InputError, match="does not say which kind of norm"):
        geom.load(f"hf:{where}")


@pytest.mark.parametrize("kind", PLUS_ONE)
def test_by_hand_a_norm_that_scales_by_1_plus_weight_can_be_said(kind: str, tmp_path: Path) -> None:
    model = build(kind)
    where = save(model, tmp_path)
    names = load_file(where / "model.safetensors")
    parts = find_parts(model.config.to_dict(), names, "it", ByHand())
    reconfigure(where, model_type="unheard-of")
    shift = f"&beta={parts.beta}" if parts.beta else ""
    query = f"?unembed={parts.unembed}&norm={parts.norm}&gamma={parts.gamma}{shift}"
    path = norm_path(model, kind)
    check(model, kind, where, f"{query}&gamma_plus_one=yes", path)
    wrong = geom.load(f"hf:{where}{query}")
    right = geom.load(f"safetensors:{where}/model.safetensors{query}&gamma_plus_one=yes")
    x, logits = before_the_norm(model, kind, path)
    assert np.abs(wrong.logits(x) - logits).max() > 0.05 * np.abs(logits).max()
    np.testing.assert_allclose(right.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())


def converted_by_mlx(where: Path, one: float) -> None:
    """Store the checkpoint as MLX's converter does: its mark in the header, 1 added to norms."""
    path = where / "model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if name.endswith("model.norm.weight"):
            tensors[name] = tensor + one
    save_file(tensors, path, metadata={"format": "mlx"})


@pytest.mark.parametrize("kind", ["qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"])
def test_the_1_that_mlx_has_added_is_not_added_again(kind: str, tmp_path: Path) -> None:
    model = build(kind)
    where = save(model, tmp_path)
    converted_by_mlx(where, 1.0)
    assert check(model, kind, where).notes[0].startswith("MLX's converter has added the 1")


def test_a_shard_of_mlx_is_told_by_its_header_too(tmp_path: Path) -> None:
    model = build("qwen3_next")
    where = save(model, tmp_path)
    converted_by_mlx(where, 1.0)
    (where / "model.safetensors").rename(where / "model-00001-of-00001.safetensors")
    names = load_file(where / "model-00001-of-00001.safetensors")
    index = {"weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    (where / "model.safetensors.index.json").write_text(json.dumps(index))
    check(model, "qwen3_next", where)


@pytest.mark.parametrize("kind", ["gemma", "gemma2", "gemma3_text", "nemotron"])
def test_the_1_that_mlx_leaves_to_the_model_is_added(kind: str, tmp_path: Path) -> None:
    model = build(kind)
    where = save(model, tmp_path)
    converted_by_mlx(where, 0.0)
    check(model, kind, where)


def test_where_mlxs_way_is_not_known_it_is_asked_for(tmp_path: Path) -> None:
    model = build("vaultgemma")
    where = save(model, tmp_path)
    converted_by_mlx(where, 0.0)
    with pytest.raises(InputError, match=r"\?gamma_plus_one=no if it does, \?gamma_plus_one=yes"):
        geom.load(f"hf:{where}")
    check(model, "vaultgemma", where, "?gamma_plus_one=yes")


def test_experts_stacked_by_mlx_tell_its_form_without_metadata(tmp_path: Path) -> None:
    model = build("qwen3_next")
    where = save(model, tmp_path)
    one = {"model.layers.0.mlp.switch_mlp.up_proj.weight": torch.zeros(2, 2)}
    rename(where, lambda name: name, one)
    assert geom.load(f"hf:{where}").notes[0].startswith("MLX's converter has added the 1")


@pytest.mark.parametrize(
    ("kind", "lacking"),
    [("opt", "num_hidden_layers"), ("t5", "d_model"), ("bart", "decoder_layers")],
)
@pytest.mark.parametrize("strange", [None, "x", [1], 0])
def test_a_setting_that_the_readout_depends_on_may_be_strange(
    kind: str, lacking: str, strange: Any, tmp_path: Path
) -> None:
    where = save(
        build(kind, do_layer_norm_before=False) if kind == "opt" else build(kind), tmp_path
    )
    config = json.loads((where / "config.json").read_bytes())
    config.pop(lacking) if strange is None else config.update({lacking: strange})
    (where / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json|lacks the final norm's") as caught:
        geom.load(f"hf:{where}")
    assert "\n" not in str(caught.value)
