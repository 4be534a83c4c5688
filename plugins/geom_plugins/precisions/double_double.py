"""The precision ``double-double``: a number is the unevaluated sum of two float64.

Long dot products are cut into slices so that the BLAS library computes their leading parts without
error: K. Ozaki, T. Ogita, S. Oishi and S. M. Rump, Error-free transformations of matrix
multiplication by using fast routines of matrix multiplication and its applications, Numerical
Algorithms 59 (2012). A row with ``|w_i| <= 2^e`` is cut by adding and subtracting
``1.5 * 2^(e + 53 - s)``, which rounds it to multiples of ``2^(e + 1 - s)``: a slice of at most
``2^(s - 1)`` units; the rest is at most ``2^(e - s)``, and is cut again. If a slice of W has s bits
and a slice of x has t, every product is at most ``2^(s + t - 2)`` of their units, so that with
``d 2^(s + t - 2) <= 2^53`` every partial sum of d products is a float64, in any order, with or
without fused operations. Cutting W takes the most time, so its slices are wide, and two are enough:
at d = 768 they have 35 bits, and those of x 10. The first slice of W is multiplied by seven slices
of x, the second by three; products with either rest, ``2^-65`` of the whole, are summed in float64,
and left out if the rest is zero.

The sums are added from the largest to the smallest, by the two-sum of D. E. Knuth, The Art of
Computer Programming 2, section 4.2.2, theorem B; two logits are subtracted by the accurate sum of
two double words, whose relative error is at most ``3 u^2 + 13 u^3 <= 2^-104``, ``u = 2^-53``:
M. Joldes, J.-M. Muller and V. Popescu, Tight and rigorous error bounds for basic building blocks of
double-word arithmetic, ACM Transactions on Mathematical Software 44 (2017), algorithm 6. An entry
above some ``2^980`` overflows when it is cut, and gives NaN: no answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np

from geom import (
    Enclosure,
    Floats,
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

Pair = tuple[Floats, Floats]

U = 2.0**-53

ROUNDOFF = 2.0**-104
"""The relative error of a sum of two double words."""

SLICES = (7, 3)
"""The slices of x that each of the two slices of W is multiplied by; the rest of x is one more.

BLAS libraries are slow if the number of columns is not a multiple of four.
"""

SPREAD = 8.0
"""The largest ratio between the largest entries of a block's rows at which all are cut alike."""

BLOCK = 1 << 18
"""The numbers of W in progress at one time: two copies of them stay in the cache."""

TURN = 4
"""The blocks that a thread takes at a time; the next turn goes to the thread that is done first."""

SERIAL = 1 << 20
"""The numbers of W from which it pays to start threads."""


def margin(readout: Readout, token: int, x: Floats, options: NoOptions) -> PrecisionMargin:
    """Compute the margin of ``token`` at ``x`` (d,), rounded to float64 at the end."""
    rows = np.append(rivals(readout, token, x), token)
    if rows.size == 1:
        return PrecisionMargin(math.inf, token)
    high, low, errors = logits(readout.rows[rows], x, readout.b[rows])
    errors = errors + readout.bias_errors[rows]
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
    """Enclose ``rows @ x`` by the radius of its roundings, for ``rows`` (n, k) and ``x`` (k,)."""
    high, low, errors = logits(rows, x, np.zeros(len(rows)))
    if not np.isfinite(errors).all():
        raise ArithmeticError("its numbers overflow")
    return [
        Enclosure.around(Fraction(top) + Fraction(rest), Fraction(error))
        for top, rest, error in zip(high.tolist(), low.tolist(), errors.tolist(), strict=True)
    ]


def logits(W: Floats, x: Floats, b: Floats) -> tuple[Floats, Floats, Floats]:
    """Compute ``W x + b`` for ``W`` (n, d) and ``x`` (d,), as high and low parts (n,).

    The third result is a bound (n,) on the error of their sum, not finite if there is no answer.
    """
    n, d = W.shape
    bits = 55 - math.ceil(math.log2(d))
    narrow = round(bits * 2 / 9)  # the rests of W and x are then alike
    with np.errstate(all="ignore"):
        parts, top = _cut_point(x, narrow)
    sums = np.zeros((sum(part.shape[1] for part in parts), n))
    tops = np.empty(n)
    height = max(1, BLOCK // d)

    def work(start: int) -> None:
        rows = slice(start, start + TURN * height)
        with np.errstate(all="ignore"):  # each thread has its own error state
            _multiply(W[rows], parts, bits - narrow, height, sums[:, rows], tops[rows])

    starts = range(0, n, TURN * height)
    threads = cores() if n * d >= SERIAL else 1
    if threads == 1:
        for start in starts:
            work(start)
    else:
        with limited_threads(1), ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, starts))
    left = 2.0 ** (-narrow * SLICES[0]) + 2.0 ** (narrow - bits - narrow * SLICES[1])
    left += 2.0 ** (2 * (narrow - bits))
    with np.errstate(all="ignore"):
        return _together(sums, b, d, top * tops * left)


