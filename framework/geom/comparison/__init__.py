"""The margin of a token at a point in every arithmetic, compared with the exact margin.

The points are the directions in a run's certificates, the tokens' own directions, points that the
user gives, or the directions that a certifier returned, before `exact` checked them. A precision
plugin computes as a machine of its arithmetic would; the truth is `geom.exact.points.margin_at`, in
rationals, without any plugin.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from geom.comparison.cells import coarse_to_fine, rows_of
from geom.comparison.claims import SolverClaim, returned
from geom.comparison.points import BORDERLINE, Subject, chosen_tokens, given_points, with_truth
from geom.comparison.table import Comparison
from geom.errors import InputError
from geom.loading import load
from geom.machine import memory
from geom.machine.threads import limited_threads
from geom.model.domains import Domain
from geom.model.in_memory import Live
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.plugins.arithmetics import Arithmetic, find_arithmetic
from geom.plugins.domain_options import domain as chosen_domain
from geom.plugins.options import Given, by_plugin
from geom.plugins.registry import installed
from geom.plugins.selection import choose, distinct, prepare, refuse_unused
from geom.progress import Watcher, track_progress, watched
from geom.store import Run
from geom.token_spec import CANDIDATES


def compare(
    run_or_readout: Run | Readout | Live | str,
    tokens: str | Iterable[int | str] | None = None,
    precisions: Sequence[str] | None = None,
    at: ArrayLike | None = None,
    solver: str | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    domain: str | Domain | None = None,
    multiple: float | None = None,
    progress: Watcher | None = None,
) -> Comparison:
    """Compare the margins of tokens in several precisions with the exact ones.

    In a run, each token is compared at the point that the run keeps for it, or at its own
    direction; in a readout, at its own direction. A precision that raises loses only its own cells.

    Parameters
    ----------
    run_or_readout : Run, Readout, str or object
        A run, or anything that `geom.load` takes.
    tokens : str or iterable of int or str, optional
        Ids or texts, or a spec: ``5,9,100-120``, a text, ``all``, ``candidates`` (the flagged
        tokens; for a readout, those that the default detector flags), ``borderline`` (relative
        margin within ``multiple`` epsilons of float32) or ``borderline=N`` (the N nearest the
        border). If None, the tokens of the run nearest the border.
    precisions : sequence of str, optional
        Names, each followed by options if any, as in ``arb?bits=300``; all installed precisions
        if None.
    at : array_like of shape (d,) or (n, d), float32 or float64, optional
        The point of one token, or the points of n tokens, to use instead.
    solver : str, optional
        A certifier whose returned directions are used as the points instead.
    options : mapping of str to object, optional
        ``{"KIND.NAME.OPTION": value}``.
    domain : str or Domain, optional
        The set where x lives, ``auto`` if None; leave it out for a run, which has its own domain.
    multiple : float, optional
        The distance from the border, in epsilons, that ``borderline`` covers.
    progress : callable, optional
        A function called with the stage, the amount done, the total and their unit.

    Returns
    -------
    Comparison
        The tokens by precisions, and which of the margins have the right sign.

    Raises
    ------
    InputError
        If a name, an option, the tokens or the points do not fit.
    PluginError
        If a source breaks, or a precision breaks when it is asked for its memory.
    """
    given = by_plugin(options or {})
    arithmetics = _arithmetics(precisions, given)
    of_run = isinstance(run_or_readout, Run)
    _refuse_at_odds(of_run, tokens, at, solver, domain, multiple)
    if of_run and any(kind == "domain" for kind, _ in given):
        raise InputError("a run has its own domain: leave the option domain.box.radius out")
    with watched(progress), limited_threads():
        if isinstance(run_or_readout, Run):
            subject = Subject(run_or_readout.problem, run_or_readout)
        else:
            readout = load(run_or_readout, given)
            where = chosen_domain(readout, domain or "auto", given)
            subject = Subject(Problem(readout, where))
        with watched(progress, subject.problem.readout.noun):
            return _compared(subject, tokens, arithmetics, at, solver, given, multiple)


def _refuse_at_odds(
    of_run: bool,
    tokens: str | Iterable[int | str] | None,
    at: ArrayLike | None,
    solver: str | None,
    domain: str | Domain | None,
    multiple: float | None,
) -> None:
    """Refuse arguments that contradict each other, before anything large is loaded."""
    if of_run and domain is not None:
        raise InputError("a run has its own domain: leave domain out")
    if at is not None and solver is not None:
        raise InputError("points are given and a solver is named: leave one of them out")
    if multiple is not None and tokens != BORDERLINE:
        raise InputError("a multiple goes with 'borderline' alone: leave it out")
    if multiple is not None and not (math.isfinite(multiple) and multiple > 0.0):
        raise InputError(f"multiple {multiple}: give a number above zero")
    chosen_by_us = isinstance(tokens, str) and (
        tokens.startswith(BORDERLINE) or tokens == CANDIDATES
    )
    if at is not None and (tokens is None or chosen_by_us):
        raise InputError("points are given: list the id of each, as in 5,9,100-120")
    if tokens is None and not of_run:
        raise InputError(
            "no id is named: give some as in 5,9,100-120, borderline, borderline=20, candidates "
            "or all"
        )
    if solver is not None:
        installed().get("certifier", solver)


def _arithmetics(names: Sequence[str] | None, given: Given) -> list[Arithmetic]:
    """Return the precisions asked for, or all installed ones if None, with their options."""
    if names is None:
        names = [item.record.name for item in installed().listed() if item.kind == "precision"]
    if not names:
        raise InputError("no precision to compare: install a plugin that brings one, or name one")
    return [find_arithmetic(name, given) for name in distinct("precision", names)]


def _refuse_too_large(readout: Readout, arithmetics: Sequence[Arithmetic]) -> None:
    """Raise InputError if any one precision needs more memory than is available.

    The precisions work one at a time.
    """
    for item in arithmetics:
        what = f"precision {item.name}, not counting the weights,"
        need = _need(item, readout)
        memory.check_memory(need, what, "free some memory, or name other precisions")


def _need(item: Arithmetic, readout: Readout) -> int:
    return item.plugin.call(lambda *_: item.memory(readout), "memory", "asked for its memory")


def _compared(
    subject: Subject,
    tokens: str | Iterable[int | str] | None,
    arithmetics: Sequence[Arithmetic],
    at: ArrayLike | None,
    solver: str | None,
    given: Given,
    multiple: float | None,
) -> Comparison:
    """Do the work of `compare` once the run or readout is loaded."""
    problem = subject.problem
    if problem.readout.V == 1:
        noun = problem.readout.noun
        raise InputError(f"the readout has one {noun}, so there is no margin: give one with more")
    names = {
        "source": [problem.readout.source.name],
        "precision": [item.plugin.record.name for item in arithmetics],
        "certifier": [] if solver is None else [solver],
    }
    refuse_unused(given, names)
    _refuse_too_large(problem.readout, arithmetics)
    certifiers = choose("certifier", names["certifier"], given)
    prepare(problem, certifiers)
    claims: tuple[SolverClaim, ...] = ()
    notes: tuple[str, ...] = ()
    if at is not None and tokens is not None:
        found = given_points(problem.readout, tokens, at)
    else:
        ids, notes = chosen_tokens(subject, tokens, multiple)
        if certifiers:
            found, claims = returned(problem, ids, certifiers[0])
        else:
            found = [(token, *subject.point(token)) for token in ids]
    points = tuple(
        with_truth(problem, *item) for item in track_progress(found, "exact", len(found), "tokens")
    )
    ordered, roundoffs, faults = coarse_to_fine(arithmetics)
    rows, failed = rows_of(problem.readout, ordered, points)
    return Comparison(
        points,
        roundoffs,
        rows,
        claims=claims,
        notes=(*notes, *faults, *failed),
        noun=problem.readout.noun,
    )
