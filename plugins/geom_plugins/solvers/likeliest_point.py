"""The point of a domain where a token is likeliest, for many tokens at once, by Newton's method.

For a token t with rivals j, at the temperature T, the least value over a domain of::

    f(x) = log sum_j exp((a_j . x + c_j) / T)

is that of the logarithm of the odds against t. It is convex, with the gradient ``g = A' p`` and the
Hessian ``A' (diag(p) - p p') A``, if ``p`` is the softmax of the exponents and A has the rows
``a_j / T``. By Gibbs' inequality, ``p`` as weights bound f from below, everywhere: on a ball, in
units of its radius, by ``f - g . y - |g|``, which meets ``f`` where ``g`` is a multiple of ``-y``.
So every step has its own error bound, and no rival is left out of either side.

Steps. On a ball the quadratic model is minimised over the ball itself (More and Sorensen), on a box
together with a logarithmic barrier, with multipliers for its walls (a primal-dual method); on all
of R^d freely. On the hull of n points ``y`` are the shares of a mixture, with a barrier and
multipliers likewise, and the bound is ``f - g . y + min g``; the Hessian of the shares is a
diagonal plus a matrix of rank d, and the smaller of the two sides is eliminated
(`geom_plugins.solvers.mixtures`). A step that does not lower ``f`` enough is halved.

What tokens share. At one point, all tokens have the same logits, so the points of a batch are
multiplied with all rows in one product, and their ``p`` in another; that is most of the reading of
rows, and cheap. All tokens start at ``x = 0``, where they have the same Hessian, and keep it for as
long as each step divides the gap by `_GAIN`: for a token deep in the hull, whose rivals all count,
this one matrix is enough. Otherwise a token gets a matrix of its own, from its likeliest rivals and
a sample of the others; a matrix changes the number of steps, and never the answer.

On all of R^d weights prove something only if ``g`` vanishes to rounding, and nothing but the rivals
holds a step back, so a token's own matrix is made of all of them.

Sources: S. Boyd and L. Vandenberghe, Convex Optimization, 2004, sections 5.7, 9.5 and 11.7; J. J.
More and D. C. Sorensen, Computing a trust region step, SIAM J. Sci. Stat. Comput. 4, 1983.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np

from geom import Array, Domain, Finding, Floats, Ids, Problem, Readout, Weights
from geom_plugins.solvers.mixtures import solve_low_rank

ROUNDS = 120
"""The points that are tried for a token before giving up."""

BYTES = 1 << 27
"""The bytes of the exponents of all rivals, for the tokens that share products."""

_GAIN = 4.0
"""A matrix is kept for another step if the last one divided the gap by this."""

_HEAVY, _DRAWN = 4, 2
"""The likeliest rivals that a token's own matrix is made of, and those drawn from the others, times
the width d."""

_SHARED = 64
"""The rivals that the shared matrix is made of, times the width d, if there are so many."""

_CENTRED = 0.1
"""The share of the mean product of room and multiplier that a step in a box aims at."""

_KEEP = 0.99
"""The share of the way to the nearest wall that a step may take."""

_COOLED = 4.0
"""The factor from one temperature to the next, on a hull where the search is lost at the last."""

_WARM = 0.1
"""The gap at which a search at a higher temperature ends."""

_SHORTEST = 2.0**-20
"""The least share of a step."""

_DROPPED = 4.0
"""The least weights are dropped if their sum, times the length of a row, is below this share of the
gap; half of the weights of a flat ``p`` are dust."""

_NOTHING = -230.0
"""Exponents below the highest by more than this count as nothing: subnormal numbers are slow."""

_FLOOR = 1e-14
"""The least eigenvalue, relative to the largest, that float64 can tell from zero."""


def likeliest_points(
    problem: Problem,
    tokens: Sequence[int],
    priors: Sequence[Finding],
    temperature: float,
    gap: float,
) -> list[Finding]:
    """Find for each token a point where it is likely, and weights that show how likely it can be.

    The logarithm of the probability at the point, and the bound by the weights, are at most ``gap``
    apart unless float64 or `ROUNDS` end a search. A token so likely at its prior point, or at a
    point on the way, that nothing is left to bound has no weights.
    """
    with np.errstate(over="ignore", under="ignore"):
        temperature = float(np.ldexp(temperature, -problem.exponent))
    if not 0.0 < temperature < math.inf:
        return [Finding() for _ in tokens]
    size = max(1, BYTES // (8 * problem.readout.V))
    out: list[Finding] = []
    with np.errstate(all="ignore"):  # numbers that overflow end a search
        rivals = _Rivals(problem.unit, temperature)
        for start in range(0, len(tokens), size):
            part = slice(start, start + size)
            out += _searched(rivals, tokens[part], priors[part], gap)
    return out


def _searched(
    rivals: _Rivals, tokens: Sequence[int], priors: Sequence[Finding], gap: float
) -> list[Finding]:
    """Return the findings of tokens that share their products."""
    found: dict[int, Finding] = {}
    domain = rivals.problem.domain
    known = [(token, prior.x) for token, prior in zip(tokens, priors, strict=True)]
    points = [(token, rivals.shrunk(x)) for token, x in known if x is not None and x.any()]
    for (token, y), seen in zip(points, rivals.seen(points), strict=True):
        if _log_probability(seen.f) >= -gap:
            found[token] = Finding(domain.fit(rivals.grown(y)))
    left = [(token, rivals.start) for token in tokens if token not in found]
    for search in _ended(rivals, left, gap):
        far = rivals.axes is not None and not search.close
        found[search.token] = (_cooled(rivals, search.token, gap) if far else search).finding()
    return [found[token] for token in tokens]


def _ended(rivals: _Rivals, starts: Sequence[tuple[int, Floats]], gap: float) -> list[_Search]:
    """Return the searches of some tokens, each from its ``y`` (k,), when all have ended."""
    searches = [
        _Search(rivals, token, gap, seen)
        for (token, _), seen in zip(starts, rivals.seen(starts), strict=True)
    ]
    for _ in range(ROUNDS):
        open_ = [search for search in searches if not search.ended]
        if not open_:
            break
        trials = [(search.token, search.trial()) for search in open_]
        for search, seen in zip(open_, rivals.seen(trials), strict=True):
            search.meet(seen)
    return searches


def _cooled(rivals: _Rivals, token: int, gap: float) -> _Search:
    """Search on a hull from a temperature at which many rivals count, lowered step by step.

    Where a single rival counts, the Hessian vanishes, and Newton's method is lost.
    """
    (seen,) = rivals.seen([(token, rivals.start)])
    spread = max(seen.f, float(np.ptp(seen.g)), 1.0)
    y, steps = rivals.start, math.ceil(math.log(spread, _COOLED)) if spread < math.inf else 0
    for step in range(steps, 0, -1):
        warm = _Rivals(rivals.problem, rivals.temperature * _COOLED**step)
        (search,) = _ended(warm, [(token, y)], max(gap, _WARM))
        y = search.y
    return _ended(rivals, [(token, y)], gap)[0]


def _log_probability(f: float) -> float:
    """Return ``-log(1 + exp f)``."""
    return -float(np.logaddexp(0.0, f))


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a token meets at ``y`` (k,): ``f``, the ``p`` of all tokens (V,), and ``g`` (k,).

    ``mean`` (d,) is the mean of the rows, weighted by ``p``. ``p`` of the token itself is 0.
    """

    y: Floats
    f: float
    p: Floats
    mean: Floats
    g: Floats


