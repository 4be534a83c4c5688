"""Proven bounds on how far from its habits a network must go to say a token.

``m``, ``S = L L'`` and L are those of a sample (`geom.exact.scatter`). The distance is the least
Mahalanobis length ``|S^(-1/2) (x - m)|`` of a point of the domain where the token wins, that is the
least ``|z|`` with ``x = m + L z``. It is an infimum, and infinite for an unspeakable token.

*Above*: any point of the domain where the token wins.

*Below*: let ``lam_j >= 0`` with ``r`` and ``g`` as in (1) of `geom.exact.weights`. Where t wins,
``r . x + g <= 0``. Every point of the domain has ``q . x <= s(q)``, with s its support function.
So for every vector q::

    (r + q) . (m + L z) <= s(q) - g,    and    |z| >= ((r + q) . m + g - s(q)) / |L' (r + q)|.   (1)

With ``q = 0`` this is the distance of ``m`` from a half-space. If the nearest point ``x`` is on the
border of the domain, q is a normal there, and needs no storing: on a ball it is a multiple of
``x``, the best one by a closed formula. On a box it is what is left of ``-r - S^-1 (x - m)``, which
vanishes at the optimum, where walls are touched.

On the hull of points and on an ellipsoid, x is the exact vector that coordinates stand for, and q
is all of ``-r - S^-1 (x - m)``: at the optimum it is normal to the domain, and it is bounded there
in all directions. Where the token wins at the domain's own point nearest to m, the weights are
zero, and the point alone proves both bounds.
"""

from __future__ import annotations

import math

import numpy as np

from geom.certificates import Finding, Weights
from geom.exact import is_point, is_weights, judge
from geom.exact.scatter import Scatter
from geom.exact.slack import reach_above
from geom.exact.sums import Sums, combine, normalised
from geom.model.domains import Domain
from geom.model.problem import Problem
from geom.numbers.arrays import Floats
from geom.numbers.rounding import CLAIM, TINY, UP, U, gamma, norm_above

_OTHERS = 2.0**-36
"""The share of a bound that another machine's ``q`` or inverse may take, times ``widen``."""

_TOUCHED = 1e-4
"""A wall of a box is touched if the room before it is a smaller share of the radius."""


_NOTHING = Weights(np.zeros(0, dtype=np.int64), np.zeros(0))
"""No weights at all, whose sums are zero."""


def surprise_bounds(
    problem: Problem, token: int, finding: Finding, sample: Scatter, widen: float = CLAIM
) -> tuple[float, float]:
    """Bound the least Mahalanobis length of a point where a token wins, by proof.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    token : int
        The token.
    finding : Finding
        As ``x`` a point where the token wins, near the sample's mean; as ``weights`` the ``lam`` of
        `geom.exact.habits`: the multipliers of the nearest point, themselves and not scaled. A
        missing part proves nothing, except that on a domain with a frame missing weights count as
        zero. Weights that prove the token unspeakable prove that the length is infinite.
    sample : Scatter
        The mean and the covariance, as the domain sees them.
    widen : float, optional
        Multiplies the bounds on rounding, as in `geom.judge`.

    Returns
    -------
    low : float
        A lower bound, in standard deviations; 0 if none is proven.
    high : float
        An upper bound; infinity if none is proven.

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.

    References
    ----------
    Formula (1) of `geom.exact.habits`; P. C. Mahalanobis, On the generalised distance in
    statistics, Proc. National Institute of Sciences of India 2, 1936.
    """
    problem = problem.asked
    verdict = judge(problem, token, finding, widen).name
    if verdict == "unspeakable":
        return math.inf, math.inf
    low, high = 0.0, math.inf
    if verdict == "speakable" and finding.x is not None:
        x, off = problem.domain.vectors(finding.x[None])
        length = sample.length_above(x[0], widen, float(off[0]))
        high = length * (1.0 + widen * _OTHERS)
    weights = finding.weights if is_weights(problem, token, finding.weights) else None
    point = finding.x if is_point(problem, finding.x) else None
    if high > 0.0:
        low = _below(problem, token, weights, point, sample, widen) * (1.0 - widen * _OTHERS)
    return low, high


