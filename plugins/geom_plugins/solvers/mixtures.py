"""The best mixture of the points of a hull for a token: a game between rivals and points.

At the mixture ``y`` of points ``p_i``, rival j is above token t by ``z_j = sum_i y_i M_ji``, with
``M_ji = a_j . p_i + c_j``. So the largest margin over the hull is the value of the matrix game with
the payoffs -M: mixtures of points on one side, weights of rivals on the other. Weights ``lam`` of
sum 1 bound it by the largest of ``-(lam M)_i``, and a mixture by its least margin (von Neumann).

`Board` keeps the best of both, whoever finds them, and knows which rivals to add: few of the V - 1
rows of M count, and only those are made. `smoothed` finds them by Newton's method for

    tau log sum_j exp(z_j / tau) - nu sum_i log y_i      subject to  sum_i y_i = 1,

lowering ``tau`` and ``nu`` together. At the minimum, the weights ``p = softmax(z / tau)`` bound the
margin by at most ``n nu + tau log m`` more than the mixture reaches, so the two close in on each
other. The Hessian is a diagonal plus a matrix of rank m, and the smaller of the two sides is
eliminated (Sherman, Morrison and Woodbury).

Source: S. Boyd and L. Vandenberghe, Convex Optimization, Cambridge 2004, sections 5.2.5 (matrix
games), 10.2 and 11.2.
"""

from __future__ import annotations

import math

import numpy as np

from geom import Finding, Flags, Floats, Ids, Problem, Weights, judge

FIRST = 128
"""The rivals that a search begins with: the highest at the mean of the points."""

ADDED = 64
"""The most rivals that join after a point was tried against all."""

LOWERED = 0.25
"""The factor by which ``tau`` and ``nu`` are lowered."""

SHARP = 1e-2
"""The ``tau``, as a part of the payoffs' size, below which a path's point may tell the optimum."""

TOO_NEAR = 1e-14
"""Margins below this part of the payoffs' size may be rounding alone."""

SHARES = (1e-2, 1e-4, 1e-7, 1e-10)
"""Shares of a mixture below these parts of the largest are left out, if it still does as well."""


