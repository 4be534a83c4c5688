"""Proof *slack*: the weighted sum is >= 0 on the whole domain, with room for all rounding.

``r``, ``g``, ``lam`` and (1) are those of `geom.exact.weights`.
"""

from __future__ import annotations

import math

import numpy as np

from geom.exact.sums import Sums, quotient_above
from geom.model.domains import Domain
from geom.model.frames import Frame
from geom.model.problem import Problem
from geom.numbers.arrays import Floats
from geom.numbers.rationals import above
from geom.numbers.rounding import TINY, UP, U, gamma, norm_above


def slack_bound(problem: Problem, sums: Sums, widen: float) -> float | None:
    """Return an upper bound on the largest margin from (1); <= 0 proves the token unspeakable.

    By (1) the margin is at most ``(-g + sup -(r . x)) / sum(lam)``, with the supremum over the
    domain; if it is <= 0, the right side of (1) is >= 0 on the domain. Without bias, an unbounded
    domain is replaced by its unit ball, which bounds the margin there and proves nothing (``r``
    must vanish). Each of the three additions below is off by at most ``u (reach + |g| + g_error)``
    or so, less than the amount added for them. A quotient that underflows is pushed up, but never
    to the other sign.
    """
    if not problem.domain.bounded and not problem.homogeneous:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        reach = reach_above(problem.domain, sums.r, widen * sums.r_error, widen)
    bound = reach - (sums.g - widen * sums.g_error)
    bound += 4 * widen * U * (abs(reach) + abs(sums.g))
    if not math.isfinite(bound):
        return None
    if bound > 0.0:
        upper = max(bound / sums.total_below * (1.0 + 4 * U * widen), TINY)
        return upper if math.isfinite(upper) else None
    return quotient_above(bound / sums.total_above * (1.0 - 4 * U * widen))


def reach_above(domain: Domain, r: Floats, error: Floats, widen: float = 1.0) -> float:
    """Return an upper bound on ``sup -(r . x)`` over the domain, for every ``r`` within ``error``.

    On a ball it is ``R |r|``. If ``sum(x) = 0`` too, ``r . x = (r - m 1) . x`` for any number m:
    the mean makes the bound tight, and its rounding costs nothing. On a box it is ``radius |r|_1``.
    All of R^d is replaced by its unit ball. With a frame it is the supremum over the coordinates y
    of ``-(q . y)``, with ``q = axes @ r``, less ``r . centre``; over mixtures it is the largest of
    the ``-q_i``. ``widen`` multiplies the bounds on the rounding of ``q`` and ``r . centre``.
    """
    if domain.frame is not None:
        return _image_above(domain, domain.frame, r, error / widen, widen)
    if domain.shape == "simplex":
        return float((error - r).max() + 2 * U * np.abs(error - r).max()) + TINY
    if domain.zero_sum:
        r = r - r.mean()
        error = error + 2 * U * np.abs(r)
    reach = (np.abs(r) + error) * UP
    size = 1.0 if domain.size is None else above(domain.size)  # infinity is a valid upper bound
    if domain.shape == "box":
        underflow = TINY if reach.any() else 0.0
        return float(reach.sum()) * (1.0 + gamma(r.size)) * size * UP + underflow
    return float(norm_above(reach)) * math.sqrt(size) * UP + TINY


def _image_above(domain: Domain, frame: Frame, r: Floats, error: Floats, widen: float) -> float:
    """Return what `reach_above` returns, for every ``r`` within ``widen`` times the error."""
    q, q_error = frame.against(r, error)
    over_plain = reach_above(domain.plain, q, widen * q_error, widen)
    if frame.centre is None:
        return over_plain
    moved, doubt = (float(part[0]) for part in Frame(frame.centre[None]).against(r, error))
    bound = over_plain - moved + widen * doubt
    return bound + 4 * widen * U * (abs(over_plain) + abs(moved) + widen * doubt)
