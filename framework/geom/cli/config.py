"""``--config FILE.toml``: the flags of ``geom run`` as keys, and tables of plugin options."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from geom.errors import InputError, unknown
from geom.loading import DEFAULT_MODEL
from geom.plugins.options import Given, by_plugin, parse_assignments, read_config
from geom.plugins.registry import HOOKS

if TYPE_CHECKING:
    from geom.gate import Gate


@dataclass(frozen=True)
class Config:
    """The keys of a configuration file, without its tables of options; None if absent."""

    model: str | None = None
    models: list[str] | None = None
    detectors: list[str] | None = None
    certifiers: list[str] | None = None
    domain: str | None = None
    tokens: str | None = None
    executor: str | None = None
    device: str | None = None
    opening: bool | None = None
    hardest: int | None = None
    out: str | None = None
    fail_on: list[str] | None = None
    ignore: list[str] | None = None
    baseline: str | None = None

    def all_models(self) -> list[str]:
        """Return the models that the settings name, or the default model if they name none."""
        return self.models or [self.model or DEFAULT_MODEL]

    def overridden(self, **flags: Any) -> Config:
        """Return the settings with each flag that is not None in place of the file's value."""
        return replace(self, **{key: flag for key, flag in flags.items() if flag is not None})

    def planned(self) -> dict[str, Any]:
        """Return the arguments for `plan` other than model and options, leaving out unset ones."""
        asked = {
            "detectors": self.detectors,
            "certifiers": [] if self.certifiers == ["none"] else self.certifiers,
            "domain": self.domain,
            "tokens": self.tokens,
            "executor": self.executor,
            "device": self.device,
            "opening": self.opening,
            "hardest": self.hardest,
        }
        return {name: value for name, value in asked.items() if value is not None}

    def gate(self) -> Gate | None:
        """Return what fails the command, or None. Raises InputError if it cannot be asked for."""
        from geom.gate import Gate

        if self.fail_on:
            return Gate.asked(self.fail_on, self.ignore or (), self.baseline)
        for name, given in (("ignore", self.ignore), ("baseline", self.baseline)):
            if given:
                raise InputError(f"--{name} is for --fail-on: say what to fail on")
        return None


def configure(path: Path | None, assignments: list[str]) -> tuple[Config, Given]:
    """Return the file's keys and its options; the ``-o`` flags override the options.

    Raises InputError if the file is malformed or holds an unknown key.
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
    """Return the plugin that a table of options names, for a kind of which a run has just one.

    TOML cannot hold both a string and a table under one key.
    """
    if len(table) != 1:
        raise InputError(f"{path}: a run has one {kind}; write one table, [{kind}.NAME]")
    return next(iter(table))


def _flattened(tables: dict[str, Any], path: Path | None) -> dict[str, Any]:
    """Turn ``{"certifier": {"highs": {"x": 1}}}`` into ``{"certifier.highs.x": 1}``."""
    out: dict[str, Any] = {}
    for kind, plugins in tables.items():
        for name, values in plugins.items() if isinstance(plugins, dict) else [(None, None)]:
            if not isinstance(values, dict):
                raise InputError(f"{path}: write options as a table, [{kind}.NAME], OPTION = VALUE")
            out |= {f"{kind}.{name}.{option}": value for option, value in values.items()}
    return out
