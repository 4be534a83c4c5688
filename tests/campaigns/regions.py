"""The truth for campaigns about a token's region: angles, balls, and changes of its row.

Nothing here comes from geom. A number that geom bounds is a supremum or an infimum over points or
over weights, so any point and any weights bound it too: `angle_at`, `ball_at`, `clears` and
`silencing_at` compute such bounds, in exact integers or in balls of 400 bits. A search in float64
finds where to compute them, by trying all sets of active rivals (`directions`, `normals`) and by
Clarabel (`centre`, `blend`); the quality of the search only decides how sharp a campaign is.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import clarabel
import numpy as np
from flint import arb, fmpq
from scipy import sparse

from support.suprema import Floats, Integers, Rivals, at_least, integers, power, square

BITS = 400


def ball(value: Fraction) -> arb:
    return arb(fmpq(value.numerator, value.denominator))


def plane(truth: Rivals, point: Integers) -> Integers:
    """Return the part of a point that the domain sees, times d if ``sum(x) = 0``."""
    if not truth.region.zero_sum:
        return point
    return [len(point) * entry - sum(point) for entry in point]


def squares(truth: Rivals) -> list[Fraction]:
    """Return ``|a_j|^2`` of all rivals, as the domain sees them."""
    scale = len(truth.a[0]) if truth.region.zero_sum else 1
    unit = power(2 * truth.a_exponent) / scale**2
    return [square(row) * unit for row in truth.level]


def full_length(truth: Rivals) -> Fraction | None:
    """Return the square of the length of all directions, None if lengths do not count."""
    return None if truth.homogeneous or truth.free else truth.region.size


def angle_at(truth: Rivals, x: Floats) -> arb | None:
    """Return the angle by which the direction of ``x`` can turn; None if it wins nowhere."""
    point, _ = integers(x.tolist())
    seen, full, worst = plane(truth, point), full_length(truth), None
    for row, c, size in zip(truth.level, truth.c, squares(truth), strict=True):
        cap = arb.pi() / 2
        if full is not None:
            bias = c * truth.c_unit
            room = full * size - bias * bias
            if room < 0 or size == 0:
                if bias < 0:
                    continue
                return None
            cap = arb.atan2(ball(room).sqrt(), ball(bias))
        elif size == 0:
            return None
        along = -sum(map(int.__mul__, row, seen))
        across = square(row) * square(seen) - along * along
        turn = cap - arb.atan2(arb(across).sqrt(), arb(along))
        worst = turn if worst is None else arb.min(worst, turn)
    return arb.pi() if worst is None else worst


def ball_at(truth: Rivals, x: Floats) -> arb | None:
    """Return the radius of the ball about a point of the domain; None if nothing limits it."""
    point, exponent = integers(x.tolist())
    unit, d = power(exponent), len(point)
    ends = []
    for row, c, size in zip(truth.a, truth.c, squares(truth), strict=True):
        product = sum(map(int.__mul__, row, point)) * power(truth.a_exponent) * unit
        ahead = -(product + c * truth.c_unit)
        if size:
            ends.append(ball(ahead) / ball(size).sqrt())
        elif ahead <= 0:
            ends.append(arb(0))
    region = truth.region
    if region.size is not None and region.shape == "box":
        lean = 1 - Fraction(1, d) if region.zero_sum and d > 1 else Fraction(1)
        ends.append(ball(region.size - max(map(abs, point)) * unit) / ball(lean).sqrt())
    elif region.size is not None:
        ends.append(ball(region.size).sqrt() - ball(square(point) * unit * unit).sqrt())
    worst = ends[0] if ends else None
    for end in ends[1:]:
        worst = arb.min(worst, end)
    return worst


def clears(truth: Rivals, x: Floats, bound: float) -> bool | None:
    """Return whether ``margin(x) >= bound |x|``, exactly; None at the origin."""
    point, exponent = integers(x.tolist())
    length = square(point) * power(2 * exponent)
    if not length:
        return None
    margin, low = truth.margin(x.tolist()), Fraction(bound)
    return at_least(margin, low, length)


def silencing_at(truth: Rivals, weights: Floats) -> arb | None:
    """Return the length of a row's change with which these weights prove the token unspeakable."""
    lam, _ = integers(weights.tolist())
    total, g = sum(lam), sum(map(int.__mul__, lam, truth.c)) * truth.c_unit
    if total == 0 or g < 0:
        return None
    d = len(truth.a[0])
    r = [sum(lam[j] * row[i] for j, row in enumerate(truth.level)) for i in range(d)]
    unit = power(truth.a_exponent) / (d if truth.region.zero_sum else 1)
    length = ball(square(r) * unit * unit).sqrt()
    size = truth.region.size
    if truth.homogeneous or size is None:
        return length / total
    if truth.region.shape == "ball":
        return arb.max(length - ball(g) / ball(size).sqrt(), arb(0)) / total
    if truth.region.zero_sum:
        return None
    steps = sorted((abs(entry) * unit for entry in r), reverse=True)
    room = g / size
    if sum(steps) <= room:
        return arb(0)
    heights = [(sum(steps[:k]) - room) / k for k in range(1, d + 1)]
    cut = max(heights)
    return ball(sum((min(step, cut) ** 2 for step in steps), Fraction(0))).sqrt() / total


