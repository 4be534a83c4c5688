"""The gate for people who test: no token of a model is unspeakable, except those it may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from geom.gate import Gate
from geom.loading import load
from geom.model.domains import Domain
from geom.model.in_memory import Live
from geom.model.readout import Readout
from geom.plugins.options import by_plugin
from geom.runs.pipeline import execute
from geom.runs.planning import DEFAULT_CERTIFIERS, plan
from geom.store import Run
from geom.token_spec import CANDIDATES

_NAMED = 50
"""The most tokens that a message names."""


def assert_speakable(
    model: Readout | Live | str | Run,
    *,
    ignore: str | Iterable[str] = (),
    fail_on: str | Iterable[str] = ("unspeakable", "undecided"),
    baseline: Run | str | Path | None = None,
    tokens: str | Iterable[int] = CANDIDATES,
    certifiers: Iterable[str] = DEFAULT_CERTIFIERS,
    domain: str | Domain = "auto",
    options: Mapping[str, Any] | None = None,
) -> None:
    """Assert that a model can say its tokens.

    Parameters
    ----------
    model : Readout, str, object or Run
        The weights, the name of a model or a model in memory, as for `geom.load`; or a run, which
        is judged as it is, so that only ``ignore``, ``fail_on`` and ``baseline`` matter.
    ignore : str or iterable of str, optional
        Kinds of tokens that do not count: ``special``, ``added``, ``byte``, ``unused`` or
        ``padding``, as a list or separated by commas.
    fail_on : str or iterable of str, optional
        What fails: ``unspeakable``, ``undecided`` or ``speakable-padding``.
    baseline : Run, str or Path, optional
        An earlier run of the same vocabulary, or a folder with one. What it found does not fail.
    tokens : str or iterable of int, optional
        The tokens to examine, as for `geom.run`.
    certifiers : iterable of str, optional
        The chain of certifiers, as for `geom.run`.
    domain : str or Domain, optional
        The set where x lives, as for `geom.run`.
    options : mapping of str to object, optional
        ``{"KIND.NAME.OPTION": value}``.

    Raises
    ------
    AssertionError
        If a token is what ``fail_on`` names, or nothing was proven. The message names the tokens.
    InputError
        If an argument does not fit.
    """
    __tracebackhide__ = True
    gate = Gate.asked(fail_on, ignore, baseline, named=_NAMED)
    if isinstance(model, Run):
        context: Any = nullcontext(model)
    else:
        given = by_plugin(options or {})
        asked = plan(
            load(model, given),
            certifiers=tuple(certifiers),
            domain=domain,
            tokens=tokens,
            given=given,
            hardest=0,
        )
        gate.check_problem(asked.problem)
        context = execute(asked)
    with context as run:
        failed = [check for check in gate.checks(run) if check.failed]
        name = run.model
    if failed:
        raise AssertionError("\n".join([f"{name}:", *(check.said for check in failed)]))
