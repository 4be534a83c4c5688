"""The final norm of a model of transformers: which of its modules it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from geom import InputError
from geom_plugins.architectures.configuration import described
from geom_plugins.architectures.parts import norm_paths
from geom_plugins.architectures.record import Architecture, Config
from geom_plugins.architectures.table import ARCHITECTURES


@dataclass(frozen=True, eq=False)
class FinalNorm:
    """The module before the readout, its path in the model, and whether it scales by 1 + weight."""

    module: Any
    path: str
    plus_one: bool


def architecture(config: Config, where: str) -> Architecture:
    """Return the architecture that a configuration describes. Raises InputError if unknown."""
    kind, _ = described(config)
    entry = ARCHITECTURES.get(kind)
    if entry is None:
        raise InputError(f"geom does not know where {kind or where} has its final norm")
    return entry


def find_norm(model: Any, config: Config, where: str) -> FinalNorm:
    """Find the final norm of a loaded model by its configuration. Raises InputError without one."""
    entry = architecture(config, where)
    modules = dict(model.named_modules())
    for path in norm_paths(entry, described(config)[1]):
        if path in modules:
            return FinalNorm(modules[path], path, entry.plus_one)
    raise InputError(f"{type(model).__name__} has no final norm where geom looks for it")
