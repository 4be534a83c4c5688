"""The least of many numbers, each seen in float64 between two bounds, and exactly where it may be.

A number whose lower bound is above another's upper bound cannot be the least. The few that can be
are computed exactly, from the lowest lower bound up, until the least of them is at most every lower
bound that is left. The result does not depend on how float64 rounded.
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
"""Numbers that are computed exactly at a time."""


def least(low: Floats, high: Floats, exact: Callable[[NDArray[np.intp]], list[N]]) -> N:
    """The least of n > 0 numbers between ``low`` and ``high`` (n,); ``exact`` has them by place."""
    kept = np.flatnonzero(low <= high.min())
    kept = kept[np.argsort(low[kept], kind="stable")]
    best = min(exact(kept[:AT_ONCE]))
    for start in range(AT_ONCE, kept.size, AT_ONCE):
        if best <= float(low[kept[start]]):
            break
        best = min(best, *exact(kept[start : start + AT_ONCE]))
    return best
