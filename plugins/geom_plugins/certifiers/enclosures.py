"""The margin at a point, and the bound that weights give on all margins, enclosed at many digits.

Weights, biases and points are floats, and the only long computations are sums of their products.
Those are left to a precision that encloses them, the ``backend``: by default ``exact``, which
rounds nothing. The sums are rounded outward to intervals of `digits` digits. From there on (means,
lengths, quotients) everything is interval arithmetic in `mpmath.iv`, in a context of our own,
because anyone may change the precision of the module's context.

Throughout, t is the token, ``a_j = w_j - w_t``, ``c_j = b_j - b_t``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom import Arithmetic, Domain, Enclosure, Floats, Problem, Weights, find_arithmetic

Interval = Any  # mpmath has no types

HEAVY = 1 << 22
"""Entries of W that the backend may sum for weights: about two seconds of `exact`'s work."""

BLOCK = 1 << 18
"""Entries of W that a backend gets at one time: some twenty megabytes of integers."""

EXACT = "exact"
"""The backend that rounds nothing."""

LIGHT = "float64"
"""The backend for the many weights that count for little."""


@dataclass(frozen=True)
class Reach:
    """What weights say about the margin.

    ``bound`` encloses ``(-g + sup -(r . x)) / sum(lam)``, which no margin exceeds; it is None if
    the supremum is infinite. ``length`` encloses ``|r| / sum(lam)``, for the part of r that the
    domain's vectors can see. ``light`` weights were summed in float64, with a bound on its error.
    """

    bound: Enclosure | None
    length: Enclosure
    light: int


def margin_enclosure(
    problem: Problem, token: int, x: Floats, digits: int, backend: str = EXACT
) -> Enclosure | None:
    """Enclose the margin of ``token`` at the float64 point ``x`` (d,), in logits; None if V = 1.

    If the domain is unbounded and no bias tells tokens apart, lengths do not matter, and the margin
    is that at ``x / |x|``. Raises ArithmeticError if the backend has no answer.
    """
    if problem.readout.V == 1:
        return None
    iv = _intervals(digits)
    margin = _interval(iv, _margin(problem, token, x, _backend(backend)))
    if by_direction(problem) and x.any():
        margin /= iv.sqrt(_interval(iv, _square(x)))
    return _ends(margin)


def _parts(values: Sequence[Fraction]) -> Floats:
    """Return floats (m, d), m > 0, whose sums over m are the values (d,), exactly.

    Raises ArithmeticError if their digits reach below the least float.
    """
    parts: list[list[float]] = []
    rest = list(values)
    while not parts or any(rest):
        part = [float(value) for value in rest]
        if parts and not any(part):
            raise ArithmeticError("the point has digits below the least float")
        rest = [value - Fraction(near) for value, near in zip(rest, part, strict=True)]
        parts.append(part)
    return np.array(parts)


def _square(x: Floats) -> Enclosure:
    """Return ``|x|^2``, exactly, for a float64 vector ``x`` (d,)."""
    (square,) = _backend(EXACT).products(x[None, :], x)
    return square


def by_direction(problem: Problem) -> bool:
    """Return whether lengths do not matter, so that the margin is that at ``x / |x|``."""
    return problem.homogeneous and not problem.domain.bounded


