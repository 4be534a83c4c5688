"""``highs``: the max-margin linear program, by constraint generation in HiGHS.

The largest margin of token t over the domain is the value of

    maximise m  subject to  a_j . x + c_j + m <= 0  for every j != t,  x in the domain,

with ``a_j = w_j - w_t`` and ``c_j = b_j - b_t``; t's own row is left out. Few of the V - 1 rows
matter: the program starts with some hundreds, rows that its answer violates are added, and the dual
simplex continues from the last basis.

A ball is not a polyhedron. Without a bias only directions count, and the box around the ball serves
as well. With a bias, the program on that box gives a first bound. The question is then put another
way: the shortest ``x`` with a margin of at least half the bound, which is lowered until that ``x``
is in the ball or the bound falls to zero (`least_norm`). Tangents to the ball, added to the program
where its answer leaves it, settle many tokens too, but converge slowly in a tight clump; HiGHS's
quadratic solver failed on one in ten tokens of such a clump. The hull of points has a program of
its own (`game_program`).

Only the sign of the margin is asked for, so two things end the search early: the point, moved into
the domain, wins against *all* rows; or the row duals, which are weights, bound the margin over the
true domain by zero. The answer of HiGHS is a suggestion, which geom checks. If it proves nothing
and the problem is small, the program is solved once more, in rationals (`small_problems`).

Source: Q. Huangfu and J. A. J. Hall, Parallelizing the dual revised simplex method, Mathematical
Programming Computation 10, 2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated

import numpy as np
from msgspec import Meta

from geom import Certifier, Finding, Floats, Ids, Problem, Weights, hookimpl, judge
from geom_plugins.certifiers.game_program import solved
from geom_plugins.certifiers.least_norm import least_norm
from geom_plugins.certifiers.simplex import RowProgram
from geom_plugins.solvers.mixtures import Board
from geom_plugins.solvers.small_problems import decide

_PLAIN = 20
"""Rows from ``2**-20`` to ``2**20`` times the typical row are solved as they are."""

_BLOCK = 1 << 20
"""The numbers of W that are multiplied at a time, while the first rows are chosen."""

START = 4
"""The number of rows to start with, times the width d."""


@dataclass(frozen=True)
class HighsOptions:
    """How the program is solved."""

    add: Annotated[int, Meta(ge=1, description="most violated rows to add per round")] = 64
    rounds: Annotated[int, Meta(ge=1, description="rounds before giving up")] = 200
    tolerance: Annotated[
        float, Meta(ge=1e-10, le=1e-3, description="HiGHS's feasibility tolerances")
    ] = 1e-9
    largest: Annotated[
        bool, Meta(description="go on to the largest margin, not only to its sign")
    ] = False
    gap: Annotated[
        float, Meta(gt=0, description="with largest: relative gap of the bounds to stop at")
    ] = 1e-3
    enough: Annotated[
        float | None, Meta(description="with largest: margin to stop above, in logits")
    ] = None


def certify(problem: Problem, token: int, prior: Finding, options: HighsOptions) -> Finding:
    """Return the best point and the best weights from all rounds of the program.

    The point has a positive margin in float64, or the weights bound the margin by about zero, or
    the note says why neither was reached.
    """
    if options.enough is not None:
        options = replace(options, enough=math.ldexp(options.enough, -problem.exponent))
    problem = problem.unit
    if problem.readout.V == 1:
        return Finding(x=problem.domain.fit(np.zeros(problem.domain.coordinates)))
    if problem.domain.shape == "simplex":
        board = Board(
            problem, token, largest=options.largest, gap=options.gap, enough=options.enough
        )
        board.start(prior)
        note = None if board.settled() else solved(board, options.rounds, options.tolerance)
        return board.finding(note)
    found = _searched(problem, token, options)
    if judge(problem, token, found).decided:
        return found
    return decide(problem, token) or found


def _searched(problem: Problem, token: int, options: HighsOptions) -> Finding:
    """Return the best point and weights that HiGHS reaches."""
    readout = problem.readout
    search = _Search(problem, token, options)
    search.add_tokens(_outer_tokens(problem, START * readout.d))
    search.add_tokens(_near_tokens(problem, token, START * readout.d))
    for done in range(options.rounds):
        status = search.shorten() if search.ball and done > 0 else search.solve()
        if status is not None:
            return search.finding(status)
        if search.settled() or not (search.grow() or (search.ball and done == 0)):
            return search.finding(None)
    return search.finding(f"no answer in {options.rounds} rounds")


@lru_cache(maxsize=2)
def _outer_tokens(problem: Problem, count: int) -> Ids:
    """Return tokens likely to be on the hull: winners of random directions, then the farthest."""
    readout = problem.readout
    directions = np.random.default_rng(0).standard_normal((readout.d, min(1024, 2 * count)))
    best = np.full(directions.shape[1], -math.inf)
    winner, length = np.zeros(best.size, dtype=np.int64), np.empty(readout.V)
    for part, rows in readout.rows.blocks(_BLOCK):
        centred = rows - readout.rows.mean
        length[part] = np.linalg.norm(centred, axis=1)
        scores = centred @ directions
        first = scores.argmax(axis=0)
        highest = np.take_along_axis(scores, first[None], axis=0)[0]
        winner = np.where(highest > best, part.start + first, winner)
        best = np.maximum(best, highest)
    won, far = np.unique(winner), np.argsort(-length, kind="stable")
    return np.concatenate([won, np.setdiff1d(far[: count + won.size], won, True)])[:count]


def _near_tokens(problem: Problem, token: int, count: int) -> Ids:
    """Return the tokens with the nearest rows, which a token in a clump must beat in the end."""
    rows, norms = problem.readout.rows, problem.readout.row_norms
    return np.argsort(norms * norms - 2.0 * (rows @ rows[token]), kind="stable")[:count]


class _Search:
    """One token's program, and the best point and weights found so far.

    ``x = reach * y`` with y in the unit box or ball, and margins are divided by ``unit``, a typical
    ``reach |a_j|``, so that HiGHS sees numbers near 1.
    """

    def __init__(self, problem: Problem, token: int, options: HighsOptions) -> None:
        self._problem, self._token, self._options = problem, token, options
        domain, d = problem.domain, problem.readout.d
        self._reach = domain.radius if domain.bounded else 1.0
        self._free = not domain.bounded and not problem.homogeneous
        self._round = domain.shape == "ball" or (problem.homogeneous and not domain.bounded)
        self.ball = self._round and (options.largest or not problem.homogeneous)
        self._unit = 1.0
        self._known = np.zeros(problem.readout.V, dtype=bool)
        self._known[token] = True
        self._tokens: list[int] = []
        self._scales = np.zeros(0)
        self._point, self._margin = np.zeros(d), -math.inf
        self._weights: Weights | None = None
        self._bound = math.inf
        self._y, self._m = np.zeros(d), 0.0
        self._nearer = False
        self._lp = self._program(d)
        if domain.zero_sum:
            self._add(np.append(np.ones(d), 0.0)[None], np.zeros(1), np.zeros(1), [-1], np.ones(1))

    def _program(self, d: int) -> RowProgram:
        """Return ``maximise m`` over ``y`` in the unit box, or free; m <= 1 if y has no bound."""
        cost = np.append(np.zeros(d), -1.0)
        low = np.append(np.full(d, -math.inf if self._free else -1.0), -math.inf)
        high = np.append(
            np.full(d, math.inf if self._free else 1.0), 1.0 if self._free else math.inf
        )
        return RowProgram(cost, low, high, self._options.tolerance)

    def add_tokens(self, tokens: Ids) -> None:
        """Add the rows of these tokens to the program."""
        new = tokens[~self._known[tokens]]
        if not new.size:
            return
        a, c = self._problem.differences(self._token, new)
        if not self._known.sum() > 1:
            lengths = np.hypot(np.linalg.norm(a, axis=1) * self._reach, c)
            self._unit = float(np.median(lengths)) or 1.0
        rows, high = a * (self._reach / self._unit), -c / self._unit
        scales = self._row_scales(rows, high)
        level = scales if self._options.largest else np.ones(new.size)
        rows = np.column_stack([rows * scales[:, None], level])
        self._known[new] = True
        self._add(rows, np.full(new.size, -math.inf), high * scales, new.tolist(), scales)

    def _row_scales(self, rows: Floats, high: Floats) -> Floats:
        """Return powers of two (n,) that bring rows far from 1 near it; 1 for the others.

        HiGHS drops small numbers and refuses large ones. Such scales do not change the sign of the
        largest margin. They do change the largest margin itself, unless ``m`` is scaled with them;
        then the small rows stay as they are.
        """
        exponents = np.frexp(np.maximum(np.abs(rows).max(axis=1), np.abs(high)))[1]
        plain = np.abs(exponents) <= _PLAIN
        if self._options.largest:
            plain |= exponents < 0
        return np.ldexp(1.0, np.where(plain, 0, -exponents))

    def solve(self) -> str | None:
        """Solve the program and keep its point and weights; return the reason if HiGHS fails."""
        status = self._lp.solve()
        if status is not None:
            return f"HiGHS ended with {status}"
        self._y, self._m = self._lp.point()
        ids = np.asarray(self._tokens, dtype=np.int64)
        multipliers = self._lp.multipliers() * self._scales
        self._take_weights(ids[ids >= 0], multipliers[ids >= 0])
        self._take_point(self._y)
        return None

    def shorten(self) -> str | None:
        """Find the shortest point with a margin of half of what the bound leaves, as `solve`."""
        ids = np.asarray([token for token in self._tokens if token >= 0], dtype=np.int64)
        a, c = self._problem.differences(self._token, ids)
        if self._problem.domain.zero_sum:
            a = a - a.mean(axis=1, keepdims=True)
        before = self._bound, self._margin
        wanted = 1.0  # without a bias, the shortest point has the largest margin for its length
        if not self._problem.homogeneous:
            wanted = max(0.5 * (max(self._margin, 0.0) + self._bound) / self._unit, 1e-10)
        answer = least_norm(a * (self._reach / self._unit), c / self._unit, wanted)
        if answer is None:
            return "the least-norm problem did not converge"
        y, lam = answer
        self._take_weights(ids, lam)
        if y is not None:
            self._y, self._m = y, wanted
            self._take_point(y)
        self._nearer = before != (self._bound, self._margin)
        return None

    def settled(self) -> bool:
        """Return whether the gap is small, or the margin's sign known as far as float64 tells."""
        if self._options.largest:
            if self._options.enough is not None and self._margin > self._options.enough:
                return True
            return self._bound - self._margin <= self._options.gap * abs(self._bound)
        least = 1e-11 * self._unit if self._problem.homogeneous else 0.0
        return self._margin > 0.0 or self._bound <= least

    def grow(self) -> bool:
        """Add the rows that the last answer violates; False if the next answer will not change."""
        before, short = len(self._tokens), (self._m - self._options.tolerance) * self._unit
        self._add_below(self._problem.margins(self._token, self._reach * self._y), short)
        length = float(np.linalg.norm(self._y))
        if self.ball and length > 1.0:
            inside = self._reach * self._y / length
            self._add_below(self._problem.margins(self._token, inside), short)
        return self._nearer or len(self._tokens) > before

    def finding(self, note: str | None) -> Finding:
        """Return the best point and weights.

        If the margin is below HiGHS's tolerance, the answer is the origin and says nothing. The
        weights are still good up to rounding, and if they are optimal ``r`` points straight away
        from the best point: on a ball along it, on a box with its signs.
        """
        if self._problem.homogeneous and self._margin <= 0.0 and self._weights is not None:
            a, _ = self._problem.differences(self._token, self._weights.indices)
            r = self._weights.values @ a
            self._take_point(-r)
            self._take_point(-np.sign(r))
        x = None if math.isinf(self._margin) else self._point
        return Finding(x, self._weights, note)

    def _add_below(self, margins: Floats, short: float) -> None:
        """Add rows not yet in the program whose margin is below ``short``, the lowest first."""
        margins[self._known] = math.inf
        lowest = np.argsort(margins, kind="stable")[: self._options.add]
        self.add_tokens(lowest[margins[lowest] < short])

    def _add(
        self, rows: Floats, low: Floats, high: Floats, tokens: list[int], scales: Floats
    ) -> None:
        """Add scaled rows to HiGHS, each with the token it stands for, or -1 for the domain's."""
        self._lp.add_rows(rows, low, high)
        self._tokens += tokens
        self._scales = np.append(self._scales, scales)

    def _take_point(self, y: Floats) -> None:
        """Keep ``y``, moved into the domain, if its margin over all rows is the best so far."""
        domain, x = self._problem.domain, self._reach * y
        if self._problem.homogeneous and (domain.bounded or self.ball):
            length = np.abs(x).max() if domain.shape == "box" else np.linalg.norm(x)
            length /= self._reach
            x = x / float(length) if length > 0.0 else x
        x = domain.fit(x)
        margin = float(self._problem.margins(self._token, x).min())
        if margin > self._margin:
            self._point, self._margin = x, margin

    def _take_weights(self, ids: Ids, multipliers: Floats) -> None:
        """Keep these tokens' multipliers as weights if they give the best bound so far."""
        used = multipliers > 0.0
        if not used.any():
            return
        lam = multipliers[used] / multipliers[used].sum()
        a, c = self._problem.differences(self._token, ids[used])
        bound = self._reach_of(lam @ a) - float(lam @ c)
        if bound < self._bound or self._weights is None:
            self._weights, self._bound = Weights(ids[used], lam), bound

    def _reach_of(self, r: Floats) -> float:
        """Return ``sup -(r . x)`` over the domain, in float64."""
        domain = self._problem.domain
        if self._free:
            return 0.0 if np.abs(r).max() * self._reach <= 1e-9 * self._unit else math.inf
        if domain.zero_sum:
            r = r - r.mean()
        size = np.linalg.norm(r) if domain.shape == "ball" or self.ball else np.abs(r).sum()
        return self._reach * float(size)


def _tighten(options: HighsOptions, gap: float, enough: float | None) -> HighsOptions:
    return replace(options, largest=True, gap=gap, enough=enough)


@hookimpl
def geom_certifiers() -> Iterator[Certifier[HighsOptions]]:
    yield Certifier(
        "highs",
        "the max-margin linear program, solved by HiGHS",
        certify,
        HighsOptions,
        sees_all=lambda options: options.largest,
        tighten=_tighten,
        mixtures=True,
    )
