"""Proven bounds on the radius of the largest ball of vectors at all of which a token wins.

The token wins at every point nearer to ``x`` than ``-(a_j . x + c_j) / |a_j|`` for every j: these
are the distances of ``x`` from the planes where it ties with them. So, inside a domain of radius R,
the ball around ``x`` has the radius::

    r(x) = min(min_j -(a_j . x + c_j) / |a_j|, (R - |x|) / k),

with ``|x|`` the largest ``|x_i|`` on a box. ``k`` is 1, except on a box with ``sum(x) = 0``, where
the walls meet that plane at a slant and ``k`` is ``sqrt(1 - 1/d)``. If ``sum(x) = 0`` the ball is a
ball in that plane, and the ``a_j`` stand for their parts in it.

*Below*: ``r`` at any ``x``. *Above*: let ``r(x) = r`` and ``q_j >= 0``. For every j
``r |a_j| <= -(a_j . x + c_j)``. Their sum, weighted by ``q_j``, is, for ``v = sum q_j a_j``::

    r sum q_j |a_j| <= -v . x - sum q_j c_j <= (R - k r) |v| - sum q_j c_j,

with ``|v|`` the sum of ``|v_i|`` on a box, so that::

    r <= (R |v| - sum q_j c_j) / (sum q_j |a_j| + k |v|).                                      (1)

On all of R^d, weights near these with ``v = 0`` give ``r <= -sum q_j c_j / sum q_j |a_j|``.

Source: the Chebyshev centre of S. Boyd and L. Vandenberghe, Convex Optimization, Cambridge 2004,
section 8.5.1, which A. Grivas, N. Bogoychev and A. Lopez, Low-rank softmax can have unargmaxable
classes in theory but rarely in practice, ACL 2022, apply to a class.
"""

from __future__ import annotations

import math

import numpy as np

from geom.certificates import Finding, Weights
from geom.exact import is_weights, judge
from geom.exact.interior import corrected
from geom.exact.lengths import Differences, differences, exact_rows, least_over_rivals
from geom.exact.slack import reach_above
from geom.exact.sums import Sums, combine, normalised
from geom.model.domains import Domain
from geom.model.problem import Problem
from geom.numbers.arrays import Floats, Ids
from geom.numbers.rationals import above, below, root, scaled, square_sum
from geom.numbers.rounding import CLAIM, TINY, UP, U, gamma, norm_above


def ball_bounds(
    problem: Problem, token: int, finding: Finding, widen: float = CLAIM
) -> tuple[float, float]:
    """Bound the radius of the largest ball in a token's region of the domain, by proof.

    An unspeakable token has the radius 0.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    token : int
        The token.
    finding : Finding
        A centre as ``x``, and the ``q`` of (1) as ``weights``. A missing part, or an ``x`` that is
        not a point of the domain, proves nothing.
    widen : float, optional
        Multiplies the bounds on rounding, as in `geom.judge`.

    Returns
    -------
    low : float
        A lower bound, a length in the space of x.
    high : float
        An upper bound; infinity if none is proven.

    Raises
    ------
    InputError
        On a domain with a frame: the hull of points or an ellipsoid.
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.

    References
    ----------
    Formula (1) of `geom.exact.balls`, after S. Boyd and L. Vandenberghe, Convex Optimization,
    Cambridge 2004, section 8.5.1, and A. Grivas, N. Bogoychev and A. Lopez, Low-rank softmax can
    have unargmaxable classes in theory but rarely in practice, ACL 2022.
    """
    problem.asked.domain.refuse_frame("chebyshev-radius", "measure it on the model's own domain")
    domain, d = problem.domain, problem.readout.d
    low, high = 0.0, _domain_above(domain)
    if judge(problem, token, finding, widen).name == "unspeakable":
        return 0.0, 0.0
    x, weights = finding.x, finding.weights
    if x is not None and x.dtype == np.float64 and x.shape == (d,) and domain.contains(x):
        low = max(low, min(_walls_below(domain, x), _rivals_below(problem, token, x)))
    if weights is not None and is_weights(problem, token, weights):
        high = min(high, _weights_above(problem, token, weights, widen))
    return low, high


def _domain_above(domain: Domain) -> float:
    """Return the radius of the largest ball in the domain, rounded up."""
    if domain.size is None:
        return math.inf
    square = domain.size if domain.shape == "ball" else domain.size**2
    return above(root(square / domain.lean)[1])


def _walls_below(domain: Domain, x: Floats) -> float:
    """Return ``(R - |x|) / k``, rounded down."""
    if domain.size is None:
        return math.inf
    entries = scaled(x).fractions()
    if domain.shape == "box":
        room = domain.size - max(map(abs, entries))
        return below(root(room * room / domain.lean)[0])
    return below(root(domain.size)[0] - root(square_sum(entries))[1])


