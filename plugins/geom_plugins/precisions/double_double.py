"""The precision ``double-double``: a number is the unevaluated sum of two float64.

Products are error-free: the product of T. J. Dekker, A floating-point technique for extending the
available precision, Numerische Mathematik 18 (1971), on x split by Veltkamp's method and W split
by its bits. Sums are pairwise, halves of the vector onto each other: high parts by Knuth's two-sum,
low parts and what the high parts lose in float64, brought together in the end. So do T. Ogita,
S. M. Rump and S. Oishi, Accurate sum and dot product, SIAM Journal on Scientific Computing 26
(2005), algorithm Dot2, in another order, and keep both parts of the result. The bias is added by
the accurate sum of two double words, whose relative error is at most ``3 u^2 + 13 u^3 <= 2^-104``,
``u = 2^-53``: M. Joldes, J.-M. Muller and V. Popescu, Tight and rigorous error bounds for basic
building blocks of double-word arithmetic, ACM Transactions on Mathematical Software 44 (2017),
algorithm 6. An entry of x above ``2^995`` overflows in the splitting, and gives NaN: no answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from geom import NoOptions, Precision, PrecisionMargin, Readout, cores, hookimpl
from geom_plugins.precisions.bounds import (
    EXACT,
    TINY,
    UP,
    Rounding,
    logit_errors,
    radius,
)
from geom_plugins.precisions.rivals import rivals

Floats = NDArray[np.float64]
Pair = tuple[Floats, Floats]

ROUNDOFF = 2.0**-104
"""The relative error of a sum of two double words."""

BLOCK = 1 << 16
"""Numbers that are in work at one time: they and what is made of them stay in the cache."""

NARROW = 32
"""Sums a row at which halving them a block at a time stops being worth it."""

SERIAL = 1 << 20
"""Numbers from which on it pays to start threads."""

_UPPER = np.int64(-(1 << 27))
"""The bits of a float64 that leave 26 of its significand."""


def margin(readout: Readout, token: int, x: Floats, options: NoOptions) -> PrecisionMargin:
    """The margin of ``token`` at ``x`` (d,), rounded to float64 at the end."""
    rows = np.append(rivals(readout, token, x), token)
    if rows.size == 1:
        return PrecisionMargin(math.inf, token)
    with np.errstate(all="ignore"):
        high, low = logits(readout.W[rows], x, readout.b[rows])
        if not (np.isfinite(high).all() and np.isfinite(low).all()):
            return PrecisionMargin(math.nan, int(rows[~np.isfinite(high + low)].min()))
        largest = np.lexsort((low[:-1], high[:-1]))[-1]
        top = (high[largest], low[largest])
        gap_high, gap_low = add((top[0], top[1]), (-high, -low))
        alike = np.flatnonzero((gap_high[:-1] == 0.0) & (gap_low[:-1] == 0.0))
        value = 0.0 - float(gap_high[-1])
        best = int(rows[alike].min())
        winner = token if value > 0.0 or (value == 0.0 and token < best) else best
        errors = logit_errors(
            readout.row_norms[rows],
            x,
            readout.b[rows],
            inputs=EXACT,
            sums=_sums(x.size),
            roundings=1,
        )
    error = radius(float(errors[-1]), errors[:-1], gap_high[:-1])
    error = (error + abs(value) * (ROUNDOFF + 2.0**-53) + TINY) * UP
    return PrecisionMargin(value, winner, error if math.isfinite(error) else None)


def logits(W: Floats, x: Floats, b: Floats) -> Pair:
    """``W x + b`` for ``W`` (n, d) and ``x`` (d,), as high and low parts (n,)."""
    n, d = W.shape
    high, low = np.empty(n), np.empty(n)
    halves = _split(x)

    def work(rows: slice) -> None:
        with np.errstate(all="ignore"):  # each thread has its own
            _dots(W[rows], x, halves, high[rows], low[rows])

    threads = cores() if n * d >= SERIAL else 1
    parts = [slice(i * n // threads, (i + 1) * n // threads) for i in range(threads)]
    if threads == 1:
        work(parts[0])
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, parts))
    return add((high, low), (b, np.zeros(1)))


def _sums(d: int) -> Rounding:
    """What ``_dots`` and the bias can be off by, relative to the sum of the products' sizes.

    The d products lose ``u`` of their sizes to low parts; each of the L levels of two-sums loses
    ``u`` of theirs. These L + 1 parts are float64, and each is rounded at most 2 L + 2 times while
    they are summed: together at most ``2 (L + 1)^2 u^2``, with room for the terms of higher order.
    """
    levels = math.ceil(math.log2(d))
    return Rounding(2.0 * (levels + 1) ** 2 * 2.0**-106 * UP + ROUNDOFF, 4.0 * TINY)


def _dots(W: Floats, x: Floats, halves: Pair, high: Floats, low: Floats) -> None:
    """Put the parts of ``W x`` into ``high`` and ``low`` (n,), in the same few buffers again.

    Once there are few sums a row they are put aside, to be finished for all rows together.
    """
    n, d = W.shape
    height = max(1, BLOCK // d)
    buffers = [np.empty((min(height, n), d)) for _ in range(5)]
    narrow = d
    while narrow > NARROW:
        narrow -= narrow // 2
    last_high, last_low = np.empty((n, narrow)), np.empty((n, narrow))
    for start in range(0, n, height):
        rows = slice(start, min(start + height, n))
        block = [buffer[: rows.stop - start] for buffer in buffers]
        _products(W[rows], x, halves, *block[:4])
        _halve([array.T for array in block], d, narrow)
        last_high[rows], last_low[rows] = block[0][:, :narrow], block[1][:, :narrow]
    for start in range(0, n, BLOCK // NARROW):
        rows = slice(start, start + BLOCK // NARROW)
        columns = [last_high[rows].T.copy(), last_low[rows].T.copy()]
        columns += [np.empty_like(columns[0]) for _ in range(3)]
        _halve(columns, narrow, 1)
        high[rows], low[rows] = _two_sum(columns[0][0], columns[1][0])


def _halve(arrays: list[Floats], width: int, until: int) -> None:
    """Sum the first ``width`` of the high and low parts, halves onto each other, to ``until``.

    ``arrays`` are the high parts, the low parts and three as work space, each (width, n).
    """
    while width > until:
        half = width // 2
        rest = width - half
        a, lost, s, part, back = (array[:half] for array in arrays)
        c = arrays[0][rest:width]
        np.add(a, c, out=s)
        np.subtract(s, a, out=part)
        np.subtract(s, part, out=back)
        np.subtract(a, back, out=back)
        np.subtract(c, part, out=part)
        back += part
        lost += arrays[1][rest:width]
        lost += back
        a[...] = s
        width = rest


def _products(
    W: Floats, x: Floats, halves: Pair, p: Floats, e: Floats, high: Floats, low: Floats
) -> None:
    """Put ``w_i x_i``, rounded, into ``p`` and what that lost into ``e``; the rest is work space.

    W is cut off after 26 bits, which leaves 27: with halves of x of 26 bits, every partial product
    has 53, and every partial sum is a float64.
    """
    np.bitwise_and(W.view(np.int64), _UPPER, out=high.view(np.int64))
    np.subtract(W, high, out=low)
    np.multiply(W, x, out=p)
    np.multiply(high, halves[0], out=e)
    e -= p
    high *= halves[1]
    e += high
    np.multiply(low, halves[0], out=high)
    e += high
    low *= halves[1]
    e += low


def add(a: Pair, b: Pair) -> Pair:
    """The sum of two double words, rounded to one."""
    s, e = _two_sum(a[0], b[0])
    t, f = _two_sum(a[1], b[1])
    e += t
    high = s + e
    low = e - (high - s)
    low += f
    top = high + low
    return top, low - (top - high)


def _two_sum(a: Floats, b: Floats) -> Pair:
    """``a + b`` rounded, and what that lost: D. E. Knuth, TAOCP 2, section 4.2.2, theorem B."""
    s = np.asarray(a + b)
    part = s - a
    lost = s - part
    np.subtract(a, lost, out=lost)
    np.subtract(b, part, out=part)
    lost += part
    return s, lost


def _split(a: Floats) -> Pair:
    """Two parts of 26 bits each, whose sum is ``a``."""
    scaled = a * 134217729.0  # 2^27 + 1
    high = scaled - (scaled - a)
    return high, a - high


@hookimpl
def geom_precisions() -> Iterator[Precision[NoOptions]]:
    """The precision ``double-double``."""
    yield Precision(
        "double-double",
        "pairs of float64, some 31 decimal digits",
        margin,
        NoOptions,
        lambda _: ROUNDOFF,
    )
