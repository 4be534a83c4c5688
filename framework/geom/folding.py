"""Folding the final norm's scale and shift into the readout.

A norm emits ``gamma * x + beta`` before the readout ``W``, so ``logits = W (gamma * x + beta) + b =
(W * gamma) x + (W beta + b)``. The product of two float32 has at most 48 significant bits and is
exact in float64: folding ``gamma`` rounds nothing. ``W beta + b`` is a sum and must round; it is
summed in a fixed order with compensation (Ogita, Rump and Oishi, Accurate Sum and Dot Product,
SIAM J. Sci. Comput. 26, 2005, algorithm 4.4), so that every machine folds to the same bits,
almost always those of the exact sum rounded once.
"""

from __future__ import annotations

import numpy as np

from geom.rounding import Floats


def fold_scale(W: Floats, gamma: Floats) -> Floats:
    """``W * gamma`` row-wise: ``W`` (V, d) and ``gamma`` (d,) float64; exact for float32 data."""
    return W * gamma


def fold_shift(W: Floats, beta: Floats, b: Floats) -> Floats:
    """``W beta + b`` (V,) for ``W`` (V, d) before `fold_scale`, ``beta`` (d,), ``b`` (V,)."""
    total = b.astype(np.float64, copy=True)
    lost = np.zeros_like(total)
    for column, shift in zip(W.T, beta, strict=True):
        term = column * shift
        new = total + term
        part = new - total
        lost += (total - (new - part)) + (term - part)
        total = new
    return total + lost
