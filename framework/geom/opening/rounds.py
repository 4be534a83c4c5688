"""Rounds of small programs for many tokens at once, which share the products with all rows.

Each token has a program on a working set of rivals (`small_program`): those that beat it, or come
near it, at the points tried so far. A round solves all programs, tries their points against all
rivals in one float32 product (`geom.exact.close.close_rivals`), and adds the rivals that come
nearest. The programs stay small because few rivals stand near the border of a token: on real models
a few rounds with some hundred rivals, at most ninety of them with weight, decide nearly every
token, on either side. A program that would outgrow `memory` first lets go of the rivals without
weight, which join again if they come near.

The findings are suggestions. Whoever asks for them proves them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from geom.certificates import Weights
from geom.exact.close import close_rivals
from geom.machine.threads import limited_threads
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.numbers.arrays import Floats, Ids
from geom.opening.small_program import SmallProgram, vanishing

GROUP = 256
"""The most tokens that share a product: their programs are in memory together."""

FEW, SHARE = 64, 256
"""In a vocabulary with few tokens, only `FEW` share a product, or one in `SHARE` of all: a pass
over its rows costs little, and the programs would take more than all the rest."""

ADDED = 128
"""The most rivals that join a program in a round, the nearest first. They are as many because
float32 ranks them: near the border, the one that counts may be anywhere among dozens."""

ROUNDS = 30
"""Rounds before giving up."""

SUPPORT = 256
"""A program in which more rivals have weight is given up: its price grows with their cube."""

ROUND, MANY = 0.9, 64
"""A program of `MANY` rivals or more, of which this share has weight, is given up: so it is among
rows drawn at random, where a token is decided by about as many rivals as there are dimensions. On
real models no token was seen that has so many."""


def memory(readout: Readout) -> int:
    """Return the bytes that `find` takes beyond the readout and the bulk proofs of its points.

    These are the products of each program's rivals with each other, for a whole group; the points
    and weights of the group; and what one program needs while it is solved: these products twice
    more, their inverse, and its rivals' rows.
    """
    most = min(readout.V, SUPPORT + ADDED)
    group = min(readout.V, _group(readout))
    each = 8 * most * most + 8 * 8 * (readout.d + most)
    return int(group * each + 6 * 8 * most * most + 4 * 8 * most * readout.d)


def _group(readout: Readout) -> int:
    """Return how many tokens share a product."""
    return min(GROUP, max(FEW, readout.V // SHARE))


@dataclass(frozen=True)
class Goal:
    """When a token is done.

    Attributes
    ----------
    enough : float
        A margin in logits: a point with more is enough.
    gap : float
        How close the bounds must come otherwise, relative to the upper one.
    """

    enough: float = 0.0
    gap: float = 0.0


@dataclass(frozen=True, eq=False)
class Best:
    """The best point and weights found for a token, and what they come to in float64.

    Attributes
    ----------
    token : int
        The token.
    x : ndarray of shape (d,), float64
        A point of the domain.
    margin : float
        About the margin there, in logits, or a number below it.
    weights : Weights or None
        The weights.
    bound : float
        About the bound on the largest margin that they give on a ball, in logits.
    vanishes : bool
        Whether the bound is zero or less, as far as float64 tells.
    """

    token: int
    x: Floats
    margin: float
    weights: Weights | None
    bound: float
    vanishes: bool


def find(
    problem: Problem, tokens: Ids, points: Callable[[Ids], Floats], goal: Goal
) -> Iterator[Best]:
    """Yield the best point and weights of each token, in the order in which they are done.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    tokens : ndarray of shape (n,), int64
        The tokens.
    points : callable
        The points of the domain (m, d), float64, that some of the tokens (m,) start from; asked for
        when their turn comes, so that no more than a group of them is in memory.
    goal : Goal
        When a token is done.

    Yields
    ------
    Best
        What was found for a token.
    """
    scale = problem.exponent
    problem = problem.unit
    begun, group = 0, _group(problem.readout)
    active: list[_Search] = []
    while begun < len(tokens) or active:
        new = tokens[begun : begun + group - len(active)]
        begun += len(new)
        if len(new):
            with np.errstate(all="ignore"):  # numbers that overflow end a search
                starts = zip(new.tolist(), points(new), strict=True)
                active += [_Search(problem, token, x, goal) for token, x in starts]
        near = close_rivals(
            problem,
            np.array([search.token for search in active]),
            np.array([search.x for search in active]),
            np.array([search.wanted for search in active]),
            # more than the rivals with weight, all of which may be nearest again
            most=ADDED + max(search.weighted for search in active),
        )
        # on small matrices, threads that wait take longer than the work
        with limited_threads(1), np.errstate(all="ignore"):
            going = [
                search.advance(near.of(place), complete=bool(near.complete[place]))
                for place, search in enumerate(active)
            ]
        yield from (s.best(scale) for s, on in zip(active, going, strict=True) if not on)
        active = [search for search, on in zip(active, going, strict=True) if on]


@dataclass(eq=False)
class _Search:
    """One token's program, the point to try next, and the best point and weights so far."""

    problem: Problem
    token: int
    x: Floats
    goal: Goal
    rounds: int = 0
    ids: Ids = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    margin: float = -math.inf
    weights: Weights | None = None
    bound: float = math.inf

    def __post_init__(self) -> None:
        domain, readout = self.problem.domain, self.problem.readout
        self.point, self._radius = self.x, domain.radius
        if not domain.bounded:
            self._radius = float(np.linalg.norm(self.x)) or 1.0
            if self.problem.homogeneous:  # lengths do not matter, and margins are those at length 1
                self.x = self.point = self.x / self._radius
                self._radius = 1.0
        self._row = self._seen(readout.rows[self.token : self.token + 1])[0]
        self._program = SmallProgram(self._radius)
        self._sharpened = False

    @property
    def wanted(self) -> float:
        """The margin below which a rival joins: no more than is enough, or than can be had."""
        if not self.goal.gap:
            return self.goal.enough
        return max(0.0, min(self.bound, self.goal.enough))

    @property
    def weighted(self) -> int:
        """The number of rivals that have weight."""
        return int(np.count_nonzero(self._program.lam))

    def advance(self, near: Ids, *, complete: bool) -> bool:
        """Look at the rivals near the point, and find the next point; False if there is none."""
        self.rounds += 1
        A, c = self._rivals(near)
        margins = A @ self.x + c
        if not np.isfinite(margins).all():
            return False
        wins = complete and not (margins <= self.wanted).any()
        if near.size or complete:
            least = min(float(margins.min(initial=math.inf)), self.wanted if complete else math.inf)
            if least > self.margin:
                self.point, self.margin = self.x, least
        if (wins and self.wanted == self.goal.enough) or self._close() or self.rounds > ROUNDS:
            return False
        new = np.flatnonzero(~np.isin(near, self.ids))
        new = new[np.argsort(margins[new], kind="stable")[:ADDED]]
        if not new.size:
            return self._sharpen()
        self._sharpened = False
        self._add(near[new], A[new], c[new])
        if not self._solve() or self._vanishes():
            return False
        return self.weighted <= SUPPORT and not self._surrounded()

    def _surrounded(self) -> bool:
        """Return whether rivals stand on all sides, and not just on some."""
        return self.ids.size >= MANY and self.weighted >= ROUND * self.ids.size

    def best(self, exponent: int) -> Best:
        """Return what was found, with margins times ``2**exponent``."""
        with np.errstate(over="ignore"):
            margin, bound = np.ldexp([self.margin, self.bound], exponent).tolist()
        return Best(self.token, self.point, margin, self.weights, bound, self._vanishes())

    def _close(self) -> bool:
        """Return whether the bounds are as close as the goal asks, as far as float64 tells."""
        apart = self.bound - self.margin
        return math.isfinite(apart) and apart <= self.goal.gap * abs(self.bound)

    def _vanishes(self) -> bool:
        """Return whether the bound is zero or less, as far as float64 tells."""
        return bool(self.ids.size) and self.bound <= 1e-13 * self._radius * self._program.size

    def _add(self, ids: Ids, A: Floats, c: Floats) -> None:
        """Let rivals join; if they would be too many, those without weight leave before."""
        if self.ids.size + ids.size > SUPPORT + ADDED:
            used = np.flatnonzero(self._program.lam)
            self._program.keep(used)
            self.ids = self.ids[used]
        cross = self._rivals(self.ids)[0] @ A.T
        self._program.add(cross, A @ A.T, c)
        self.ids = np.append(self.ids, ids)

    def _solve(self) -> bool:
        """Solve the program; keep its weights, and aim at its point; False if numbers overflow."""
        program = self._program
        if not math.isfinite(program.size):
            return False
        program.solve()
        used = np.flatnonzero(program.lam)
        (A, c), lam = self._rivals(self.ids[used]), program.lam[used]
        length = float(np.linalg.norm(lam @ A))
        if length <= 1e-4 * program.size:
            lam = vanishing(A, lam)
            program.lam[used] = lam
        v = self._weigh(self.ids[used], lam, A, c)
        length = float(np.linalg.norm(v))
        domain = self.problem.domain
        if length > 0.0:
            size = length
            if self.problem.homogeneous and domain.shape == "box":
                size = float(np.abs(v).max())
            x = v * (self._radius / size)
            if not np.isfinite(x).all():
                return False
            self.x = domain.fit(x)
        return True

    def _weigh(self, ids: Ids, lam: Floats, A: Floats, c: Floats) -> Floats:
        """Keep the weights if they give the best bound; return their sum ``v`` (d,) of rows."""
        v = lam @ A
        bound = self._radius * float(np.linalg.norm(v)) + float(lam @ c)
        if bound < self.bound:
            self.bound, self.weights = bound, Weights(ids, lam)
        return np.asarray(v)

    def _sharpen(self) -> bool:
        """Aim once at the point where the rivals with weight are exactly equal; False if it fails.

        Where the largest margin is a millionth of the rows' scale, the program's own point has lost
        it to rounding. Among the ``x = m alpha + beta`` at which those margins are all m, the
        length R gives m. The weights whose rows sum to a multiple of that x have the best bound.
        """
        if self._sharpened or not self.ids.size:
            return False
        self._sharpened = True
        ids = self.ids[self._program.lam > 0.0]
        A, c = self._rivals(ids)
        sides = np.column_stack([np.ones(c.size), -c])
        try:
            alpha, beta = np.linalg.lstsq(A, sides, rcond=None)[0].T
            square, half = float(alpha @ alpha), float(alpha @ beta)
            under = half * half - square * (float(beta @ beta) - self._radius * self._radius)
            if not (square > 0.0 and under >= 0.0):
                return False
            x = (math.sqrt(under) - half) / square * alpha + beta
            lam = np.linalg.lstsq(A.T, x, rcond=None)[0]
        except np.linalg.LinAlgError:
            return False
        if not np.isfinite(x).all():
            return False
        if (lam > 0.0).all():
            self._weigh(ids, lam / lam.sum(), A, c)
        self.x = self.problem.domain.fit(x)
        return True

    def _rivals(self, ids: Ids) -> tuple[Floats, Floats]:
        """Return the rows (n, d) and biases (n,) of the margins over these rivals."""
        b = self.problem.readout.b
        return self._row - self._seen(self.problem.readout.rows[ids]), b[self.token] - b[ids]

    def _seen(self, rows: Floats) -> Floats:
        """Return the rows (n, d) as points of the domain meet them."""
        return rows - rows.mean(axis=1, keepdims=True) if self.problem.domain.zero_sum else rows
