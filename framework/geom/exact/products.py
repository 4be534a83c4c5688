"""Products of many points with all rows in float32, whose rounding is bounded beforehand.

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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from geom.exact.single import ScaledRows, gamma_single, slices
from geom.machine.devices import Device, current_device
from geom.model.readout import Readout
from geom.numbers.arrays import Flags, Floats, Ids
from geom.numbers.rounding import TINY, UP, U, gamma, norm_above, refuse_flushing

_WIDEST = 1 << 19
"""The largest d for which float32 proves anything: ``epsilon`` is 0.034 there."""

POINTS = 2048
"""The most points that share a pass over the rows; the more there are, the less rows cost."""

CLOSE_POINTS = 256
"""The most points whose close rivals are listed in a pass. All rivals of a block may be close to
each, and a list of so many pairs takes no more than what `POINTS` points are compared in."""

ROWS = 2048
"""The rows that are multiplied at a time: their scores stay in cache until they are compared."""

KEPT_BYTES = 256 * 2**20
"""Rows in float32 that take no more than this are kept; larger ones are made anew in each pass, at
a tenth of the price of their products. On a device other than the processor all are kept."""


def memory(readout: Readout) -> int:
    """Return the bytes that bulk proofs need beyond the readout: rows in float32, and blocks."""
    V, d = readout.V, readout.d
    points, height = min(POINTS, V), min(ROWS, V)
    kept = 4 * V * (d + 3)
    on = current_device().name
    if on not in ("cpu", "torch") or (on == "cpu" and kept > KEPT_BYTES):
        kept = 0  # a GPU keeps them in its own memory
    return int(kept + 12 * points * height + 4 * 8 * (d + 3) * (points + 2 * height) + 32 * V)


@dataclass(frozen=True, eq=False)
class CloseRivals:
    """The rivals that come near some tokens, each at its own point.

    ``owner`` (m,), ascending, and ``rival`` (m,) are pairs of a place in the list of tokens and a
    rival's id. ``complete`` (n,) is whether every rival that is not listed is proven to be lower
    than the token by more than was asked; otherwise the list holds only the highest.
    """

    owner: Ids
    rival: Ids
    complete: Flags

    def of(self, place: int) -> Ids:
        """Return the rivals listed for the token at a place."""
        ends = np.searchsorted(self.owner, [place, place + 1])
        return self.rival[ends[0] : ends[1]]


class Products:
    """A readout's rows less their mean, and its biases, prepared for products on a device."""

    def __init__(self, readout: Readout, on: Device) -> None:
        refuse_flushing()
        d = readout.d
        self._readout, self._device = readout, on
        with np.errstate(over="ignore", invalid="ignore"):
            self._rows = ScaledRows(readout.rows, readout.rows.mean)
            self._bias = readout.b - (readout.b.max() / 2.0 + readout.b.min() / 2.0)
            self._bias_error = readout.bias_errors * UP
            self.typical = float(np.median(self._rows.lengths)) / self._rows.unit
        self.mean = self._rows.mean
        self._usable = (
            d <= _WIDEST
            and math.isfinite(self._rows.largest)
            and bool(np.isfinite(self._bias).all())
        )
        self._kept: list[tuple[slice, Any]] | None = None
        self._bias_unit = _unit(float(np.abs(self._bias).max()))
        self._epsilon = 1.05 * gamma_single(d + 8)
        self._floor = (4 * d + 16) * 2.0**-126

    def _blocks(self) -> Iterator[tuple[slice, Any]]:
        """Yield the rows on the device in blocks (n, d + 3): their ids, and their columns."""
        on, readout = self._device, self._readout
        if self._kept is None and (
            on.name != "cpu" or 4 * readout.V * (readout.d + 3) <= KEPT_BYTES
        ):
            self._kept = [(part, on.put(self._columns(part))) for part in slices(readout.V, ROWS)]
        if self._kept is not None:
            yield from self._kept
        else:
            yield from ((part, on.put(self._columns(part))) for part in slices(readout.V, ROWS))

    def _columns(self, part: slice) -> NDArray[np.float32]:
        """Return some rows in float32 (n, d + 3), each with its bias, bias size and length."""
        d = self._readout.d
        rows = self._rows.scaled(part)
        single = np.empty((len(rows), d + 3), dtype=np.float32)
        single[:, :d] = rows
        bias = self._bias[part] * self._bias_unit
        single[:, d] = bias
        size = np.abs(bias) + self._bias_error[part] * self._bias_unit / self._epsilon
        single[:, d + 1] = size * (1.0 + 2.0**-20) + 2.0**-100
        single[:, d + 2] = self._rows.lengths[part] * (1.0 + 2.0**-20) + 2.0**-100
        return single

    def margins_below(self, tokens: Ids, points: Floats, widen: float, spread: float) -> Floats:
        """Return lower bounds (n,) on the margins at the points (n, d) and within ``spread``."""
        if not self._usable:
            return np.full(len(tokens), -np.inf)
        left, own, doubt, unit = self._asked(tokens, points, widen, spread)
        best = self._highest(left, tokens).astype(np.float64)
        scaled = own - best - doubt
        scaled -= widen * 8 * U * np.abs(scaled)
        lower = np.minimum(self._in_logits(scaled, unit), np.finfo(np.float64).max)
        return np.where(np.isfinite(best) & (lower > TINY), lower, -np.inf)

    def close(self, tokens: Ids, points: Floats, gaps: Floats, most: int) -> CloseRivals:
        """List the rivals (`close_rivals`) of some tokens."""
        none = np.zeros(0, dtype=np.int64)
        if not self._usable:
            return CloseRivals(none, none, np.zeros(len(tokens), dtype=np.bool_))
        with np.errstate(all="ignore"):
            left, own, doubt, unit = self._asked(tokens, points, 1.0, 0.0)
            asked = gaps * (unit * self._rows.unit)
            least = own - doubt - asked - 8 * U * (np.abs(own) + np.abs(asked))
            single = np.nextafter(least.astype(np.float32), np.float32(-np.inf))
            single[~np.isfinite(left).all(axis=1)] = np.nan  # products of infinity bound nothing
            return self._above(left, tokens, single, most)

    def _above(
        self, left: NDArray[np.float32], tokens: Ids, least: NDArray[np.float32], most: int
    ) -> CloseRivals:
        """List the rivals whose score may reach ``least`` (n,), all of them where it is finite.

        Once a token has more than ``most``, only rivals above the lowest of these can join.
        """
        device, floor = self._device, least.copy()
        points = device.put(left)
        complete = np.isfinite(least)
        owner, rival = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        score = np.zeros(0, dtype=np.float32)
        for part, block in self._blocks():
            scores = points @ block.T
            near = ~(scores < device.put(floor)[:, None])
            own = np.flatnonzero((tokens >= part.start) & (tokens < part.stop))
            near[device.put(own), device.put(tokens[own] - part.start)] = False
            i, j = device.xp.nonzero(near)
            owner = np.append(owner, device.get(i))
            rival = np.append(rival, device.get(j) + part.start)
            score = np.append(score, np.nan_to_num(device.get(scores[i, j]), nan=np.inf))
            counts = np.bincount(owner, minlength=len(tokens))
            if (counts > 2 * most).any() or part.stop == self._readout.V:
                order = np.lexsort((-score, owner))
                rank = np.arange(order.size) - np.repeat(np.cumsum(counts) - counts, counts)
                last = order[rank == most - 1]
                floor[owner[last]] = np.maximum(floor[owner[last]], score[last])
                complete &= counts <= most
                kept = order[rank < most]
                owner, rival, score = owner[kept], rival[kept], score[kept]
        return CloseRivals(owner, rival, complete)

    def _asked(
        self, tokens: Ids, points: Floats, widen: float, spread: float
    ) -> tuple[NDArray[np.float32], Floats, Floats, Floats]:
        """Return the points as left factors (n, d + 3), and what the tokens score there.

        The rest are arrays (n,): the tokens' own scores, bounds on what rounding and the move
        within ``spread`` may take from them, and the powers of two that the points were scaled by.
        """
        n, d = points.shape
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
        own, error, norms = self._own(tokens, points * unit[:, None], weight)
        doubt = (norms * moved + widen * (error + self._floor * (1.0 + weight))) * UP
        return left, own, doubt, unit

    def _in_logits(self, scaled: Floats, unit: Floats) -> Floats:
        """Undo both scalings: powers of two, so nothing rounds above the least normal number."""
        exponents = np.frexp(unit)[1] - 1 + math.frexp(self._rows.unit)[1] - 1
        return np.asarray(np.ldexp(scaled, -exponents))

    def _highest(self, left: NDArray[np.float32], tokens: Ids) -> NDArray[np.float32]:
        """Return upper bounds (n,) on the highest score of another token at each point."""
        device = self._device
        points = device.put(left)
        best = device.put(np.full(len(tokens), -np.inf, dtype=np.float32))
        for part, block in self._blocks():
            scores = points @ block.T
            own = np.flatnonzero((tokens >= part.start) & (tokens < part.stop))
            scores[device.put(own), device.put(tokens[own] - part.start)] = -math.inf
            best = device.xp.maximum(best, device.xp.max(scores, axis=1))
        return device.get(best)

    def _own(self, tokens: Ids, points: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the tokens' scores (n,) in float64, bounds on their errors and on their rows."""
        rows = self._rows.scaled(tokens)
        bias = self._bias[tokens] * self._bias_unit * weight
        scores = np.einsum("ij,ij->i", rows, points) + bias
        norms = norm_above(rows, axis=-1)
        error = gamma(points.shape[1] + 8) * (norms * norm_above(points, axis=-1) + np.abs(bias))
        error += self._bias_error[tokens] * self._bias_unit * weight
        return scores, error, norms


_PREPARED: WeakKeyDictionary[Readout, dict[str, Any]] = WeakKeyDictionary()


def products(readout: Readout) -> Products:
    """Return the readout's rows on the device in use, kept until another device is used."""
    on = current_device()
    kept = _PREPARED.setdefault(readout, {})
    if on.name not in kept:
        kept.clear()
        kept[on.name] = Products(readout, on)
    rows: Products = kept[on.name]
    return rows


def _unit(largest: float) -> float:
    """Return the power of two that scales ``largest`` to at most 1."""
    return 2.0 ** min(1000, max(-1000, -math.frexp(largest)[1])) if largest < math.inf else 1.0


def _units(largest: Floats) -> Floats:
    """Return `_unit` of every entry."""
    exponents = np.clip(-np.frexp(largest)[1], -1000, 1000)
    return np.asarray(np.ldexp(np.ones(len(largest)), exponents))
