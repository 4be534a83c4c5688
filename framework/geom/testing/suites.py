"""The suite of each kind of plugin, as named checks for pytest or a loop to go through."""

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
from geom.testing.time_limit import TimeLimit

LIMIT = 60.0
"""The seconds that a check may take unless told otherwise."""

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
    """A promise that plugins of a kind keep; calling it raises AssertionError if it is broken.

    Attributes
    ----------
    name : str
        The promise, as a name.
    run : callable
        The function that checks the promise.
    """

    name: str
    run: Callable[[], None]

    def __call__(self) -> None:
        """Check whether the promise is kept."""
        self.run()


def checks(
    kind: str,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    location: str | None = None,
    decides: int = 1,
    flags: int = 1,
    limit: float | None = LIMIT,
) -> list[Check]:
    """List the checks of an installed plugin.

    Parameters
    ----------
    kind : str
        The kind of plugin, such as ``detector``.
    name : str
        The plugin's name.
    options : mapping of str to object, optional
        The plugin's options, its defaults if None.
    location : str, optional
        A location that a source can read; required for a source.
    decides : int, optional
        The least number of known questions that a certifier must decide; 0 for a certifier that
        only checks the findings of others.
    flags : int, optional
        The least number of the known problems' unspeakable tokens that a detector must flag; 0 for
        a detector that looks for what these problems do not have, such as certain texts.
    limit : float, optional
        The seconds that a check may take. One that takes longer fails and names the function and
        line that the plugin is at, and the checks after it fail at once. None for no limit.

    Returns
    -------
    list of Check
        The checks of every kind of plugin, then those of this kind.

    Raises
    ------
    InputError
        If no such plugin is installed, or an option does not fit.
    """
    if kind not in SUITES:
        raise unknown("kind of plugin", kind, SUITES)
    if kind == "source" and location is None:
        raise InputError("to check a source, give the location of something it can read")
    record = installed().get(kind, name)
    asked = Asked(
        kind, record, validate(kind, record, options or {}), location or "", decides, flags
    )
    within = TimeLimit(limit).within
    return [
        Check(
            promise.__name__,
            partial(within, partial(promise, asked), f"{asked}: {promise.__name__}"),
        )
        for promise in (*soundness.SUITE, *SUITES[kind])
    ]


def conformance_test(
    kind: str,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    location: str | None = None,
    decides: int = 1,
    flags: int = 1,
    limit: float | None = LIMIT,
) -> Callable[[Check], None]:
    """Make a pytest test of every check in the suite.

    Parameters
    ----------
    kind : str
        As for `checks`.
    name : str
        As for `checks`.
    options : mapping of str to object, optional
        As for `checks`.
    location : str, optional
        As for `checks`.
    decides : int, optional
        As for `checks`.
    flags : int, optional
        As for `checks`.
    limit : float, optional
        As for `checks`.

    Returns
    -------
    callable
        A test; assign it to a name that begins with ``test_`` in a module.

    Raises
    ------
    InputError
        As `checks`.
    """
    import pytest

    found = checks(
        kind, name, options, location=location, decides=decides, flags=flags, limit=limit
    )

    def test(check: Check) -> None:
        check()

    each = pytest.mark.parametrize("check", found, ids=[check.name for check in found])
    decorated: Callable[[Check], None] = each(test)
    return decorated
