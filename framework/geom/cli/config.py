"""``--config FILE.toml``: what the flags of ``geom run`` say, and tables of plugin options."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from geom.errors import InputError, unknown
from geom.loading import DEFAULT_MODEL
from geom.plugins.options import Given, by_plugin, parse_assignments, read_config
from geom.plugins.registry import HOOKS


@dataclass(frozen=True)
class Config:
    """The keys of a configuration file beside its tables of options; None where absent."""

    model: str | None = None
    models: list[str] | None = None
    detectors: list[str] | None = None
    certifiers: list[str] | None = None
    domain: str | None = None
    tokens: str | None = None
    executor: str | None = None
    device: str | None = None
    out: str | None = None

    def all_models(self) -> list[str]:
        """The models named, the default one where none is."""
        return self.models or [self.model or DEFAULT_MODEL]

    def overridden(self, **flags: Any) -> Config:
        """The settings, with those in their place that flags give; None gives nothing."""
        return replace(self, **{key: flag for key, flag in flags.items() if flag is not None})

    def planned(self) -> dict[str, Any]:
        """What is asked of `plan` beside the model and options; it knows what to do without."""
        asked = {
            "detectors": self.detectors,
            "certifiers": [] if self.certifiers == ["none"] else self.certifiers,
            "domain": self.domain,
            "tokens": self.tokens,
            "executor": self.executor,
            "device": self.device,
        }
        return {name: value for name, value in asked.items() if value is not None}


def configure(path: Path | None, assignments: list[str]) -> tuple[Config, Given]:
    """The file's keys, and its options with the ``-o`` flags winning over them.

    Raises InputError where the file is malformed or holds a key that means nothing.
    """
    content = read_config(path) if path else {}
    keys = {field.name for field in fields(Config)}
    kinds = {*HOOKS, "domain"}
    for key in content:
        if key not in keys | kinds:
            raise unknown(f"key in {path}", key, keys | kinds)
    tables = {
        key: content.pop(key)
        for key in sorted(kinds & content.keys())
        if key not in keys or isinstance(content[key], dict)
    }
    content |= {key: _only_name(key, table, path) for key, table in tables.items() if key in keys}
    try:
        config = msgspec.convert(content, Config)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {str(error).replace('`', '')}") from error
    if config.model is not None and config.models is not None:
        raise InputError(f"{path}: give model or models, not both")
    values = _flattened(tables, path)
    return config, by_plugin(values | parse_assignments(assignments))


def _only_name(kind: str, table: dict[str, Any], path: Path | None) -> str:
    """What a table of options names where a run has one of the kind: TOML has no room for both."""
    if len(table) != 1:
        raise InputError(f"{path}: a run has one {kind}; write one table, [{kind}.NAME]")
    return next(iter(table))


def _flattened(tables: dict[str, Any], path: Path | None) -> dict[str, Any]:
    """``{"certifier": {"highs": {"tolerance": 1}}}`` as ``{"certifier.highs.tolerance": 1}``."""
    out: dict[str, Any] = {}
    for kind, plugins in tables.items():
        for name, values in plugins.items() if isinstance(plugins, dict) else [(None, None)]:
            if not isinstance(values, dict):
                raise InputError(f"{path}: write options as a table, [{kind}.NAME], OPTION = VALUE")
            out |= {f"{kind}.{name}.{option}": value for option, value in values.items()}
    return out
