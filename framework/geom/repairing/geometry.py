"""What a change of a head's own row does: the folded change, and how it meets a point.

A head's row u gives the logit ``u . (gamma * x + beta)`` and its bias. A change E of u is, in the
folded row, ``D = gamma * E``, and adds ``D . y`` to the logit at x, with ``y = x + beta / gamma``:
the shift of the norm moves with the row. Where gamma is zero, x has no effect and nothing moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom.errors import InputError
from geom.model.head import Head
from geom.model.problem import Problem
from geom.numbers.arrays import Floats, Ids


@dataclass(frozen=True, eq=False)
class Geometry:
    """A problem, its head, the norm's scale (d,), and the shift ``beta / gamma`` (d,)."""

    problem: Problem
    head: Head
    scale: Floats
    shift: Floats

    @classmethod
    def of(cls, problem: Problem) -> Geometry:
        """Return the geometry. Raises InputError for a head behind a projection, or not known."""
        head, d = problem.readout.head, problem.readout.d
        if head.projection is not None:
            raise InputError(
                "the head follows a projection, and rows before it are not repaired: fold the "
                "projection into the rows of the checkpoint first"
            )
        scale = np.ones(d) if head.gamma is None else head.gamma
        beta = np.zeros(d) if head.beta is None else head.beta
        used = scale != 0.0
        shift = np.divide(beta, scale, out=np.zeros(d), where=used)
        if not np.isfinite(shift).all():
            raise InputError("the norm's shift over its scale overflows float64: rescale the head")
        return cls(problem, head, scale, shift)

    def seen(self, points: Floats) -> Floats:
        """Return the ``y`` (n, d) of points (n, d): a change D of a row adds ``D . y`` there."""
        points = points + self.shift
        points[:, self.scale == 0.0] = 0.0
        return np.asarray(points)

    def rounded(self, ids: Ids, changes: Floats) -> NDArray[Any]:
        """Return rows (n, d) of the head, moved by folded changes and rounded to its type.

        Raises InputError for a row that leaves the range of the type.
        """
        rows = self.head.numbers(ids)
        moved = np.divide(changes, self.scale, out=np.zeros_like(rows), where=self.scale != 0.0)
        moved += rows
        dtype = self.head.dtype
        if dtype.kind in "iu":
            moved = np.clip(np.rint(moved), np.iinfo(dtype).min, np.iinfo(dtype).max)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            out = moved.astype(dtype)
        infinite = ~np.isfinite(out.astype(np.float64)).all(axis=1)
        if infinite.any():
            noun = self.problem.readout.noun
            raise InputError(
                f"the row of {noun} {ids[infinite][0]} would leave the range of {dtype}, the type "
                f"of the head: ask for less --margin, or leave the {noun} out"
            )
        return out

    def changes(self, ids: Ids, rows: NDArray[Any]) -> Floats:
        """Return the folded changes (n, d) that rows (n, d) of the head make."""
        own = self.head.numbers(ids)
        return np.asarray((rows.astype(np.float64) - own) * self.scale)

    @property
    def length(self) -> float:
        """The length that points are tried at, where lengths do not matter; infinity elsewhere."""
        free = not self.problem.domain.bounded and self.problem.homogeneous
        return 1.0 if free else np.inf

    def placed(self, points: Floats) -> Floats:
        """Move points (n, d) into the domain, at length 1 where only directions count."""
        if self.length == 1.0:
            sizes = np.linalg.norm(points, axis=1, keepdims=True)
            points = np.divide(points, sizes, out=np.zeros_like(points), where=sizes > 0.0)
        return self.problem.domain.fit_all(points)
