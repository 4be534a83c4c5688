"""The witness check for many tokens at once: lower bounds on margins from float32 products.

A blocked product of points and rows costs a thousandth of checking the same points one by one. Its
rounding is bounded beforehand, so a token whose margin clears the bound is proven speakable.
Nothing is said about the other tokens.
The bounds are those of `geom.exact.products`. Without biases, the own directions of many tokens
take only half of their product, by the bounds of `geom.exact.symmetric`.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np

from geom.exact import symmetric
from geom.exact.aim import Aim
from geom.exact.products import POINTS, products
from geom.exact.single import slices
from geom.model.domains import Domain
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.numbers.arrays import Flags, Floats, Ids
from geom.numbers.rounding import CLAIM, U, norm_above, refuse_flushing
from geom.progress import track_progress

STAGE = "own direction"
"""The name of the work for those who watch the progress of `prove_own_directions`."""


def prove_points(
    problem: Problem, tokens: Ids, points: Floats, *, widen: float = CLAIM, spread: float = 0.0
) -> Floats:
    """Bound the largest margins of many tokens from below, each from a point.

    A bound above zero proves its token speakable if the point is in the domain, which the caller
    must check. A bound that is not above zero, minus infinity included, proves nothing.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    tokens : ndarray of shape (n,), int64
        The tokens.
    points : ndarray of shape (n, k), float64
        One point per token.
    widen : float, optional
        Multiplies every bound on rounding, as in `geom.judge`.
    spread : float, optional
        Each bound holds for the margin at every ``x`` within this distance of the point.

    Returns
    -------
    ndarray of shape (n,), float64
        Lower bounds in logits; if the domain is unbounded and no bias tells tokens apart, on the
        margin at ``x / |x|``.

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.

    References
    ----------
    N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002, section 3.1.
    """
    refuse_flushing()
    problem = problem.asked
    if problem.readout.V == 1:
        return np.full(len(tokens), np.finfo(np.float64).max)
    if len(tokens) == 0:
        return np.zeros(0)
    points, off = problem.domain.vectors(points)
    spread += widen * float(off.max())
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        found = np.concatenate(
            [
                products(problem.readout).margins_below(tokens[part], points[part], widen, spread)
                for part in slices(len(tokens), POINTS)
            ]
        )
        if not problem.domain.bounded and problem.homogeneous:
            found /= (norm_above(points, axis=-1) + spread) * (1.0 + 4 * U)
        found *= 1.0 - 8 * U
    return np.where(found > 0.0, found, -np.inf)


def prove_own_directions(problem: Problem, tokens: Ids, *, widen: float = CLAIM) -> Floats:
    """Bound the largest margins of many tokens from below, each from `own_direction`.

    Bounds are remembered for as long as the readout lives, because a detector, the run that it
    serves and `proven_winners` ask for the same ones. Asking for all tokens at once takes about
    half as long as asking for blocks of them, and reports progress.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    tokens : ndarray of shape (n,), int64
        The tokens.
    widen : float, optional
        Multiplies every bound on rounding, as in `geom.judge`.

    Returns
    -------
    ndarray of shape (n,), float64
        Lower bounds in logits. A bound is above zero if that point, as any machine rebuilds it,
        wins, and minus infinity otherwise. Every such point is in the domain. On a domain with a
        frame nothing is proven here.

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.
    """
    problem = problem.asked
    if problem.domain.frame is not None:
        return np.full(len(tokens), -np.inf)
    kept, key = _KNOWN.setdefault(problem.readout, {}), (problem.domain, widen)
    if key not in kept:
        kept[key] = np.full(problem.readout.V, np.nan)
    known = kept[key]
    new = tokens[np.isnan(known[tokens])]
    known[new] = _own_directions(problem, new, widen)
    return np.asarray(known[tokens])


def shares_directions(problem: Problem) -> bool:
    """Return whether `own_direction` asks what ``self-argmax`` asks of the rows less their mean.

    Then a bound of `prove_own_directions` above zero proves that the token is the strict winner
    along its own row, as `geom.self_argmax` takes it: the row less the mean, rounded once. That
    rounding moves no score by more than ``2^-53 |v_j||v_t|``, for which the bounds, which hold at
    every point within ``2^-31`` of a point's length, leave room. Biases, and rows less their own
    mean where ``sum(x) = 0``, make another question of it.
    """
    return problem.homogeneous and not problem.domain.zero_sum


def proven_winners(readout: Readout) -> Flags:
    """Return which tokens (V,) are known to win along their own row less the mean row.

    These are the ones that `prove_own_directions` has proven so far, in problems in which it is the
    same question (`shares_directions`). Of the others nothing is known.
    """
    won = np.zeros(readout.V, dtype=np.bool_)
    for (domain, _), lower in _KNOWN.get(readout, {}).items():
        if shares_directions(Problem(readout, domain)):
            won |= lower > 0.0
    return won


def _own_directions(problem: Problem, tokens: Ids, widen: float) -> Floats:
    """Compute what `prove_own_directions` returns."""
    if not len(tokens):
        return np.zeros(0)
    ids, place = np.unique(tokens, return_inverse=True)
    aim = Aim.of(problem)
    out = np.full(len(ids), np.nan)
    if symmetric.pays(problem, ids):
        out = symmetric.own_margins_below(aim, ids, widen, STAGE)
    left = np.flatnonzero(np.isnan(out))
    for part in _blocks(left):
        out[part] = _one_by_one(aim, ids[part], widen)
    return np.asarray(out[place])


def _one_by_one(aim: Aim, tokens: Ids, widen: float) -> Floats:
    """Compute bounds from each token's point and all rows."""
    out = np.full(len(tokens), -np.inf)
    points, spread = aim.points(tokens, widen)
    for width in np.unique(spread[np.isfinite(spread)]):
        chosen = np.flatnonzero(spread == width)
        out[chosen] = prove_points(
            aim.problem, tokens[chosen], points[chosen], widen=widen, spread=widen * width
        )
    return out


def _blocks(places: Ids) -> Iterator[Ids]:
    """Yield the places in blocks that share a product, with progress."""
    blocks = [places[part] for part in slices(len(places), POINTS)]
    return track_progress(blocks, STAGE, len(places), amount=len) if blocks else iter(())


def own_direction(problem: Problem, token: int) -> Floats:
    """Return the point of the domain along a token's own direction.

    That direction is the row less the mean of all rows, less its own mean if ``sum(x) = 0``. The
    point lies on the edge of a ball or box. If the domain is unbounded, the point has length 1 or,
    with a bias, a length at which rows count for more than biases. Machines may differ in its last
    digits, which `prove_own_directions` allows for. On an ellipsoid the direction is that of the
    row as its coordinates see it; on the hull of points the point is the one farthest along the
    row.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    token : int
        The token.

    Returns
    -------
    ndarray of shape (k,), float64
        The point; zero if the token has no direction.
    """
    domain, readout = problem.domain, problem.readout
    if domain.shape == "simplex" and domain.frame is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            along = domain.frame.axes @ (readout.rows[token] - readout.rows.mean)
        corner = np.zeros(domain.coordinates)
        corner[int(np.argmax(np.nan_to_num(along)))] = 1.0
        return corner
    problem = problem.in_coordinates
    points, _ = Aim.of(problem).points(np.array([token]))
    return problem.domain.fit(points[0])


_KNOWN: WeakKeyDictionary[Readout, dict[tuple[Domain, float], Floats]] = WeakKeyDictionary()
