"""The witness check for many tokens at once: lower bounds on margins from float32 products.

A blocked product of points and rows costs a thousandth of checking the same points one by one. Its
rounding is bounded beforehand, so a token whose margin clears the bound is proven speakable.
Nothing is said about the other tokens.

Let ``v_j = w_j - m`` with ``m`` near the mean row: a shift of all rows changes no margin, and makes
the rows shorter. Rows, points and biases are scaled by powers of two until no entry is above 1, and
rounded to float32 (`geom.exact.single`, u = 2^-24). The product of a row and a point, with the bias
and two columns of errors, has d + 3 terms. Each term carries at most three roundings of its
factors, and summing them adds d + 3 more; float64 did the rest. With ``g`` for ``gamma_{d+8}`` of
that u, and ``e`` for the two terms of errors, the error of that product is at most
``g (|v_j||x| + |b_j| + e)``, plus ``floor`` for underflow. At a point within ``spread`` of x the
score is higher by at most ``|v_j| spread``. So the product is itself an upper bound on the score
there if ``e >= |v_j| spread + g (|v_j||x| + |b_j| + e)``, and with ``epsilon = 1.05 g`` this holds
for::

    e = epsilon (|b_j| + h_j / epsilon) + |v_j| (epsilon (|x| + spread) + spread)

as long as ``g (1 + epsilon) <= epsilon``, that is ``epsilon <= 0.05``: for d up to `_WIDEST`. (It
is easy to forget the rounding of ``e`` itself, which grows with ``spread``.) ``h_j`` bounds the
error of the bias itself, if a shift is folded into it (`geom.model.shift`). The token's own score
is computed in float64 and bounded from below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from geom.exact.single import ScaledRows, gamma_single, highest_rival, slices
from geom.machine.devices import Device, current_device
from geom.model.domains import Domain
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.numbers.arrays import Floats, Ids
from geom.numbers.rounding import CLAIM, TINY, UP, U, gamma, norm_above, refuse_flushing

_WIDEST = 1 << 19
"""The largest d for which float32 proves anything: ``epsilon`` is 0.034 there."""

BLOCK_BYTES = 64 * 2**20
"""Memory for the scores of one block of points."""


def prove_points(
    problem: Problem, tokens: Ids, points: Floats, *, widen: float = CLAIM, spread: float = 0.0
) -> Floats:
    """Bound the largest margins of many tokens from below, each from a point.

    A bound above zero proves its token speakable if the point is in the domain, which the caller
    must check. A bound that is not above zero, minus infinity included, proves nothing.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    tokens : ndarray of shape (n,), int64
        The tokens.
    points : ndarray of shape (n, d), float64
        One point per token.
    widen : float, optional
        Multiplies every bound on rounding, as in `geom.judge`.
    spread : float, optional
        Each bound holds for the margin at every ``x`` within this distance of the point.

    Returns
    -------
    ndarray of shape (n,), float64
        Lower bounds in logits; if the domain is unbounded and no bias tells tokens apart, on the
        margin at ``x / |x|``.

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.

    References
    ----------
    N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002, section 3.1.
    """
    refuse_flushing()
    if problem.readout.V == 1:
        return np.full(len(tokens), np.finfo(np.float64).max)
    if len(tokens) == 0:
        return np.zeros(0)
    rows = _rows(problem.readout)
    height = max(1, BLOCK_BYTES // (4 * problem.readout.V))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        found = np.concatenate(
            [
                rows.margins_below(tokens[part], points[part], widen, spread)
                for part in slices(len(tokens), height)
            ]
        )
        if not problem.domain.bounded and problem.homogeneous:
            found /= (norm_above(points, axis=-1) + spread) * (1.0 + 4 * U)
        found *= 1.0 - 8 * U
    return np.where(found > 0.0, found, -np.inf)


def prove_own_directions(problem: Problem, tokens: Ids, *, widen: float = CLAIM) -> Floats:
    """Bound the largest margins of many tokens from below, each from `own_direction`.

    Bounds for a claim are remembered for as long as the readout lives, because a detector and the
    run that it serves ask for the same bounds.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    tokens : ndarray of shape (n,), int64
        The tokens.
    widen : float, optional
        Multiplies every bound on rounding, as in `geom.judge`.

    Returns
    -------
    ndarray of shape (n,), float64
        Lower bounds in logits. A bound is above zero if that point, as any machine rebuilds it,
        wins, and minus infinity otherwise. Every such point is in the domain.

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.
    """
    if widen != CLAIM:
        return _own_directions(problem, tokens, widen)
    known = _CLAIMS.setdefault(problem.readout, {}).setdefault(
        problem.domain, np.full(problem.readout.V, np.nan)
    )
    new = tokens[np.isnan(known[tokens])]
    known[new] = _own_directions(problem, new, widen)
    return np.asarray(known[tokens])


def _own_directions(problem: Problem, tokens: Ids, widen: float) -> Floats:
    """Compute what `prove_own_directions` returns."""
    out = np.full(len(tokens), -np.inf)
    aim = _Aim.of(problem)
    height = max(1, BLOCK_BYTES // (8 * problem.readout.d))
    for part in slices(len(tokens), height):
        points, spread = aim.points(tokens[part])
        for width in np.unique(spread[np.isfinite(spread)]):
            chosen = np.flatnonzero(spread == width)
            out[part.start + chosen] = prove_points(
                problem, tokens[part][chosen], points[chosen], widen=widen, spread=widen * width
            )
    return out


def own_direction(problem: Problem, token: int) -> Floats:
    """Return the point of the domain along a token's own direction.

    That direction is the row less the mean of all rows, less its own mean if ``sum(x) = 0``. The
    point lies on the edge of a ball or box. If the domain is unbounded, the point has length 1 or,
    with a bias, a length at which rows count for more than biases. Machines may differ in its last
    digits, which `prove_own_directions` allows for.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    token : int
        The token.

    Returns
    -------
    ndarray of shape (d,), float64
        The point; zero if the token has no direction.
    """
    points, _ = _Aim.of(problem).points(np.array([token]))
    return problem.domain.fit(points[0])


def memory(readout: Readout) -> int:
    """Return the bytes that bulk proofs need beyond the readout: rows in float32, and blocks."""
    V, d = readout.W.shape
    return int(4 * V * (d + 3) + 4 * min(BLOCK_BYTES, 4 * V * max(V, d)))


@dataclass(frozen=True)
class _Aim:
    """The parts of own directions: the mean row, a bound on its error, and the length."""

    problem: Problem
    mean: Floats
    mean_error: float
    length: float

    @classmethod
    def of(cls, problem: Problem) -> _Aim:
        readout, domain = problem.readout, problem.domain
        rows = _rows(readout)
        error = gamma(readout.V + 2) * float(readout.row_norms.mean())
        length = domain.radius
        if not domain.bounded:
            length = 1.0
            if not problem.homogeneous and rows.typical > 0.0:
                with np.errstate(over="ignore"):
                    length = 64.0 * float(np.ptp(readout.b)) / rows.typical
        return cls(problem, rows.mean, error, length)

    def points(self, tokens: Ids) -> tuple[Floats, Floats]:
        """Return the points (n, d), and how far (n,) from them a rebuilt point may lie.

        With ``h`` the error of the row less the mean, relative to its length, the point moves by at
        most ``(1 + sqrt(d)) h`` of its own length, including the norm that divides it, Euclidean or
        of the largest entry. `Domain.fit` may shorten it by 2^-32, and puts it on a grid of 50
        bits, which moves it by less than ``3 sqrt(d) 2^-49`` of its length. Spreads are rounded up
        to powers of sixteen, so that few different ones remain.
        """
        readout, domain = self.problem.readout, self.problem.domain
        d = readout.d
        with np.errstate(all="ignore"):
            u = readout.W[tokens] - self.mean
            if domain.zero_sum:
                u -= u.mean(axis=1, keepdims=True)
            unit = np.abs(u).max(axis=1, keepdims=True)
            u /= unit
            norm = norm_above(u, axis=-1)
            error = gamma(4 * d + 16) * readout.row_norms[tokens] + 2.0 * self.mean_error
            moved = (1.0 + math.sqrt(d)) * error / (norm * unit[:, 0]) * (1.0 + 2.0**-20)
            size = np.ones(len(tokens)) if domain.shape == "box" else norm
            points = u * (self.length / size)[:, None]
            reach = self.length * norm / size
            spread = reach * (moved + 2.0**-31 + 3.0 * math.sqrt(d) * 2.0**-49)
            spread = 16.0 ** np.ceil(np.log2(spread) / 4.0)
        spread[~(moved < 0.1)] = np.inf
        points[~np.isfinite(points).all(axis=1)] = 0.0
        return points, spread


class _Products:
    """A readout's rows less their mean, and its biases, prepared for products on a device."""

    def __init__(self, readout: Readout, on: Device) -> None:
        refuse_flushing()
        d = readout.d
        self._readout, self._device = readout, on
        with np.errstate(over="ignore", invalid="ignore"):
            self._rows = ScaledRows(readout.W, readout.W.mean(axis=0))
            self._bias = readout.b - (readout.b.max() / 2.0 + readout.b.min() / 2.0)
            self._bias_error = readout.bias_errors * UP
            self.typical = float(np.median(self._rows.lengths)) / self._rows.unit
        self.mean = self._rows.mean
        self._usable = (
            d <= _WIDEST
            and math.isfinite(self._rows.largest)
            and bool(np.isfinite(self._bias).all())
        )
        self._bias_unit = _unit(float(np.abs(self._bias).max()))
        self._epsilon = 1.05 * gamma_single(d + 8)
        self._floor = (4 * d + 16) * 2.0**-126

    @cached_property
    def _single(self) -> Any:
        """The rows in float32 (V, d + 3) on the device, each with its bias, bias size, length."""
        V, d = self._readout.W.shape
        single = np.empty((V, d + 3), dtype=np.float32)
        for part, rows in self._rows.blocks():
            single[part, :d] = rows
        bias = self._bias * self._bias_unit
        single[:, d] = bias
        size = np.abs(bias) + self._bias_error * self._bias_unit / self._epsilon
        single[:, d + 1] = size * (1.0 + 2.0**-20) + 2.0**-100
        single[:, d + 2] = self._rows.lengths * (1.0 + 2.0**-20) + 2.0**-100
        return self._device.put(single)

    def margins_below(self, tokens: Ids, points: Floats, widen: float, spread: float) -> Floats:
        """Return lower bounds (n,) on the margins at the points (n, d) and within ``spread``."""
        n, d = points.shape
        if not self._usable:
            return np.full(n, -np.inf)
        unit = _units(np.abs(points).max(axis=1) + spread)
        lengths = norm_above(points, axis=-1) * unit
        weight = self._rows.unit * unit / self._bias_unit  # the factor of a bias scaled to 1
        epsilon = widen * self._epsilon
        left = np.empty((n, d + 3), dtype=np.float32)
        left[:, :d] = points * unit[:, None]
        left[:, d] = weight
        left[:, d + 1] = weight * epsilon * (1.0 + 2.0**-20)
        moved = spread * unit
        left[:, d + 2] = (epsilon * (lengths + moved) + moved) * (1.0 + 2.0**-20)
        above = self._device.put(left) @ self._single.T
        best = highest_rival(self._device, above, tokens).astype(np.float64)
        own, error, norms = self._own(tokens, points * unit[:, None], weight)
        scaled = own - best - norms * moved
        scaled -= widen * (error + self._floor * (1.0 + weight) + 8 * U * np.abs(scaled))
        # both units are powers of two: nothing rounds except below the least normal number
        lower = np.ldexp(scaled, -(np.frexp(unit)[1] - 1 + math.frexp(self._rows.unit)[1] - 1))
        lower = np.minimum(lower, np.finfo(np.float64).max)
        return np.where(np.isfinite(best) & (lower > TINY), lower, -np.inf)

    def _own(self, tokens: Ids, points: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the tokens' scores (n,) in float64, bounds on their errors and on their rows."""
        rows = self._rows.scaled(tokens)
        bias = self._bias[tokens] * self._bias_unit * weight
        scores = np.einsum("ij,ij->i", rows, points) + bias
        norms = norm_above(rows, axis=-1)
        error = gamma(points.shape[1] + 8) * (norms * norm_above(points, axis=-1) + np.abs(bias))
        error += self._bias_error[tokens] * self._bias_unit * weight
        return scores, error, norms


_CLAIMS: WeakKeyDictionary[Readout, dict[Domain, Floats]] = WeakKeyDictionary()

_PREPARED: WeakKeyDictionary[Readout, dict[str, Any]] = WeakKeyDictionary()


def _rows(readout: Readout) -> _Products:
    """Return the readout's rows on the device in use, kept until another device is used."""
    on = current_device()
    kept = _PREPARED.setdefault(readout, {})
    if on.name not in kept:
        kept.clear()
        kept[on.name] = _Products(readout, on)
    rows: _Products = kept[on.name]
    return rows


def _unit(largest: float) -> float:
    """Return the power of two that scales ``largest`` to at most 1."""
    return 2.0 ** min(1000, max(-1000, -math.frexp(largest)[1])) if largest < math.inf else 1.0


def _units(largest: Floats) -> Floats:
    """Return `_unit` of every entry."""
    exponents = np.clip(-np.frexp(largest)[1], -1000, 1000)
    return np.asarray(np.ldexp(np.ones(len(largest)), exponents))
