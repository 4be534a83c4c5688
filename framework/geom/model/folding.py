"""Folding the final norm's scale and shift into the readout.

A norm emits ``gamma * x + beta`` before the readout ``W``, so ``logits = W (gamma * x + beta) + b =
(W * gamma) x + (W beta + b)``. The product of two float32 has at most 48 significant bits and is
exact in float64, so folding ``gamma`` rounds nothing. ``W beta + b`` is a sum and must round. It is
summed in a fixed order with compensation (Ogita, Rump and Oishi, Accurate Sum and Dot Product,
SIAM J. Sci. Comput. 26, 2005, algorithm 4.4), so that every machine folds to the same bits, which
are almost always those of the exact sum rounded once.

A projection ``P`` between norm and readout gives ``W P``, which is a sum too. `exact_product`
splits both matrices into slices of so few bits that their products are exact in any order of
summation (Ozaki, Ogita, Oishi and Rump, Error-free transformations of matrix multiplication, Numer.
Algorithms 59, 2012), so BLAS may compute them.
"""

from __future__ import annotations

import math

import numpy as np

from geom.numbers.arrays import Floats


def fold_scale(W: Floats, gamma: Floats, out: Floats | None = None) -> Floats:
    """Return ``W * gamma`` row-wise, ``W`` (V, d) and ``gamma`` (d,); exact for float32 data."""
    return np.multiply(W, gamma, out=out)


def fold_shift(W: Floats, beta: Floats, b: Floats) -> Floats:
    """Return ``W beta + b`` (V,): ``W`` (V, d) before `fold_scale`, ``beta`` (d,), ``b`` (V,)."""
    total = b.astype(np.float64, copy=True)
    lost = np.zeros_like(total)
    for column, shift in zip(W.T, beta, strict=True):
        term = column * shift
        new = total + term
        part = new - total
        lost += (total - (new - part)) + (term - part)
        total = new
    return total + lost


def through(
    P: Floats, scale: Floats | None, shift: Floats | None
) -> tuple[Floats, None, Floats | None]:
    """Move scale and shift to the near side of the projection: ``P (scale x + shift)``."""
    shifted = None if shift is None else fold_shift(P, shift, np.zeros(len(P)))
    return P if scale is None else fold_scale(P, scale), None, shifted


def exact_product(A: Floats, B: Floats) -> Floats:
    """Multiply two matrices by a compensated sum of exact products.

    If nothing underflows it is the exact product rounded once, except for rare last bits. Float16
    data need one or two slices per matrix, float32 about three.

    Parameters
    ----------
    A : ndarray of shape (m, k)
        Finite float64 numbers.
    B : ndarray of shape (k, n)
        Finite float64 numbers.

    Returns
    -------
    ndarray of shape (m, n)
        The product in float64, the same on every machine.
    """
    bits = (53 - math.ceil(math.log2(A.shape[1]))) // 2 if A.shape[1] > 1 else 26
    _, above = np.frexp([np.abs(A).max(), np.abs(B).max()])
    left = _slices(np.ldexp(A, -above[0]), bits, axis=1)
    right = _slices(np.ldexp(B, -above[1]), bits, axis=0)
    pairs = sorted(
        ((i, j) for i in range(len(left)) for j in range(len(right))), key=lambda pair: sum(pair)
    )
    total = np.zeros((len(A), B.shape[1]))
    lost = np.zeros_like(total)
    for i, j in pairs:
        term = left[i] @ right[j]
        new = total + term
        part = new - total
        lost += (total - (new - part)) + (term - part)
        total = new
    return np.asarray(np.ldexp(total + lost, above.sum()))


def _slices(A: Floats, bits: int, axis: int) -> list[Floats]:
    """Split ``A`` into matrices that sum to it, each of ``bits`` bits below a line's largest."""
    out = []
    rest = A
    while rest.any():
        _, exponent = np.frexp(np.abs(rest).max(axis=axis, keepdims=True))
        shift = np.ldexp(0.75, exponent + 54 - bits)
        high = (rest + shift) - shift
        out.append(high)
        rest = rest - high
    return out
