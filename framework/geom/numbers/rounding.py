"""A-priori bounds on the errors of float64 arithmetic.

Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002,
sections 2.2 (the model), 3.1 (inner products, any order of summation) and 2.8 (fused
multiply-add, which only removes roundings).

The model is that of IEEE 754 with gradual underflow. A process may have told its processor to treat
subnormal numbers as zero instead (``torch.set_flush_denormal``). A difference of two floats may
then vanish although they differ, and no bound here would cover that. `refuse_flushing` stops a
caller that is about to prove something in such a process. Threads of a BLAS library may keep that
mode after the thread that calls them has left it, so the bounds on products hold in it as well.

Every bound here is itself computed in float64. Long sums of non-negative numbers carry their own
``1 + gamma_n``. What is left is a handful of products and roots; one factor ``UP``, worth some four
thousand roundings, covers them, so that the reader need not follow them through.
"""

from __future__ import annotations

import numpy as np

from geom.errors import ArithmeticModeError
from geom.numbers.arrays import Floats

U = 2.0**-53
"""Unit roundoff of float64, round to nearest."""

UP = 1.0 + 2.0**-40
"""Inflation that covers the few roundings made while a bound is computed."""

TINY = 2.0**-1022
"""The least normal float64; a product loses no more to underflow, flushed to zero or not."""

CLAIM = 4.0
"""Error bounds are multiplied by this factor when a claim is made, but not when it is checked:
another machine sums in another order, and its own bounds must confirm every claim."""


_SUBNORMAL = np.array([2.0**-1022, 2.0**-1074])
_FACTORS = np.array([0.5, 2.0**60])
"""Products that are zero if subnormal results, or subnormal factors, count as zero."""


def refuse_flushing() -> None:
    """Return if this thread keeps subnormal numbers.

    Raises ArithmeticModeError if it flushes them to zero, because nothing can be proven then.
    """
    if not (_SUBNORMAL * _FACTORS).all():
        raise ArithmeticModeError(
            "this process flushes subnormal numbers to zero, so nothing can be proven in it: "
            "turn that off, in torch by torch.set_flush_denormal(False)"
        )


def gamma(n: int) -> float:
    """Return Higham's ``gamma_n = n u / (1 - n u)``: n roundings in a row, in any order."""
    return n * U / (1.0 - n * U) * UP


def norm_above(x: Floats, axis: int | None = None) -> Floats:
    """Return upper bounds on Euclidean norms along ``axis`` (of all of ``x`` if None), in float64.

    Squares may underflow: ``n * TINY`` under the root is more than they can lose. Squares that
    overflow give infinity, which is a true upper bound.
    """
    n = x.size if axis is None else x.shape[axis]
    with np.errstate(over="ignore"):
        squares = np.einsum("...i,...i->...", x, x) if axis == -1 else (x * x).sum(axis=axis)
        return np.asarray(np.sqrt((squares + n * TINY) * (1.0 + gamma(n + 2))) * UP)


def dot_error(rows: Floats, x: float, b: Floats, d: int) -> Floats:
    """Return bounds on ``|fl(w . x + b) - (w . x + b)|`` that hold for any order of summation.

    ``rows`` (n,) are upper bounds on ``|w|``, ``x`` is one on ``|x|``, ``b`` (n,) are the biases,
    ``d`` is the length of the product. By Higham (3.5) the error is at most
    ``gamma_{d+1} (sum |w_i x_i| + |b|)``; Cauchy and Schwarz bound the sum by ``|w||x|``. Each of
    the d products and of the d sums may lose ``TINY`` to underflow, flushed to zero or not, and a
    product with a factor that is taken as zero may lose ``TINY`` times the other factor.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lost = 2 * (d + 1) * TINY * (1.0 + rows + x)
        return np.asarray((gamma(d + 2) * (rows * x + np.abs(b)) + lost) * UP)
