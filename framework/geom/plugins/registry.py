"""Finding, naming and listing plugins.

All plugins come through the entry-point group ``geom``, geom's own too. A plugin that cannot be
imported, or whose hook raises, is listed in `Plugins.skipped` with the reason, and the others keep
working.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import pluggy

from geom.errors import InputError, PluginError, Raised, attempt, several, unknown
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

NAMING = "use small letters, digits and hyphens, as in my-idea"
"""What the name of a plugin is made of."""

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


def is_name(text: str) -> bool:
    """Return whether a plugin may have a name: small letters, digits, hyphens, a letter first."""
    return re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", text) is not None


@dataclass(frozen=True)
class Origin:
    """The origin of a plugin: the distribution and its version, and the module."""

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
    """The plugins of this process, by kind and name.

    Attributes
    ----------
    skipped : list of Skipped
        Those that could not be used.
    told : bool
        Whether the user was shown the reasons, so that no error need repeat them.
    """

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("geom")
        self._manager.add_hookspecs(hookspecs)
        self._listed: dict[tuple[str, str], Listed] = {}
        self.skipped: list[Skipped] = []
        self.told = False

    def discover(self, points: Iterable[EntryPoint] | None = None) -> None:
        """Register what the entry points name; by default, all those of the group ``geom``."""
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
        """Add the records that a plugin's hooks yield.

        Raises PluginError if a record of the same kind and name is already registered.
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
        if not self._manager.get_hookcallers(plugin):
            raise PluginError(
                f"it registers nothing: no function of {origin.module} is marked with "
                "@geom.hookimpl, as in '@hookimpl def geom_detectors()'"
            )
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
            for record in several(implementation.function(), record_type.__name__):
                if not isinstance(record, record_type):
                    raise PluginError(
                        f"{hook} yields {record!r}, not {record_type.__name__} records"
                    )
                unit = getattr(record, "unit", "none")
                if not (isinstance(unit, str) and is_plain(unit)):
                    raise PluginError(f"{hook} yields the unit {unit!r}; use visible letters")
                if not (isinstance(record.name, str) and is_name(record.name)):
                    raise PluginError(f"{hook} yields the name {record.name!r}; {NAMING}")
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
        """List all plugins, by kind in the order of `HOOKS`, then by name."""
        kinds = list(HOOKS)
        return sorted(
            self._listed.values(), key=lambda item: (kinds.index(item.kind), item.record.name)
        )

    def get(self, kind: str, name: str) -> Any:
        """Return the record of that kind and name.

        Raises InputError if it is unknown; the message suggests the nearest name.
        """
        if kind not in HOOKS:
            raise unknown("kind of plugin", kind, HOOKS)
        item = self._listed.get((kind, name))
        if item is None:
            raise self._unknown(kind, name, {known for k, known in self._listed if k == kind})
        return item.record

    def named(self, name: str) -> list[Listed]:
        """List every plugin of that name, of any kind. Raises InputError if there is none."""
        found = [item for item in self.listed() if item.record.name == name]
        if not found:
            raise self._unknown("plugin", name, {known for _, known in self._listed})
        return found

    def _unknown(self, what: str, name: str, known: Iterable[str]) -> InputError:
        """Return the error for an unknown name, with the plugins that were to be called alike."""
        error = unknown(what, name, known)
        meant = [
            f"plugin {item.name} was skipped, as said above" if self.told else str(item)
            for item in self.skipped
            if name in (item.name, item.origin.distribution)
        ]
        return InputError("; ".join([str(error), *meant])) if meant else error


_in_use: ContextVar[Plugins | None] = ContextVar("geom_plugins", default=None)


@contextmanager
def using(plugins: Plugins) -> Iterator[None]:
    """Make `installed` return these plugins within the block."""
    token = _in_use.set(plugins)
    try:
        yield
    finally:
        _in_use.reset(token)


def installed() -> Plugins:
    """Return the plugins of this environment, or those set by `using`."""
    return _in_use.get() or _of_this_environment()


@cache
def _of_this_environment() -> Plugins:
    """Find the installed plugins, once per process."""
    plugins = Plugins()
    plugins.discover()
    return plugins
