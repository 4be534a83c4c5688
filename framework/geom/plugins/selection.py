"""Turn the names and options that a user gave into plugins that are ready to work.

Bad input is refused here, before anything large is read or anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from geom.errors import InputError, unknown
from geom.model import domains
from geom.model.domains import Domain
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.plugins.chosen import Chosen
from geom.plugins.options import Given, validate
from geom.plugins.records import Certifier
from geom.plugins.registry import HOOKS, installed

_BOX = ("domain", "box")


def distinct(kind: str, names: Sequence[str]) -> list[str]:
    """Return the names as a list. Raises InputError if a name occurs twice."""
    for name in names:
        if list(names).count(name) > 1:
            raise InputError(f"{kind} {name} is named twice")
    return list(names)


def refuse_unused(given: Given, names: Mapping[str, Sequence[str]]) -> None:
    """Raise InputError for options that nothing will read, most likely misspelt.

    ``names`` are the plugins in use, by kind. Options of domains are checked by `domain`.
    """
    for kind, name in given:
        if (kind, name) == _BOX:
            continue
        if kind not in HOOKS:
            raise unknown("kind of plugin", kind, HOOKS)
        installed().get(kind, name)
        if name not in names.get(kind, ()):
            raise InputError(f"options are given for {kind} {name}, which has no part in this run")


def choose(kind: str, names: Sequence[str], given: Given) -> list[Chosen[Any]]:
    """Return the plugins with their validated options.

    Raises InputError if a name or an option is unknown, or a value does not fit.
    """
    records = [installed().get(kind, name) for name in names]
    return [Chosen(kind, r, validate(kind, r, given.get((kind, r.name), {}))) for r in records]


def prepare(problem: Problem, certifiers: Sequence[Chosen[Certifier[Any]]]) -> None:
    """Let each certifier, with its options, refuse a problem that it cannot serve.

    Raises the certifier's own InputError, and PluginError if it raises anything else.
    """
    for certifier in certifiers:
        certifier.call(partial(_prepared, problem))


def _prepared(problem: Problem, certifier: Certifier[Any], options: Any) -> None:
    if certifier.prepare is not None:
        certifier.prepare(problem, options)


def domain(readout: Readout, asked: str | Domain, given: Given) -> Domain:
    """Return the domain asked for, by name or as given, with the box's radius if that is set.

    Raises InputError for an unknown name, an option that does not apply, or a domain of another
    width than the readout.
    """
    options = given.get(_BOX, {})
    radius = _radius(options)
    found = asked
    if isinstance(found, str):
        found = domains.named(found, readout.d, readout.norm, radius)
    if options and (found.shape != "box" or found is asked):
        raise InputError("options are given for domain box, which has no part in this run")
    return Problem(readout, domains.checked(found)).domain


def _radius(options: Mapping[str, Any]) -> float:
    for option in options:
        if option != "radius":
            raise unknown("option of domain box", option, ["radius"])
    try:
        return float(options.get("radius", 1.0))
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"option domain.box.radius={options['radius']}: give a number") from None
