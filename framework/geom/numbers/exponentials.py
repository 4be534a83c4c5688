"""Exponentials and logarithms of float64 arrays, from operations whose rounding is bounded.

A library's ``exp`` and ``log`` come without a bound that holds on every machine. These use only
sums, products and quotients, which IEEE 754 rounds correctly, and powers of two, which are exact.

*exp.* Let ``k`` be the integer nearest to ``v / ln 2`` and ``s = v - k ln 2``, so that
``|s| <= 0.35``. ``ln 2`` is the sum of two floats, the first of 32 bits, so that its product with
``k`` (of 11 bits) is exact. ``exp s`` is its Taylor series up to the power 13; what is left out is
less than ``2^-57``, and Horner's scheme rounds each of 14 terms at most 28 times. These terms sum
to ``exp |s|``, at most twice ``exp s``. Together with ``s``, off by less than ``2 u``, that is at
most 64 ``u``.

*log.* Let ``v = m 2^k``, with m from ``sqrt(1/2)`` to ``sqrt(2)``, and ``f = (m - 1) / (m + 1)``,
so that ``|f| <= 0.1716``. ``log m`` is ``2 (f + f^3 / 3 + f^5 / 5 + ...)``, here up to the power
21; what is left out is less than ``2^-60``. ``m - 1`` is exact, and ``f`` is off by two roundings.
No partial sum is above 0.36, so that all roundings together are less than 8 ``u``; the product with
``k`` adds at most two roundings of ``|k| ln 2``, and the sum one of the result: less than
``8 u (1 + |k|)``.

Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002, section
5.1, for the rounding of Horner's scheme.
"""

from __future__ import annotations

import math

import numpy as np

from geom.numbers.arrays import Floats
from geom.numbers.rounding import U

_HIGH = 2977044471.0 * 2.0**-32
"""The first 32 bits of ``ln 2``."""

_LOW = 1.9082149292705877e-10
"""``ln 2`` less the first 32 bits of it."""

_FACTORIALS = tuple(1.0 / math.factorial(n) for n in range(13, -1, -1))
_ODD = tuple(1.0 / n for n in range(21, 0, -2))

EXP_ERROR = 64 * U
"""A bound on the relative error of `exp`."""

LEAST = -700.0
"""The least exponent of `exp`, which is some 1e-304."""


def exp(values: Floats) -> Floats:
    """Return ``exp(values)``, for values from `LEAST` to 0, within `EXP_ERROR` of it."""
    k = np.rint(values * (1.0 / math.log(2.0)))
    s = (values - k * _HIGH) - k * _LOW
    out = np.full_like(s, _FACTORIALS[0])
    for factor in _FACTORIALS[1:]:
        out *= s
        out += factor
    return np.asarray(np.ldexp(out, k.astype(np.int64)))


def log(values: Floats) -> tuple[Floats, Floats]:
    """Return ``log(values)``, for positive normal values, and bounds on the absolute errors."""
    m, k = np.frexp(values)
    low = m < math.sqrt(0.5)
    m, power = np.where(low, 2.0 * m, m), np.where(low, k - 1, k).astype(np.float64)
    f = (m - 1.0) / (m + 1.0)
    square = f * f
    series = np.full_like(f, _ODD[0])
    for factor in _ODD[1:]:
        series *= square
        series += factor
    out = 2.0 * f * series + (power * _HIGH + power * _LOW)
    return np.asarray(out), np.asarray(8 * U * (1.0 + np.abs(power)))
