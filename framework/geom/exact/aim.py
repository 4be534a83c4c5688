"""The points along tokens' own directions, and how far from them another machine may rebuild them.

A witness that is named by a recipe is not stored. Whoever needs it rebuilds it from the weights,
and sums rows in an order of its own. So what is proven must hold at every point that any machine
rebuilds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from geom.exact.products import products
from geom.model.problem import Problem
from geom.numbers.arrays import Floats, Ids
from geom.numbers.rounding import gamma, norm_above


def reach(problem: Problem) -> float:
    """Return how far along a direction points are tried.

    It is the radius of a ball or box. If the domain is unbounded, it is 1 or, with a bias, a length
    at which rows count for more than biases.
    """
    if problem.domain.bounded:
        return problem.domain.radius
    if problem.homogeneous:
        return 1.0
    typical = products(problem.readout).typical
    if not typical > 0.0:
        return 1.0
    with np.errstate(over="ignore"):
        return 64.0 * float(np.ptp(problem.readout.b)) / typical


@dataclass(frozen=True)
class Aim:
    """The parts of own directions: the mean row, a bound on its error, and the length."""

    problem: Problem
    mean: Floats
    mean_error: float
    length: float

    @classmethod
    def of(cls, problem: Problem) -> Aim:
        """Return the aim of a problem."""
        readout = problem.readout
        error = gamma(readout.V + 2) * float(readout.row_norms.mean())
        return cls(problem, readout.rows.mean, error, reach(problem))

    def directions(self, ids: slice | Ids) -> tuple[Floats, Floats]:
        """Return rows less the mean row (n, d), and what was subtracted from all their entries.

        That is their own mean (n, 1) if ``sum(x) = 0``, where it changes no score, and otherwise 0.
        """
        u = self.problem.readout.rows[ids] - self.mean
        own = np.zeros((len(u), 1))
        if self.problem.domain.zero_sum:
            own = u.mean(axis=1, keepdims=True)
            u -= own
        return u, own

    def points(self, tokens: Ids, widen: float = 1.0) -> tuple[Floats, Floats]:
        """Return the points (n, d), and how far (n,) from them a rebuilt point may lie."""
        with np.errstate(all="ignore"):
            u, _ = self.directions(tokens)
            largest = np.abs(u).max(axis=1)
            u /= largest[:, None]
            factor, _, spread = self.along(tokens, u, 1.0 / largest, widen)
            points = u * factor[:, None]
        points[~np.isfinite(points).all(axis=1)] = 0.0
        return points, spread

    def along(
        self, tokens: Ids, u: Floats, unit: float | Floats, widen: float
    ) -> tuple[Floats, Floats, Floats]:
        """Return the factors (n,) that make points of directions ``u`` (n, d), scaled by ``unit``.

        The other arrays (n,) are upper bounds: on the points' lengths, and on how far from them a
        rebuilt point may lie, infinity if that is not known.

        With ``h`` the error of the row less the mean, relative to its length, the point moves by at
        most ``(1 + sqrt(d)) h`` of its own length, including the norm that divides it, Euclidean or
        of the largest entry. `Domain.fit` may shorten it by 2^-32, and puts it on a grid of 50
        bits, which moves it by less than ``3 sqrt(d) 2^-49`` of its length. Spreads are rounded up
        to powers of sixteen, so that few different ones remain; those of a claim from a little
        more, so that no machine that checks it, whose last digits differ, rounds to a larger power.
        """
        d = u.shape[1]
        with np.errstate(all="ignore"):
            norm = norm_above(u, axis=-1)
            norms = self.problem.readout.row_norms[tokens]
            error = (gamma(4 * d + 16) * norms + 2.0 * self.mean_error) * unit
            moved = (1.0 + math.sqrt(d)) * error / norm * (1.0 + 2.0**-20)
            size = np.abs(u).max(axis=1) if self.problem.domain.shape == "box" else norm
            factor = self.length / size
            far = norm * factor * (1.0 + 2.0**-50)
            spread = far * (moved + 2.0**-31 + 3.0 * math.sqrt(d) * 2.0**-49)
            spread = 16.0 ** np.ceil(np.log2(spread * math.sqrt(widen)) / 4.0)
        spread[~((moved < 0.1) & (far > _LEAST))] = np.inf
        return factor, far, spread


_LEAST = 2.0**-900
"""Points shorter than this may have lost digits to underflow, which no relative bound covers."""
