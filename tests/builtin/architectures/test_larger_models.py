"""A language model inside a model of images or sound, against the logits of the larger model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import geom
from geom import InputError
from geom_plugins.architectures.parts import ByHand, find_parts
from support.own_logits import before_the_norm, rename
from support.toy_models import build, save

pytestmark = pytest.mark.usefixtures("no_toys")

SIGHT = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}

PREFIXES = (
    ("language_model.model.", "language_model.lm_head."),
    ("model.language_model.", "lm_head."),
    ("language_model.", "lm_head."),
    ("model.text_model.", "lm_head."),
    ("thinker.model.", "thinker.lm_head."),
    ("llm.model.", "llm.lm_head."),
    ("llm.", "lm_head."),
)
"""Where larger models keep the body and the head of their language model."""

NESTED = (
    ("text_config",),
    ("language_config",),
    ("llm_config",),
    ("thinker_config",),
    ("thinker_config", "text_config"),
)
"""Where they keep its configuration."""


def put_inside(where: Path, prefixes: tuple[str, str], keys: tuple[str, ...], **outer: Any) -> None:
    """Make the checkpoint that of an unknown larger model with this language model inside."""
    body, head = prefixes

    def renamed(name: str) -> str:
        if name.startswith("model."):
            return body + name.removeprefix("model.")
        return head + name.removeprefix("lm_head.")

    others = {
        "vision_tower.post_layernorm.weight": torch.ones(5),
        "talker.lm_head.weight": torch.ones(5, 5),
        "vision_tower.head.weight": torch.ones(5, 5),
    }
    rename(where, renamed, others)
    config = json.loads((where / "config.json").read_bytes())
    for key in reversed(keys):
        config = {key: config, "hidden_act": "relu"}
    (where / "config.json").write_text(json.dumps(config | {"model_type": "unheard-of"} | outer))


@pytest.mark.parametrize("prefixes", PREFIXES)
@pytest.mark.parametrize("kind", ["gemma3_text", "mistral", "starcoder2"])
def test_the_language_model_inside_a_larger_one(
    kind: str, prefixes: tuple[str, str], tmp_path: Path
) -> None:
    model = build(kind, tie_word_embeddings=False)
    where = save(model, tmp_path)
    x, logits = before_the_norm(model, kind, "model.norm")
    put_inside(where, prefixes, ("text_config",))
    readout = geom.load(f"hf:{where}")
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())
    assert "unheard-of, which is not an architecture geom knows" in readout.notes[0]


@pytest.mark.parametrize("keys", NESTED)
@pytest.mark.parametrize("tied", [True, False])
def test_its_configuration_may_be_nested_under_several_names(
    keys: tuple[str, ...], tied: bool, tmp_path: Path
) -> None:
    model = build("qwen2", tie_word_embeddings=tied)
    where = save(model, tmp_path)
    x, logits = before_the_norm(model, "qwen2", "model.norm")
    put_inside(where, PREFIXES[0], keys)
    readout = geom.load(f"hf:{where}")
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())


@pytest.mark.parametrize("prefixes", PREFIXES)
def test_an_unknown_language_model_in_an_unknown_larger_one_has_its_own_head(
    prefixes: tuple[str, str], tmp_path: Path
) -> None:
    model = build("qwen3", tie_word_embeddings=False)
    where = save(model, tmp_path)
    x, logits = before_the_norm(model, "qwen3", "model.norm")
    config = json.loads((where / "config.json").read_bytes())
    (where / "config.json").write_text(json.dumps(config | {"model_type": "also-unheard-of"}))
    put_inside(where, prefixes, ("language_config",), layer_norm_eps=1e-3)
    readout = geom.load(f"hf:{where}")
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())
    assert readout.notes[0].startswith("also-unheard-of, which is not")


@pytest.mark.parametrize("prefixes", PREFIXES)
def test_advice_never_leads_to_the_embedding_in_place_of_the_head(
    prefixes: tuple[str, str], tmp_path: Path
) -> None:
    model = build("qwen3", tie_word_embeddings=False)
    where = save(model, tmp_path)
    x, logits = before_the_norm(model, "qwen3", "model.norm")
    put_inside(where, prefixes, ("strange_config",))
    with pytest.raises(InputError, match=r"give \?norm=layernorm or \?norm=rmsnorm"):
        geom.load(f"hf:{where}")
    readout = geom.load(f"hf:{where}?norm=rmsnorm")
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())


def test_an_unknown_nested_type_has_its_own_settings() -> None:
    names = ("lm_head.weight", "model.embed_tokens.weight", "model.norm.weight")
    inner = {"model_type": "also-new", "rms_norm_eps": 1e-6}
    parts = find_parts(
        {"model_type": "new", "layer_norm_eps": 1e-5, "text_config": inner}, names, "it", ByHand()
    )
    assert parts.norm == "rmsnorm"
    outer = {"model_type": "new", "rms_norm_eps": 1e-5, "text_config": {"model_type": "also-new"}}
    with pytest.raises(InputError, match="does not say which kind of norm"):
        find_parts(outer, names, "it", ByHand())


def larger(name: str, text: str, vision: dict[str, Any], **settings: Any) -> Any:
    """Build transformers' own larger model around a toy language model, with random numbers."""
    config = getattr(transformers, f"{name}Config")(
        text_config=build(text).config.to_dict(), vision_config=vision, **settings
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForConditionalGeneration")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


QWEN_SIGHT = {
    "depth": 1,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_heads": 2,
    "out_hidden_size": 32,
    "num_position_embeddings": 16,
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("name", "text", "vision", "path"),
    [
        ("Gemma3", "gemma3_text", SIGHT, "model.language_model.norm"),
        ("Qwen3_5", "qwen3_5_text", QWEN_SIGHT, "model.language_model.norm"),
        ("Idefics3", "llama", SIGHT, "model.text_model.norm"),
        ("SmolVLM", "llama", SIGHT, "model.text_model.norm"),
        ("Llava", "mistral", SIGHT | {"model_type": "clip_vision_model"}, None),
        ("Mistral3", "mistral", SIGHT | {"model_type": "pixtral"}, None),
    ],
)
def test_transformers_own_larger_models(
    name: str, text: str, vision: dict[str, Any], path: str | None, tied: bool, tmp_path: Path
) -> None:
    more = {"mm_tokens_per_image": 4} if name == "Gemma3" else {}
    model = larger(name, text, vision, tie_word_embeddings=tied, **more)
    x, logits = before_the_norm(model, text, path or "model.language_model.norm")
    readout = geom.load(f"hf:{save(model, tmp_path)}")
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())
    assert not any("guessed" in note for note in readout.notes)