def view(truth: Rivals) -> tuple[Floats, Floats, float]:
    """Return rows, biases and the radius in float64, as the domain sees them.

    The units are those of a ball of radius 1, and the rows are divided by their largest entry.
    """
    rows = truth.level
    top = max((abs(entry) for row in rows for entry in row), default=0) or 1
    a = np.array([[float(Fraction(entry, top)) for entry in row] for row in rows])
    scale = top * power(truth.a_exponent) / (len(rows[0]) if truth.region.zero_sum else 1)
    size = truth.region.size
    radius = Fraction(1)
    if size is not None:
        radius = Fraction(math.sqrt(size)) if truth.region.shape == "ball" else size
    c = np.array([short(entry * truth.c_unit / (scale * radius)) for entry in truth.c])
    return a, c, float(radius)


def short(value: Fraction) -> float:
    """Return a rational as float64, clipped to 1e30."""
    return float(max(Fraction(-(10**30)), min(Fraction(10**30), value)))


def directions(truth: Rivals) -> tuple[Floats, Floats]:
    """Return the direction that float64 finds to turn farthest, and ``q`` that bound its angle.

    At the best u each active rival has ``cos(phi_j - m) = -a_j . u / |a_j|``, and u lies in their
    span: the square of its length, 1, is a quadratic equation for ``tan m``.
    """
    sizes = squares(truth)
    alive = [j for j, size in enumerate(sizes) if size]
    d = len(truth.a[0])
    if not alive:
        return np.ones(d), np.ones(len(sizes))
    rows = truth.level
    N = np.array([[-short(Fraction(e, max(map(abs, rows[j])))) for e in rows[j]] for j in alive])
    N /= np.linalg.norm(N, axis=1, keepdims=True)
    full = full_length(truth)
    cos = np.zeros(len(alive))
    if full is not None:
        biases = [truth.c[j] * truth.c_unit for j in alive]
        ratio = [short(b * b / (full * sizes[j])) for b, j in zip(biases, alive, strict=True)]
        cos = np.sign([short(b) for b in biases]) * np.sqrt(ratio)
    cos = np.clip(cos, -1.0, 1.0)
    phi = np.arccos(cos)
    best, found, q = -math.inf, N[0], np.zeros(len(sizes))
    with np.errstate(all="ignore"):
        for count in range(1, d + 1):
            sets = np.array(list(combinations(range(len(alive)), count)), dtype=np.int64)
            if not sets.size:
                break
            inverse = np.linalg.pinv(N[sets] @ N[sets].transpose(0, 2, 1), hermitian=True)
            P = np.einsum("mij,mj->mi", inverse, cos[sets])
            Q = np.einsum("mij,mj->mi", inverse, np.sin(phi)[sets])
            A, B = (cos[sets] * P).sum(axis=1), (cos[sets] * Q).sum(axis=1)
            C = (np.sin(phi)[sets] * Q).sum(axis=1)
            root = np.sqrt(np.maximum(B * B - (C - 1.0) * (A - 1.0), 0.0))
            for top in (-B + root, -B - root):
                m = np.arctan2(top, C - 1.0)
                for turned in (m, m + math.pi):
                    y = P * np.cos(turned)[:, None] + Q * np.sin(turned)[:, None]
                    u = np.einsum("mi,mik->mk", y, N[sets])
                    u /= np.linalg.norm(u, axis=1, keepdims=True)
                    seen = np.arccos(np.clip(u @ N.T, -1.0, 1.0))
                    angle = np.nan_to_num((phi - seen).min(axis=1), nan=-9.0)
                    k = int(angle.argmax())
                    if angle[k] > best:
                        best, found = float(angle[k]), u[k]
                        q = np.zeros(len(sizes))
                        for j, weight in zip(sets[k].tolist(), y[k].tolist(), strict=True):
                            ratio_ = Fraction(max(weight, 0.0)) ** 2 / sizes[alive[j]] * max(sizes)
                            q[alive[j]] = math.sqrt(short(ratio_))
    return found, q