class Board:
    """One token's rivals, but for those left ``out`` (V,); the best mixture and weights so far."""

    def __init__(
        self,
        problem: Problem,
        token: int,
        *,
        largest: bool = False,
        gap: float = 1e-3,
        enough: float | None = None,
        out: Flags | None = None,
    ) -> None:
        frame = problem.domain.frame
        assert frame is not None
        self.problem, self.token, self.points = problem, token, frame.axes
        self._largest, self._gap, self._enough = largest, gap, enough
        self._out = np.zeros(problem.readout.V, dtype=np.bool_) if out is None else out
        self.ids: Ids = np.zeros(0, dtype=np.int64)
        self.payoffs = np.zeros((0, len(self.points)))
        self.scale = 1.0
        self.point, self.margin = np.zeros(len(self.points)), -math.inf
        self.weights: Weights | None = None
        self.bound = math.inf
        self._tied = False

    def start(self, prior: Finding, ids: Ids | None = None) -> None:
        """Take in what is known, and some rivals: those highest at the mean of the points."""
        n = len(self.points)
        twins = [j for j in self.problem.readout.twins(self.token) if not self._out[j]][:1]
        if twins:
            self._add(np.array(twins))
            self.weigh(np.array(twins), np.ones(1))
            if not self._largest:
                self._tied = True
                return
        if prior.weights is not None:
            self._add(np.setdiff1d(prior.weights.indices, self.ids))
            self.weigh(prior.weights.indices, prior.weights.values)
        if prior.x is not None and prior.x.shape == (n,):
            self.meet(prior.x)
        margins = self.meet(np.full(n, 1.0 / n))
        order = np.argsort(margins, kind="stable")[:FIRST] if ids is None else ids
        chosen = order[(order != self.token) & ~self._out[order]]
        self._add(chosen[~np.isin(chosen, self.ids)])
        sizes = np.abs(self.payoffs).max(axis=1)
        self.scale = float(np.median(sizes[sizes > 0.0])) if sizes.any() else 1.0

    def meet(self, y: Floats) -> Floats:
        """Try a mixture against all rivals; keep it if it is the best; return its margins (V,)."""
        x = self.problem.domain.fit(y)
        margins = self._margins(x)
        margin = float(margins.min())
        if margin > self.margin:
            self.point, self.margin = x, margin
        return margins

    def grow(self, y: Floats, above: float) -> bool:
        """Add the rivals whose margin at a mixture is below a number; False if there are none."""
        margins = self.meet(y)
        margins[self.ids] = math.inf
        lowest = np.argsort(margins, kind="stable")[:ADDED]
        new = lowest[margins[lowest] < above]
        self._add(new)
        return bool(new.size)

    def weigh(self, ids: Ids, lam: Floats) -> None:
        """Keep weights of some rivals if they give the best bound."""
        used = lam > 0.0
        if not used.any() or not np.isfinite(lam).all():
            return
        ids, lam = ids[used], lam[used] / lam[used].sum()
        a, c = self.problem.differences(self.token, ids)
        bound = float((self.points @ -(lam @ a)).max() - lam @ c)
        if bound < self.bound:
            self.weights, self.bound = Weights(ids, lam), bound

    def settled(self) -> bool:
        """Return whether the gap is small, or the margin's sign known as far as float64 tells."""
        if self._largest:
            if self._enough is not None and self.margin > self._enough:
                return True
            apart = self.bound - self.margin
            return math.isfinite(apart) and apart <= self._gap * abs(self.bound)
        return (
            self._tied or self.margin > TOO_NEAR * self.scale or self.bound < -TOO_NEAR * self.scale
        )

    def finding(self, note: str | None) -> Finding:
        """Return the best mixture, without shares that do nothing for it, and the best weights.

        A token whose largest margin is zero has weights that stand far above the others; an exact
        proof needs only them.
        """
        x = None if math.isinf(self.margin) else self._fewer(self.point)
        found = Finding(x, self.weights, note)
        if note is None or self.weights is None:
            return found
        for least in (1e-4, 1e-7):
            lam = self.weights.values
            face = lam > least * lam.max()
            few = Finding(x, Weights(self.weights.indices[face], lam[face]), note)
            if judge(self.problem, self.token, few).name == "unspeakable":
                return Finding(x, few.weights)
        return found

    def _fewer(self, y: Floats) -> Floats:
        """Return the mixture with as few points as serve it nearly as well."""
        most = 1e-9 if self._largest else 0.1
        for share in SHARES:
            fewer = self.problem.domain.fit(np.where(y >= share * y.max(), y, 0.0))
            margin = float(self._margins(fewer).min())
            if margin >= self.margin - most * abs(self.margin):
                return fewer
        return y

    def _margins(self, x: Floats) -> Floats:
        """Return the margins (V,) at a mixture, infinite over rivals left out."""
        margins = self.problem.margins(self.token, x)
        margins[self._out] = math.inf
        return margins

    def _add(self, ids: Ids) -> None:
        if ids.size:
            a, c = self.problem.differences(self.token, ids)
            self.ids = np.append(self.ids, ids)
            self.payoffs = np.vstack([self.payoffs, a @ self.points.T + c[:, None]])


def smoothed(board: Board, steps: int) -> str | None:
    """Search for the best mixture and weights; return why it ended without them, or None."""
    n = len(board.points)
    y = np.full(n, 1.0 / n)
    tau = float(np.ptp(board.payoffs @ y)) / 8 or board.scale
    least = 1e-15 * board.scale
    inner = 0
    for _ in range(steps):
        with np.errstate(all="ignore"):
            moved, decrement, p = _step(board.payoffs, y, tau, tau / n)
        if moved is None or not np.isfinite(decrement):
            return "Newton's method could go no further"
        y, inner = moved, inner + 1
        board.weigh(board.ids, p)
        if board.settled():
            return None
        if decrement > 0.5 * tau and inner < 12:
            continue
        grew = board.grow(y, max(0.0, -float((board.payoffs @ y).max())) + tau)
        if board.settled():
            return None
        if grew and board.margin < 0.0 and inner < 12:
            continue
        if tau < SHARP * board.scale and _sharpened(board, y, p):
            return None
        if tau < least:
            return "the largest margin is too near to zero"
        tau, inner = tau * LOWERED, 0
    return f"no answer in {steps} steps"


