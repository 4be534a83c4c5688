"""The tokens that must stay speakable, each with a point at which it wins.

Only rows that change can beat them there, so what a changed row t may gain at the point of j is
``logit_j - logit_t`` less what j shall keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from geom.exact.aim import Aim
from geom.exact.single import slices
from geom.model.problem import Problem
from geom.numbers.arrays import Floats, Ids
from geom.opening.rounds import Goal, find
from geom.repairing.geometry import Geometry

BLOCK = 4096
"""How many points are looked at together."""

JOINING = 24
"""The most conditions that join a program at a time: the most violated."""


@dataclass(eq=False)
class Protected:
    """Tokens with points in the domain: stored ones, or their own directions.

    Attributes
    ----------
    geometry : Geometry
        The problem.
    ids : ndarray of shape (n,), int64
        The tokens.
    keeps : ndarray of shape (n,), float64
        The margins that they shall keep at their points, in logits.
    points : dict of int to ndarray of shape (d,)
        The points that are known; the others are the tokens' own directions.
    moved : set of int
        The tokens whose point was chosen for the new rows: no row is known to lose there.
    """

    geometry: Geometry
    ids: Ids
    keeps: Floats
    points: dict[int, Floats] = field(default_factory=dict)
    moved: set[int] = field(default_factory=set)

    def copied(self) -> Protected:
        """Return the same tokens, whose points can be changed."""
        return replace(self, points=dict(self.points), moved=set(self.moved))

    def points_of(self, ids: Ids) -> Floats:
        """Return the points (n, d) of some tokens."""
        points = own_points(self.geometry.problem, ids)
        for place, token in enumerate(ids.tolist()):
            if token in self.points:
                points[place] = self.points[token]
        return points

    def move(self, problem: Problem, places: Ids) -> None:
        """Let the tokens at these places win elsewhere, by more, in the problem with new rows."""
        keeps = dict(zip(self.ids[places].tolist(), self.keeps[places].tolist(), strict=True))
        goal = Goal(enough=np.inf, gap=0.05)
        for best in find(problem, self.ids[places], self.points_of, goal):
            if best.margin > 2.0 * keeps[best.token]:
                self.points[best.token] = self.geometry.placed(best.x[None])[0]
                self.moved.add(best.token)

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Yield the places of some tokens, and their points (n, d)."""
        if not self.ids.size:
            return
        for part in slices(self.ids.size, BLOCK):
            ids = self.ids[part]
            yield part, self.points_of(ids)

    def room(self, part: slice, points: Floats, owners: Ids, share: float) -> tuple[Floats, Floats]:
        """Return the ``y`` (n, d) of points, and what ``owners`` (m,) may gain there (n, m).

        Each protected token keeps ``share`` of what it shall keep.
        """
        readout, ids = self.geometry.problem.readout, self.ids[part]
        own = np.einsum("ij,ij->i", readout.rows[ids], points) + readout.b[ids]
        theirs = points @ readout.rows[owners].T + readout.b[owners]
        return self.geometry.seen(points), (own - share * self.keeps[part])[:, None] - theirs

    def violated(
        self, owners: Ids, changes: Floats, share: float
    ) -> list[tuple[Floats, Floats, Ids]]:
        """List, for each changed row, the conditions that it breaks, the worst first.

        Parameters
        ----------
        owners : ndarray of shape (m,), int64
            The tokens whose rows change; one may come several times, with other changes.
        changes : ndarray of shape (m, d), float64
            The folded changes.
        share : float
            As in `room`.

        Returns
        -------
        list of tuple
            For each, the ``y`` (k, d), what may be gained there (k,), and the places (k,) in
            ``ids`` of the tokens that lose.
        """
        best: list[list[tuple[float, int, Floats, float]]] = [[] for _ in owners]
        for part, points in self.blocks():
            y, room = self.room(part, points, owners, share)
            excess = y @ changes.T - room
            sizes = np.linalg.norm(y, axis=1)
            tolerance = 1e-12 * (sizes[:, None] * np.linalg.norm(changes, axis=1) + np.abs(room))
            broken = excess > tolerance
            broken &= changes.any(axis=1)
            for m in np.flatnonzero(broken.any(axis=0)).tolist():
                places = np.flatnonzero(broken[:, m])
                worst = places[np.argsort(-excess[places, m], kind="stable")[:JOINING]]
                best[m] += [
                    (float(excess[i, m]), part.start + int(i), y[i], float(room[i, m]))
                    for i in worst
                ]
                best[m] = sorted(best[m], key=lambda item: -item[0])[:JOINING]
        d = changes.shape[1]
        return [
            (
                np.array([item[2] for item in found]).reshape(-1, d),
                np.array([item[3] for item in found]),
                np.array([item[1] for item in found], dtype=np.int64),
            )
            for found in best
        ]


def own_points(problem: Problem, ids: Ids) -> Floats:
    """Return the points (n, d) of the domain along tokens' own directions."""
    points, _ = Aim.of(problem).points(ids)
    return problem.domain.fit_all(points)
