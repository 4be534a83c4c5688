"""Turn the names and options that a user gave into plugins that are ready to work.

Bad input is refused here, before anything large is read or anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from geom.errors import InputError, unknown
from geom.model.problem import Problem
from geom.plugins.chosen import Chosen
from geom.plugins.options import Given, validate
from geom.plugins.records import Certifier
from geom.plugins.registry import HOOKS, installed


def distinct(kind: str, names: Sequence[str]) -> list[str]:
    """Return the names as a list. Raises InputError if a name occurs twice."""
    for name in names:
        if list(names).count(name) > 1:
            raise InputError(f"{kind} {name} is named twice")
    return list(names)


def refuse_unused(given: Given, names: Mapping[str, Sequence[str]]) -> None:
    """Raise InputError for options that nothing will read, most likely misspelt.

    ``names`` are the plugins in use, by kind. Options of domains are checked by
    `geom.plugins.domain_options`.
    """
    for kind, name in given:
        if kind == "domain":
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
        certifier.call(partial(_prepared, problem), "prepare")


def _prepared(problem: Problem, certifier: Certifier[Any], options: Any) -> None:
    if problem.domain.shape == "simplex" and not certifier.mixtures:
        problem.domain.refuse_frame(f"certifier {certifier.name}", "use maxent or highs")
    if certifier.prepare is not None:
        certifier.prepare(problem.in_coordinates, options)
