"""Products of float64 matrices without any rounding, by products of short integers in float64.

Each factor is cut into slices of b bits, integers times a power of two that all entries share. A
sum of m products of such integers is at most ``m 2^(2b) <= 2^53``, so float64 makes no error in it,
in whatever order it is summed, and the BLAS's matrix product serves. The few products of slices are
added as integers.

Source: K. Ozaki, T. Ogita, S. Oishi and S. M. Rump, Error-free transformations of matrix
multiplication by using fast routines of matrix multiplication and its applications, Numerical
Algorithms 59, 2012.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from flint import fmpz_mat
from numpy.typing import NDArray

from geom.numbers.arrays import Floats, Integers
from geom.numbers.rationals import Scaled
from geom.numbers.rounding import refuse_flushing

BLOCK = 256
"""The rows of the left factor that are multiplied at a time."""


def exact_products(left: Floats, right: Floats) -> Iterator[Scaled]:
    """Multiply two matrices exactly.

    Parameters
    ----------
    left : ndarray of shape (n, m), float64
        Finite numbers.
    right : ndarray of shape (m, d), float64
        Finite numbers.

    Yields
    ------
    Scaled
        Each row of the product, as a matrix (d, 1).

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.
    """
    refuse_flushing()
    bits = (53 - max(1, left.shape[1] - 1).bit_length()) // 2
    for start in range(0, len(left), BLOCK):
        block = left[start : start + BLOCK]
        used = block.any(axis=0)
        yield from _block(block[:, used], right[used], bits)


def _block(left: Floats, right: Floats, bits: int) -> Iterator[Scaled]:
    """Yield the rows of a product."""
    n, d = len(left), right.shape[1]
    sums: dict[int, NDArray[np.int64]] = {}
    slices = list(_slices(left, bits))
    for right_exponent, columns in _slices(right, bits):
        for left_exponent, rows in slices:
            exponent = left_exponent + right_exponent
            product = (rows @ columns).astype(np.int64)
            sums[exponent] = product + sums.get(exponent, 0)
    lowest = min(sums, default=0)
    for place in range(n):
        total: Integers = np.zeros(d, dtype=object)
        for exponent, integers in sums.items():
            total += integers[place].astype(object) << (exponent - lowest)
        yield Scaled(fmpz_mat(d, 1, total.tolist()), lowest)


def _slices(values: Floats, bits: int) -> Iterator[tuple[int, Floats]]:
    """Yield exponents e and integers below ``2**bits``, in float64: the sum over ``2**e`` times.

    The first bits are taken from the left: what is left is a float again, without rounding. Powers
    of two between slices are multiples of ``bits``, so that products of slices share few exponents.
    """
    rest = values
    while rest.any():
        top = int(np.frexp(np.abs(rest).max())[1])
        exponent = bits * -(-top // bits) - bits
        cut = np.trunc(np.ldexp(rest, -exponent))
        rest = rest - np.ldexp(cut, exponent)
        yield exponent, cut
