"""Finding, naming and listing plugins.

Everything comes through the entry-point group ``geom``, geom's own plugins too. A plugin that
cannot be imported, or whose hook raises, is kept in `Plugins.skipped` with the reason, and the
others work on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import pluggy

from geom.errors import PluginError, Raised, attempt, unknown
from geom.plugins import hookspecs
from geom.plugins.options import describe
from geom.plugins.records import (
    Certifier,
    Detector,
    Executor,
    Measure,
    ModelSource,
    Precision,
    Record,
    Reporter,
)
from geom.text import is_plain

GROUP = "geom"

R = TypeVar("R", bound=Record)

HOOKS: dict[str, tuple[str, type[Any]]] = {
    "source": ("geom_sources", ModelSource),
    "detector": ("geom_detectors", Detector),
    "certifier": ("geom_certifiers", Certifier),
    "precision": ("geom_precisions", Precision),
    "measure": ("geom_measures", Measure),
    "reporter": ("geom_reporters", Reporter),
    "executor": ("geom_executors", Executor),
}
"""Kind of plugin -> its hook and the record that the hook yields."""


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from: the distribution and version, and the module."""

    distribution: str
    version: str
    module: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".strip()


@dataclass(frozen=True)
class Listed:
    """A plugin as ``geom plugins`` lists it."""

    kind: str
    record: Any
    origin: Origin


@dataclass(frozen=True)
class Skipped:
    """A plugin that could not be used, and why."""

    name: str
    origin: Origin
    reason: str

    def __str__(self) -> str:
        return f"plugin {self.name} of {self.origin} skipped: {self.reason}"


class Plugins:
    """The plugins of this process, by kind and name."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("geom")
        self._manager.add_hookspecs(hookspecs)
        self._listed: dict[tuple[str, str], Listed] = {}
        self.skipped: list[Skipped] = []

    def discover(self, points: Iterable[EntryPoint] | None = None) -> None:
        """Register what the entry points name; all of group ``geom`` unless told."""
        for point in entry_points(group=GROUP) if points is None else points:
            distribution = point.dist
            origin = Origin(
                distribution.name if distribution else "unknown",
                distribution.version if distribution else "",
                point.value.partition(":")[0].strip(),
            )
            plugin = attempt(point.load)
            if isinstance(plugin, Raised):
                self.skipped.append(Skipped(point.name, origin, str(plugin)))
            else:
                self.register(plugin, point.name, origin)

    def register(self, plugin: object, name: str, origin: Origin) -> None:
        """Take the records that a plugin's hooks yield.

        Raises PluginError where a record has the kind and name of one already registered.
        """
        key = f"{origin.distribution}:{name}"
        found = attempt(lambda: self._records(plugin, key, origin))
        if isinstance(found, Raised):
            self.skipped.append(Skipped(name, origin, str(found)))
            if self._manager.get_plugin(key) is plugin:
                self._manager.unregister(name=key)
            return
        for item in found:
            self._add(item)

    def _records(self, plugin: object, key: str, origin: Origin) -> list[Listed]:
        self._manager.register(plugin, name=key)
        self._manager.check_pending()
        return [
            Listed(kind, record, origin)
            for kind, (hook, record_type) in HOOKS.items()
            for record in self._yielded(plugin, hook, record_type)
        ]

    def _yielded(self, plugin: object, hook: str, record_type: type[Any]) -> Iterable[Any]:
        caller = getattr(self._manager.hook, hook)
        for implementation in caller.get_hookimpls():
            if implementation.plugin is not plugin:
                continue
            for record in implementation.function():
                if not isinstance(record, record_type):
                    raise PluginError(f"{hook} yields {record!r}, no {record_type.__name__}")
                for name in (record.name, getattr(record, "unit", record.name)):
                    if not (isinstance(name, str) and is_plain(name)):
                        raise PluginError(f"{hook} yields the name {name!r}; use visible letters")
                describe(record)
                yield record

    def _add(self, item: Listed) -> None:
        key = (item.kind, item.record.name)
        other = self._listed.get(key)
        if other is not None:
            raise PluginError(
                f"two plugins are called {item.kind} {item.record.name!r}, from {other.origin} "
                f"({other.origin.module}) and {item.origin} ({item.origin.module}): uninstall one"
            )
        self._listed[key] = item

    def listed(self) -> list[Listed]:
        """All plugins, by kind in the order of `HOOKS`, then by name."""
        kinds = list(HOOKS)
        return sorted(
            self._listed.values(), key=lambda item: (kinds.index(item.kind), item.record.name)
        )

    def get(self, kind: str, name: str) -> Any:
        """The record of that kind and name. Raises InputError with the nearest where unknown."""
        if kind not in HOOKS:
            raise unknown("kind of plugin", kind, HOOKS)
        item = self._listed.get((kind, name))
        if item is None:
            raise unknown(kind, name, (known for k, known in self._listed if k == kind))
        return item.record

    def named(self, name: str) -> list[Listed]:
        """Every plugin of that name, of any kind. Raises InputError where there is none."""
        found = [item for item in self.listed() if item.record.name == name]
        if not found:
            raise unknown("plugin", name, {known for _, known in self._listed})
        return found


_in_use: ContextVar[Plugins | None] = ContextVar("geom_plugins", default=None)


@contextmanager
def using(plugins: Plugins) -> Iterator[None]:
    """Within the block, `installed` gives these plugins."""
    token = _in_use.set(plugins)
    try:
        yield
    finally:
        _in_use.reset(token)


def installed() -> Plugins:
    """The plugins of this environment, unless others are in use."""
    return _in_use.get() or _of_this_environment()


@cache
def _of_this_environment() -> Plugins:
    """What is installed, found once."""
    plugins = Plugins()
    plugins.discover()
    return plugins
