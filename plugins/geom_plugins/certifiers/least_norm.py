"""The shortest point that satisfies some inequalities, or weights that show there is none.

Source: C. L. Lawson and R. J. Hanson, Solving Least Squares Problems, 1974, chapter 23: problem
LDP, which they reduce to non-negative least squares.
"""

from __future__ import annotations

import numpy as np

from geom import Floats


def least_norm(a: Floats, c: Floats, margin: float) -> tuple[Floats | None, Floats] | None:
    """Find the shortest ``y`` (d,) with ``a y + c <= -margin``, and multipliers (n,) >= 0, sum 1.

    ``a`` (n, d) and ``c`` (n,) should be of order 1. ``y`` is None if no point satisfies the
    inequalities; then ``a' lam = 0`` and ``c . lam >= -margin``. Otherwise ``y`` is a negative
    multiple of ``a' lam``. Returns None if the method does not converge.
    """
    from scipy.optimize import nnls  # type: ignore[import-untyped]  # SciPy ships no types

    n, d = a.shape
    system = np.vstack([-a.T, c + margin])
    target = np.append(np.zeros(d), 1.0)
    try:
        multipliers, distance = nnls(system, target, maxiter=100 * (d + n))
    except RuntimeError:
        return None
    total = float(multipliers.sum())
    if not total > 0.0:
        return np.zeros(d), np.full(n, 1.0 / n)
    residual = system @ multipliers - target
    if distance < 1e-12:
        return None, multipliers / total
    with np.errstate(all="ignore"):
        y = -residual[:-1] / residual[-1]
    return (y, multipliers / total) if np.isfinite(y).all() else None