def normals(truth: Rivals) -> Floats:
    """Return directions (n, d) across the faces of the rivals' hull, and along their rows."""
    a, _, _ = view(truth)
    d = a.shape[1]
    out = [a, -a, np.eye(d), -np.eye(d)]
    if d > 1:
        sets = np.array(list(combinations(range(len(a)), d)), dtype=np.int64)
        if sets.size:
            edges = a[sets[:, 1:]] - a[sets[:, :1]]
            across = np.linalg.svd(edges)[2][:, -1, :]
            out += [across, -across]
    return np.vstack(out)


def solved(cost: Floats, A: Floats, b: Floats, cones: list[object]) -> tuple[Floats, Floats] | None:
    """Return Clarabel's ``min cost . z`` with ``b - A z`` in the cones, and its multipliers."""
    if not np.isfinite(A).all() or not np.isfinite(b).all():
        return None
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-11
    n = cost.size
    found = clarabel.DefaultSolver(
        sparse.csc_matrix((n, n)), cost, sparse.csc_matrix(A), b, cones, settings
    ).solve()
    x, z = np.array(found.x), np.array(found.z)
    return (x, z) if np.isfinite(x).all() and np.isfinite(z).all() else None


def centre(truth: Rivals) -> tuple[Floats, Floats] | None:
    """Return the largest ball's centre in float64, in the domain's units, and weights."""
    a, c, radius = view(truth)
    n, d = a.shape
    lengths = np.linalg.norm(a, axis=1)
    if not lengths.all() or np.abs(c / lengths).max() > 1e6:
        return None
    A = [np.column_stack([a / lengths[:, None], np.ones(n)])]
    b = [-c / lengths]
    cones: list[object] = [clarabel.NonnegativeConeT(n)]
    region = truth.region
    if region.shape == "ball":
        A += [np.append(np.zeros(d), 1.0)[None], np.column_stack([-np.eye(d), np.zeros(d)])]
        b += [np.array([1.0]), np.zeros(d)]
        cones += [clarabel.SecondOrderConeT(d + 1)]
    elif region.shape == "box":
        lean = math.sqrt(1.0 - 1.0 / d) if region.zero_sum and d > 1 else 1.0
        ones = np.full((d, 1), lean)
        A += [np.column_stack([np.eye(d), ones]), np.column_stack([-np.eye(d), ones])]
        b += [np.ones(2 * d)]
        cones += [clarabel.NonnegativeConeT(2 * d)]
    else:
        A += [np.append(np.zeros(d), 1.0)[None]]
        b += [np.array([1e6])]
        cones += [clarabel.NonnegativeConeT(1)]
    if region.zero_sum:
        A.append(np.append(np.ones(d), 0.0)[None])
        b.append(np.zeros(1))
        cones.append(clarabel.ZeroConeT(1))
    found = solved(np.append(np.zeros(d), -1.0), np.vstack(A), np.concatenate(b), cones)
    if found is None:
        return None
    return found[0][:d] * radius, np.maximum(found[1][:n], 0.0) / lengths


def blend(truth: Rivals) -> tuple[Floats, Floats] | None:
    """Return weights, in float64, with a short change that silences the token, and a point against.

    They solve ``min |r| - g`` over weights with sum 1 and ``g >= 0``, or ``min |r|`` if lengths do
    not count. With ``v`` the price of ``g``, including that of the constraint, the margin per
    length at ``-r / (|r| v)`` equals the minimum.
    """
    a, c, radius = view(truth)
    n, d = a.shape
    if np.abs(c).max() > 1e6:
        return None
    counts = not (truth.homogeneous or truth.free)
    p, size = np.eye(n + 1)[:n], np.eye(n + 1)[n]
    A = [p.sum(axis=0)[None], -p, -(c @ p)[None], -size[None], -(a.T @ p)]
    b = [np.ones(1), np.zeros(n + 1), np.zeros(d + 1)]
    cones = [
        clarabel.ZeroConeT(1),
        clarabel.NonnegativeConeT(n + 1),
        clarabel.SecondOrderConeT(d + 1),
    ]
    cost = size - (c @ p) * counts
    found = solved(cost, np.vstack(A), np.concatenate(b), cones)
    if found is None:
        return None
    weights = np.maximum(found[0][:n], 0.0)
    r, price = a.T @ weights, counts + max(float(found[1][n + 1]), 0.0)
    length = float(np.linalg.norm(r)) * max(price, 1e-6 if truth.free else 1.0)
    return weights, -r / length * radius if length > 0.0 else np.zeros(d)
