"""The search along a central path on a working set of rivals, extended by overlooked ones.

A program has a row for every rival, and few of them matter. The path (`central_path`) uses the
rivals in the working set. At every step its multipliers are weighed and its point is tried; rivals
that are higher at the point than the whole working set are added, the highest first. The
`Objective` decides what the weights and the point are worth, and when to stop.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol

import numpy as np

from geom import Array, Floats, Ids
from geom_plugins.solvers.central_path import CentralPath

Shape = Literal["ball", "box", "all"]
"""The set of ``y``: ``|y| <= 1``, ``|y_i| <= 1`` or all."""

START = 3
"""The rivals to start with, times the width d; half of d may be added at a time."""


class Objective(Protocol):
    """The goal of a search: the rows of its program, and which points and weights are kept."""

    def rows(self, ids: Ids) -> tuple[Array, Array]:
        """Return the rows (n, d) and biases (n,) of these rivals on the device, of order 1."""

    def weigh(self, path: CentralPath, ids: Ids, lam: Array, *, balanced: bool) -> None:
        """Keep the multipliers (n,) of the rivals ``ids`` if they bound the margin best."""

    def meet(self, y: Array, highest: float) -> Floats | None:
        """Keep the point if it is the best; return by how much (V,) it overlooks each rival.

        ``highest`` is the largest of ``rows . y + biases`` in the working set. A rival with a
        number above zero may join. None means that no rival joins.
        """

    def settled(self) -> bool:
        """Return whether the kept point and weights are good enough."""


class PathSearch:
    """The central path of a program, on the rivals ``ids`` (n,) and those that join them.

    ``A`` (n, d) and ``c`` (n,) are their rows and biases as the objective gives them, handled by
    the functions of ``xp``. If any rival joins, at least ``least`` of the highest do: each time the
    path has to find its centre again, and far along it that takes many steps. None joins once there
    are ``most``.
    """

    def __init__(
        self,
        objective: Objective,
        ids: Ids,
        A: Array,
        c: Array,
        shape: Shape,
        xp: Any,
        least: int = 1,
        most: float = math.inf,
    ) -> None:
        self._objective, self.ids, self._shape, self._xp = objective, ids, shape, xp
        self._least, self._most = least, most
        self.path = CentralPath(
            xp,
            A,
            c,
            box=shape == "box",
            ball=shape == "ball",
            price=1e-12 if shape == "box" else 1e-2,
        )

    def run(
        self, steps: int, *, least_gap: float = 0.0
    ) -> Literal["settled", "stopped", "unfinished"]:
        """Take ``steps`` looks and Newton steps; stop if float64 or ``least_gap`` ends the path."""
        for _ in range(steps):
            self._look()
            if self._objective.settled():
                return "settled"
            if (least_gap and self.path.gap < least_gap) or not self._step():
                return "stopped"
        return "unfinished"

    def restart(self, price: float) -> None:
        """Start the path again on the same rivals, at one price on length."""
        self.path = CentralPath(self._xp, self.path.A, self.path.c, price=price)

    def _look(self) -> None:
        """Weigh the path's multipliers, try its point, and add the rivals it overlooks."""
        path, objective = self.path, self._objective
        objective.weigh(path, self.ids, path.weights, balanced=False)
        if path.balanced is not None:
            objective.weigh(path, self.ids, path.balanced, balanced=True)
        y = path.y
        if self._shape == "ball":
            y = y / max(1.0, float(self._xp.linalg.vector_norm(y)))
        over = objective.meet(y, float(self._xp.max(path.A @ y + path.c)))
        if over is None:
            return
        over[self.ids] = -np.inf
        new = np.flatnonzero(over > 0.0)
        room = int(min(self._most, over.size)) - self.ids.size
        count = min(max(new.size, self._least), max(1, y.shape[0] // 2), room)
        if not new.size or count <= 0:
            return
        if new.size != count:
            new = np.argpartition(over, over.size - count)[-count:]
            new = new[over[new] > -np.inf]
        if new.size:
            path.add(*objective.rows(new))
            self.ids = np.append(self.ids, new)

    def _step(self) -> bool:
        """Take one Newton step; without a ball to fit, the price on length falls with the path."""
        if self._shape == "all":
            self.path.price = max(min(0.2 * self.path.price, 0.05 * self.path.gap), 1e-16)
        return self.path.step()
