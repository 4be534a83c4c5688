"""How far out a normal vector lies in a given direction.

Of a normal vector around c, in D dimensions, what lies in the direction of the unit vector u has
the density ``r^(D - 1) exp(-r^2 / 2 + a r)`` in its length r, but for a factor that does not depend
on u, with ``a = u . c``. A cone holds all of a direction or none: what a Gaussian's probability in
a cone depends on are directions, and their lengths can be integrated, or drawn anew, exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NODES = np.arange(-36.0, 12.0, 0.2)
"""Where the integral is taken, in standard deviations of the logarithm of r, about its mode."""


def log_mass(a: Floats, dimension: int) -> Floats:
    """The logarithm of the integral of the density over all r, for each ``a`` (m,).

    By the trapezoidal rule in ``log r``, which converges exponentially: L. N. Trefethen and
    J. A. C. Weideman, SIAM Review 56 (2014).
    """
    r = (a + np.sqrt(a * a + 4.0 * dimension)) / 2.0
    step = 1.0 / np.sqrt(r * r + dimension)
    w = step[:, None] * _NODES
    grown = np.expm1(w)
    log = dimension * (w - grown) - 0.5 * (r[:, None] * grown) ** 2  # as a r = r^2 - D
    top = dimension * np.log(r) - 0.5 * r * r + a * r
    return np.asarray(top + np.log(np.exp(log).sum(axis=1) * step * 0.2))


def drawn(a: Floats, dimension: int, rng: np.random.Generator) -> Floats:
    """A length for each ``a`` (m,), by rejection.

    The density's logarithm is curved by 1 at least, so that it lies below a normal distribution
    about its mode.
    """
    power = dimension - 1
    mode = (a + np.sqrt(a * a + 4.0 * power)) / 2.0
    out = np.zeros_like(a)
    left = np.arange(a.size)
    while left.size:
        off = rng.standard_normal(left.size)
        top = mode[left]
        r = top + off
        log = (a[left] - top) * off
        if power:
            with np.errstate(divide="ignore", invalid="ignore"):
                log += power * np.log(r / top)
        taken = (r > 0.0) & (np.log(rng.random(left.size)) < log)
        out[left[taken]] = r[taken]
        left = left[~taken]
    return out
