"""Truth for the tests from outside geom: exact numbers in plain Python, Qhull, SciPy's solvers.

`largest_margin`, `margin` and `own_winner` are exact and share no code with geom. `hull_tokens`,
`upper_hull_tokens` and `box_tokens` ask Qhull. `point` and `weights` ask HiGHS, through SciPy, for
certificates that geom must then judge; no test takes these certificates for true.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog
from scipy.spatial import ConvexHull, HalfspaceIntersection

from geom import Weights
from support.suprema import Place, Rivals

Floats = NDArray[np.float64]
Vector = list[Fraction]


def fractions(values: ArrayLike) -> Vector:
    """Return the entries of a vector, floats or Fractions, as exact rationals."""
    return [v if isinstance(v, Fraction) else Fraction(float(v)) for v in np.asarray(values)]


def dot(u: Vector, v: Vector) -> Fraction:
    return sum((p * q for p, q in zip(u, v, strict=True)), Fraction(0))


def margin(W: ArrayLike, b: ArrayLike, token: int, x: ArrayLike) -> Fraction:
    """Return the margin of a token at x, with every product and sum in Fractions."""
    point = fractions(x)
    logits = [
        dot(fractions(row), point) + c for row, c in zip(np.asarray(W), fractions(b), strict=True)
    ]
    own = logits.pop(token)
    return min(own - logit for logit in logits)


def own_winner(rows: ArrayLike, token: int) -> int:
    """Return the strict winner along a row's own direction, or the lowest rival that reaches it."""
    matrix = [fractions(row) for row in np.asarray(rows)]
    scores = [dot(row, matrix[token]) for row in matrix]
    others = [j for j, score in enumerate(scores) if score == max(scores) and j != token]
    return others[0] if others else token


def largest_margin(
    W: ArrayLike, b: ArrayLike, token: int, radius: float | Fraction | None = None
) -> Fraction:
    """Return the largest margin on the box of that radius, or on all of R^d.

    On all of R^d it may be infinite; there it is computed up to one, or up to the margin at the
    origin.
    """
    size = None if radius is None else Fraction(radius)
    place = Place("all" if size is None else "box", size)
    biases = fractions(b)
    best = Rivals.of(np.asarray(W), biases, place, token, homogeneous=False).program.value
    if size is None:
        cap = max(Fraction(1), min(biases[token] - c for j, c in enumerate(biases) if j != token))
        return cap if best is None else min(best, cap)
    assert best is not None
    return best


def hull_tokens(W: Floats) -> set[int]:
    """Return the hull's vertices for rows in general position: without a bias, the speakable."""
    if W.shape[1] == 1:
        return {int(W.argmin()), int(W.argmax())}
    return set(ConvexHull(W).vertices.tolist())


def upper_hull_tokens(W: Floats, b: Floats) -> set[int]:
    """Return the vertices of the upper hull of the points (w_j, b_j): speakable on all of R^d."""
    hull = ConvexHull(np.column_stack([W, b]))
    return set(hull.simplices[hull.equations[:, -2] > 0].ravel().tolist())


def box_tokens(W: Floats, b: Floats, radius: float) -> set[int]:
    """Return the tokens whose plane is a facet of ``max_j (w_j . x + b_j)`` over the box."""
    V, d = W.shape
    ceiling = 4.0 * (np.abs(W).sum(axis=1) * radius + np.abs(b)).max()
    planes = np.column_stack([W, -np.ones(V), b])
    walls = np.column_stack([np.vstack([np.eye(d), -np.eye(d)]), np.zeros(2 * d), -np.ones(2 * d)])
    walls[:, -1] *= radius
    top = np.append(np.zeros(d), [1.0, -ceiling])
    inside = np.append(np.zeros(d), ceiling / 2)
    cells = HalfspaceIntersection(np.vstack([planes, walls, top]), inside)
    return {int(j) for j in np.unique(cells.dual_vertices) if j < V}


def differences(W: ArrayLike, b: ArrayLike, token: int) -> tuple[list[int], Floats, Floats]:
    """Return the other tokens, and their rows and biases minus the token's, in float64."""
    matrix, biases = np.asarray(W, dtype=np.float64), np.asarray(b, dtype=np.float64)
    others = [j for j in range(len(matrix)) if j != token]
    return others, matrix[others] - matrix[token], biases[others] - biases[token]


def point(W: ArrayLike, b: ArrayLike, token: int, radius: float = 1.0) -> Floats:
    """Return a point of the box where HiGHS finds the margin largest."""
    _, a, c = differences(W, b, token)
    n, d = a.shape
    found = linprog(
        np.append(np.zeros(d), -1.0),
        A_ub=np.column_stack([a, np.ones(n)]),
        b_ub=-c,
        bounds=[(-radius, radius)] * d + [(None, None)],
    )
    return np.asarray(found.x[:d])


def weights(W: ArrayLike, b: ArrayLike, token: int, radius: float | None = None) -> Weights:
    """Return the weights HiGHS finds best on the box, or on R^d: the greatest ``g`` with ``r = 0``.

    On R^d a price keeps the residual small, not a constraint, so that there is always an answer,
    even if it is often useless.
    """
    others, a, c = differences(W, b, token)
    n, d = a.shape
    price = 1e4 if radius is None else radius
    found = linprog(
        np.concatenate([-c, np.full(2 * d, price)]),
        A_eq=np.vstack(
            [
                np.column_stack([a.T, np.eye(d), -np.eye(d)]),
                np.append(np.ones(n), np.zeros(2 * d)),
            ]
        ),
        b_eq=np.append(np.zeros(d), 1.0),
    )
    return Weights(np.array(others, dtype=np.int64), np.maximum(found.x[:n], 0.0))
