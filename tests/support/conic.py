"""Truth from Clarabel, an interior-point conic solver of a different family than geom's solvers.

P. J. Goulart and Y. Chen, Clarabel: an interior-point solver for conic programs with quadratic
objectives, 2024. Rows ``a`` (n, d) and biases ``c`` (n,) are a token's rivals minus the token.
"""

from __future__ import annotations

from typing import Any

import clarabel
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geom.model.frames import Frame

Floats = NDArray[np.float64]


def solve(cost: Floats, A: Floats, b: Floats, cones: list[Any]) -> Floats:
    """Minimise ``cost . z`` with ``b - A z`` in the cones."""
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-11
    n = cost.size
    found = clarabel.DefaultSolver(
        sparse.csc_matrix((n, n)), cost, sparse.csc_matrix(A), b, cones, settings
    ).solve()
    assert str(found.status) in ("Solved", "AlmostSolved")
    return np.array(found.x)


def largest_margin(a: Floats, c: Floats, shape: str, radius: float) -> float:
    """Return ``max min_j -(a_j . x + c_j)`` over the ball, the box, or all of R^d."""
    n, d = a.shape
    A = [np.column_stack([a, np.ones(n)])]
    b = [-c]
    cones: list[Any] = [clarabel.NonnegativeConeT(n)]
    if shape == "ball":
        A += [np.zeros((1, d + 1)), np.column_stack([-np.eye(d), np.zeros(d)])]
        b += [np.array([radius]), np.zeros(d)]
        cones += [clarabel.SecondOrderConeT(d + 1)]
    if shape == "box":
        eye = np.column_stack([np.eye(d), np.zeros(d)])
        A += [eye, -eye]
        b += [np.full(2 * d, radius)]
        cones += [clarabel.NonnegativeConeT(2 * d)]
    found = solve(np.append(np.zeros(d), -1.0), np.vstack(A), np.concatenate(b), cones)
    return float(found[-1])


def least_change(a: Floats, c: Floats, shape: str, radius: float) -> float:
    """Return the length of the shortest D for which weights p >= 0 with sum 1 silence the token.

    With ``g = c . p`` they do so if ``radius |a' p - D|_2 <= g`` on the ball, ``radius |a' p - D|_1
    <= g`` on the box, and on all of R^d ``a' p = D`` and ``g >= 0``. The unknowns are p, D, its
    length, and on a box bounds on the entries of ``a' p - D``.
    """
    n, d = a.shape
    box = d if shape == "box" else 0
    width = n + d + 1 + box
    p, D, size, e = np.split(np.eye(width), [n, n + d, n + d + 1])
    rest = a.T @ p - D  # each row times z
    A, b = [p.sum(axis=0)[None]], [np.ones(1)]
    cones: list[Any] = [clarabel.ZeroConeT(1)]
    if shape == "all":
        A, b, cones = [*A, rest], [*b, np.zeros(d)], [clarabel.ZeroConeT(1 + d)]
    g = c @ p
    low = [-p, -g[None]] if shape == "all" else [-p]
    if shape == "box":
        low += [rest - e, -rest - e, radius * e.sum(axis=0)[None] - g[None]]
    A += low
    b += [np.zeros(sum(map(len, low)))]
    cones += [clarabel.NonnegativeConeT(sum(map(len, low)))]
    A += [-size, -D]
    b += [np.zeros(d + 1)]
    cones += [clarabel.SecondOrderConeT(d + 1)]
    if shape == "ball":
        A += [-g[None], -radius * rest]
        b += [np.zeros(d + 1)]
        cones += [clarabel.SecondOrderConeT(d + 1)]
    found = solve(size[0], np.vstack(A), np.concatenate(b), cones)
    return float(found @ size[0])


def largest_ball(a: Floats, c: Floats, shape: str, radius: float, lean: float = 1.0) -> float:
    """Return the radius of the largest ball in ``a_j . x + c_j <= 0`` and in the ball or the box.

    ``lean`` is the factor that multiplies the distance to a wall of the box.
    """
    n, d = a.shape
    lengths = np.linalg.norm(a, axis=1)
    A, b = [np.column_stack([a, lengths])], [-c]
    cones: list[Any] = [clarabel.NonnegativeConeT(n)]
    if shape == "ball":
        A += [np.append(np.zeros(d), 1.0)[None], np.column_stack([-np.eye(d), np.zeros(d)])]
        b += [np.array([radius]), np.zeros(d)]
        cones += [clarabel.SecondOrderConeT(d + 1)]
    if shape == "box":
        ones = np.full((d, 1), lean)
        A += [np.column_stack([np.eye(d), ones]), np.column_stack([-np.eye(d), ones])]
        b += [np.full(2 * d, radius)]
        cones += [clarabel.NonnegativeConeT(2 * d)]
    found = solve(np.append(np.zeros(d), -1.0), np.vstack(A), np.concatenate(b), cones)
    return float(found[-1])


