"""Points that few rivals are above, from a point that more are above.

Two moves alternate while one of them helps. Counted with a sigmoid in place of a step, the number
of rivals above is smooth, and a quasi-Newton method makes it fall while the sigmoid grows steeper.
If that leads no further, the point of the largest margin over all rivals that are not above is
taken: some of those that are above may drop on the way.

Source: J. W. Chinneck, Feasibility and Infeasibility in Optimization, Springer 2008, chapter 7, on
the fewest constraints to drop from an infeasible system.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize  # type: ignore[import-untyped]  # it ships no types
from scipy.special import expit  # type: ignore[import-untyped]  # it ships no types

from geom import Floats
from geom_plugins.solvers.contest import Contest
from geom_plugins.solvers.largest_margin import Program, Span, solve, working_set

GAP = 1e-2
"""The relative gap of the bounds on a margin that is only a stop on the way."""

ROUNDS = 12
"""The most moves of a descent."""

NARROW, SEVERAL = 64, 6
"""Up to the width ``NARROW`` descents are cheap, and start from this many of the best points."""

STEEPER = (1.0, 0.3, 0.1)
"""The widths of the sigmoid, one after another, times the median distance of what it counts."""

ITERATIONS = 30
"""The most steps of the quasi-Newton method at each width."""

COUNTED = 8
"""The rivals that the sigmoid counts, those nearest to a tie, times the width d."""

MANY = 1000
"""The most rivals above at which the largest margin over the others is looked for."""

_EDGE = 0.05
"""How far inside its edge, in squares, a ball or box is mapped back; on a hull, in shares of the
mean."""


def descend(contest: Contest, starts: Floats, enough: int) -> Floats:
    """Return the point (k,) with the fewest rivals above that is found from some ``starts`` (n, k).

    The search ends if no more than ``enough`` rivals are above.
    """
    order = sorted(starts, key=contest.count)
    best: Floats = order[0]
    for start in order[: SEVERAL if contest.problem.readout.d <= NARROW else 1]:
        if contest.count(best) > enough:
            best = min(best, _bottom(contest, start, enough), key=contest.count)
    return best


def _bottom(contest: Contest, y: Floats, enough: int) -> Floats:
    """Return the end (k,) of the descent that starts at ``y``."""
    for _ in range(ROUNDS):
        count = contest.count(y)
        if count <= enough:
            break
        for move in (_smoothed, _past):
            found = move(contest, y)
            if contest.count(found) < count:
                y = found
                break
        else:
            break
    return y


def _smoothed(contest: Contest, y: Floats) -> Floats:
    """Return a point with fewer rivals above by a sigmoid's count, from ``y``.

    Points of a ball, a box or a hull are images of all of R^k, so that no step leaves the domain.
    """
    chart, program = _CHARTS[contest.shape], contest.whole
    z, unit = chart.back(y), 0.0
    for width in STEEPER:
        near = np.abs(program.values(chart.into(z)))
        count = min(near.size - 1, COUNTED * program.problem.readout.d)
        ids = np.argpartition(near, count - 1)[:count]
        unit = unit or float(np.median(near[ids])) or 1.0
        smooth = _Count(chart, program, program.rows(ids), program.c[ids], width * unit)
        options = {"maxiter": ITERATIONS, "gtol": 0.0}
        z = minimize(smooth, z, jac=True, method="L-BFGS-B", options=options).x
    return chart.into(z)


def _past(contest: Contest, y: Floats) -> Floats:
    """Return the point of the largest margin over the rivals that are not above at ``y``."""
    above = contest.above(y)
    if above.sum() > MANY or above.sum() == above.size - 1:
        return y
    program = contest.without(above)
    return solve(program, working_set(program, y), GAP, sure=False).y


@dataclass(frozen=True)
class _Chart:
    """A map from R^k ``into`` a set, the map ``back``, and how gradients look through it.

    ``slope`` takes a point ``z`` of R^k and the gradient at its image.
    """

    into: Callable[[Floats], Floats]
    back: Callable[[Floats], Floats]
    slope: Callable[[Floats, Floats], Floats]


@dataclass(frozen=True)
class _Count:
    """The smooth number of rivals above at the image of ``z``, and its gradient."""

    chart: _Chart
    program: Program
    A: Floats
    c: Floats
    width: float

    def __call__(self, z: Floats) -> tuple[float, Floats]:
        x = self.program.seen(self.chart.into(z))
        share = expit((self.A @ x + self.c) / self.width)
        pull = share * (1.0 - share) / self.width
        return float(share.sum()), self.chart.slope(z, self.program.pulled(pull @ self.A))


def _into_ball(z: Floats) -> Floats:
    return np.asarray(z / math.sqrt(1.0 + float(z @ z)))


def _back_from_ball(y: Floats) -> Floats:
    return np.asarray(y / math.sqrt(max(1.0 - float(y @ y), _EDGE)))


def _slope_of_ball(z: Floats, gradient: Floats) -> Floats:
    y = _into_ball(z)
    return np.asarray((gradient - y * float(y @ gradient)) / math.sqrt(1.0 + float(z @ z)))


def _into_box(z: Floats) -> Floats:
    return np.asarray(z / np.sqrt(1.0 + z * z))


def _back_from_box(y: Floats) -> Floats:
    return np.asarray(y / np.sqrt(np.maximum(1.0 - y * y, _EDGE)))


def _slope_of_box(z: Floats, gradient: Floats) -> Floats:
    return np.asarray(gradient / (1.0 + z * z) ** 1.5)


def _into_simplex(z: Floats) -> Floats:
    shares = np.exp(z - z.max())
    return np.asarray(shares / shares.sum())


def _back_from_simplex(y: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(y, _EDGE / y.size)))


def _slope_of_simplex(z: Floats, gradient: Floats) -> Floats:
    y = _into_simplex(z)
    return np.asarray(y * (gradient - float(y @ gradient)))


def _same(z: Floats) -> Floats:
    return z


def _unchanged(z: Floats, gradient: Floats) -> Floats:
    return gradient


_CHARTS: dict[Span, _Chart] = {
    "ball": _Chart(_into_ball, _back_from_ball, _slope_of_ball),
    "box": _Chart(_into_box, _back_from_box, _slope_of_box),
    "simplex": _Chart(_into_simplex, _back_from_simplex, _slope_of_simplex),
    "all": _Chart(_same, _same, _unchanged),
}