def _rivals_below(problem: Problem, token: int, x: Floats) -> float:
    """Return the distance of ``x`` to the nearest plane where a rival ties, rounded down."""
    if problem.readout.V == 1:
        return math.inf
    return least_over_rivals(
        problem,
        token,
        lambda rows: _rough(rows, x),
        lambda ids: _exact_distances(problem, token, ids, x),
    )


def _rough(rows: Differences, x: Floats) -> tuple[Floats, Floats]:
    """Return bounds (n,) on ``-(a_j . x + c_j) / |a_j|``; infinite if float64 cannot tell.

    The error of the numerator is that of the row and the bias, plus some d + 4 roundings of the
    sizes of the products; the length lies between two bounds.
    """
    with np.errstate(all="ignore"):
        length = float(norm_above(x))
        least = -(rows.a @ x + rows.c)
        slop = (rows.error + gamma(x.size + 8) * rows.above) * length
        slop += gamma(x.size + 8) * np.abs(rows.c) + rows.c_error
        slop = (slop + (x.size + 4) * TINY * (1.0 + length + rows.above)) * UP
        low, high = least - slop, least + slop
        low = low / np.where(low > 0.0, rows.above * UP, rows.below / UP)
        high = high / np.where(high > 0.0, rows.below / UP, rows.above * UP)
    unknown = ~(rows.below > 2.0**-400) | ~np.isfinite(low) | ~np.isfinite(high)
    low[unknown], high[unknown] = -np.inf, np.inf
    return low, high


def _exact_distances(problem: Problem, token: int, ids: Ids, x: Floats) -> list[float]:
    """Return the distances to the planes of some rivals, rounded down, negative beyond the planes.

    A rival with the token's own row ties nowhere or everywhere: its plane is infinitely far if its
    bias is lower, and otherwise the token wins nowhere.
    """
    out = []
    for square, product, c in exact_rows(problem, token, ids, x):
        ahead = -(product + c)
        if square == 0:
            out.append(math.inf if ahead > 0 else -math.inf)
        else:
            low, high = root(ahead * ahead / square)
            out.append(below(low if ahead > 0 else -high))
    return out


def _weights_above(problem: Problem, token: int, weights: Weights, widen: float) -> float:
    """Return the right side of (1), rounded up; infinity if it says nothing."""
    unit = normalised(weights)
    sums = combine(problem, token, unit)
    low, high = _lengths(problem, token, unit)
    low = low * (1.0 - (widen - 1.0) * gamma(low.size + problem.readout.d + 8))
    domain = problem.domain
    if not domain.bounded:
        exact = corrected(problem, token, unit, sums, widen)
        if exact is None:
            return math.inf
        with np.errstate(over="ignore", invalid="ignore"):
            moved = float(exact.delta @ high[exact.places]) * (1.0 + gamma(high.size + 2)) * UP
            size = (float(unit.values @ low) * (1.0 - gamma(low.size + 2)) - moved) / UP
        return _quotient(-exact.g_below, size)
    sums = sums.widened(widen)
    with np.errstate(over="ignore", invalid="ignore"):
        reach = reach_above(domain, sums.r, sums.r_error)
        shared = float(unit.values @ low) * (1.0 - gamma(low.size + 2)) / UP - low.size * TINY
        lean = below(root(domain.lean)[0])
        shared += _length_below(domain, sums) * lean * (1.0 - 4 * U)
        top = reach - sums.g + (reach + abs(sums.g)) * 4 * U + sums.g_error * UP + TINY
    return _quotient(top, shared)


def _length_below(domain: Domain, sums: Sums) -> float:
    """Return a lower bound on ``|v|``, zero if float64 overflows."""
    v = sums.r - sums.r.mean() if domain.zero_sum else sums.r
    error = (sums.r_error + 2 * U * np.abs(v)) * UP
    if domain.shape == "box":
        length = float(np.abs(v).sum() - error.sum()) * (1.0 - gamma(v.size + 2))
    else:
        length = float(np.linalg.norm(v)) * (1.0 - gamma(v.size + 4)) - float(norm_above(error))
    return length if 0.0 < length < math.inf else 0.0


def _quotient(top: float, size: float) -> float:
    """Return an upper bound on a ratio, at least zero; infinity if there is none."""
    if not (math.isfinite(top) and 0.0 < size < math.inf):
        return math.inf
    return max(top, 0.0) / size * UP + TINY


def _lengths(problem: Problem, token: int, weights: Weights) -> tuple[Floats, Floats]:
    """Return bounds (n,) on the lengths ``|a_j|`` of the weights' tokens."""
    rows = list(differences(problem, token, weights.indices))
    low = np.concatenate([part.below for part in rows])
    return low, np.concatenate([part.above for part in rows])