def _margin(problem: Problem, token: int, x: Floats, sums: Arithmetic) -> Enclosure:
    """Enclose ``min_j -(a_j . x + c_j)``, from the lowest lower end until no row can be lower.

    Coordinates where x is zero do not matter, and rows that agree on the others count as one row: a
    vocabulary may hold thousands of copies of a row, and at x = 0 all rows are alike.
    """
    W, b = problem.readout.rows, problem.readout.b
    framed = problem.domain.frame is not None
    parts = _parts(problem.domain.exact_vector(x).fractions()) if framed else x[None]
    low, high = _margin_ends(problem, token, parts)
    rows = np.flatnonzero(low <= high.min())
    rows = rows[rows != token]
    live = np.flatnonzero(parts.any(axis=0))
    seen = live if problem.readout.shift is None else slice(None)  # a shift sees all coordinates
    different: dict[tuple[bytes, float], int] = {}
    falling = rows[np.argsort(-low[rows])]
    for part in np.array_split(falling, 1 + falling.size // 256):
        different |= {
            (row.tobytes(), b[j]): j for row, j in zip(W[part][:, seen], part, strict=True)
        }
    rows = np.array(list(different.values()))
    rows = rows[np.argsort(low[rows])]
    best: Enclosure | None = None
    step = max(1, min(64, BLOCK // max(1, live.size)))
    for start in range(0, rows.size, step):
        if best is not None and best.high <= low[rows[start]]:
            break
        chunk = np.append(rows[start : start + step], token)
        rows_seen = np.tile(W[chunk][:, live], len(parts))
        products = _products(sums, rows_seen, parts[:, live].ravel())
        *logits, own = [
            product + _exact(bias)
            for product, bias in zip(products, problem.readout.exact_biases(chunk), strict=True)
        ]
        margins = [own - logit for logit in logits] + ([best] if best else [])
        best = Enclosure(min(m.low for m in margins), min(m.high for m in margins))
    assert best is not None
    return best


def _products(sums: Arithmetic, rows: Floats, x: Floats) -> Sequence[Enclosure]:
    """Return ``rows @ x``; x may be empty."""
    return sums.products(rows, x) if x.size else [_exact(Fraction(0))] * len(rows)


def _margin_ends(problem: Problem, token: int, parts: Floats) -> tuple[Floats, Floats]:
    """Return ends (V,) between which every margin lies, by float64; infinite if it cannot tell.

    The point is the sum of its parts (m, d), of which only the first counts here; the others are
    part of the error.

    A sum of d products and a bias, in any order, is off by at most
    ``(d + 1) u / (1 - (d + 1) u)`` times ``|w| |x| + |b|``, with ``u = 2^-53`` (Higham, Accuracy
    and Stability of Numerical Algorithms, 2nd ed., (3.5), and Cauchy and Schwarz), plus the least
    normal number for each product that underflows. ``2 (d + 4) u`` is double that: it leaves room
    for the denominator and for the roundings of the bound itself. ``sqrt(d) max |x_i|`` stands for
    ``|x|`` because squares may underflow.
    """
    readout = problem.readout
    d, u, tiny = readout.d, 2.0**-53, 2.0**-1022
    x, others = parts[0], float(np.abs(parts[1:]).max(axis=1, initial=0.0).sum()) * 2.0
    with np.errstate(all="ignore"):
        logits = readout.logits(x)
        size = readout.row_norms * (math.sqrt(d) * float(np.abs(x).max())) + np.abs(readout.b)
        error = 2 * (d + 4) * u * size + 2 * (d + 4) * tiny + readout.bias_errors
        error += readout.row_norms * (math.sqrt(d) * others)
        gaps = logits[token] - logits
        slop = error[token] + error + 4 * u * np.abs(gaps)
        low, high = gaps - slop, gaps + slop
    unknown = ~(np.isfinite(low) & np.isfinite(high))
    low[unknown], high[unknown] = -np.inf, np.inf
    low[token] = np.inf
    high[token] = np.inf
    return low, high


# What weights show


def reach_enclosure(
    problem: Problem, token: int, weights: Weights, digits: int, backend: str = EXACT
) -> Reach:
    """Enclose what weights say about the largest margin over the domain, in logits; see `Reach`.

    With ``r = sum lam_j a_j``, ``g = sum lam_j c_j`` and any x of the domain,
    ``sum(lam) * margin(x) <= -(r . x + g)``, because the least of the terms is at most their mean.
    The supremum of ``-(r . x)`` is ``R |r|`` on a ball, with the mean taken off r if
    ``sum(x) = 0``, and ``radius * |r|_1`` on a box. If no bias tells tokens apart, all of R^d is
    replaced by its unit ball.

    The backend encloses the sums of up to `HEAVY` entries, the heaviest weights first. The rest is
    summed in `LIGHT`, unless that has no answer. Raises ArithmeticError if the backend has none.
    """
    iv = _intervals(digits)
    domain, d = problem.domain, problem.readout.d
    sums = _backend(backend)
    order = np.argsort(-weights.values, kind="stable")
    order = order[weights.values[order] > 0.0]
    heavy, light = order[: max(1, HEAVY // d)], order[max(1, HEAVY // d) :]
    entries = _combined(problem, weights, heavy, sums)
    try:
        rest = _combined(problem, weights, light, _backend(LIGHT))
    except ArithmeticError:
        rest, light = _combined(problem, weights, light, sums), light[:0]
    total, g0 = _totals(problem, token, weights)
    row = problem.readout.rows[token].tolist()
    r = [
        entry + more - _exact(total * Fraction(own))
        for entry, more, own in zip(entries, rest, row, strict=True)
    ]
    g = _shifted(problem, r) + _exact(g0)
    if domain.zero_sum:
        mean = Enclosure(sum(e.low for e in r) / Fraction(d), sum(e.high for e in r) / Fraction(d))
        r = [entry - mean for entry in r]
    intervals = [_interval(iv, entry) for entry in r]
    length = iv.sqrt(iv.fsum(abs(entry) ** 2 for entry in intervals))
    if domain.frame is None:
        supremum = _supremum(iv, problem, intervals, length)
    else:
        supremum = _image_supremum(iv, domain, r, sums)
    share = _interval(iv, _exact(total))
    bound = None if supremum is None else (supremum - _interval(iv, g)) / share
    return Reach(None if bound is None else _ends(bound), _ends(length / share), light.size)


def _supremum(iv: Any, problem: Problem, r: list[Interval], length: Interval) -> Interval | None:
    """Return an interval around ``sup -(r . x)`` over the domain; None if it is infinite."""
    domain = problem.domain
    if domain.shape == "box":
        return _interval(iv, _exact(_size(domain))) * iv.fsum(abs(entry) for entry in r)
    if domain.shape == "ball":
        return iv.sqrt(_interval(iv, _exact(_size(domain)))) * length
    return length if problem.homogeneous or length == 0 else None


def _image_supremum(iv: Any, domain: Domain, r: list[Enclosure], sums: Arithmetic) -> Interval:
    """Return an interval around ``sup -(r . x)`` over the hull of points, or an ellipsoid.

    It is the largest ``-(p_i . r)`` of the points, or ``R |axes @ r| - r . centre``. Points that
    are lower in float64, by more than its error, are not enclosed.
    """
    frame = domain.frame
    assert frame is not None
    near = np.array([float((entry.low + entry.high) / 2) for entry in r])
    if domain.shape == "ball":
        products = [_interval(iv, entry) for entry in _along(frame.axes, r, sums)]
        reach = iv.sqrt(_interval(iv, _exact(_size(domain))) * iv.fsum(q**2 for q in products))
        centre = np.zeros((1, near.size)) if frame.centre is None else frame.centre[None]
        (moved,) = _along(centre, r, sums)
        return reach - _interval(iv, moved)
    width = max(float(entry.high - entry.low) for entry in r)
    q, error = frame.against(near, np.abs(near) * 2.0**-50 + 2.0 * width)
    high = np.flatnonzero(~(error - q < (-q - error).max()))
    found = _along(frame.axes[high], r, sums)
    return _interval(iv, Enclosure(max(-e.high for e in found), max(-e.low for e in found)))


def _along(axes: Floats, r: list[Enclosure], sums: Arithmetic) -> list[Enclosure]:
    """Enclose ``axes @ r`` (k,), by blocks of axes."""
    middles = [float((entry.low + entry.high) / 2) for entry in r]
    rests = [(e.low + e.high) / 2 - Fraction(m) for e, m in zip(r, middles, strict=True)]
    parts = np.array([middles, [float(rest) for rest in rests]])
    doubt = max(
        max(abs(e.low - near), abs(e.high - near))
        for e, near in zip(r, (Fraction(a) + Fraction(b) for a, b in parts.T.tolist()), strict=True)
    )
    out: list[Enclosure] = []
    for start in range(0, len(axes), max(1, BLOCK // axes.shape[1])):
        block = axes[start : start + max(1, BLOCK // axes.shape[1])]
        found = sums.products(np.tile(block, 2), parts.ravel())
        for entry, axis in zip(found, block, strict=True):
            off = doubt * Fraction(float(np.abs(axis).sum())) * Fraction(1001, 1000)
            out.append(Enclosure(entry.low - off, entry.high + off))
    return out


def _size(domain: Domain) -> Fraction:
    """Return the radius of a box, or the squared radius of a ball."""
    assert domain.size is not None
    return domain.size


def _combined(
    problem: Problem, weights: Weights, chosen: NDArray[np.intp], sums: Arithmetic
) -> list[Enclosure]:
    """Return ``sum lam_j w_j`` (d,) over the chosen weights, by blocks of rows and coordinates."""
    d = problem.readout.d
    out = [_exact(Fraction(0))] * d
    height = max(1, min(chosen.size, BLOCK // 64))
    for start in range(0, chosen.size, height):
        block = chosen[start : start + height]
        rows, lam = weights.indices[block], weights.values[block]
        width = max(1, BLOCK // block.size)
        columns = problem.readout.rows[rows].T
        parts = [columns[left : left + width] for left in range(0, d, width)]
        found = [
            entry for part in parts for entry in sums.products(np.ascontiguousarray(part), lam)
        ]
        out = [entry + more for entry, more in zip(out, found, strict=True)]
    return out


def _totals(problem: Problem, token: int, weights: Weights) -> tuple[Fraction, Fraction]:
    """Return ``sum(lam)`` and ``g`` without the norm's shift, exactly, for all weights."""
    b = problem.readout.offset
    rows = np.array([np.ones(weights.values.size), b[weights.indices]])
    total, biases = (sum_.low for sum_ in _backend(EXACT).products(rows, weights.values))
    return total, biases - total * Fraction(float(b[token]))


def _shifted(problem: Problem, r: list[Enclosure]) -> Enclosure:
    """Return what a shift of the final norm adds to ``g``: ``r . s``."""
    shift = problem.readout.shift
    if shift is None:
        return _exact(Fraction(0))
    numerators, unit = shift.exact
    ends = [(e.low * s, e.high * s) for e, s in zip(r, numerators.tolist(), strict=True)]
    low, high = sum(map(min, ends), Fraction(0)), sum(map(max, ends), Fraction(0))
    return Enclosure(min(low * unit, high * unit), max(low * unit, high * unit))


# Backends and intervals


@cache
def _backend(name: str) -> Arithmetic:
    """Return the precision of that name, which must enclose. Raises InputError without one."""
    return find_arithmetic(name, rigorous=True)


def _exact(value: Fraction) -> Enclosure:
    """Enclose a number that is known exactly."""
    return Enclosure(value, value)


@cache
def _intervals(digits: int) -> Any:
    """Return an interval context of mpmath with that precision.

    No other code has it and nothing changes its precision, so threads can share it.
    """
    from mpmath.ctx_iv import MPIntervalContext  # type: ignore[import-untyped]  # it has no types

    iv = MPIntervalContext()
    iv.dps = digits
    return iv


def _interval(iv: Any, value: Enclosure) -> Interval:
    """Round the ends outward to the context's precision."""
    low, high = (iv.mpf(end.numerator) / iv.mpf(end.denominator) for end in (value.low, value.high))
    return iv.mpf([low.a, high.b])


def _ends(interval: Interval) -> Enclosure:
    """Return the interval's ends as the rational numbers they are."""
    from mpmath.libmp import to_rational  # type: ignore[import-untyped]  # it has no types

    low, high = interval._mpi_  # mpmath's own protocol: the two raw numbers
    return Enclosure(Fraction(*map(int, to_rational(low))), Fraction(*map(int, to_rational(high))))