class _Rivals:
    """The rows and biases of a problem, over the temperature.

    ``x`` is ``reach * y`` or, on a hull, ``middle + reach * y @ axes``: there ``axes`` (k, d) are
    the points less their ``middle``, over the length of the longest.
    """

    def __init__(self, problem: Problem, temperature: float) -> None:
        self.problem, self.temperature = problem, temperature
        self.axes: Floats | None = None
        self.reach = problem.domain.radius if problem.domain.bounded else 1.0
        self.start = np.zeros(problem.domain.coordinates)
        if problem.domain.frame is not None:
            points = problem.domain.frame.axes
            largest = float(np.abs(points).max()) or 1.0
            self._middle = (points / largest).mean(axis=0) * largest
            axes = points - self._middle
            self.reach = float(np.linalg.norm(axes / largest, axis=1).max()) * largest or 1.0
            self.axes = axes / self.reach
            self.start = np.full(len(points), 1.0 / len(points))
        self.scale = self.reach / temperature
        self._b = problem.readout.b

    def shrunk(self, point: Floats) -> Floats:
        """Return the ``y`` (k,) of a point of the domain."""
        return point if self.axes is not None else point / self.reach

    def grown(self, y: Floats) -> Floats:
        """Return the point (k,) for ``y``, in the domain up to rounding."""
        return y if self.axes is not None else self.projected(y * self.reach)

    def _vectors(self, y: Floats) -> Floats:
        """Return the vectors (n, d) of several ``y`` (n, k)."""
        if self.axes is None:
            return self.projected(y * self.reach)
        return np.asarray(self._middle + (y @ self.axes) * self.reach)

    def _pulled(self, slopes: Floats) -> Floats:
        """Return the slopes (n, k) along ``y`` of what has these slopes (n, d) along ``x``."""
        along = self.projected(slopes) * self.scale
        return along if self.axes is None else along @ self.axes.T

    @cached_property
    def length(self) -> float:
        """The length of a typical row."""
        return float(np.median(self.problem.readout.row_norms)) * self.scale + 1.0

    def seen(self, points: Sequence[tuple[int, Floats]]) -> list[_Seen]:
        """Return what each of the tokens meets at its ``y`` (k,)."""
        if not points:
            return []
        rows, places = self.problem.readout.rows, np.arange(len(points))
        tokens = np.array([token for token, _ in points])
        y = np.array([y for _, y in points])
        z = rows.logits(self._vectors(y))
        z += self._b
        z -= z[places, tokens][:, None]
        z /= self.temperature
        z[places, tokens] = -np.inf
        top = z.max(axis=1)
        z -= top[:, None]
        z[z < _NOTHING] = -np.inf
        p = np.exp(z, out=z)
        total = p.sum(axis=1)
        p /= total[:, None]
        f = top + np.log(total)
        mean = p @ rows
        g = self._pulled(mean - rows[tokens])
        return [_Seen(*row) for row in zip(y, f.tolist(), p, mean, g, strict=True)]

    def projected(self, rows: Floats) -> Floats:
        """Return rows (n, d) or one row (d,) as the domain sees them."""
        return rows - rows.mean(axis=-1, keepdims=True) if self.problem.domain.zero_sum else rows

    def hessian(self, seen: _Seen, heavy: int, drawn: int) -> Floats:
        """Return the Hessian (d, d), from the ``heavy`` likeliest and ``drawn`` other rivals.

        It is that along ``x / reach``. The others are drawn by their ``p``, at even distances along
        their sum.
        """
        ids, shares = _sample(seen.p, heavy, drawn)
        d = seen.mean.size
        out = np.zeros((d, d))
        for start in range(0, ids.size, 8 * d):
            part = slice(start, start + 8 * d)
            rows = self.projected(self.problem.readout.rows[ids[part]] - seen.mean)
            rows *= np.sqrt(shares[part])[:, None] * self.scale
            out += rows.T @ rows
        return out

    def shared(self, seen: _Seen) -> _Metric:
        """Return the metric at the start, made once for a readout on a domain."""
        kept = _shared.setdefault(self.problem.readout, {})
        key = self.problem.domain, self.temperature
        if key not in kept:
            most = _SHARED * seen.mean.size
            kept.clear()
            kept[key] = _Metric.of(self.hessian(seen, most // 2, most // 2))
        return kept[key]


_shared: WeakKeyDictionary[Readout, dict[tuple[Domain, float], _Metric]] = WeakKeyDictionary()


def _sample(p: Floats, heavy: int, drawn: int) -> tuple[Ids, Floats]:
    """Return ids (n,) and weights (n,) whose weighted sums are near those of all with ``p``."""
    if heavy + drawn >= p.size:
        ids = np.flatnonzero(p)
        return ids, p[ids]
    order = np.argpartition(p, p.size - heavy)
    rest, first = np.sort(order[: p.size - heavy]), order[p.size - heavy :]
    sums = np.cumsum(p[rest])
    if not sums[-1] > 1e-6:
        return first, p[first]
    places = np.searchsorted(sums, (np.arange(drawn) + 0.5) * (sums[-1] / drawn))
    counts = np.bincount(np.minimum(places, rest.size - 1), minlength=rest.size)
    taken = np.flatnonzero(counts)
    return (
        np.concatenate([first, rest[taken]]),
        np.concatenate([p[first], counts[taken] * (sums[-1] / drawn)]),
    )


@dataclass(frozen=True, eq=False)
class _Metric:
    """A symmetric matrix (d, d) with its eigenvalues (d,), kept from zero, and eigenvectors."""

    matrix: Floats
    values: Floats
    vectors: Floats

    @classmethod
    def of(cls, matrix: Floats) -> _Metric:
        """Return the metric of a matrix, or the unit metric if its numbers are not finite."""
        if not np.isfinite(matrix).all():
            matrix = np.eye(len(matrix))
        values, vectors = np.linalg.eigh(matrix)
        floor = _FLOOR * float(values.max()) + 2.0**-500
        return cls(matrix, np.maximum(values, floor), vectors)

    def solve(self, right: Floats) -> Floats:
        """Return ``matrix^-1 right`` (d,)."""
        return np.asarray(self.vectors @ ((self.vectors.T @ right) / self.values))

    def in_ball(self, right: Floats) -> Floats:
        """Return the ``y`` with ``|y| <= 1`` that minimises ``y . matrix y / 2 - right . y``.

        It is ``(matrix + mu)^-1 right`` with the least ``mu >= 0`` for which it is in the ball.
        Newton's method on one over its length finds ``mu`` from below, in few steps.
        """
        turned = self.vectors.T @ right
        mu = 0.0
        for _ in range(60):
            y = turned / (self.values + mu)
            length = float(np.linalg.norm(y))
            if not length > 1.0 + 1e-12:
                break
            slope = float(y @ (y / (self.values + mu))) / length**2
            if not slope > 0.0:
                break  # numbers that overflow
            mu += (length - 1.0) / slope
        return np.asarray(self.vectors @ (y / max(1.0, length)))


class _Walker(Protocol):
    """The steps on domains of one shape."""

    def aim(self, seen: _Seen, metric: _Metric) -> Floats:
        """Return the step (k,) to take."""

    def bound(self, seen: _Seen, step: Floats) -> float:
        """Return what f is at least; ``step`` is the one that was aimed at there."""

    def worth(self, seen: _Seen) -> float:
        """Return the number that a step must lower."""

    def slope(self, seen: _Seen, step: Floats) -> float:
        """Return how fast that number changes at the beginning of the step."""

    def moved(self, share: float) -> None:
        """Take note that this share of the step was taken."""


class _OnBall:
    """Steps on ``|y| <= 1``."""

    def aim(self, seen: _Seen, metric: _Metric) -> Floats:
        return metric.in_ball(metric.matrix @ seen.y - seen.g) - seen.y

    def bound(self, seen: _Seen, step: Floats) -> float:
        return seen.f - float(seen.g @ seen.y) - float(np.linalg.norm(seen.g))

    def worth(self, seen: _Seen) -> float:
        return seen.f

    def slope(self, seen: _Seen, step: Floats) -> float:
        return float(seen.g @ step)

    def moved(self, share: float) -> None:
        return


class _Free(_OnBall):
    """Steps on all of R^d, where the bound is an estimate: what a quadratic model has to gain."""

    def aim(self, seen: _Seen, metric: _Metric) -> Floats:
        return -metric.solve(seen.g)

    def bound(self, seen: _Seen, step: Floats) -> float:
        return seen.f + float(seen.g @ step)


class _InBox:
    """Steps on ``|y_i| <= 1``, with multipliers ``above`` and ``below`` (d,) of its walls."""

    def __init__(self, seen: _Seen) -> None:
        size = float(np.abs(seen.g).mean()) or 1.0
        self._above = np.full(seen.y.size, size)
        self._below = self._above
        self._target = size
        self._turn: tuple[Floats, Floats] = self._above, self._below

    def aim(self, seen: _Seen, metric: _Metric) -> Floats:
        up, down = 1.0 - seen.y, 1.0 + seen.y
        mean = float(self._above @ up + self._below @ down) / (2 * seen.y.size)
        mu = self._target = max(_CENTRED * mean, 2.0**-500)
        diagonal = self._above / up + self._below / down
        right = -(seen.g + mu / up - mu / down)
        try:
            step = np.linalg.solve(metric.matrix + np.diag(diagonal), right)
        except np.linalg.LinAlgError:  # of numbers far apart; a step of zero ends the search
            step = np.zeros_like(right)
        self._turn = (
            mu / up - self._above + self._above / up * step,
            mu / down - self._below - self._below / down * step,
        )
        return np.asarray(step * min(_reach(up, -step), _reach(down, step)))

    def bound(self, seen: _Seen, step: Floats) -> float:
        return seen.f - float(seen.g @ seen.y) - float(np.abs(seen.g).sum())

    def worth(self, seen: _Seen) -> float:
        return seen.f - self._target * float(np.log((1.0 - seen.y) * (1.0 + seen.y)).sum())

    def slope(self, seen: _Seen, step: Floats) -> float:
        walls = self._target / (1.0 - seen.y) - self._target / (1.0 + seen.y)
        return float((seen.g + walls) @ step)

    def moved(self, share: float) -> None:
        above, below = self._turn
        share *= min(_reach(self._above, above), _reach(self._below, below))
        self._above = self._above + share * above
        self._below = self._below + share * below


class _OnHull:
    """Steps on ``y >= 0`` with sum 1, with multipliers (k,) of the shares."""

    def __init__(self, seen: _Seen, axes: Floats) -> None:
        size = float(seen.g @ seen.y - seen.g.min()) or 1.0
        self._axes, self._walls = axes, size / (seen.y.size * seen.y)
        self._target = size
        self._turn: Floats = self._walls
        self._metric: _Metric | None = None
        self._root = axes

    def aim(self, seen: _Seen, metric: _Metric) -> Floats:
        if metric is not self._metric:  # metric = root' root, along the axes
            self._metric = metric
            root = np.sqrt(metric.values)[:, None] * metric.vectors.T
            self._root = root @ self._axes.T
        y, walls = seen.y, self._walls
        mu = self._target = max(_CENTRED * float(walls @ y) / y.size, 2.0**-500)
        right = mu / y - (seen.g - seen.g.min())
        sides = np.column_stack([right, np.ones_like(right)])
        try:
            free, level = solve_low_rank(self._root, y / walls, sides).T
            step = free - level * (free.sum() / level.sum())
        except np.linalg.LinAlgError:  # of numbers far apart; a step of zero ends the search
            step = np.zeros_like(y)
        self._turn = mu / y - walls - walls / y * step
        return np.asarray(step * _reach(y, step))

    def bound(self, seen: _Seen, step: Floats) -> float:
        return seen.f - float(seen.g @ seen.y - seen.g.min())

    def worth(self, seen: _Seen) -> float:
        return seen.f - self._target * float(np.log(seen.y).sum())

    def slope(self, seen: _Seen, step: Floats) -> float:
        return float((seen.g - self._target / seen.y) @ step)

    def moved(self, share: float) -> None:
        share *= _reach(self._walls, self._turn)
        self._walls = self._walls + share * self._turn


def _reach(values: Floats, change: Array) -> float:
    """Return the share of a change, at most 1, that keeps positive values (d,) well above 0."""
    falling = change < 0.0
    if not falling.any():
        return 1.0
    return min(1.0, _KEEP * float((values[falling] / -change[falling]).min()))


def _walker(rivals: _Rivals, seen: _Seen) -> _Walker:
    """Return the steps that suit the domain."""
    shape = rivals.problem.domain.shape
    if rivals.axes is not None:
        return _OnHull(seen, rivals.axes)
    return _InBox(seen) if shape == "box" else _OnBall() if shape == "ball" else _Free()


class _Search:
    """The search for one token's point: where it is, and the step that is tried from there."""

    def __init__(self, rivals: _Rivals, token: int, gap: float, seen: _Seen) -> None:
        self._rivals, self.token, self._asked = rivals, token, gap
        self._walker = _walker(rivals, seen)
        self._free = rivals.problem.domain.shape == "all"
        self._metric, self._fresh, self._all = rivals.shared(seen), True, False
        self._seen, self.ended = seen, not math.isfinite(seen.f)
        self._aim()

    @property
    def y(self) -> Floats:
        """The point (k,) where it is."""
        return self._seen.y

    @property
    def close(self) -> bool:
        """Whether the bounds are as close as asked."""
        return self._gap <= self._asked

    def trial(self) -> Floats:
        """Return the ``y`` (k,) to try next."""
        return self._seen.y + self._share * self._step

    def meet(self, seen: _Seen) -> None:
        """Take the step to what was tried, halve it, or take another matrix."""
        least = self._base + 0.1 * self._share * self._walker.slope(self._seen, self._step)
        if self._walker.worth(seen) <= least + 1e-14 * abs(self._base):
            whole, before, length = self._share == 1.0, self._gap, self._length
            self._walker.moved(self._share)
            self._seen, self._fresh = seen, False
            self._aim(4.0 * self._share)
            if self._free and self._gap <= self._asked:
                self.ended = self._all and not self._length < 0.5 * length
                self._renew()
            elif not self.ended and not (whole and _GAIN * self._gap <= before):
                self._renew()
        elif not self._fresh:
            self._renew()
        else:
            self._share /= 2.0
            self.ended = self._share < _SHORTEST

    def finding(self) -> Finding:
        """Return the point, and its ``p`` as weights, without the least if they do not matter."""
        seen, rivals = self._seen, self._rivals
        x = rivals.grown(seen.y)
        if not (math.isfinite(seen.f) and np.isfinite(x).all()):
            return Finding()
        point = rivals.problem.domain.fit(x)
        if _log_probability(seen.f) >= -self._asked and not self._free:
            return Finding(point)
        order = np.argsort(-seen.p, kind="stable")
        dropped = 2.0**-60 if self._free else self._asked * min(0.1, _DROPPED / rivals.length)
        kept = order[: int((np.cumsum(seen.p[order]) < 1.0 - dropped).sum()) + 1]
        kept = kept[seen.p[kept] > 0.0]
        return Finding(point, Weights(kept, seen.p[kept]))

    def _aim(self, share: float = 1.0) -> None:
        """Choose the step from the point, the share of it to try, and see how much is left."""
        seen, self._share = self._seen, min(1.0, share)
        self._step = self._walker.aim(seen, self._metric)
        self._base = self._walker.worth(seen)
        self._length = float(np.linalg.norm(seen.g))
        bound = self._walker.bound(seen, self._step)
        self._gap = _log_probability(bound) - _log_probability(seen.f)
        near = self._gap <= 0.5 * self._asked or _log_probability(seen.f) >= -0.5 * self._asked
        self.ended = self.ended or (near and not self._free)

    def _renew(self) -> None:
        """Take a matrix of the token's own; of all rivals on all of R^d."""
        if self.ended:
            return
        d = self._seen.mean.size
        heavy, drawn = (self._seen.p.size, 0) if self._free else (_HEAVY * d, _DRAWN * d)
        self._metric = _Metric.of(self._rivals.hessian(self._seen, heavy, drawn))
        self._fresh, self._all = True, self._free
        self._aim(self._share)
