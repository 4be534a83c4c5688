"""The opening of a run: decide in bulk what can be, before any certifier is asked.

In this order: twins; tokens that win along their own direction, whose witness is a recipe and is
not stored; the shared Newton step for the others; rounds of small programs for the tokens that the
step leaves (`geom.opening`). What each step finds is proven here (`geom.exact`).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from geom import exact
from geom.certificates import Finding, Verdict, Weights
from geom.exact.aim import reach
from geom.exact.bulk import prove_own_directions, prove_points
from geom.exact.caps import probability_cap
from geom.exact.close import margins_below
from geom.exact.products import POINTS
from geom.exact.single import slices
from geom.model.problem import Problem
from geom.numbers.arrays import Flags, Floats, Ids
from geom.opening.corners import at_once, winning_corners
from geom.opening.rounds import Best, Goal, find
from geom.opening.shared_step import shared_directions
from geom.opening.twins import find_twins, group_sizes
from geom.progress import track_progress
from geom.runs.outcomes import bulk_outcome, own_direction_outcome
from geom.store import Outcome

TWIN = "twin"
SHARED_STEP = "shared-step"
CORNER = "corner"
PROVEN_AT_ONCE = 64
"""How many tokens of the rounds are proven and stored together."""


def opening(problem: Problem, tokens: Sequence[int], unbeaten: Flags) -> Iterator[list[Outcome]]:
    """Yield the outcomes of the tokens that are decided in bulk, a block at a time.

    On an ellipsoid the shared step and the rounds work on its coordinates, and no token is tried
    along its own direction. On the hull of points its corners take the place of all of these.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    tokens : sequence of int
        The tokens to decide, ascending.
    unbeaten : ndarray of shape (n,), bool
        Which of them win along their own direction: their witness needs no storing, so they try
        that point first.

    Yields
    ------
    list of Outcome
        Decided tokens; the tokens that no list holds are left.
    """
    if problem.readout.V == 1 or not len(tokens):
        return
    ids = np.asarray(tokens, dtype=np.int64)
    twins = find_twins(problem.readout)
    sizes, twins = group_sizes(twins)[ids], twins[ids]
    yield from _twins(problem, *(values[twins >= 0] for values in (ids, twins, sizes)))
    ids, unbeaten = ids[twins < 0], unbeaten[twins < 0]
    if problem.domain.shape == "simplex":
        yield from _corners(problem, ids)
        return
    if problem.domain.frame is not None:  # its own row is not where an ellipsoid is
        unbeaten = np.zeros_like(unbeaten)
    left: list[int] = []
    beaten = np.append(ids[~unbeaten], (yield from _own_directions(problem, ids[unbeaten])))
    for part in _blocks(beaten, "shared step"):
        yield _shared_step(problem, part, left)
    yield from _rounds(problem, np.array(left, dtype=np.int64))


def _twins(problem: Problem, tokens: Ids, twins: Ids, sizes: Ids) -> Iterator[list[Outcome]]:
    """Yield the twins that are proven unspeakable, by a weight on the other one.

    ``sizes`` (n,) are those of their groups.
    """
    groups = list(zip(tokens.tolist(), twins.tolist(), sizes.tolist(), strict=True))
    for part in slices(len(groups), POINTS):
        found = []
        for token, twin, equal in groups[part]:
            started = time.perf_counter()
            finding = Finding(weights=Weights(np.array([twin]), np.ones(1)))
            verdict = exact.judge(problem, token, finding)
            if verdict.decided:
                cap = probability_cap(problem, token, None, equal)
                note = f"same row and bias as {problem.readout.noun} {twin}"
                seconds = time.perf_counter() - started
                outcome = bulk_outcome(token, verdict, finding, TWIN, seconds, note=note)
                found.append(replace(outcome, probability_upper=cap))
        yield found


def _own_directions(problem: Problem, tokens: Ids) -> Generator[list[Outcome], None, Ids]:
    """Yield the tokens proven to win along their own direction, and return the others."""
    started = time.perf_counter()
    lower = prove_own_directions(problem, tokens)
    seconds = (time.perf_counter() - started) / max(1, len(tokens))
    won = np.flatnonzero(lower > 0.0)
    for part in slices(len(won), POINTS):
        places = won[part]
        yield [
            own_direction_outcome(token, margin, seconds)
            for token, margin in zip(tokens[places].tolist(), lower[places].tolist(), strict=True)
        ]
    return tokens[~(lower > 0.0)]


def _corners(problem: Problem, tokens: Ids) -> Iterator[list[Outcome]]:
    """Yield the tokens that are proven to win at one of the points whose hull is the domain."""
    started = time.perf_counter()
    corner = winning_corners(problem)[tokens]
    won = np.flatnonzero(corner >= 0)
    for part in _blocks(won, "corners", at_once(problem.domain.coordinates)):
        points = np.zeros((len(part), problem.domain.coordinates))
        points[np.arange(len(part)), corner[part]] = 1.0
        lower = points_below(problem, tokens[part], points)
        seconds = (time.perf_counter() - started) / len(part)
        found = []
        for token, x, margin in zip(tokens[part].tolist(), points, lower.tolist(), strict=True):
            if margin > 0.0:
                verdict = Verdict("speakable", "witness", margin_lower=margin)
                found.append(bulk_outcome(token, verdict, Finding(x=x), CORNER, seconds))
        yield found
        started = time.perf_counter()


def _shared_step(problem: Problem, tokens: Ids, left: list[int]) -> list[Outcome]:
    """Return the tokens that the shared step proves; add the others to ``left``."""
    started = time.perf_counter()
    points = shared_points(problem, tokens)
    lower = bulk_below(problem, tokens, points)
    seconds = (time.perf_counter() - started) / len(tokens)
    found = []
    for token, x, margin in zip(tokens.tolist(), points, lower.tolist(), strict=True):
        if margin > 0.0:
            verdict = Verdict("speakable", "witness", margin_lower=margin)
            found.append(bulk_outcome(token, verdict, Finding(x=x), SHARED_STEP, seconds))
        else:
            left.append(token)
    return found


def _rounds(problem: Problem, tokens: Ids) -> Iterator[list[Outcome]]:
    """Yield the tokens that rounds of small programs decide, proven a few at a time."""
    starts, asked = partial(shared_points, problem), problem.in_coordinates
    found = track_progress(
        find(asked, tokens, starts, Goal()), f"hard {problem.readout.noun.plural}", len(tokens)
    )
    batch: list[Best] = []
    started = time.perf_counter()
    for item in found:
        batch.append(item)
        if len(batch) == PROVEN_AT_ONCE:
            yield _proven(problem, batch, started)
            started, batch = time.perf_counter(), []
    if batch:
        yield _proven(problem, batch, started)


def _proven(problem: Problem, found: list[Best], started: float) -> list[Outcome]:
    """Return the tokens whose finding is proven: points in bulk, weights one by one."""
    out: list[tuple[int, Verdict, Finding, float | None]] = []
    won = [best for best in found if best.margin >= 0.0]
    tokens = np.array([best.token for best in won], dtype=np.int64)
    points = np.array([best.x for best in won]).reshape(-1, problem.domain.coordinates)
    for best, margin in zip(won, points_below(problem, tokens, points).tolist(), strict=True):
        if margin > 0.0:
            verdict = Verdict("speakable", "witness", margin_lower=margin)
            out.append((best.token, verdict, Finding(x=best.x), None))
    for best in found:
        if best.vanishes:
            finding = Finding(weights=best.weights)
            verdict = exact.judge(problem, best.token, finding)
            if verdict.name == "unspeakable":
                cap = probability_cap(problem, best.token, best.weights)
                out.append((best.token, verdict, finding, cap))
    seconds = (time.perf_counter() - started) / len(found)
    return [
        bulk_outcome(token, verdict, finding, SHARED_STEP, seconds, probability_upper=cap)
        for token, verdict, finding, cap in out
    ]


def shared_points(problem: Problem, tokens: Ids) -> Floats:
    """Return the points (n, k) of the domain that the shared step leads to, as far out as it is."""
    problem = problem.in_coordinates
    steps = shared_directions(problem, tokens)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if problem.domain.shape == "box":
            steps /= np.abs(steps).max(axis=1, keepdims=True)
        steps *= reach(problem)
    steps[~np.isfinite(steps).all(axis=1)] = 0.0
    return problem.domain.fit_all(steps)


def bulk_below(problem: Problem, tokens: Ids, points: Floats) -> Floats:
    """Bound the largest margins (n,) from below, each from a point (n, d), in bulk alone.

    Minus infinity proves nothing: float32 cannot tell, or the point is outside the domain.
    """
    inside = problem.domain.contains_all(points)
    return np.where(inside, prove_points(problem, tokens, points), -np.inf)


def points_below(
    problem: Problem, tokens: Ids, points: Floats, margins: Floats | None = None
) -> Floats:
    """Bound the largest margins from below, each from a point (n, d), in bulk, then exactly.

    ``margins`` (n,) are the margins there as far as float64 tells, if bounds are to be as high as
    they are. Returns lower bounds (n,) in logits, minus infinity for a point outside the domain.
    """
    inside = problem.domain.contains_all(points)
    lower = bulk_below(problem, tokens, points)
    left = np.flatnonzero(inside & (True if margins is not None else ~(lower > 0.0)))
    if left.size:
        wanted = None
        if margins is not None and (problem.domain.bounded or not problem.homogeneous):
            wanted = margins[left] * (1.0 + 1e-9)
        found = margins_below(problem, tokens[left], points[left], wanted)
        lower[left] = np.maximum(lower[left], found)
    return lower


def _blocks(tokens: Ids, stage: str, size: int = POINTS) -> Iterator[Ids]:
    """Yield the tokens in blocks that share a product, with progress."""
    blocks = [tokens[part] for part in slices(len(tokens), size)]
    return track_progress(blocks, stage, len(tokens), amount=len) if blocks else iter(())
