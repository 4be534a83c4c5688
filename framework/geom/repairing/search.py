"""The search for rows: for every token a point to win at, and the shortest change that wins there.

At points x_t, one for each token t that is repaired, let ``level_t`` be the highest logit of any
other row there, those that moved included. Then t asks for ``D_t . y_t >= level_t + margin -
logit_t``, and all changes are possible at once if ``D_t . y_i <= level_i - logit_t(x_i)``: no
changed row rises above the level that the owner of a point has to reach in any case. To these the
points of tokens that must stay speakable are added (`geom.repairing.protected`). Each t then has a
small program of its own (`geom.repairing.least_change`).

Better points are those at which the changed rows win by the most: the change so far is enough there
for more than the margin, so that the shortest one is shorter. The search alternates between the
two, and protected tokens that stand in the way look for better points too. It never lengthens a
change in exact arithmetic; rounding to the head's type may, and such a step is not taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom.exact.aim import Aim, reach
from geom.exact.single import slices
from geom.machine import memory
from geom.machine.threads import limited_threads
from geom.model.problem import Problem
from geom.numbers.arrays import Flags, Floats, Ids
from geom.opening.rounds import Goal, find
from geom.opening.shared_step import shared_directions, whitening
from geom.progress import track_progress
from geom.repairing.geometry import Geometry
from geom.repairing.least_change import least_change
from geom.repairing.protected import Protected

SPREADS = (0.5, 1.0, 2.0)
"""How far directions are drawn from a token's known ones, relative to them."""

DRAWN = 256
"""In few dimensions there are more directions to start from, this number over d."""

TRIED = 5
"""How many points a token tries, with all conditions, of those that look best without them."""

PASSES = 16
"""The most passes over the protected tokens for one set of changes."""

STEPS = 8
"""The most times that better points are looked for."""

ENOUGH = 0.02
"""A step that shortens the changes by a smaller share than this is the last."""

PRESSED = 1024
"""The most protected tokens that look for another point in a step."""

ALIKE = 0.95
"""The cosine above which two tokens do not share a direction to start along."""

SETTLING = 40
"""The most times that rounded rows are corrected."""

GENTLE = 6
"""How often they are corrected by what is missing, with an eye on the protected tokens. Then the
targets grow by `GROWTH` each time: where a change is of the size of a rounding, the next row of the
head's type that is good enough may be far from the one that is not."""

GROWTH = 1.25

POINTS = 64
"""How many points are multiplied with all rows at a time."""


Limits = tuple[Floats, Floats]
"""Conditions on a change D: ``y`` (k, d), and what ``D . y`` may come to (k,)."""


