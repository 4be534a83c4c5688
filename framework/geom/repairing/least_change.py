"""The shortest vector under linear conditions: ``min |D|`` with ``G D >= h``.

It is the least distance problem of C. L. Lawson and R. J. Hanson (Solving Least Squares Problems,
Prentice-Hall 1974, chapter 23), solved by non-negative least squares.
"""

from __future__ import annotations

import numpy as np

from geom.numbers.arrays import Floats


def least_change(G: Floats, h: Floats) -> Floats | None:
    """Return the shortest D (d,) with ``G D >= h``, ``G`` (n, d); None if none is found.

    The answer is a suggestion, good to the last digits of float64.
    """
    if not (h > 0.0).any():
        return np.zeros(G.shape[1])
    from scipy.optimize import nnls  # type: ignore[import-untyped]  # SciPy ships no types

    sizes = np.linalg.norm(G, axis=1)
    if not (sizes[h > 0.0] > 0.0).all() or not np.isfinite(sizes).all():
        return None
    used = sizes > 0.0
    G, h = G[used] / sizes[used, None], h[used] / sizes[used]
    unit = float(h.max())
    # the conditions span few dimensions: the change lies in their span
    q, r = np.linalg.qr(G.T)
    E = np.vstack([r, h / unit])
    goal = np.zeros(len(E))
    goal[-1] = 1.0
    try:
        lam, rest = nnls(E, goal)
    except RuntimeError:  # too many steps
        return None
    left = E @ lam - goal
    if not rest > 1e-9 or not left[-1] < -1e-18:
        return None
    D = unit * (q @ (left[:-1] / -left[-1]))
    if not np.isfinite(D).all() or (h - 1e-6 * unit > G @ D).any():
        return None
    return np.asarray(D)
