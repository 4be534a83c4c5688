"""The suite of a kind of plugin, as checks with names that pytest, or a loop, can go through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from geom.errors import InputError, unknown
from geom.plugins.options import validate
from geom.plugins.registry import installed
from geom.testing import (
    certifiers,
    detectors,
    executors,
    measures,
    precisions,
    reporters,
    soundness,
    sources,
)
from geom.testing.asked import Asked

SUITES: dict[str, Sequence[Callable[[Asked], None]]] = {
    "source": sources.SUITE,
    "detector": detectors.SUITE,
    "certifier": certifiers.SUITE,
    "precision": precisions.SUITE,
    "measure": measures.SUITE,
    "reporter": reporters.SUITE,
    "executor": executors.SUITE,
}


@dataclass(frozen=True)
class Check:
    """A promise of a kind of plugin; calling it raises AssertionError where it is not kept."""

    name: str
    run: Callable[[], None]

    def __call__(self) -> None:
        """See whether the promise is kept."""
        self.run()


def checks(
    kind: str,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    location: str | None = None,
    decides: int = 1,
) -> list[Check]:
    """The suite for an installed plugin, with the options given.

    A source needs the ``location`` of something it can read. A certifier must decide ``decides`` of
    the known questions at least; 0 for one that only looks at what others found.

    Raises InputError where no such plugin is installed, or where an option does not fit.
    """
    if kind not in SUITES:
        raise unknown("kind of plugin", kind, SUITES)
    if kind == "source" and location is None:
        raise InputError("to check a source, give the location of something it can read")
    record = installed().get(kind, name)
    asked = Asked(kind, record, validate(kind, record, options or {}), location or "", decides)
    return [
        Check(promise.__name__, partial(promise, asked))
        for promise in (*soundness.SUITE, *SUITES[kind])
    ]


def conformance_test(
    kind: str,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    location: str | None = None,
    decides: int = 1,
) -> Callable[[Check], None]:
    """A pytest test of every check in the suite; for the parameters see `checks`."""
    import pytest

    found = checks(kind, name, options, location=location, decides=decides)

    def test(check: Check) -> None:
        check()

    each = pytest.mark.parametrize("check", found, ids=[check.name for check in found])
    decorated: Callable[[Check], None] = each(test)
    return decorated
