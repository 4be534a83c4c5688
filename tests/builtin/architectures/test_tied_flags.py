"""Whether head and embedding are one matrix, against transformers' own configuration classes."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import pytest
import torch
import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from geom import InputError
from geom_plugins.architectures.configuration import described, language_model
from geom_plugins.architectures.multimodal import WRAPPERS
from geom_plugins.architectures.parts import ByHand, find_parts
from geom_plugins.architectures.remote_code import REMOTE_CODE
from geom_plugins.architectures.table import ARCHITECTURES

FLAG = "tie_word_embeddings"
LAYERS = dict.fromkeys(("num_hidden_layers", "decoder_layers", "n_layers"), 2)
LLAMA = ("model.embed_tokens.weight", "model.norm.weight")


def _config(kind: str, **settings: Any) -> Any:
    """Return the configuration of a type as transformers builds it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CONFIG_MAPPING[kind](**settings)


def _of(kind: str) -> Any:
    """Return the configuration of a language model, which may exist only inside a larger one."""
    if kind in CONFIG_MAPPING:
        return _config(kind)
    larger, wrapper = next((k, w) for k, w in WRAPPERS.items() if w.text == kind)
    inner = _config(larger)
    for key in wrapper.nested:
        inner = getattr(inner, key)
    assert inner.model_type == kind
    return inner


def _class(kind: str) -> Any:
    """Return the class of transformers that has the head of a larger model."""
    for task in (
        *("IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM", "SEQ_TO_SEQ_CAUSAL_LM", "SPEECH_SEQ_2_SEQ"),
        "CAUSAL_LM",
    ):
        name = getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES").get(kind)
        if name is not None:
            return getattr(transformers, name if isinstance(name, str) else name[0])
    raise AssertionError(f"transformers has no class for {kind}")


OWNERS = [kind for kind in WRAPPERS if _class(kind)._tied_weights_keys]
"""The larger models whose own class has the head, so that their own flag decides."""


@pytest.mark.parametrize("kind", [k for k in ARCHITECTURES if k not in REMOTE_CODE])
def test_an_absent_flag_has_the_default_of_its_class(kind: str) -> None:
    assert ARCHITECTURES[kind].tied == bool(getattr(_of(kind), FLAG, False))
    assert language_model({"model_type": kind}).tied == ARCHITECTURES[kind].tied


@pytest.mark.parametrize("kind", OWNERS)
def test_a_larger_models_flags_are_read_as_its_class_reads_them(kind: str) -> None:
    wrapper = WRAPPERS[kind]
    (key,) = wrapper.nested
    for outer, inner in itertools.product([None, True, False], repeat=2):
        config: dict[str, Any] = {} if outer is None else {FLAG: outer}
        config[key] = {"model_type": wrapper.text} | ({} if inner is None else {FLAG: inner})
        read = bool(getattr(_config(kind, **config), FLAG, False))
        assert language_model({"model_type": kind} | config).tied == read, (outer, inner)


def test_a_language_model_that_is_whole_inside_another_has_its_own_flag() -> None:
    assert not set(OWNERS) & {"llama4"}
    for outer, inner in itertools.product([None, True, False], repeat=2):
        text = {"model_type": "llama4_text", "num_hidden_layers": 1, "moe_layers": []}
        config: dict[str, Any] = {} if outer is None else {FLAG: outer}
        config["text_config"] = text | ({} if inner is None else {FLAG: inner})
        built = _config("llama4", **config, vision_config={"num_hidden_layers": 1})
        with torch.device("meta"):
            model = _class("llama4")(built)
        tied = any("lm_head" in name for name in model.all_tied_weights_keys)
        assert language_model({"model_type": "llama4"} | config).tied == tied, (outer, inner)


@pytest.mark.parametrize("kind", WRAPPERS)
def test_a_nested_configuration_without_a_type_has_the_classs_own(kind: str) -> None:
    (key,) = WRAPPERS[kind].nested
    if key == "decoder" and kind.endswith("encoder-decoder"):
        return  # these have none of their own
    text = getattr(_config(kind), key)
    assert described({"model_type": kind, key: {}})[0] == text.model_type


@pytest.mark.parametrize("kind", [k for k in ARCHITECTURES if not ARCHITECTURES[k].tied])
def test_the_embedding_is_not_taken_for_the_head_of_an_untied_model(kind: str) -> None:
    entry = ARCHITECTURES[kind]
    config: dict[str, Any] = {"model_type": kind, "vocab_size": 64_000, "rmsnorm": True} | LAYERS
    stem, norm = entry.stems[0], entry.final_norm_of(config)
    names = {f"{stem}{entry.embed[0]}.weight"}
    names |= {f"{stem}{norm}.weight"} if entry.scale else set()
    names |= {f"{stem}{norm}.bias"} if entry.shift else set()
    with pytest.raises(InputError, match=rf"lacks {entry.heads[0]}\.weight .*two matrices unless"):
        find_parts(config, names, "the checkpoint", ByHand())
    parts = find_parts(config | {FLAG: True}, names, "the checkpoint", ByHand())
    assert parts.unembed == f"{stem}{entry.embed[0]}.weight"


def test_an_older_checkpoint_of_a_larger_model_has_its_settings_outside() -> None:
    flat = {"model_type": "qwen3_5", "rms_norm_eps": 1e-6}
    assert language_model(flat).kind == "qwen3_5_text"
    assert language_model(flat).tied is False
    assert language_model(flat | {FLAG: True}).tied is True


@pytest.mark.parametrize("key", ["text_config", "language_config", "llm_config"])
def test_an_unknown_larger_model_is_tied_only_if_a_flag_says_so(key: str) -> None:
    inner = {"model_type": "llama"}
    for outer, nested, tied in [
        ({}, {}, None),
        ({FLAG: True}, {}, True),
        ({}, {FLAG: False}, False),
        ({FLAG: True}, {FLAG: False}, None),
    ]:
        found = language_model({"model_type": "new", key: inner | nested} | outer)
        assert (found.kind, found.larger, found.tied) == ("llama", "new", tied)


def test_an_unknown_larger_model_is_a_guess_and_says_which() -> None:
    config = {"model_type": "new", "llm_config": {"model_type": "llama"}}
    parts = find_parts(config, LLAMA, "the checkpoint", ByHand())
    assert parts.unembed == LLAMA[0]
    assert parts.guesses == (
        "new, which is not an architecture geom knows, ends as the Llama 1 to 3 in it does",
        "the head is model.embed_tokens.weight, as there is no other and no flag says so",
    )
    assert parts.notes == (f"guessed: {'; '.join(parts.guesses)}",)


@pytest.mark.parametrize("flag", ["false", 0, [True]])
def test_a_flag_that_is_no_boolean_is_refused(flag: object) -> None:
    with pytest.raises(InputError, match=r"tie_word_embeddings of config\.json is .*true or false"):
        language_model({"model_type": "llama", FLAG: flag})


def test_several_nested_language_models_are_ambiguous() -> None:
    inner = {"model_type": "llama"}
    config = {"model_type": "new", "text_config": inner, "llm_config": inner}
    with pytest.raises(InputError, match="several models, under text_config and llm_config"):
        language_model(config)
