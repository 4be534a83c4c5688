"""Rows with which unspeakable tokens are speakable, all at once, proven on the rounded head.

What is found is checked, and not claimed to be the least: for several rows at once that is not a
convex question. `geom.repairing.search` has the method.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from geom.certificates import Finding
from geom.errors import InputError, StoreError
from geom.exact import judge
from geom.exact.bulk import prove_own_directions
from geom.exact.changes import freeing_bounds
from geom.exact.close import margins_below
from geom.loading import load
from geom.machine.threads import limited_threads
from geom.model import domains
from geom.model.domains import Domain
from geom.model.in_memory import Live
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.model.row_file import RowFile
from geom.numbers.arrays import Floats, Ids
from geom.opening.rounds import Goal
from geom.plugins.options import by_plugin
from geom.progress import Watcher, watched
from geom.repairing.geometry import Geometry
from geom.repairing.neighbours import nearest_distances
from geom.repairing.protected import Protected
from geom.repairing.records import Repair, RepairedToken, UnrepairedToken
from geom.repairing.search import Search
from geom.repairing.survival import lost_tokens
from geom.runs.pipeline import run as audited
from geom.store import Run
from geom.token_spec import asked_ids

UNSPEAKABLE = "unspeakable"
"""The tokens that a run proved unspeakable, without rows of padding: no tokenizer has those."""

DEFAULT_MARGIN = 1.0
"""The margin asked for, in logits: more than rounding logits of up to 64 to bfloat16 can take."""

LONGEST_SEARCH = 12
"""How often the search begins anew without the tokens that it had to leave: each time the half that
moves the furthest, because without them others may move less, and in the end all."""


def repair(
    run_or_readout: Run | Readout | Live | str,
    tokens: str | Iterable[int | str] = UNSPEAKABLE,
    *,
    margin: float = DEFAULT_MARGIN,
    at_most: float | str | None = None,
    domain: str | Domain | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Watcher | None = None,
) -> Repair:
    """Find rows with which unspeakable tokens are speakable, all at once, and prove that they are.

    The rows are the head's own, in its own type and rounded to it before anything is proven. Biases
    stay as they are. Tokens known to be speakable are kept so: those of the run at their witness,
    and others that provably win along their own direction at that.

    Parameters
    ----------
    run_or_readout : Run, Readout, str or object
        A run, or anything that `geom.load` takes, whose candidates are then audited first.
    tokens : str or iterable of int or str, optional
        Ids or texts, a spec such as ``5,9,100-120``, or ``unspeakable``: those that the run proved
        unspeakable, except rows of padding.
    margin : float, optional
        The margin that each shall have somewhere in the domain, in logits.
    at_most : float or str, optional
        The longest change of a row, as the domain sees it: a length, or a share of the median
        length of all rows as in ``"10%"``. Tokens that need more are left as they are.
    domain : str or Domain, optional
        The set where x lives, ``auto`` if None; leave it out for a run, which has its own domain.
    options : mapping of str to object, optional
        ``{"KIND.NAME.OPTION": value}``, for the source of a named model.
    seed : int, optional
        The seed of the directions that the search draws.
    progress : callable, optional
        A function called with the stage, the amount done, the total and their unit.

    Returns
    -------
    Repair
        The rows, and what is proven of them.

    Raises
    ------
    InputError
        If the list of tokens, the margin or the length does not fit; for a head behind a
        projection, or one whose own rows are not known; and if a row would leave the range of the
        head's type.
    StoreError
        If the run is damaged, or was made with other weights.
    """
    if not (math.isfinite(margin) and margin > 0.0):
        raise InputError(f"margin {margin!r}: give a positive number of logits")
    if isinstance(run_or_readout, Run) and domain is not None:
        raise InputError("a run has its own domain: leave domain out")
    with watched(progress), limited_threads(), ExitStack() as stack:
        if isinstance(run_or_readout, Run):
            run = run_or_readout
        else:
            readout = load(run_or_readout, by_plugin(options or {}))
            run = stack.enter_context(audited(readout, domain=domain or "auto", hardest=0))
        problem = run.problem
        stack.enter_context(watched(progress, problem.readout.noun))
        problem.domain.refuse_frame("geom repair", "repair on the model's own domain")
        geometry = Geometry.of(problem)
        lengths = problem.readout.row_norms
        median = float(np.median(lengths))
        longest = _longest(at_most, median)
        ids = _asked(run, tokens)
        protected, unknown = _protected(run, geometry, ids, margin)
        chosen, left, search = _searched(geometry, protected, ids, margin, longest, seed)
        return _proven(run, geometry, search, protected, chosen, left, margin, median, unknown)


def _asked(run: Run, tokens: str | Iterable[int | str]) -> Ids:
    """Return the ids asked for, ascending."""
    if isinstance(tokens, str) and tokens == UNSPEAKABLE:
        found = [r.token_id for r in run.rows(UNSPEAKABLE) if r.token_kind != "padding"]
    else:
        found = asked_ids(tokens, run.problem.readout)
    return np.array(sorted(found), dtype=np.int64)


def _longest(at_most: float | str | None, median: float) -> float:
    """Return the longest change allowed. Raises InputError for anything but a positive number."""
    if at_most is None:
        return math.inf
    text = str(at_most).strip()
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0.0):
        raise InputError(
            f"at-most {text[:40]!r}: give a positive length, or a share of the median row such as "
            "10%"
        )
    return value / 100.0 * median if text.endswith("%") else value


def _protected(run: Run, geometry: Geometry, ids: Ids, margin: float) -> tuple[Protected, int]:
    """Return the tokens known to be speakable except ``ids``, and how many others there are."""
    problem = run.problem
    V = problem.readout.V
    lower = np.full(V, -np.inf)
    seen = np.zeros(V, dtype=np.bool_)
    for verdict in ("speakable", "unspeakable", "undecided"):
        examined, proven, _ = run.bounds(verdict)
        seen[examined] = True
        if verdict == "speakable":
            lower[examined] = proven
    dead = run.bounds(UNSPEAKABLE)[0]
    recipes = run.recipes()
    points: dict[int, Floats] = {}
    for token in np.flatnonzero(lower > 0.0).tolist():
        if token not in recipes:
            points[token] = _point(run, geometry, token)
    rest = np.setdiff1d(np.flatnonzero(~seen), ids)
    if rest.size and V > 1:
        lower[rest] = prove_own_directions(problem, rest)
        rest = rest[~(lower[rest] > 0.0)]
    if rest.size and V > 1:  # the detectors have passed over them, and float32 cannot tell why
        whole = {"domain": problem.domain, "tokens": rest.tolist(), "detectors": [], "hardest": 0}
        with audited(problem.readout, **whole) as more:
            examined, proven, _ = more.bounds("speakable")
            lower[examined] = proven
            dead = np.union1d(dead, more.bounds(UNSPEAKABLE)[0])
            for token in np.setdiff1d(examined, list(more.recipes())).tolist():
                points[token] = _point(more, geometry, token)
    lower[ids] = -np.inf
    kept = np.flatnonzero(lower > 0.0)
    unknown = V - kept.size - np.union1d(ids, dead).size
    keeps = 0.5 * np.minimum(lower[kept], margin)
    return Protected(geometry, kept, keeps, points), int(unknown)


def _point(run: Run, geometry: Geometry, token: int) -> Floats:
    """Return the stored witness of a token, as far out as points are tried."""
    x = run.evidence(token).x
    if x is None or x.shape != (geometry.problem.readout.d,):
        raise StoreError(
            f"the run keeps no witness of {run.noun} {token}: geom verify names its faults"
        )
    return np.asarray(geometry.placed(x[None])[0] if geometry.length == 1.0 else x)


def _searched(
    geometry: Geometry, protected: Protected, ids: Ids, margin: float, longest: float, seed: int
) -> tuple[Ids, list[tuple[int, str, float | None]], Search | None]:
    """Return the tokens with rows, those that are left and why, and the search."""
    left: list[tuple[int, str, float | None]] = []
    for attempt in range(LONGEST_SEARCH):
        if not ids.size:
            break
        search = Search(geometry, protected, ids, margin, seed)
        search.run()
        moved = np.linalg.norm(search.real, axis=1)
        short = search.margins(search.real) < margin
        far = moved > longest
        if not (short | far).any():
            return ids, left, search
        if attempt < LONGEST_SEARCH - 2:
            order = np.argsort(-(moved + np.where(short, moved.max(), 0.0)), kind="stable")
            order = order[(short | far)[order]]
            kept = order[(order.size + 1) // 2 :]
            short[kept] = far[kept] = False
        for place in np.flatnonzero(short | far).tolist():
            token = int(ids[place])
            if short[place]:
                why = f"no row of {geometry.head.dtype} was found that wins by the margin"
                left.append((token, why, None))
            else:
                left.append((token, "its row would move further than allowed", float(moved[place])))
        ids = ids[~(short | far)]
    left += [(token, "no rows were found for all at once", None) for token in ids.tolist()]
    return np.zeros(0, dtype=np.int64), left, None


def _proven(
    run: Run,
    geometry: Geometry,
    search: Search | None,
    protected: Protected,
    ids: Ids,
    left: list[tuple[int, str, float | None]],
    margin: float,
    median: float,
    unknown: int,
) -> Repair:
    """Return the repair with what exact arithmetic proves of it."""
    readout = run.problem.readout
    rows: list[RepairedToken] = []
    examined = set(run.tokens())

    def alone(token: int) -> float:
        return _alone(run, geometry, token, margin) if token in examined else 0.0

    file: RowFile | None = None
    lost: tuple[int, ...] = ()
    patched = readout
    if search is not None:
        lower, points = _largest(search, search.patched())
        if (lower < margin).any():
            worst = int(ids[lower.argmin()])
            raise InputError(
                f"the margin {margin!r} is too small to be told from rounding at "
                f"{readout.noun} {worst}: ask for more"
            )
        moved = np.linalg.norm(search.real, axis=1)
        changed = moved > 0.0
        if changed.any():
            file = RowFile(ids[changed], search.rows[changed])
            patched = readout.with_rows(file.ids, file.rows)
        problem = Problem(patched, run.problem.domain)
        lost = lost_tokens(problem, search.protected, ids[changed])
        nearest = nearest_distances(readout, ids)
        for place, token in enumerate(ids.tolist()):
            apart = float(nearest[place])
            rows.append(
                RepairedToken(
                    token,
                    token=readout.text(token),
                    token_kind=readout.kind(token),
                    moved=float(moved[place]),
                    of_median=float(moved[place]) / median if median > 0.0 else math.inf,
                    of_nearest=float(moved[place]) / apart if apart > 0.0 else None,
                    alone_at_least=alone(token),
                    margin=float(lower[place]),
                    x=points[place],
                )
            )
    unrepaired = tuple(
        UnrepairedToken(
            token,
            token=readout.text(token),
            token_kind=readout.kind(token),
            why=why,
            found=found,
            alone_at_least=alone(token),
        )
        for token, why, found in sorted(left)
    )
    return Repair(
        model=str(readout.source),
        margin=margin,
        rows=tuple(rows),
        left=unrepaired,
        kept=protected.ids.size - len(lost),
        lost=lost,
        unknown=unknown,
        median_length=median,
        file=file,
        readout=patched,
    )


def _largest(search: Search, problem: Problem) -> tuple[Floats, Floats]:
    """Return the largest margins (n,) that are proven with the new rows, and the points (n, d)."""
    points = search.points
    lower = margins_below(problem, search.ids, points)
    better = search.better_points(problem, Goal(enough=np.inf, gap=0.01))
    higher = margins_below(problem, search.ids, better)
    inside = problem.domain.contains_all(better)
    best = inside & (higher > lower)
    return np.where(best, higher, lower), np.where(best[:, None], better, points)


def _alone(run: Run, geometry: Geometry, token: int, margin: float) -> float:
    """Return a proven lower bound on the change of one row that gives it the margin; 0 if none.

    A change D adds ``D . y`` at x, so ``|D| >= (margin - margin(x)) / |y|``, and
    ``-margin(x) >= low |y|`` by `freeing_bounds`. With a shift of the norm, that is a question
    about the points y, of which all of R^d is asked.
    """
    problem = run.problem
    readout, domain = problem.readout, problem.domain
    weights = run.evidence(token).weights
    if weights is None or judge(problem, token, Finding(weights=weights)).name != UNSPEAKABLE:
        return 0.0
    low, seen = 0.0, problem
    if readout.shift is not None:
        plain = replace(readout, b=readout.shift.bias, shift=None)
        seen = Problem(plain, domains.unbounded(readout.d))
    if readout.shift is not None or not geometry.shift.any():
        low = freeing_bounds(seen, token, Finding(weights=weights))[0]
    if not domain.bounded and not problem.homogeneous:
        return low
    reach = 1.0 if not domain.bounded else domain.radius
    if domain.shape == "box":
        reach *= math.sqrt(domain.d)
    longest = (reach + float(np.linalg.norm(geometry.shift))) * (1.0 + 1e-12)
    return low + margin / longest * (1.0 - 1e-12)
