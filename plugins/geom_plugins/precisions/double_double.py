"""The precision ``double-double``: a number is the unevaluated sum of two float64.

Long dot products are taken apart so that the BLAS library makes no error in what counts: K. Ozaki,
T. Ogita, S. Oishi and S. M. Rump, Error-free transformations of matrix multiplication by using fast
routines of matrix multiplication and its applications, Numerical Algorithms 59 (2012). A row with
``|w_i| <= 2^e`` is cut by adding and subtracting ``1.5 * 2^(e + 53 - s)``, which rounds it to
multiples of ``2^(e + 1 - s)``: a slice of at most ``2^(s - 1)`` units; what is left is at most
``2^(e - s)``, and is cut again. Of two slices every product is at most ``2^(2 s - 2)`` of their
units, so that with ``d 2^(2 s - 2) <= 2^53`` every partial sum of d products is a float64, in
whatever order and with fused operations or without. Three slices of W and of x are taken; what
involves the rest, ``2^(-3 s)`` of the whole, is summed in float64. Rows of float32 have two slices
but for a few, and what is zero is left out.

The sums are brought together from the largest to the smallest, by the two-sum of D. E. Knuth, The
Art of Computer Programming 2, section 4.2.2, theorem B; two logits are subtracted by the accurate
sum of two double words, whose relative error is at most ``3 u^2 + 13 u^3 <= 2^-104``,
``u = 2^-53``: M. Joldes, J.-M. Muller and V. Popescu, Tight and rigorous error bounds for basic
building blocks of double-word arithmetic, ACM Transactions on Mathematical Software 44 (2017),
algorithm 6. An entry above some ``2^990`` overflows in the cutting, and gives NaN: no answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from geom import (
    Enclosure,
    NoOptions,
    Precision,
    PrecisionMargin,
    Readout,
    cores,
    hookimpl,
    limited_threads,
)
from geom_plugins.precisions.bounds import TINY, UP, radius
from geom_plugins.precisions.rivals import rivals

Floats = NDArray[np.float64]
Pair = tuple[Floats, Floats]

U = 2.0**-53

ROUNDOFF = 2.0**-104
"""The relative error of a sum of two double words."""

SLICES = 3
"""Slices that a number is cut into, besides what is left."""

BLOCK = 1 << 18
"""Numbers of W that are in work at one time: two copies of them stay in the cache."""

SERIAL = 1 << 20
"""Numbers from which on it pays to start threads."""

_COLUMNS = 4
"""Columns of a product: BLAS libraries are slower at three."""


def margin(readout: Readout, token: int, x: Floats, options: NoOptions) -> PrecisionMargin:
    """The margin of ``token`` at ``x`` (d,), rounded to float64 at the end."""
    rows = np.append(rivals(readout, token, x), token)
    if rows.size == 1:
        return PrecisionMargin(math.inf, token)
    high, low, errors = logits(readout.W[rows], x, readout.b[rows])
    if not np.isfinite(errors).all():
        return PrecisionMargin(math.nan, int(rows[~np.isfinite(errors)].min()))
    with np.errstate(all="ignore"):
        largest = np.lexsort((low[:-1], high[:-1]))[-1]
        gap_high, gap_low = add((high[largest], low[largest]), (-high, -low))
        alike = np.flatnonzero((gap_high[:-1] == 0.0) & (gap_low[:-1] == 0.0))
        value = 0.0 - float(gap_high[-1])
        best = int(rows[alike].min())
        winner = token if value > 0.0 or (value == 0.0 and token < best) else best
    error = radius(float(errors[-1]), errors[:-1], gap_high[:-1])
    error = (error + abs(value) * (ROUNDOFF + U) + TINY) * UP
    return PrecisionMargin(value, winner, error if math.isfinite(error) else None)


def products(rows: Floats, x: Floats, options: NoOptions) -> list[Enclosure]:
    """``rows @ x`` with the radius of its roundings, for ``rows`` (n, k) and ``x`` (k,)."""
    high, low, errors = logits(rows, x, np.zeros(len(rows)))
    if not np.isfinite(errors).all():
        raise ArithmeticError("its numbers overflow")
    return [
        Enclosure.around(Fraction(top) + Fraction(rest), Fraction(error))
        for top, rest, error in zip(high.tolist(), low.tolist(), errors.tolist(), strict=True)
    ]


def logits(W: Floats, x: Floats, b: Floats) -> tuple[Floats, Floats, Floats]:
    """``W x + b`` for ``W`` (n, d) and ``x`` (d,), as high and low parts (n,).

    The third is a bound (n,) on the error of their sum, not finite where there is no answer.
    """
    n, d = W.shape
    bits = (53 - math.ceil(math.log2(d))) // 2 + 1
    with np.errstate(all="ignore"):
        parts, top = _cut_point(x, bits)
    sums = np.zeros((n, SLICES + 1, _COLUMNS))
    tops = np.empty(n)

    def work(rows: slice) -> None:
        with np.errstate(all="ignore"):  # each thread has its own
            _multiply(W[rows], parts, bits, sums[rows], tops[rows])

    threads = cores() if n * d >= SERIAL else 1
    shares = [slice(i * n // threads, (i + 1) * n // threads) for i in range(threads)]
    if threads == 1:
        work(shares[0])
    else:
        with limited_threads(1), ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, shares))
    with np.errstate(all="ignore"):
        return _together(sums, b, d, top * tops * 2.0 ** (-SLICES * bits))


def _cut_point(x: Floats, bits: int) -> tuple[Floats, float]:
    """What each slice of a row is multiplied by, (slices + 1, d, columns), and ``2^e >= |x|``.

    The k-th slice of a row meets as many slices of x as there are left, and the rest of x in one.
    """
    top = float(_tops(x[None, :])[0])
    slices, rest = [], x
    for k in range(SLICES):
        slices.append(_leading(rest, top, bits, k))
        rest = rest - slices[-1]
    parts = np.zeros((SLICES + 1, x.size, _COLUMNS))
    for k in range(SLICES + 1):
        for column, part in enumerate(slices[: SLICES - k]):
            parts[k, :, column] = part
        parts[k, :, SLICES - k] = x - np.sum(slices[: SLICES - k], axis=0)
    return parts, top


def _multiply(W: Floats, parts: Floats, bits: int, sums: Floats, tops: Floats) -> None:
    """Put the products of the slices of W into ``sums`` (n, slices + 1, columns).

    A row of which nothing is left needs no further slice.
    """
    n, d = W.shape
    height = max(1, BLOCK // d)
    buffers = [np.empty((min(height, n), d)) for _ in range(2)]
    for start in range(0, n, height):
        part, rest = (buffer[: min(height, n - start)] for buffer in buffers)
        rows = np.arange(start, start + len(part))
        left = W[start : start + height]
        top = tops[rows] = _tops(left)
        for k in range(SLICES):
            part, rest = part[: rows.size], rest[: rows.size]
            _leading(left, top[:, None], bits, k, out=part)
            sums[rows, k] = part @ parts[k]
            left = np.subtract(left, part, out=rest)
            more = (left != 0.0).any(axis=1)
            if not more.all():
                rows, top, left = rows[more], top[more], left[more]
        if rows.size:
            sums[rows, SLICES] = left @ parts[SLICES]


def _tops(rows: Floats) -> Floats:
    """Powers of two (n,) that no entry of a row exceeds; 0 for a row of zeros."""
    largest = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    powers = np.ldexp(1.0, np.frexp(largest)[1])
    return np.asarray(np.where(largest == 0.0, 0.0, powers))


def _leading(
    values: Floats, top: float | Floats, bits: int, k: int, out: Floats | None = None
) -> Floats:
    """The k-th slice of ``bits`` bits, of what the slices before it have left of ``values``."""
    shift = top * (1.5 * 2.0 ** (53 - bits * (k + 1)))
    out = np.add(values, shift, out=out)
    out -= shift
    return out


def _together(sums: Floats, b: Floats, d: int, unit: Floats) -> tuple[Floats, Floats, Floats]:
    """The sums of the slices and the bias, as double words, and a bound on the error.

    ``unit`` (n,) is ``2^(e_w + e_x - 3 s)``: what no product that is summed in float64 exceeds.
    There are four sums of d such products, each off by ``gamma_d`` of their sizes (N. J. Higham,
    Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002, (3.5)). What two-sums lose
    is summed with them in float64: some 2 (slices + 1)^2 roundings, each of ``u`` of what is there.
    Products below the least normal number lose no more than TINY each.
    """
    high, lost, size = b, np.zeros_like(b), np.zeros_like(b)
    for order in range(SLICES):
        for k in range(order + 1):
            high, error = _two_sum(high, sums[:, k, order - k])
            lost, size = lost + error, size + np.abs(error)
    for k in range(SLICES + 1):
        rough = sums[:, k, SLICES - k]
        lost, size = lost + rough, size + np.abs(rough)
    high, low = _two_sum(high, lost)
    roundings = 2 * (SLICES + 1) ** 2
    bound = roundings * U * size + 2.0 * (SLICES + 1) * U * d * d * unit
    bound = (bound + roundings * (d + 1) * TINY) * UP
    return high, low, np.where(np.isfinite(high + low), bound, np.nan)


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


@hookimpl
def geom_precisions() -> Iterator[Precision[NoOptions]]:
    """The precision ``double-double``."""
    yield Precision(
        "double-double",
        "pairs of float64, some 31 decimal digits",
        margin,
        NoOptions,
        lambda _: ROUNDOFF,
        products,
    )
