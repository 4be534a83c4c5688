"""How well one number predicts another: rank correlation, and the area under the ROC curve.

Both look at order alone. Their standard errors are closed formulas: for Spearman's coefficient
D. G. Bonett and T. A. Wright, Sample Size Requirements for Estimating Pearson, Kendall and Spearman
Correlations, Psychometrika 65, 2000; for the area J. A. Hanley and B. J. McNeil, The Meaning and
Use of the Area under a Receiver Operating Characteristic (ROC) Curve, Radiology 143, 1982.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata  # type: ignore[import-untyped]  # it ships no types

Floats = NDArray[np.float64]

DRAWN = 400
"""The samples that `apart` draws."""


@dataclass(frozen=True)
class Association:
    """A coefficient, its standard error, and what it was computed from.

    ``n`` is the number of pairs, ``positives`` the number of those for which the event happened;
    None for a correlation. ``value`` is NaN if one of the two does not vary.
    """

    value: float
    error: float
    n: int
    positives: int | None = None

    @property
    def strength(self) -> float:
        """How far the coefficient is from the value that says nothing, 0 or 1/2; 0 if it is NaN."""
        return 0.0 if math.isnan(self.value) else abs(self.value - self._nothing)

    @property
    def _nothing(self) -> float:
        return 0.0 if self.positives is None else 0.5

    def along(self, other: Association) -> float:
        """Return how far another coefficient is from nothing, in the direction of this one."""
        return math.copysign(1.0, self.value - self._nothing) * (other.value - self._nothing)


def spearman(x: ArrayLike, y: ArrayLike) -> Association:
    """Return Spearman's rank correlation of x (n,) and y (n,); ties share their mean rank.

    Pairs in which a number is not finite are left out.
    """
    a, b = _pairs(x, y)
    n = len(a)
    if n < 4 or a.min() == a.max() or b.min() == b.max():
        return Association(math.nan, math.nan, n)
    ranks = np.array([rankdata(a), rankdata(b)])
    r = float(np.clip(np.corrcoef(ranks)[0, 1], -1.0, 1.0))
    return Association(r, (1 - r * r) * math.sqrt((1 + r * r / 2) / (n - 3)), n)


def area(x: ArrayLike, happened: ArrayLike) -> Association:
    """Return the share of pairs (event, no event) in which x (n,) is the larger one for the event.

    Ties count half. A value of 1/2 says that x tells nothing. Pairs in which x is not finite are
    left out.
    """
    a, b = _pairs(x, happened)
    event = b > 0
    p, q = int(event.sum()), int((~event).sum())
    if p == 0 or q == 0:
        return Association(math.nan, math.nan, p + q, p)
    A = (float(rankdata(a)[event].sum()) - p * (p + 1) / 2) / (p * q)
    Q1, Q2 = A / (2 - A), 2 * A * A / (1 + A)
    spread = A * (1 - A) + (p - 1) * (Q1 - A * A) + (q - 1) * (Q2 - A * A)
    return Association(A, math.sqrt(max(spread, 0.0) / (p * q)), p + q, p)


def apart(
    how: Callable[[ArrayLike, ArrayLike], Association], x: ArrayLike, rival: ArrayLike, y: ArrayLike
) -> tuple[float, float]:
    """Return by how much x (n,) predicts y (n,) more strongly than a rival (n,), with its error.

    The two predict the same events, so their errors are not independent: the standard error is the
    spread of the difference over `DRAWN` samples of the pairs, drawn with replacement (B. Efron,
    Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 7, 1979). ``how`` is
    `spearman` or `area`. The difference is NaN if one of the two does not vary.
    """
    a, b, happened = (np.asarray(one, dtype=np.float64) for one in (x, rival, y))
    keep = np.isfinite(a) & np.isfinite(b)
    a, b, happened = a[keep], b[keep], happened[keep]
    whole = how(a, happened), how(b, happened)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWN):
        at = rng.integers(len(a), size=len(a))
        strengths = [
            one.along(how(values[at], happened[at]))
            for one, values in zip(whole, (a, b), strict=True)
        ]
        drawn.append(strengths[0] - strengths[1])
    return whole[0].strength - whole[1].strength, float(np.nanstd(drawn))


def _pairs(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Return the pairs of finite numbers, as two arrays. Raises ValueError on unequal lengths."""
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"shapes {a.shape} and {b.shape} are not one list of pairs")
    keep = np.isfinite(a) & np.isfinite(b)
    return a[keep], b[keep]