def _below(
    problem: Problem,
    token: int,
    weights: Weights | None,
    point: Floats | None,
    sample: Scatter,
    widen: float,
) -> float:
    """Return the best of (1) over the candidates for ``q``, rounded down; 0 if it says nothing."""
    framed = problem.domain.frame is not None
    if weights is None and not framed:
        return 0.0
    exponent = 0
    unit = _NOTHING
    if weights is not None:
        exponent = problem.exponent + math.frexp(float(weights.values.max()))[1]
        unit = normalised(weights)
    sums = combine(problem.unit, token, unit).widened(widen)
    candidates = [np.zeros(problem.readout.d)]
    if point is not None:
        with np.errstate(all="ignore"):
            x = problem.domain.vector(point)
            if framed:
                candidates.append(_whole(x, sums, sample, exponent))
            elif problem.domain.shape == "ball":
                candidates.append(_along(x, sums, sample, problem.domain))
            elif problem.domain.shape == "box":
                candidates.append(_at_walls(x, sums, sample, problem.domain, exponent))
    return max(_bound(q, sums, sample, problem.domain, widen) for q in candidates)


def _whole(x: Floats, sums: Sums, sample: Scatter, exponent: int) -> Floats:
    """Return ``-r - S^-1 (x - m)``, rounded; ``r`` is that of the weights over ``2**exponent``."""
    q = -sums.r - np.ldexp(sample.precision @ (x - sample.mean), -exponent)
    return np.where(np.isfinite(q), q, 0.0)


def _along(x: Floats, sums: Sums, sample: Scatter, domain: Domain) -> Floats:
    """Return the multiple ``k x`` that makes (1) largest on a ball, rounded.

    There (1) is ``(a + k b) / |L' r + k L' x|``, and its derivative vanishes at one k.
    """
    S = sample.covariance
    a = float(sums.r @ sample.mean) + sums.g
    b = float(x @ sample.mean) - domain.radius * float(np.linalg.norm(x))
    rr, rx, xx = float(sums.r @ S @ sums.r), float(sums.r @ S @ x), float(x @ S @ x)
    k = float(np.divide(b * rr - a * rx, a * xx - b * rx))
    return x * k if 0.0 < k < math.inf else np.zeros_like(x)


def _at_walls(x: Floats, sums: Sums, sample: Scatter, domain: Domain, exponent: int) -> Floats:
    """Return the part of ``-r - S^-1 (x - m)`` that pushes towards the walls at ``x``, rounded.

    ``r`` is that of the weights over ``2**exponent``.
    """
    push = np.ldexp(sample.precision @ (x - sample.mean), -exponent)
    q = -(sums.r - sums.r.mean() if domain.zero_sum else sums.r) - push
    touched = np.abs(x) > domain.radius * (1.0 - _TOUCHED)
    if domain.zero_sum and not touched.all():
        q -= q[~touched].mean()
    return np.where(touched & (q * x > 0.0) & np.isfinite(q), q, 0.0)


def _bound(q: Floats, sums: Sums, sample: Scatter, domain: Domain, widen: float) -> float:
    """Return (1) for one ``q``, rounded down, and at least 0."""
    m, d = sample.mean, q.size
    with np.errstate(over="ignore", invalid="ignore"):
        reach = reach_above(domain, -q, np.zeros(d), widen) if q.any() else 0.0
        v = sums.r + q
        error = sums.r_error + 2 * widen * U * np.abs(v)
        ahead = float(v @ m)
        sizes = float(norm_above(v) * norm_above(m))
        slip = gamma(d + 4) * sizes + 8 * U * (abs(ahead) + abs(sums.g) + abs(reach))
        slip = widen * (slip + 4 * d * TINY * (1.0 + sizes))
        slip += float(norm_above(error) * norm_above(m)) + sums.g_error
        top = ahead + sums.g - reach - slip * UP
        spread = sample.spread_above(v, error, widen)
    if not (top > 0.0 and 0.0 < spread < math.inf):
        return 0.0
    bound = top / spread / UP
    return bound if math.isfinite(bound) else 0.0