@dataclass(eq=False)
class Search:
    """The tokens to repair, their points, targets and changes so far.

    Attributes
    ----------
    geometry : Geometry
        The problem and its head.
    protected : Protected
        The tokens that must stay speakable.
    ids : ndarray of shape (n,), int64
        The tokens to repair, ascending.
    margin : float
        The margin that each shall have, in logits.
    seed : int
        The seed of the directions drawn.
    """

    geometry: Geometry
    protected: Protected
    ids: Ids
    margin: float
    seed: int = 0
    points: Floats = field(init=False)
    changes: Floats = field(init=False)
    rows: NDArray[Any] = field(init=False)
    _pressed: set[int] = field(default_factory=set)
    _extra: list[Limits] = field(init=False)
    _targets: Floats = field(init=False)

    def run(self) -> None:
        """Find points, changes and rounded rows."""
        n, d = self.ids.size, self.geometry.problem.readout.d
        memory.check_memory(
            8 * n * (_drawn(d) + 24) * (d + n),
            f"the search for the rows of {self.geometry.problem.readout.noun.counted(n)}",
            "name fewer with --tokens, or use a machine with more",
        )
        self.changes = np.zeros((n, d))
        self._reset()
        self.points = self._first_points()
        self._place(self.points)
        self.changes = self._solved(self._all)
        self._settle()
        steps = track_progress(range(STEPS), "repair", STEPS, "steps")
        for _ in steps:
            if not self._step():
                break

    def patched(self) -> Problem:
        """Return the problem with the rounded rows in their places."""
        return Problem(
            self.geometry.problem.readout.with_rows(self.ids, self.rows),
            self.geometry.problem.domain,
        )

    def better_points(self, problem: Problem, goal: Goal) -> Floats:
        """Return the points (n, d) of the largest margins in the patched problem, from ours."""
        places = {token: place for place, token in enumerate(self.ids.tolist())}
        out = self.points.copy()
        wanted = [places[token] for token in self.ids.tolist()]
        for best in find(problem, self.ids[wanted], self._starts, goal):
            if best.margin > 0.0:
                out[places[best.token]] = self.geometry.placed(best.x[None])[0]
        return out

    def _starts(self, ids: Ids) -> Floats:
        return self.points[np.searchsorted(self.ids, ids)]

    @property
    def _asked(self) -> Floats:
        """The margins (n,) to reach in float64, with room for its rounding."""
        largest = np.maximum(np.abs(self._own).max(axis=1), np.abs(self._levels(self.changes)))
        return np.asarray(self.margin * (1.0 + 1e-6) + 1e-13 * largest)

    @property
    def _all(self) -> Flags:
        return np.ones(self.ids.size, dtype=np.bool_)

    def _reset(self) -> None:
        """Forget what rounding asked for."""
        n, d = self.changes.shape
        self._targets = np.full(n, self.margin)
        self._extra = [(np.zeros((0, d)), np.zeros(0)) for _ in range(n)]

    def _place(self, points: Floats) -> None:
        """Take points, and the logits there before any change."""
        self.points = points
        self._y = self.geometry.seen(points)
        self._outside, self._own = self._logits(points)

    def _logits(self, points: Floats) -> tuple[Floats, Floats]:
        """Return the highest logit (m,) of rows that stay, and those (m, n) of ours, unchanged."""
        readout = self.geometry.problem.readout
        outside, own = np.empty(len(points)), np.empty((len(points), self.ids.size))
        for part in slices(len(points), POINTS):
            logits = readout.logits(points[part])
            own[part] = logits[:, self.ids]
            logits[:, self.ids] = -np.inf
            outside[part] = logits.max(axis=1)
        return outside, own

    def _levels(self, changes: Floats) -> Floats:
        """Return the highest logit (n,) of another row at each point, with these changes."""
        theirs = self._own + self._y @ changes.T
        np.fill_diagonal(theirs, -np.inf)
        return np.asarray(np.maximum(self._outside, theirs.max(axis=1)))

    def margins(self, changes: Floats) -> Floats:
        """Return each token's margin (n,) at its point with these changes, in float64."""
        gained = np.einsum("ij,ij->i", self._y, changes)
        return np.asarray(np.diagonal(self._own) + gained - self._levels(changes))

    def _solved(self, chosen: Flags) -> Floats:
        """Return the shortest changes (n, d) of the chosen, given the levels as they are now."""
        levels = self._levels(self.changes)
        needs = levels + self._targets - np.diagonal(self._own)
        rooms = levels[:, None] - self._own  # what t may gain at the point of i: rooms[i, t]
        places = np.flatnonzero(chosen)
        fixed = []
        for t in places.tolist():
            fixed.append((np.delete(self._y, t, axis=0), np.delete(rooms[:, t], t)))
        extra = [self._extra[t] for t in places.tolist()]
        found = self._least(places, self._y[places], needs[places], fixed, extra)
        out = self.changes.copy()
        out[places] = found
        return out

    def _least(
        self,
        places: Ids,
        y: Floats,
        needs: Floats,
        fixed: list[Limits],
        extra: list[Limits],
    ) -> Floats:
        """Return the shortest changes (m, d) of tokens at places, each for one point ``y`` (m, d).

        ``fixed`` are further conditions of each, and ``extra`` what protected tokens are known to
        forbid, which is given up for a change that no other condition allows.
        """
        own = [_Conditions(y[m], float(needs[m]), *fixed[m]) for m in range(len(places))]
        for conditions, limits in zip(own, extra, strict=True):
            conditions.forbid(*limits)
        with limited_threads(1):
            changes = np.array([conditions.solved() for conditions in own])
        active = np.arange(len(places))
        for _ in range(PASSES):
            if not active.size or not self.protected.ids.size:
                break
            broken = self.protected.violated(self.ids[places[active]], changes[active], 1.0)
            going = []
            for m, (normals, room, losing) in zip(active.tolist(), broken, strict=True):
                self._pressed.update(losing.tolist())
                if room.size and own[m].forbid(normals, room):
                    changes[m] = own[m].solved()
                    going.append(m)
            active = np.array(going, dtype=np.int64)
        return changes

    def _first_points(self) -> Floats:
        """Return a point (n, d) for each token: of its candidates, that of the shortest change."""
        n, d = self.changes.shape
        candidates = self._candidates()
        count = candidates.shape[1]
        flat = candidates.reshape(n * count, d)
        outside, own = self._logits(flat)
        owner = np.repeat(np.arange(n), count)
        needs = np.empty(len(flat))
        for place, t in enumerate(owner.tolist()):
            level = max(outside[place], np.delete(own[place], t).max(initial=-np.inf))
            needs[place] = level + self.margin - own[place, t]
        y = self.geometry.seen(flat)
        sizes = np.linalg.norm(y, axis=1)
        costs = np.divide(needs, sizes, out=np.full(len(flat), np.inf), where=sizes > 0.0)
        costs[_crowded(candidates, costs.reshape(n, count)).reshape(-1)] = np.inf
        order = np.argsort(costs.reshape(n, count), axis=1, kind="stable")[:, :TRIED]
        tried = (order + np.arange(n)[:, None] * count).reshape(-1)
        none = (np.zeros((0, d)), np.zeros(0))
        found = self._least(
            owner[tried], y[tried], needs[tried], [none] * len(tried), [none] * len(tried)
        )
        lengths = np.linalg.norm(found, axis=1)
        lengths[~np.isfinite(costs[tried])] = np.inf
        best = lengths.reshape(n, -1).argmin(axis=1)
        return np.asarray(flat[tried.reshape(n, -1)[np.arange(n), best]])

    def _candidates(self) -> Floats:
        """Return points (n, count, d): along known directions, and between them and drawn ones."""
        problem = self.geometry.problem
        n, d = self.changes.shape
        rng = np.random.default_rng(self.seed)
        aim = Aim.of(problem)
        known = [_unit(aim.directions(self.ids)[0]), shared_directions(problem, self.ids)]
        drawn = [rng.standard_normal((n, d)) for _ in range(_drawn(d))]
        drawn[1] = drawn[1] @ whitening(problem)
        if problem.domain.zero_sum:
            drawn = [z - z.mean(axis=1, keepdims=True) for z in drawn]
        drawn = [_unit(z) for z in drawn]
        directions = [*known, *drawn]
        directions += [_unit(u + s * z) for u in known for z in drawn[:2] for s in SPREADS]
        if problem.domain.shape == "box":
            largest = [np.abs(u).max(axis=1, keepdims=True) for u in directions]
            directions = [
                u / np.where(m > 0.0, m, 1.0) for u, m in zip(directions, largest, strict=True)
            ]
        length = reach(problem)
        points = [length * u for u in directions]
        if not problem.homogeneous:
            points.append(np.zeros((n, d)))
            points += [length * s * u for u in known for s in (0.5, 0.1, 0.01)]
            found = find(problem, self.ids, partial(self._along, length), Goal(gap=0.01))
            least = {best.token: best.x for best in found}
            points.append(np.array([least[t] for t in self.ids.tolist()]))
        return np.stack([self.geometry.placed(x) for x in points], axis=1)

    def _along(self, length: float, ids: Ids) -> Floats:
        """Return points along the shared step, to start from."""
        problem = self.geometry.problem
        return problem.domain.fit_all(length * shared_directions(problem, ids))

    def _settle(self) -> None:
        """Round the changed rows to the head's type, and correct what rounding undoes."""
        for step in range(SETTLING):
            self.rows = self.geometry.rounded(self.ids, self.changes)
            real = self.geometry.changes(self.ids, self.rows)
            short = self._asked - self.margins(real)
            wrong = short > 0.0
            self._targets[wrong] += 1.5 * short[wrong]
            if step >= GENTLE:
                self._targets[wrong] *= GROWTH
            elif self.protected.ids.size:
                for t, (y, room, _) in enumerate(self.protected.violated(self.ids, real, 0.5)):
                    if not room.size:
                        continue
                    excess = y @ real[t] - room
                    old = self._extra[t]
                    room = y @ self.changes[t] - 1.5 * excess
                    self._extra[t] = (np.vstack([old[0], y]), np.append(old[1], room))
                    wrong[t] = True
            if not wrong.any():
                break
            self.changes = self._solved(wrong)
        self.real = real

    def _step(self) -> bool:
        """Look for better points; return whether the changes became shorter by much."""
        before = (self.points, self.changes, self.rows, self.real)
        protected = self.protected
        length = np.linalg.norm(self.real, axis=1).sum()
        targets, extra = self._targets, self._extra
        patched = self.patched()
        points = self.better_points(patched, Goal(enough=np.inf, gap=0.05))
        self.protected = protected.copied()
        self.protected.move(patched, np.array(sorted(self._pressed), dtype=np.int64)[:PRESSED])
        self._pressed.clear()
        self._reset()
        self._place(points)
        self.changes = self.real
        self.changes = self._solved(self._all)
        self._settle()
        shorter = length - np.linalg.norm(self.real, axis=1).sum()
        if not (shorter > 0.0 and (self.margins(self.real) >= self.margin).all()):
            self._place(before[0])
            self.changes, self.rows, self.real = before[1:]
            self._targets, self._extra, self.protected = targets, extra, protected
            return False
        return bool(shorter > ENOUGH * length)