def largest_probability(
    a: Floats, c: Floats, shape: str, radius: float, temperature: float
) -> tuple[float, Floats]:
    """Return the logarithm of ``max 1 / (1 + sum_j exp((a_j . x + c_j) / T))``, and its x.

    The shape may also be a simplex: ``x >= 0`` with sum 1.

    With f for minus the logarithm, ``u_0 + sum u_j <= 1`` for ``u_0 >= exp(-f)`` and ``u_j >=
    exp((a_j . x + c_j) / T - f)``; the unknowns are x, f and u.
    """
    n, d = a.shape
    x, f, u = np.split(np.eye(d + 1 + n + 1), [d, d + 1])
    rows, biases = np.vstack([np.zeros(d), a / temperature]), np.append(0.0, c / temperature)
    A, b = [u.sum(axis=0)[None]], [np.ones(1)]
    cones: list[Any] = [clarabel.NonnegativeConeT(1)]
    for row, bias, bound in zip(rows, biases, u, strict=True):
        A.append(-np.vstack([row @ x - f[0], np.zeros(d + n + 2), bound]))
        b.append(np.array([bias, 1.0, 0.0]))
        cones.append(clarabel.ExponentialConeT())
    if shape == "ball":
        A += [np.zeros((1, d + n + 2)), -x]
        b += [np.array([radius]), np.zeros(d)]
        cones.append(clarabel.SecondOrderConeT(d + 1))
    if shape == "box":
        A += [x, -x]
        b.append(np.full(2 * d, radius))
        cones.append(clarabel.NonnegativeConeT(2 * d))
    if shape == "simplex":
        A += [x.sum(axis=0)[None], -x]
        b += [np.ones(1), np.zeros(d)]
        cones += [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(d)]
    found = solve(f[0], np.vstack(A), np.concatenate(b), cones)
    return -float(found[d]), found[:d]


def least_mahalanobis(
    a: Floats, c: Floats, mean: Floats, S: Floats, shape: str, radius: float
) -> float:
    """Return ``min |S^(-1/2) (x - mean)|`` over ``a_j . x + c_j <= 0`` and the ball or the box.

    With S the covariance in the plane ``sum(x) = 0``, which every row of ``a`` lies in, the plane
    is that of ``x`` too, because S leads nowhere else. The unknowns are z and its length.
    """
    values, vectors = np.linalg.eigh(S)
    kept = values > 1e-9 * values.max()
    L = vectors[:, kept] * np.sqrt(values[kept])
    n, (d, k) = len(a), L.shape
    A = [np.column_stack([a @ L, np.zeros(n)]), -np.eye(k + 1)[[k, *range(k)]]]
    b = [-(a @ mean + c), np.zeros(k + 1)]
    cones: list[Any] = [clarabel.NonnegativeConeT(n), clarabel.SecondOrderConeT(k + 1)]
    wide = np.column_stack([L, np.zeros(d)])
    if shape == "ball":
        A += [np.zeros((1, k + 1)), -wide]
        b += [np.array([radius]), mean]
        cones += [clarabel.SecondOrderConeT(d + 1)]
    if shape == "box":
        A += [wide, -wide]
        b += [radius - mean, radius + mean]
        cones += [clarabel.NonnegativeConeT(2 * d)]
    found = solve(np.append(np.zeros(k), 1.0), np.vstack(A), np.concatenate(b), cones)
    return float(found[-1])


def least_mahalanobis_of_image(
    a: Floats, c: Floats, mean: Floats, S: Floats, shape: str, radius: float, frame: Frame
) -> float:
    """Return ``min |S^(-1/2) (x - mean)|`` over ``a_j . x + c_j <= 0`` and the image of a set.

    The set is that of mixtures (``simplex``) or a ball; the unknowns are its coordinates and the
    length.
    """
    axes, (n, d), k = frame.axes, a.shape, len(frame.axes)
    centre = np.zeros(d) if frame.centre is None else frame.centre
    root = np.linalg.cholesky(np.linalg.inv(S)).T
    eye = np.eye(k + 1)
    A = [
        np.column_stack([a @ axes.T, np.zeros(n)]),
        -eye[k:],
        -np.column_stack([root @ axes.T, np.zeros(d)]),
    ]
    b = [-(c + a @ centre), np.zeros(1), root @ (centre - mean)]
    cones: list[Any] = [clarabel.NonnegativeConeT(n), clarabel.SecondOrderConeT(d + 1)]
    if shape == "ball":
        A += [np.zeros((1, k + 1)), -eye[:k]]
        b += [np.array([radius]), np.zeros(k)]
        cones += [clarabel.SecondOrderConeT(k + 1)]
    else:
        A += [np.append(np.ones(k), 0.0)[None], -eye[:k]]
        b += [np.ones(1), np.zeros(k)]
        cones += [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(k)]
    return float(solve(eye[k], np.vstack(A), np.concatenate(b), cones)[-1])
