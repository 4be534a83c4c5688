"""The least of many numbers: bounds in float64 for all, exact values for those that may be it.

A number whose lower bound is above another's upper bound cannot be the least. The few others are
computed exactly, from the lowest lower bound up, until the least of them is not above any remaining
lower bound. The result does not depend on how float64 rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geom.numbers.arrays import Floats

N = TypeVar("N", float, Fraction)

AT_ONCE = 64
"""How many numbers are computed exactly at a time."""


def least(low: Floats, high: Floats, exact: Callable[[NDArray[np.intp]], list[N]]) -> N:
    """Return the least of n > 0 numbers in ``low`` .. ``high`` (n,); ``exact`` takes places."""
    kept = np.flatnonzero(low <= high.min())
    kept = kept[np.argsort(low[kept], kind="stable")]
    best = min(exact(kept[:AT_ONCE]))
    for start in range(AT_ONCE, kept.size, AT_ONCE):
        if best <= float(low[kept[start]]):
            break
        best = min(best, *exact(kept[start : start + AT_ONCE]))
    return best