def _sharpened(board: Board, y: Floats, p: Floats) -> bool:
    """Aim at the mixture and weights that make their points and rivals exactly equal.

    At the optimum the rivals with weight are equally high, and so are the points with a share. Near
    it ``y`` and ``p`` tell which these are. Returns whether the board is settled.
    """
    for least in (1e-2, 1e-4, 1e-6):
        rivals, points = np.flatnonzero(p > least * p.max()), np.flatnonzero(y > least * y.max())
        inner = board.payoffs[np.ix_(rivals, points)]
        try:
            lam, shares = _equal(inner.T), _equal(inner)
        except np.linalg.LinAlgError:
            return False
        if (lam >= 0.0).all():
            board.weigh(board.ids[rivals], lam)
        if (shares >= 0.0).all():
            whole = np.zeros_like(y)
            whole[points] = shares
            board.meet(whole)
        if board.settled():
            return True
    return False


def _equal(M: Floats) -> Floats:
    """Return numbers of sum 1 for the columns that make all rows of the sum alike, if they can."""
    n, m = M.shape
    unit = float(np.abs(M).max()) or 1.0
    system = np.block([[M / unit, np.ones((n, 1))], [np.ones((1, m)), np.zeros((1, 1))]])
    return np.asarray(np.linalg.lstsq(system, np.append(np.zeros(n), 1.0), rcond=None)[0][:m])


def _step(M: Floats, y: Floats, tau: float, nu: float) -> tuple[Floats | None, float, Floats]:
    """Return the mixture after one damped Newton step, its decrement, and the weights it leads to.

    The weights are those of the linear model of the whole step, in which the gradient vanishes.
    """
    z = M @ y
    p = _softmax(z / tau)
    gradient = p @ M - nu / y
    with np.errstate(all="ignore"):
        root = np.sqrt(p)
        # the square root of (diag(p) - p p^T) / tau, times M
        G = (root[:, None] * M - np.outer(root, p @ M)) / math.sqrt(tau)
        used = p > 1e-14
        G = G[used]
        try:
            solved = solve_low_rank(G, y * y / nu, np.column_stack([gradient, np.ones(y.size)]))
        except np.linalg.LinAlgError:
            return None, math.nan, p
    step = -solved[:, 0] + solved[:, 1] * (solved[:, 0].sum() / solved[:, 1].sum())
    decrement = -float(gradient @ step)
    along = M @ step
    p = np.maximum(p * (1.0 + (along - p @ along) / tau), 0.0)
    if not np.isfinite(step).all() or not decrement > 0.0:
        return (y, 0.0, p) if decrement > -1e-9 * tau else (None, math.nan, p)
    falling = step < 0.0
    length = min(1.0, 0.95 * float((y[falling] / -step[falling]).min(initial=math.inf)))
    before = _smooth(z, y, tau, nu)
    for _ in range(40):
        moved = y + length * step
        moved /= moved.sum()
        if _smooth(M @ moved, moved, tau, nu) <= before - 0.1 * length * decrement:
            return moved, decrement, p
        length /= 2.0
    return y, 0.0, p


def solve_low_rank(G: Floats, spread: Floats, sides: Floats) -> Floats:
    """Solve ``(diag(1 / spread) + G^T G) v = sides`` (n, m) by the smaller of its two forms."""
    if len(G) < spread.size:
        scaled = G * spread
        inner = np.eye(len(G)) + scaled @ G.T
        right = spread[:, None] * sides
        return np.asarray(right - scaled.T @ np.linalg.solve(inner, G @ right))
    root = np.sqrt(spread)
    scaled = G * root
    whole = np.eye(spread.size) + scaled.T @ scaled
    return np.asarray(root[:, None] * np.linalg.solve(whole, root[:, None] * sides))


def _smooth(z: Floats, y: Floats, tau: float, nu: float) -> float:
    high = float(z.max())
    return (
        high + tau * math.log(float(np.exp((z - high) / tau).sum())) - nu * float(np.log(y).sum())
    )


def _softmax(z: Floats) -> Floats:
    e = np.exp(z - z.max())
    return np.asarray(e / e.sum())