def _drawn(d: int) -> int:
    """Return how many directions are drawn for a token."""
    return max(2, min(64, DRAWN // d))


class _Conditions:
    """The conditions on one change: what it must gain at its point, and may gain at others."""

    def __init__(self, y: Floats, need: float, others: Floats, room: Floats) -> None:
        self._y, self._need = y, need
        self._others, self._room = others, room
        self._used = np.zeros(len(room), dtype=np.bool_)
        self._forbidden, self._forbidden_room = np.zeros((0, len(y))), np.zeros(0)
        self._given_up = False

    def forbid(self, y: Floats, room: Floats) -> bool:
        """Add what protected tokens forbid; False if that is given up."""
        if self._given_up:
            return False
        self._forbidden = np.vstack([self._forbidden, y])
        self._forbidden_room = np.append(self._forbidden_room, room)
        return True

    def solved(self) -> Floats:
        """Return the shortest change (d,); conditions of others join as it breaks them."""
        while True:
            D = self._solve()
            gained = self._others @ D
            slop = 1e-12 * np.abs(self._others).sum(axis=1) * np.abs(D).max(initial=0.0)
            broken = (gained > self._room + slop) & ~self._used
            if not broken.any():
                return D
            worst = np.flatnonzero(broken)[np.argsort(-(gained - self._room)[broken])[:24]]
            self._used[worst] = True

    def _solve(self) -> Floats:
        """Return the shortest change under the conditions in use, or under as many as allow one."""
        normals = np.vstack([self._y, -self._others[self._used]])
        least = np.append(self._need, -self._room[self._used])
        if not self._given_up and len(self._forbidden):
            all_normals = np.vstack([normals, -self._forbidden])
            D = least_change(all_normals, np.append(least, -self._forbidden_room))
            if D is not None:
                return D
            self._given_up = True
        D = least_change(normals, least)
        if D is None:
            square = float(self._y @ self._y)
            D = self._y * (max(self._need, 0.0) / square if square > 0.0 else 0.0)
        return D


def _crowded(candidates: Floats, costs: Floats) -> Flags:
    """Return which points (n, count) lie along nearly the same direction as another token's do.

    Two tokens cannot both win there. The one whose change would be longer leaves it, and both do if
    that is nearly the same, as for tokens with nearly equal rows: directions drawn for each tell
    them apart.
    """
    out = np.zeros(costs.shape, dtype=np.bool_)
    for place in range(costs.shape[1]):
        u = _unit(candidates[:, place])
        near = u @ u.T > ALIKE
        np.fill_diagonal(near, False)
        with np.errstate(invalid="ignore"):
            cheaper = costs[:, place][:, None] < 0.99 * costs[:, place][None, :]
        out[:, place] = (near & ~cheaper).any(axis=1)
    return out


def _unit(u: Floats) -> Floats:
    """Return directions (n, d) at length 1; zero stays zero."""
    sizes = np.linalg.norm(u, axis=1, keepdims=True)
    return np.asarray(np.divide(u, sizes, out=np.zeros_like(u), where=sizes > 0.0))
