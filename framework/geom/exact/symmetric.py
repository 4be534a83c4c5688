"""Bounds on margins along the own directions of many tokens, from half of a product ``W W^T``.

Without biases, the point along a token's own direction is a multiple ``k_t u_t`` of its row less
the mean row, and rival j scores ``k_t (v_j . u_t)`` there: up to the factor, what token t scores at
the point of j. So one float32 product of two blocks of tokens bounds the scores of either block's
rows at the other's points, by its maxima along both axes. Of n tokens, the products of ``n n / 2``
pairs and those with the V - n other rows are enough, instead of ``n V``.

Let ``v_j = unit (w_j - m - c_j)`` with ``m`` near the mean row and a power of two that leaves no
entry above 2. If ``sum(x) = 0``, ``c_j`` is the row's own mean, which changes no score, and
otherwise 0. Float64 computes ``u_j`` by two subtractions, so that it differs from ``v_j`` by at
most ``2^-32 L_j`` with::

    L_j = |u_j| + 2^-20 sqrt(d) |c_j|

The rows in float32 are ``s_j``, with u = 2^-24. The point of t, as any machine rebuilds it, is
``k_t (u_t + e)`` with ``|e| <= sigma_t``: the spread that `geom.exact.aim` gives, over ``k_t``. The
score of rival j there, over ``k_t``, is at most ``v_j . u_t + |v_j| sigma_t``. Let ``g`` be
``gamma_{d+8}`` of that u. Rounding the factors, and summing d + 1 terms in any order, makes an
error of at most ``g (L_j L_t + q^2 L_j L_t)`` in the product of d + 1 columns, the last of which
holds ``q L`` on either side (Higham 3.1), plus ``floor`` for underflow. So that product is itself
an upper bound on the score if::

    q^2 (1 - g) >= g + sigma_t / L_t

With ``q^2 = 1.05 (g + g / 4)`` this holds for ``sigma_t <= (g / 4) L_t`` and ``g <= 0.047``: for d
up to `_WIDEST`. A spread is about 2^-30 of a point's length, so hardly a token has a larger one;
such tokens are left to `geom.exact.products`. None of this tells j from t, and so it holds for the
maxima along either axis. If bounds on errors are multiplied by ``widen``, q^2 is
``1.05 (widen g + g / 4)``, and ``widen sigma_t`` may be as large as sigma_t was. A claim
is confirmed by a check on any machine, with these bounds or those of `geom.exact.products`: its
products have room for 4.2 g. One g of that may be used up by their own error, some two by the error
and the bound of the check, and another order of sums moves a point by no more than its spread.

The token's own score ``v_t . (u_t + e)`` is at least ``|u_t|^2 - L_t (sigma_t + 2^-32 L_t)``, less
what rounding in float64 takes from the square.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom.exact.aim import Aim
from geom.exact.single import block_rows, gamma_single, slices
from geom.machine.devices import Device, current_device
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.numbers.arrays import Floats, Ids
from geom.numbers.rounding import TINY, UP, U, gamma, norm_above, refuse_flushing
from geom.progress import report_progress

LEAST = 4096
"""With fewer tokens than this, making all rows once more costs more than half a product saves."""

_WIDEST = 1 << 19
"""The largest d for which float32 proves anything: ``g`` is 0.032 there."""

_SHORTEST = 2.0**-40
"""Rows shorter than this, where the longest have some length up to 1, come too near to what
underflows."""

_BLOCK = 2048
"""How many rows are multiplied with as many."""

_HELD_BYTES = 128 * 2**20
"""The rows of a group of tokens that are held in float32. Each group has the rows that follow it
made once more, at a small part of the price of their products. On a device other than the processor
one group holds all tokens."""


def memory(readout: Readout) -> int:
    """Return the bytes needed beyond the readout: a group of rows in float32, and blocks."""
    V, d = readout.V, readout.d
    if V < LEAST or readout.has_bias:
        return 0
    block = 4 * _BLOCK * (d + 1)
    held = min(4 * V * (d + 1), max(block, _HELD_BYTES)) + block
    made = 8 * 8 * d * block_rows(d)
    return int(held + made + 4 * _BLOCK**2 + 160 * V)


def pays(problem: Problem, tokens: Ids) -> bool:
    """Return whether half a product is enough for these tokens, and saves anything."""
    return problem.homogeneous and len(tokens) >= LEAST and problem.readout.V > 1


def own_margins_below(aim: Aim, tokens: Ids, widen: float, stage: str) -> Floats:
    """Bound the largest margins of many tokens from below, each along its own direction.

    Parameters
    ----------
    aim : Aim
        The points, of a problem without biases.
    tokens : ndarray of shape (n,), int64
        The tokens, none twice.
    widen : float
        Multiplies every bound on rounding, as in `geom.judge`.
    stage : str
        The name of the work for those who watch its progress.

    Returns
    -------
    ndarray of shape (n,), float64
        Lower bounds in logits, as from `geom.exact.bulk.prove_own_directions`. Minus infinity
        proves nothing, and NaN stands for a token that these bounds are not made for.

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.
    """
    refuse_flushing()
    with np.errstate(all="ignore"):
        rows = _Rows(aim, tokens, widen)
        if not rows.usable:
            return np.full(len(tokens), np.nan)
        best = np.empty(len(tokens))
        for part, scores in _highest(rows, current_device(), stage):
            best[part] = scores
        return rows.margins_below(best)


class _Rows:
    """All rows of a readout as directions, some tokens' first, made in float32 when asked for.

    The arrays (n,) are what float64 finds about the tokens while it makes their rows: the factor of
    their point, its length and the spread around it, from above, the length of their row, and their
    own score.
    """

    def __init__(self, aim: Aim, tokens: Ids, widen: float) -> None:
        readout = aim.problem.readout
        self.aim, self.n, self.V, self.d = aim, len(tokens), readout.V, readout.d
        others = np.ones(readout.V, dtype=np.bool_)
        others[tokens] = False
        self._order = np.concatenate([tokens, np.flatnonzero(others)])
        self._widen = widen
        largest = (float(readout.row_norms.max()) + float(norm_above(aim.mean))) * UP
        self.usable = readout.d <= _WIDEST and math.isfinite(largest)
        self._exponent = max(-1000, math.frexp(largest)[1]) if self.usable else 0
        self._unit = 2.0**-self._exponent
        self._g = gamma_single(readout.d + 8)
        self._root = math.sqrt(1.05 * (widen + 0.25) * self._g) * (1.0 + 2.0**-20)
        self._factor, self._far, self._spread = np.empty((3, self.n))
        self._length, self._score = np.empty((2, self.n))

    def columns(self, part: slice, *, note: bool = False) -> NDArray[np.float32]:
        """Return the rows ``s`` (m, d + 1) at these places, with the column of errors.

        They are those of tokens if what float64 finds is to be noted.
        """
        out = np.empty((part.stop - part.start, self.d + 1), dtype=np.float32)
        for piece in slices(len(out), block_rows(self.d)):
            places = slice(part.start + piece.start, part.start + piece.stop)
            u, own = self.aim.directions(self._order[places])
            u *= self._unit
            lost = np.abs(own[:, 0]) * (self._unit * math.sqrt(self.d) * 2.0**-20)
            lengths = (norm_above(u, axis=-1) + lost) * UP
            out[piece, : self.d] = u
            out[piece, self.d] = lengths * self._root + 2.0**-100
            if note:
                self._note(places, u, lengths)
        return out

    def _note(self, places: slice, u: Floats, lengths: Floats) -> None:
        """Keep what float64 knows of some tokens."""
        tokens = self._order[places]
        factor, far, spread = self.aim.along(tokens, u, self._unit, self._widen)
        # `Aim.points` divides u by its largest entry first, which moves the last digits of a point
        self._spread[places] = spread + far * gamma(4 * self.d + 32)
        self._factor[places], self._far[places] = factor, far
        self._length[places] = lengths
        self._score[places] = np.einsum("ij,ij->i", u, u)

    def margins_below(self, best: Floats) -> Floats:
        """Return what `own_margins_below` returns; ``best`` (n,) is above all rivals' scores."""
        widen, length = self._widen, self._length
        sigma = self._spread / self._factor * (1.0 + 2.0**-20)
        floor = (16 * self.d + 64) * 2.0**-126
        error = length * sigma + (gamma(self.d + 8) + 2.0**-32) * length**2 + floor
        scaled = self._score - widen * UP * error - best
        scaled -= widen * 8 * U * np.abs(scaled)
        mantissa, exponent = np.frexp(self._factor)
        lower = np.ldexp(mantissa * scaled, exponent + self._exponent)
        if not self.aim.problem.domain.bounded:
            lower /= (self._far + widen * self._spread) * (1.0 + 4 * U)
        lower *= 1.0 - 8 * U
        lower = np.minimum(lower, np.finfo(np.float64).max)
        lower = np.where(np.isfinite(best) & (lower > TINY), lower, -np.inf)
        served = widen * self._spread <= self._g / 4.0 * self._far * (1.0 - 2.0**-10)
        return np.where(served & (length > _SHORTEST), lower, np.nan)


