"""Toy models: small, random, the same from a seed, of the checkpoint's own class and flags."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from geom import InputError
from geom_plugins.agreement.model_logits import model_logits
from geom_plugins.agreement.toy_model import build, head_class, save
from geom_plugins.agreement.toy_sizes import TEXT_IDS, V, shrunk

KINDS = (
    *("gpt2", "llama", "gemma2", "qwen3_moe", "deepseek_v3", "mamba", "jamba", "falcon_h1"),
    *("bert", "modernbert", "t5", "bart", "whisper", "gemma3", "qwen2_5_vl", "olmo"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_small_and_runs(kind: str) -> None:
    model = build({"model_type": kind})
    assert sum(p.numel() for p in model.parameters()) < 2_000_000
    logits = model_logits(model, TEXT_IDS)
    assert logits.shape == (24, V)
    assert abs(logits).max() > 0.1


@pytest.mark.parametrize("kind", ["llama", "bert", "whisper"])
def test_a_seed_gives_the_same_numbers_again_and_another_does_not(kind: str) -> None:
    first, again, other = (build({"model_type": kind}, seed=seed) for seed in (3, 3, 4))
    for (name, a), (_, b), (_, c) in zip(
        *(model.state_dict().items() for model in (first, again, other)), strict=True
    ):
        assert torch.equal(a, b), name
        assert not a.is_floating_point() or a.numel() < 2 or not torch.equal(a, c), name


@pytest.mark.parametrize("kind", ["phi", "gpt_neox", "bart", "cohere", "bert"])
def test_no_bias_is_zero_and_no_scale_is_one(kind: str) -> None:
    for name, tensor in build({"model_type": kind}).named_parameters():
        if tensor.ndim == 1:
            assert tensor.std() > 0.05, name


@pytest.mark.parametrize("tied", [True, False])
def test_the_flags_of_the_head_are_the_checkpoints(tied: bool) -> None:
    given = {
        "model_type": "gemma2",
        "tie_word_embeddings": tied,
        "final_logit_softcapping": 17.0,
        "rms_norm_eps": 3e-4,
        "hidden_size": 2304,
        "num_hidden_layers": 26,
        "vocab_size": 256_000,
    }
    model = build(given)
    config = model.config
    assert (config.final_logit_softcapping, config.rms_norm_eps) == (17.0, 3e-4)
    shared = model.lm_head.weight is model.model.embed_tokens.weight
    assert (config.tie_word_embeddings, shared) == (tied, tied)
    assert (config.vocab_size, config.hidden_size, config.num_hidden_layers) == (V, 64, 4)


def test_layers_of_every_kind_are_kept() -> None:
    kinds = ["linear_attention", "linear_attention", "linear_attention", "full_attention"] * 6
    small = shrunk({"num_hidden_layers": 24, "layer_types": kinds})
    assert small["layer_types"] == [*kinds[:2], "full_attention", "full_attention"]
    assert small["num_hidden_layers"] == 4


def test_the_class_is_the_one_that_the_checkpoint_names_if_it_has_a_head() -> None:
    assert head_class({"model_type": "bert", "architectures": ["BertForMaskedLM"]}).endswith("LM")
    masked = {"model_type": "bert", "architectures": ["BertModel", "BertForMaskedLM"]}
    assert head_class(masked) == "BertForMaskedLM"
    causal = {"model_type": "bert", "architectures": ["BertLMHeadModel"]}
    assert head_class(causal) == "BertLMHeadModel"
    assert head_class({"model_type": "llama", "architectures": ["Sly"]}) == "LlamaForCausalLM"
    with pytest.raises(InputError, match="no class with a head"):
        head_class({"model_type": "unheard-of"})


@pytest.mark.parametrize(
    "hostile",
    [
        {"num_hidden_layers": 10**15, "vocab_size": 10**18, "hidden_size": 10**12},
        {"hidden_size": "many"},
        {"num_attention_heads": -4},
        {"num_attention_heads": 0},
        {"rope_parameters": [1, 2]},
        {"hidden_act": "__import__"},
        {"text_config": {"text_config": {"text_config": 3}}},
    ],
)
def test_a_hostile_configuration_is_made_small_or_refused(hostile: dict[str, Any]) -> None:
    numbers = 0
    with suppress(InputError):
        model = build({"model_type": "llama", **hostile})
        numbers = sum(p.numel() for p in model.parameters())
    assert numbers < 2_000_000


def test_code_of_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    where = save(build({"model_type": "llama"}), tmp_path)
    ran = tmp_path / "ran"
    (where / "modeling_sly.py").write_text(f"open({os.fspath(ran)!r}, 'w')")
    config = json.loads((where / "config.json").read_bytes())
    config["auto_map"] = {"AutoConfig": "modeling_sly.A", "AutoModelForCausalLM": "modeling_sly.B"}
    config["_attn_implementation"] = "somebody/some-kernel"
    model = build(config)
    assert type(model).__module__.startswith("transformers.")
    assert not ran.exists()
