"""A token against some of its rivals: the programs in which the others are left out.

The best rank of a token is 1 plus the fewest rivals to leave out so that it wins against the rest.
Proofs that the token wins nowhere, each of rivals that no other names, bound that number from below
(`geom_plugins.solvers.disjoint_proofs`): from each set of rivals one must be left out. Points bound
it from above (`geom_plugins.solvers.rank_descent`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from geom import Flags, Floats, Problem
from geom_plugins.solvers.largest_margin import Program, Span


@dataclass(frozen=True, eq=False)
class Contest:
    """A token and its rivals; points ``y`` (k,) are in units of the domain's radius."""

    problem: Problem
    token: int

    @property
    def shape(self) -> Span:
        """The shape of the set of points; only directions count on all of R^d without biases."""
        domain = self.problem.domain
        if domain.shape in ("box", "simplex"):
            return domain.shape
        return "all" if domain.shape == "all" and not self.problem.homogeneous else "ball"

    @property
    def unit(self) -> float:
        """The length that counts as 1."""
        return self.problem.domain.radius if self.problem.domain.bounded else 1.0

    @cached_property
    def whole(self) -> Program:
        """The program of the largest margin over all rivals."""
        return self.without(np.zeros(self.problem.readout.V, dtype=np.bool_))

    def without(self, out: Flags) -> Program:
        """Return the program of the largest margin without the rivals ``out`` (V,)."""
        c = (self.problem.readout.b - self.problem.readout.b[self.token]) / self.unit
        c[out] = -np.inf
        return Program(self.problem, self.token, c, shape=self.shape)

    def placed(self, y: Floats) -> Floats:
        """Return the domain's point for ``y``, as far out as possible if lengths do not matter."""
        if self.problem.homogeneous and y.any():
            y = y / (np.abs(y).max() if self.shape == "box" else np.linalg.norm(y))
        return self.problem.domain.fit(y * self.unit)

    def above(self, y: Floats) -> Flags:
        """Return which rivals (V,) are at least as high at the point for ``y``, in float64."""
        return np.asarray(self.whole.values(self.placed(y) / self.unit) >= 0.0)

    def count(self, y: Floats) -> int:
        """Return how many rivals are at least as high at the point for ``y``, in float64."""
        return int(self.above(y).sum())
