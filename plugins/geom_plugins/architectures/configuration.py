"""``config.json``: read, and the language model described in it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from geom import InputError
from geom_plugins.architectures.multimodal import WRAPPERS
from geom_plugins.architectures.record import Config
from geom_plugins.architectures.table import ARCHITECTURES
from geom_plugins.checkpoints.folders import Folder

_NESTED = (
    "text_config",
    "language_config",
    "llm_config",
    "lm_config",
    "text_model_config",
    "thinker_config",
    "decoder",
)
"""The keys under which larger models keep the configuration of their language model."""

_DEEPEST = 3
"""The most configurations that lie one inside another; Qwen's Omni models have two."""

_FLAG = "tie_word_embeddings"

_WITHOUT_VOCABULARY = re.compile(
    r"\w+(For(Sequence|Token|Image|Audio|Video)Classification|ForQuestionAnswering|"
    r"ForMultipleChoice|ForNextSentencePrediction|RewardModel)"
)
"""The classes of transformers whose head gives scores of something else than tokens."""


def read_config(folder: Folder) -> Config:
    """Read ``config.json``. Raises InputError if it is missing or not a JSON object."""
    if not folder.has("config.json"):
        raise InputError(
            f"{folder.name} has no config.json; give a checkpoint as transformers saves it, or one "
            "file with safetensors:FILE?unembed=NAME"
        )
    content = folder.read("config.json")
    try:
        config = json.loads(content)
    except UnicodeDecodeError as error:  # its message shows a byte of the file
        raise InputError(f"config.json of {folder.name} is damaged: it is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"config.json of {folder.name} is damaged: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"config.json of {folder.name} is not a JSON object")
    return config


@dataclass(frozen=True)
class LanguageModel:
    """The language model that ``config.json`` describes, maybe inside a larger model.

    ``kind`` is its ``model_type``, ``config`` its own settings alone, ``larger`` the larger model's
    type, ``""`` without one. ``tied`` says whether head and embedding are one matrix, as
    transformers reads the flags: one that is absent has the value of its configuration class. It is
    None if the class is not known and no flag says it, or if flags contradict each other.
    """

    kind: str
    config: Config
    larger: str
    tied: bool | None


def language_model(config: Config) -> LanguageModel:
    """Return the language model that ``config.json`` describes.

    Raises InputError if several nested configurations could be its own, or if a flag is no boolean.
    """
    kind, inner, larger = _inwards(config)
    return LanguageModel(kind, inner, larger, _tied(config, kind, inner, larger))


def described(config: Config) -> tuple[str, Config]:
    """Return ``model_type`` and configuration of the language model, maybe inside a larger one."""
    found = language_model(config)
    return found.kind, found.config


def without_vocabulary(config: Config) -> str | None:
    """Return the class the checkpoint was saved from if its head does not score tokens."""
    classes = config.get("architectures")
    if not isinstance(classes, list) or not classes:
        return None
    if all(_WITHOUT_VOCABULARY.fullmatch(str(name)) for name in classes):
        return str(classes[0])
    return None


def _inwards(config: Config) -> tuple[str, Config, str]:
    """Return the language model's type and configuration, and the larger model's type or ``""``."""
    kind = str(config.get("model_type") or "")
    larger = WRAPPERS.get(kind)
    if larger is not None:
        inner = config
        for key in larger.nested:
            nested = inner.get(key)
            if not isinstance(nested, dict):
                return larger.text, config, kind
            inner = nested
        return str(inner.get("model_type") or larger.text), inner, kind
    inner, wrapper = config, ""
    for _ in range(_DEEPEST):
        if kind in ARCHITECTURES:
            break
        nested = _only_nested(inner)
        if nested is None:
            break
        inner, wrapper = nested, wrapper or kind or "a model without model_type"
        kind = str(inner.get("model_type") or "")
    return kind, inner, wrapper


def _tied(config: Config, kind: str, inner: Config, larger: str) -> bool | None:
    entry, wrapper = ARCHITECTURES.get(kind), WRAPPERS.get(larger)
    own = None if entry is None else _flag(inner, entry.tie_flags, entry.tied)
    if wrapper is None:
        if not larger and entry is not None:
            return own
        flags = {_flag(each, (_FLAG,), None) for each in (config, inner)} - {None}
        return flags.pop() if len(flags) == 1 else None
    if inner is config:  # an older checkpoint of the larger model
        own = False
    outer = _flag(config, (_FLAG,), wrapper.tied)
    if wrapper.flag == "outer, inner":
        return own if config.get(_FLAG) is None else outer
    if wrapper.flag == "either":
        return outer or own
    return outer if wrapper.flag == "outer" else own


def _only_nested(config: Config) -> Config | None:
    """Return the nested configuration of a language model, None without one."""
    nested = {key: config[key] for key in _NESTED if isinstance(config.get(key), dict)}
    if len(nested) > 1:
        raise InputError(
            f"config.json describes several models, under {' and '.join(nested)}, and geom does "
            f"not know which of them has the head of a {config.get('model_type')!r}; name the "
            "parts with ?unembed=NAME&norm=layernorm|rmsnorm|none&gamma=NAME"
        )
    return next(iter(nested.values()), None)


def _flag(config: Config, keys: tuple[str, ...], absent: bool | None) -> bool | None:
    """Return the value of the first of the flags that is there."""
    for key in keys:
        if key in config:
            value = config[key]
            if not isinstance(value, bool | None):
                raise InputError(f"{key} of config.json is {value!r}; write true or false")
            return bool(value)
    return absent