def _cut_point(x: Floats, bits: int) -> tuple[list[Floats], float]:
    """Return the factors for each slice of a row and for its rest, and ``2^e >= |x|``.

    A factor has slices of x as columns and, as its last column (d,), the rest of x.
    """
    top = float(_tops(x[None, :])[0])
    slices, rests = [], [x]
    for k in range(max(SLICES)):
        slices.append(_leading(rests[-1], top, bits, k))
        rests.append(rests[-1] - slices[-1])
    return [np.column_stack([*slices[:count], rests[count]]) for count in (*SLICES, 0)], top


def _multiply(
    W: Floats, parts: list[Floats], bits: int, height: int, sums: Floats, tops: Floats
) -> None:
    """Put the products of the slices of W, ``height`` rows at a time, into ``sums`` (columns, n).

    ``tops`` (n,) gets the powers of two by which the rows were cut.
    """
    n, d = W.shape
    part, rest = (np.empty((min(height, n), d)) for _ in range(2))
    for start in range(0, n, height):
        rows = slice(start, start + height)
        left = W[rows]
        part, rest = part[: len(left)], rest[: len(left)]
        top = _tops(left)
        alike = top.min() * SPREAD >= top.max()
        if alike:
            top[:] = top.max()
        tops[rows] = top
        column = 0
        for k, factor in enumerate(parts[:-1]):
            _leading(left, top[0] if alike else top[:, None], bits, k, out=part)
            sums[column : column + factor.shape[1], rows] = (part @ factor).T
            column += factor.shape[1]
            if k == 0 or (left != part).any():
                left = np.subtract(left, part, out=rest)
            else:
                break
        else:
            sums[column, rows] = left @ parts[-1][:, 0]


def _tops(rows: Floats) -> Floats:
    """Return powers of two (n,) that no entry of a row exceeds; 0 for a row of zeros."""
    largest = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    powers = np.ldexp(1.0, np.frexp(largest)[1])
    return np.asarray(np.where(largest == 0.0, 0.0, powers))


def _leading(
    values: Floats, top: float | Floats, bits: int, k: int, out: Floats | None = None
) -> Floats:
    """Return the k-th slice, of ``bits`` bits; ``values`` is the rest after the slices before."""
    shift = top * (1.5 * 2.0 ** (53 - bits * (k + 1)))
    out = np.add(values, shift, out=out)
    out -= shift
    return out


def _together(sums: Floats, b: Floats, d: int, unit: Floats) -> tuple[Floats, Floats, Floats]:
    """Add the sums of the slices and the bias to double words, and bound the error.

    A sum of d products in float64 is off by no more than ``(1 + u)^d - 1`` of their sizes (N. J.
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002, section 3.1), and
    ``unit`` (n,) bounds the size of one product from each such sum, in total. The errors of the
    two-sums are added to those sums in float64: with no more roundings than there are columns, each
    of at most ``u`` of the sum so far. Products below the least normal number lose at most TINY
    each.
    """
    high, lost, size = b, np.zeros_like(b), np.zeros_like(b)
    rough, column = [len(sums) - 1], 0
    for count in SLICES:
        for exact in sums[column : column + count]:
            high, error = _two_sum(high, exact)
            lost, size = lost + error, size + np.abs(error)
        rough.append(column + count)
        column += count + 1
    for rest in sums[rough]:
        lost, size = lost + rest, size + np.abs(rest)
    high, low = _two_sum(high, lost)
    roundings = len(sums) + 1
    bound = roundings * U * size + math.expm1(d * U) * d * unit
    bound = (bound + roundings * (d + 1) * TINY) * UP
    return high, low, np.where(np.isfinite(high + low), bound, np.nan)


def add(a: Pair, b: Pair) -> Pair:
    """Return the sum of two double words, rounded to a double word."""
    s, e = _two_sum(a[0], b[0])
    t, f = _two_sum(a[1], b[1])
    e += t
    high = s + e
    low = e - (high - s)
    low += f
    top = high + low
    return top, low - (top - high)


def _two_sum(a: Floats, b: Floats) -> Pair:
    """Return ``a + b`` rounded, and its error: D. E. Knuth, TAOCP 2, section 4.2.2, theorem B."""
    s = np.asarray(a + b)
    part = s - a
    lost = s - part
    np.subtract(a, lost, out=lost)
    np.subtract(b, part, out=part)
    lost += part
    return s, lost


@hookimpl
def geom_precisions() -> Iterator[Precision[NoOptions]]:
    yield Precision(
        "double-double",
        "pairs of float64, about 31 decimal digits",
        margin,
        NoOptions,
        roundoff=lambda _: ROUNDOFF,
        products=products,
    )
