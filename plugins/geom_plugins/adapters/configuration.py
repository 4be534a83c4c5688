"""``adapter_config.json``: what kind of adapter it is, and how it is scaled.

The fields are those of peft's configurations, https://github.com/huggingface/peft/tree/main/src/peft
(``LoraConfig`` in tuners/lora/config.py).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geom import InputError
from geom_plugins.checkpoints.folders import Folder

CONFIG = "adapter_config.json"

CONFINED = frozenset(
    {
        *(
            "LORA",
            "ADALORA",
            "ADAMSS",
            "BOFT",
            "IA3",
        ),
        *(
            "BEFT",
            "LILY",
            "LOHA",
            "LOKR",
            "OFT",
        ),
        *(
            "POLY",
            "LN_TUNING",
            "VERA",
            "FROD",
            "PVERA",
        ),
        *(
            "FOURIERFT",
            "GLORA",
            "HRA",
            "VBLORA",
            "UNILORA",
        ),
        *(
            "MISS",
            "RANDLORA",
            "ROAD",
            "TRAINABLE_TOKENS",
            "HIRA",
        ),
        *(
            "SHIRA",
            "C3A",
            "WAVEFT",
            "OSF",
            "DELORA",
        ),
        *(
            "GRALORA",
            "TINYLORA",
            "PSOFT",
            "PEANUT",
            "SUPERTUNING",
        ),
        *(
            "DEFT",
            "PROMPT_TUNING",
            "MULTITASK_PROMPT_TUNING",
            "P_TUNING",
            "PREFIX_TUNING",
        ),
        *(
            "ADAPTION_PROMPT",
            "CPT",
            "CARTRIDGE",
        ),
    }
)
"""The kinds that change only the modules that their tensors name, or what a model is shown."""

_OTHER_TASKS = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION")
"""The tasks of models that have no head over the vocabulary."""

_PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
"""The ways to begin a LoRA that leave the base's weights as they are."""

_VARIANTS = (
    "velora_config",
    "alora_invocation_tokens",
    "use_qalora",
    "monteclora_config",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "target_parameters",
)
"""The settings with which a LoRA is no longer the product of two matrices, always added."""

_LITERAL = re.compile(r"\^?(?:[\w-]|\\?\.)+")
"""A pattern of names without repetitions: those of a stranger's file could be matched for ever."""


@dataclass(frozen=True)
class AdapterConfig:
    """The configuration of an adapter; ``where`` names the adapter in messages."""

    where: str
    values: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Its kind, such as ``LORA``."""
        return str(self.values.get("peft_type", "")).upper()

    @property
    def base(self) -> str | None:
        """The name of the base's checkpoint, as the machine knew it that made the adapter."""
        value = self.values.get("base_model_name_or_path")
        return value if isinstance(value, str) and value else None

    @property
    def base_revision(self) -> str | None:
        """The revision of the base, if one is named."""
        value = self.values.get("revision")
        return value if isinstance(value, str) and value else None

    def saves(self, module: str) -> bool:
        """Return whether the adapter has a copy of a module that takes its place."""
        names = self.values.get("modules_to_save")
        names = [names] if isinstance(names, str) else names
        return isinstance(names, list) and any(
            isinstance(name, str) and module.endswith(name) for name in names
        )

    def scale(self, module: str, rank: int) -> float:
        """Return the factor of a LoRA's product, as peft computes it in float64.

        Raises InputError if the configuration does not give it, or if the module's LoRA is of a
        variant that is not read.
        """
        for setting in _VARIANTS:
            if self.values.get(setting):
                raise InputError(
                    f"{self.where} adapts {module} by LoRA with {setting}, which geom does not "
                    "read; merge the adapter with peft (merge_and_unload) and give that checkpoint"
                )
        start = self.values.get("init_lora_weights")
        if start not in _PLAIN_STARTS:
            raise InputError(
                f"{self.where} adapts {module} by LoRA begun as {start!r}, which changes the "
                "base's weights too; merge the adapter with peft (merge_and_unload) and give that "
                "checkpoint"
            )
        r = self._number(module, "r", "rank_pattern")
        alpha = self._number(module, "lora_alpha", "alpha_pattern")
        if r != rank:
            raise InputError(
                f"{self.where}: the LoRA of {module} has rank {rank}, and {CONFIG} says {r:g}; "
                "fetch the adapter again"
            )
        return alpha / math.sqrt(rank) if self.values.get("use_rslora") else alpha / rank

    def token_ids(self, module: str) -> list[int]:
        """Return the ids of the tokens that the adapter trains in a module.

        Raises InputError if the configuration does not give them.
        """
        found = self.values.get("trainable_token_indices")
        if self.kind == "TRAINABLE_TOKENS":
            found = self.values.get("token_indices")
        elif isinstance(found, dict):
            found = next((ids for name, ids in found.items() if _ends_in(module, name)), None)
        if not isinstance(found, list) or not all(type(id) is int for id in found):
            raise InputError(f"{CONFIG} of {self.where} does not say which tokens {module} trains")
        return found

    def _number(self, module: str, key: str, patterns: str) -> float:
        """Return a number of the configuration, by the first pattern that fits the module."""
        found = self.values.get(key)
        for pattern, value in self._patterns(patterns):
            if not _LITERAL.fullmatch(pattern):
                raise InputError(
                    f"{self.where}: {patterns} of {CONFIG} has the expression {pattern!r}, which "
                    f"geom does not apply to {module}; merge the adapter with peft "
                    "(merge_and_unload) and give that checkpoint"
                )
            if re.fullmatch(rf"(.*\.)?({pattern})", module):
                found = value
                break
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not found > 0:
            raise InputError(f"{CONFIG} of {self.where}: {key} of {module} is {found!r}")
        return found

    def _patterns(self, key: str) -> list[tuple[str, Any]]:
        found = self.values.get(key) or {}
        return list(found.items()) if isinstance(found, dict) else []


def read_adapter_config(folder: Folder) -> AdapterConfig:
    """Read ``adapter_config.json``. Raises InputError if it is damaged, or of an unknown kind."""
    content = folder.read(CONFIG)
    try:
        values = json.loads(content)
    except UnicodeDecodeError as error:  # its message shows a byte of the file
        raise InputError(f"{CONFIG} of {folder.name} is damaged: it is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{CONFIG} of {folder.name} is damaged: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{CONFIG} of {folder.name} is not a JSON object")
    config = AdapterConfig(folder.name, values)
    if config.kind not in CONFINED:
        raise InputError(
            f"{folder.name} is an adapter of the kind {config.kind or 'of no name'!r}, which geom "
            "does not read; merge it with its own library and give that checkpoint"
        )
    task = values.get("task_type")
    if task in _OTHER_TASKS:
        raise InputError(
            f"{folder.name} is an adapter for the task {task}, whose model has no head over the "
            f"vocabulary; to examine its base alone, give {config.base or 'the base'} itself"
        )
    return config


def _ends_in(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")
