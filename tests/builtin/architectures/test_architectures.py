"""``hf:`` against the logits of the models that transformers builds, one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import geom
from geom import InputError
from geom_plugins.architectures.parts import ByHand, find_parts
from geom_plugins.architectures.table import ARCHITECTURES
from support.command import Command
from support.own_logits import before_the_norm, check, reconfigure, rename
from support.toy_models import build, save

_HOOKED = (
    *("gpt2", "gpt_neo", "gptj", "codegen", "gpt_bigcode", "gpt_neox", "opt", "bloom", "falcon"),
    *("mpt", "xglm", "biogpt", "phi", "phimoe", "stablelm", "starcoder2", "persimmon", "olmo"),
    *("cohere", "cohere2", "llama", "llama4_text", "mistral", "mixtral", "qwen2", "qwen2_moe"),
    *("qwen3", "qwen3_moe", "phi3", "olmo2", "olmo3", "granite", "granitemoe", "granitemoehybrid"),
    *("deepseek_v2", "deepseek_v3", "gpt_oss", "glm", "glm4", "glm4_moe", "smollm3", "exaone4"),
    *("seed_oss", "ernie4_5", "apertus", "gemma", "gemma2", "gemma3_text", "recurrent_gemma"),
    *("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "minimax_m3_vl_text", "vaultgemma"),
    *("nemotron", "nemotron_h", "mamba", "mamba2", "falcon_mamba", "jamba", "falcon_h1", "rwkv"),
    *("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "albert", "mpnet"),
    *("longformer", "luke", "esm", "gte", "jina_embeddings_v3", "roberta-prelayernorm"),
    *("xlm-roberta-xl", "nomic_bert", "modernbert", "t5", "mt5", "umt5", "t5gemma", "marian"),
    *("bart", "mbart", "pegasus", "deberta", "deberta-v2", "lfm2", "m2m_100", "openai-gpt"),
)
"""Architectures whose final norm is watched by a hook; the sweep tries all of them without one."""


@pytest.mark.parametrize("kind", _HOOKED)
def test_readout_makes_the_models_logits(kind: str, tmp_path: Path) -> None:
    model = build(kind)
    check(model, kind, save(model, tmp_path))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "kind",
    [
        *("gpt2", "gpt_neox", "llama", "gemma", "falcon", "opt", "t5", "mamba", "starcoder2"),
        *("bert", "roberta", "albert", "distilbert", "marian", "bart"),
    ],
)
def test_tied_or_not_as_config_says(kind: str, tied: bool, tmp_path: Path) -> None:
    model = build(kind, tie_word_embeddings=tied)
    check(model, kind, save(model, tmp_path))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma", "phi"])
def test_half_precision_is_read_without_loss(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    where = save(build(kind).to(dtype), tmp_path)
    again = type(build(kind)).from_pretrained(where, dtype=torch.float32).eval()
    check(again, kind, where)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "opt", "t5", "mixtral"])
def test_shards_are_found_through_their_index(kind: str, tmp_path: Path) -> None:
    model = build(kind)
    where = save(model, tmp_path, max_shard_size="10KB")
    assert len(list(where.glob("model-*.safetensors"))) > 2
    check(model, kind, where)


@pytest.mark.parametrize("bias", [True, False])
def test_opt_350m_ends_in_its_last_layers_norm_and_a_projection(bias: bool, tmp_path: Path) -> None:
    model = build(
        "opt",
        do_layer_norm_before=False,
        word_embed_proj_dim=12,
        layer_norm_elementwise_affine=bias,
    )
    readout = check(model, "opt", save(model, tmp_path))
    assert (readout.d, np.linalg.matrix_rank(readout.W)) == (64, 12)
    assert "project_out.weight is folded into W" in readout.notes[0]


def test_names_without_the_models_prefix_are_those_of_gpt2_on_the_hub(tmp_path: Path) -> None:
    model = build("gpt2")
    where = save(model, tmp_path)
    rename(where, lambda name: name.removeprefix("transformer."))
    check(model, "gpt2", where)


def test_berts_norm_may_be_named_as_tensorflow_named_it(tmp_path: Path) -> None:
    model = build("bert")
    where = save(model, tmp_path)
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def renamed(name: str) -> str:
        for now, then in old.items():
            name = name.replace(now, then)
        return name

    rename(where, renamed)
    check(model, "bert", where)


def test_neox_saved_by_an_older_transformers(tmp_path: Path) -> None:
    model = build("gpt_neox")
    where = save(model, tmp_path)
    rename(where, lambda name: name.replace("embed_out.", "lm_head."))
    check(model, "gpt_neox", where)


@pytest.mark.usefixtures("no_toys")
@pytest.mark.parametrize("kind", ["llama", "stablelm", "gpt2", "phi", "qwen3"])
def test_an_unknown_architecture_is_read_by_the_usual_names_and_says_so(
    kind: str, tmp_path: Path
) -> None:
    model = build(kind)
    where = save(model, tmp_path)
    x, logits = before_the_norm(
        model, kind, ARCHITECTURES[kind].stems[0] + str(ARCHITECTURES[kind].final_norm)
    )
    reconfigure(where, model_type="unheard-of")
    readout = geom.load(f"hf:{where}")
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())
    assert readout.norm == ARCHITECTURES[kind].norm
    assert readout.notes[0].startswith("unheard-of, which is not an architecture geom knows: read")


def test_a_run_keeps_the_readouts_notes_and_shows_them(command: Command, tmp_path: Path) -> None:
    where = save(build("gemma2"), tmp_path / "model")
    done = command("run", "--model", f"hf:{where}", "--out", str(tmp_path / "run.db"))
    assert "note: the model caps its logits softly at 30; no argmax changes" in done.out
    assert command("show", str(tmp_path / "run.db")).out.count("note: the model caps") == 1


def test_by_hand_everything_can_be_named(tmp_path: Path) -> None:
    model = build("phi")
    where = save(model, tmp_path)
    rename(where, lambda name: f"odd.{name.replace('.', '_')}")
    reconfigure(where, model_type="unheard-of")
    x, logits = before_the_norm(model, "phi", "model.final_layernorm")
    readout = geom.load(
        f"hf:{where}?unembed=odd.lm_head_weight&bias=odd.lm_head_bias&norm=layernorm"
        "&gamma=odd.model_final_layernorm_weight&beta=odd.model_final_layernorm_bias"
    )
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())
    assert readout.notes == ()


def test_the_bias_can_be_dropped(tmp_path: Path) -> None:
    where = save(build("gptj"), tmp_path)
    assert geom.load(f"hf:{where}").has_bias
    assert not geom.load(f"hf:{where}?bias=no").has_bias


GPT2 = ("transformer.wte.weight", "transformer.ln_f.weight", "transformer.ln_f.bias")
LLAMA = ("lm_head.weight", "model.embed_tokens.weight", "model.norm.weight")


@pytest.mark.parametrize(
    ("config", "names", "message"),
    [
        ({"model_type": "llama"}, LLAMA[:2], "the final norm's norm.weight"),
        ({"model_type": "llama"}, LLAMA[2:], "lacks lm_head.weight or embed_tokens.weight"),
        (
            {"model_type": "llama", "tie_word_embeddings": False},
            LLAMA[1:],
            "lacks lm_head.weight .* two matrices unless config.json says",
        ),
        (
            {"model_type": "gpt2"},
            ("transformer.wte.weight", "transformer.ln_f.weight"),
            "the final norm's ln_f.bias",
        ),
        ({"model_type": "new"}, ("a.weight", "model.norm.weight"), "no unembedding is recognised"),
        ({"model_type": "new"}, LLAMA[:1], "the final norm is not certain .found: none"),
        ({"model_type": "new"}, (*LLAMA, "model.final_norm.weight"), "found: model.norm.weight, "),
        ({"model_type": "new"}, LLAMA, "give .norm=layernorm or .norm=rmsnorm"),
        ({}, LLAMA, "without model_type, which is not an architecture"),
        (
            {"model_type": "cohere", "logit_scale": -1.0},
            LLAMA,
            "logit_scale of config.json is -1.0",
        ),
    ],
)
def test_what_leaves_a_doubt_is_refused_with_the_remedy(
    config: dict[str, Any], names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        find_parts(config, names, "the checkpoint", ByHand())
    assert "give" in str(caught.value) or "geom reads" in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "config.json").unlink(), "has no config.json"),
        (lambda d: (d / "config.json").write_text("{"), "config.json of .* is damaged"),
        (lambda d: (d / "config.json").write_text("[]"), "is not a JSON object"),
        (lambda d: (d / "model.safetensors").unlink(), "has neither model.safetensors nor"),
        (lambda d: (d / "model.safetensors").write_bytes(b"?" * 50), "is not a safetensors file"),
        (lambda d: [f.unlink() for f in d.iterdir()], "has no config.json"),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_line(spoil: Any, message: str, tmp_path: Path) -> None:
    where = save(build("gpt2"), tmp_path)
    spoil(where)
    with pytest.raises(InputError, match=message) as caught:
        geom.load(f"hf:{where}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "is damaged"),
        (
            json.dumps({"weight_map": dict.fromkeys(GPT2, "gone.safetensors")}),
            "gone.safetensors does not exist",
        ),
        ('{"weight_map": 3}', "is damaged"),
    ],
)
def test_a_damaged_index_is_one_clear_line(index: str, message: str, tmp_path: Path) -> None:
    where = save(build("gpt2"), tmp_path)
    (where / "model.safetensors").unlink()
    (where / "model.safetensors.index.json").write_text(index)
    with pytest.raises(InputError, match=message):
        geom.load(f"hf:{where}")


def test_an_index_that_lies_is_found_out(tmp_path: Path) -> None:
    where = save(build("gpt2"), tmp_path, max_shard_size="10KB")
    path = where / "model.safetensors.index.json"
    index = json.loads(path.read_bytes())
    wrong = next(
        file
        for file in index["weight_map"].values()
        if file != index["weight_map"]["transformer.wte.weight"]
    )
    index["weight_map"]["transformer.wte.weight"] = wrong
    path.write_text(json.dumps(index))
    with pytest.raises(InputError, match=f"index puts tensor .* in {wrong}, which lacks it"):
        geom.load(f"hf:{where}")


def test_every_architecture_has_a_name_of_its_own() -> None:
    assert len({entry.family for entry in ARCHITECTURES.values()}) == len(ARCHITECTURES)