def _highest(rows: _Rows, on: Device, stage: str) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield the tokens' places in blocks, with bounds (m,) above the scores of all other rows.

    Every block of a group is multiplied with itself and the blocks after it. The bounds of a block
    are complete once its group is done.
    """
    n, V, xp = rows.n, rows.V, on.xp
    blocks = list(slices(n, _BLOCK))
    last = len(blocks)
    parts = [*blocks, *(slice(n + part.start, n + part.stop) for part in slices(V - n, _BLOCK))]
    best = [on.put(np.full(part.stop - part.start, -np.inf, np.float32)) for part in blocks]
    height = last if on.name != "cpu" else max(1, _HELD_BYTES // (4 * _BLOCK * (rows.d + 1)))
    done, total = 0, sum((part.stop - part.start) * (V - part.start) for part in blocks)
    report_progress(stage, 0, n, "tokens")
    for group in slices(last, height):
        held = [on.put(rows.columns(part, note=True)) for part in blocks[group]]
        for j in range(group.start, len(parts)):
            right = held[j - group.start] if j < group.stop else on.put(rows.columns(parts[j]))
            for i, left in enumerate(held[: j - group.start + 1], group.start):
                along, across = _maxima(on, left, right, i == j)
                best[i] = xp.maximum(best[i], along)
                if i < j < last:
                    best[j] = xp.maximum(best[j], across)
                done += len(left) * len(right)
                report_progress(stage, n * done // total, n, "tokens")
        for i in range(group.start, group.stop):
            yield blocks[i], on.get(best[i])


def _maxima(on: Device, left: Any, right: Any, same: bool) -> tuple[Any, Any]:
    """Return the largest scores of rows (n, d + 1) and (m, d + 1) at each other: (n,) and (m,).

    Of the same rows, none counts at its own point.
    """
    scores = left @ right.T
    if same:
        places = on.put(np.arange(len(scores)))
        scores[places, places] = -math.inf
    return on.xp.max(scores, axis=1), on.xp.max(scores, axis=0)
