"""The ``mpmath`` certifier: encloses, at many digits, what the chain before it has found.

A second arithmetic beside geom's own, and a reader's view of it: the proofs are `geom.judge`'s,
the enclosures here say how large the margin is that they speak of. Weights, biases and points are
floats, so a sum of their products is a rational number. Such sums are accumulated as integers,
which rounds nothing, and then rounded outward, once, to an interval of `digits` digits; from
there on (means, lengths, quotients) everything is interval arithmetic in `mpmath.iv`, in a context
of its own, since the precision of the module's own context belongs to everybody.

Throughout, t is the token, ``a_j = w_j - w_t``, ``c_j = b_j - b_t``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from functools import cache
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from geom import Certifier, Domain, Finding, Problem, Weights, hookimpl

Floats = NDArray[np.float64]
Integers = NDArray[np.object_]
Interval = Any  # mpmath has no types

HEAVY = 1 << 22
"""Entries of W that weights may have summed as integers: about two seconds of work."""

BLOCK = 1 << 18
"""Entries of W that are integers at one time: some twenty megabytes."""

SHOWN = 17
"""Digits that an enclosure shows of its ends, as many as tell two floats apart."""


NOTHING = "nothing to verify: put it after a certifier that finds a direction or weights"


@dataclass(frozen=True)
class MpmathOptions:
    """How finely to enclose."""

    digits: Annotated[int, Meta(ge=15, description="decimal digits of the intervals")] = 50


@dataclass(frozen=True)
class Enclosure:
    """A real number known to lie in ``[low, high]``; the ends are exact."""

    low: Fraction
    high: Fraction

    @property
    def sign(self) -> str:
        """``positive``, ``negative`` or ``zero``; ``unsettled`` where the ends disagree."""
        if self.low == self.high == 0:
            return "zero"
        if self.low > 0:
            return "positive"
        return "negative" if self.high < 0 else "unsettled"

    def __str__(self) -> str:
        """The ends rounded outward to `SHOWN` digits, and the width rounded up."""
        low, high = _decimal(self.low, SHOWN, ROUND_FLOOR), above(self.high, SHOWN)
        width = above(self.high - self.low, 2)
        return f"[{low}, {high}]" + (f" (width <= {width})" if self.low != self.high else "")


@dataclass(frozen=True)
class Reach:
    """What weights say of the margin.

    ``bound`` encloses ``(-g + sup -(r . x)) / sum(lam)``, which no margin exceeds; None where the
    supremum is infinite. ``length`` encloses ``|r| / sum(lam)``, of the part of r that the
    domain's vectors can see. ``light`` weights were summed in float64, with a bound on its error.
    """

    bound: Enclosure | None
    length: Enclosure
    light: int


def certify(problem: Problem, token: int, prior: Finding, options: MpmathOptions) -> Finding:
    """The prior's point and weights, unchanged, and enclosures of what they show in the note."""
    notes = []
    if prior.x is not None:
        notes.append(_point_note(problem, token, prior.x, options.digits))
    if prior.weights is not None:
        notes.append(_weights_note(problem, token, prior.weights, options.digits))
    if not notes:
        notes.append(NOTHING)
    return Finding(prior.x, prior.weights, "; ".join(notes))


@hookimpl
def geom_certifiers() -> Iterator[Certifier[MpmathOptions]]:
    """The certifier ``mpmath``."""
    yield Certifier(
        "mpmath",
        "encloses, in interval arithmetic, the margin that the chain has found",
        certify,
        MpmathOptions,
        verifies=True,
    )


def _point_note(problem: Problem, token: int, x: Floats, digits: int) -> str:
    if not problem.domain.contains(x):
        return f"nothing to verify: the point is not in the domain {problem.domain}"
    margin = margin_enclosure(problem, token, x, digits)
    if margin is None:
        return "nothing to verify: there is no other token"
    meaning = {
        "positive": "positive, the token wins there",
        "negative": "negative, the token does not win there",
        "zero": "exactly zero, a tie",
        "unsettled": "its sign is open",
    }[margin.sign]
    where = " at x/|x|" if _by_direction(problem) and x.any() else ""
    return f"margin{where} in {margin} at {digits} digits: {meaning}"


def _weights_note(problem: Problem, token: int, weights: Weights, digits: int) -> str:
    fault = _fault(problem, token, weights)
    if fault is not None:
        return f"nothing to verify: {fault}"
    reach = reach_enclosure(problem, token, weights, digits)
    length = f"|r| <= {above(reach.length.high, 3)} for weights of sum 1"
    if reach.light:
        length += f", the {reach.light} lightest summed in float64"
    if reach.bound is None:
        return f"the weights bound no margin, for the domain is unbounded and r is not 0: {length}"
    meaning = {
        "positive": "positive, so this bound alone settles nothing",
        "negative": "negative, the token wins nowhere",
        "zero": "zero, the token wins nowhere",
        "unsettled": "its sign is open, so this bound alone settles nothing",
    }[reach.bound.sign]
    return f"upper bound on the margin in {reach.bound} at {digits} digits: {meaning}; {length}"


def _fault(problem: Problem, token: int, weights: Weights) -> str | None:
    """Why these are no weights over other tokens, None when they are."""
    indices, values = weights.indices, weights.values
    if indices.ndim != 1 or indices.shape != values.shape:
        return "the weights are not one value an index"
    if not (np.isfinite(values).all() and (values >= 0.0).all() and values.any()):
        return "the weights are not finite numbers >= 0, one of them > 0"
    if (indices < 0).any() or (indices >= problem.readout.V).any() or (indices == token).any():
        return "the weights name the token itself or ids outside the vocabulary"
    if np.unique(indices).size != indices.size:
        return "the weights name a token twice"
    return None


# The margin at a point


def margin_enclosure(problem: Problem, token: int, x: Floats, digits: int) -> Enclosure | None:
    """The margin of ``token`` at the float64 point ``x`` (d,), in logits; None where V = 1.

    Where the domain is unbounded and no bias tells tokens apart, lengths do not matter, and it is
    the margin at ``x / |x|``.
    """
    if problem.readout.V == 1:
        return None
    iv = _intervals(digits)
    margin = _interval(iv, _margin(problem, token, x))
    if _by_direction(problem) and x.any():
        (entries,), exponent = _integers(x[None, :])
        margin /= iv.ldexp(iv.sqrt(+iv.mpf(int(entries @ entries))), exponent)
    return _ends(margin)


def _by_direction(problem: Problem) -> bool:
    return problem.homogeneous and not problem.domain.bounded


def _margin(problem: Problem, token: int, x: Floats) -> Fraction:
    """``min_j -(a_j . x + c_j)``, exactly: from the lowest lower end up, until no row can be lower.

    Coordinates where x is zero do not matter, and rows that agree on the others are one row: a
    vocabulary may hold thousands of copies of a row, and at x = 0 all rows are alike.
    """
    W, b = problem.readout.W, problem.readout.b
    low, high = _margin_ends(problem, token, x)
    rows = np.flatnonzero(low <= high.min())
    rows = rows[rows != token]
    live = np.flatnonzero(x)
    different = {(W[j, live].tobytes(), b[j]): j for j in rows[np.argsort(-low[rows])]}
    rows = np.array(list(different.values()))
    rows = rows[np.argsort(low[rows])]
    X, x_exponent = _integers(x[None, live])
    best: Fraction | None = None
    step = max(1, min(64, BLOCK // max(1, live.size)))
    for start in range(0, rows.size, step):
        if best is not None and best <= low[rows[start]]:
            break
        chunk = rows[start : start + step]
        A, exponent = _integers(W[np.append(chunk, token)][:, live])
        for j, product in zip(chunk, (A[-1] - A[:-1]) @ X[0], strict=True):
            logits = _scaled(product, exponent + x_exponent)
            margin = logits + Fraction(float(b[token])) - Fraction(float(b[j]))
            best = margin if best is None else min(best, margin)
    assert best is not None
    return best


def _margin_ends(problem: Problem, token: int, x: Floats) -> tuple[Floats, Floats]:
    """Ends (V,) between which every margin lies, by float64; infinite where it cannot say.

    A sum of d products and a bias, in whatever order, is off by at most
    ``(d + 1) u / (1 - (d + 1) u)`` times ``|w| |x| + |b|``, with ``u = 2^-53`` (Higham, Accuracy
    and Stability of Numerical Algorithms, 2nd ed., (3.5), and Cauchy and Schwarz), and by the least
    normal number for each product that underflows. ``2 (d + 4) u`` is double that: it leaves room
    for the denominator and for the roundings of the bound itself. ``sqrt(d) max |x_i|`` stands for
    ``|x|`` because squares may underflow.
    """
    readout = problem.readout
    d, u, tiny = readout.d, 2.0**-53, 2.0**-1022
    with np.errstate(all="ignore"):
        logits = readout.logits(x)
        size = readout.row_norms * (math.sqrt(d) * float(np.abs(x).max())) + np.abs(readout.b)
        error = 2 * (d + 4) * u * size + 2 * (d + 4) * tiny
        gaps = logits[token] - logits
        slop = error[token] + error + 4 * u * np.abs(gaps)
        low, high = gaps - slop, gaps + slop
    unknown = ~(np.isfinite(low) & np.isfinite(high))
    low[unknown], high[unknown] = -np.inf, np.inf
    low[token] = np.inf
    high[token] = np.inf
    return low, high


# What weights show


def reach_enclosure(problem: Problem, token: int, weights: Weights, digits: int) -> Reach:
    """What the weights say of the largest margin over the domain, in logits; see `Reach`.

    With ``r = sum lam_j a_j``, ``g = sum lam_j c_j`` and any x of the domain,
    ``sum(lam) * margin(x) <= -(r . x + g)``, for the least of the terms is at most their mean. The
    supremum of ``-(r . x)`` is ``R |r|`` on a ball, with the mean taken off r where ``sum(x) = 0``,
    and ``radius * |r|_1`` on a box. All of R^d stands for its unit ball where no bias tells tokens
    apart.

    The sums are exact as far as `HEAVY` entries go, the heaviest weights first. What is left is
    summed in float64, and its error bound widens the enclosure.
    """
    iv = _intervals(digits)
    domain, d = problem.domain, problem.readout.d
    order = np.argsort(-weights.values, kind="stable")
    order = order[weights.values[order] > 0.0]
    heavy, light = order[: max(1, HEAVY // d)], order[max(1, HEAVY // d) :]
    rest = _light_sum(iv, problem, token, weights, light)
    if rest is None:
        heavy, light, rest = order, order[:0], [iv.zero] * d
    exact = _heavy_sum(problem, token, weights, heavy)
    if domain.zero_sum:
        mean, rest_mean = sum(exact, Fraction(0)) / d, iv.fsum(rest) / d
        exact = [entry - mean for entry in exact]
        rest = [entry - rest_mean for entry in rest] if light.size else rest
    r = [_interval(iv, entry) + more for entry, more in zip(exact, rest, strict=True)]
    total, g = _totals(problem, token, weights)
    length = iv.sqrt(iv.fsum(abs(entry) ** 2 for entry in r))
    supremum = _supremum(iv, problem, r, length)
    bound = None if supremum is None else (supremum - _interval(iv, g)) / _interval(iv, total)
    return Reach(
        None if bound is None else _ends(bound), _ends(length / _interval(iv, total)), light.size
    )


def _supremum(iv: Any, problem: Problem, r: list[Interval], length: Interval) -> Interval | None:
    """An interval around ``sup -(r . x)`` over the domain; None where it is infinite."""
    domain = problem.domain
    if domain.shape == "box":
        return _interval(iv, _size(domain)) * iv.fsum(abs(entry) for entry in r)
    if domain.shape == "ball":
        return iv.sqrt(_interval(iv, _size(domain))) * length
    return length if problem.homogeneous or length == 0 else None


def _size(domain: Domain) -> Fraction:
    """The radius of a box, the squared radius of a ball."""
    assert domain.size is not None
    return domain.size


def _heavy_sum(
    problem: Problem, token: int, weights: Weights, chosen: NDArray[np.intp]
) -> list[Fraction]:
    """``r`` (d,) over the chosen weights, exactly, some coordinates at a time."""
    W, d = problem.readout.W, problem.readout.d
    rows = np.append(weights.indices[chosen], token)
    lam, lam_exponent = _integers(weights.values[None, chosen])
    out: list[Fraction] = []
    step = max(1, BLOCK // rows.size)
    for start in range(0, d, step):
        A, exponent = _integers(W[rows, start : start + step])
        r = lam[0] @ (A[:-1] - A[-1])
        out += [_scaled(entry, exponent + lam_exponent) for entry in r]
    return out


def _light_sum(
    iv: Any, problem: Problem, token: int, weights: Weights, chosen: NDArray[np.intp]
) -> list[Interval] | None:
    """Intervals (d,) around ``r`` over the chosen weights, by float64; None where it overflows.

    A difference and a product round once each, and n terms are added in some order: the error of
    ``r_i`` is at most ``gamma_{n+1} sum lam_j |a_ji|`` (Higham (3.5)), here doubled as above.
    """
    n, d, u, tiny = chosen.size, problem.readout.d, 2.0**-53, 2.0**-1022
    r, spread = np.zeros(d), np.zeros(d)
    with np.errstate(all="ignore"):
        for start in range(0, n, 4096):
            block = chosen[start : start + 4096]
            a, _ = problem.differences(token, weights.indices[block])
            r += weights.values[block] @ a
            spread += weights.values[block] @ np.abs(a)
        error = 2 * (n + 4) * u * spread + 2 * n * tiny
    if not np.isfinite(r).all() or not np.isfinite(error).all():
        return None
    return [
        iv.mpf(value) + iv.mpf([-slop, slop])
        for value, slop in zip(r.tolist(), error.tolist(), strict=True)
    ]


def _totals(problem: Problem, token: int, weights: Weights) -> tuple[Fraction, Fraction]:
    """``sum(lam)`` and ``g``, exactly, of all weights."""
    lam, lam_exponent = _integers(weights.values[None, :])
    b, b_exponent = _integers(problem.readout.b[None, np.append(weights.indices, token)])
    g = lam[0] @ (b[0, :-1] - b[0, -1])
    return _scaled(lam.sum(), lam_exponent), _scaled(g, lam_exponent + b_exponent)


# Floats as integers, intervals and text


def _integers(values: Floats) -> tuple[Integers, int]:
    """Python integers and one exponent with ``values == integers * 2**exponent``, exactly.

    ``values`` is a matrix of finite float64, the integers come back in its shape.
    """
    fraction, exponent = np.frexp(values)
    mantissas = np.ldexp(fraction, 53).astype(np.int64)
    used = mantissas != 0
    lowest = int(exponent[used].min()) if used.any() else 0
    shift = np.where(used, exponent - lowest, 0)
    return mantissas.astype(object) << shift.astype(object), lowest - 53


def _scaled(mantissa: int, exponent: int) -> Fraction:
    """``mantissa * 2**exponent``."""
    return Fraction(mantissa << exponent) if exponent >= 0 else Fraction(mantissa, 1 << -exponent)


@cache
def _intervals(digits: int) -> Any:
    """An interval context of mpmath's at that precision.

    Nobody else has it and nothing changes its precision, so threads can share it.
    """
    from mpmath.ctx_iv import MPIntervalContext  # type: ignore[import-untyped]  # it has no types

    iv = MPIntervalContext()
    iv.dps = digits
    return iv


def _interval(iv: Any, value: Fraction) -> Interval:
    """The rational number rounded outward to the context's precision."""
    return iv.mpf(value.numerator) / iv.mpf(value.denominator)


def _ends(interval: Interval) -> Enclosure:
    """The interval's ends as the rational numbers they are."""
    from mpmath.libmp import to_rational  # type: ignore[import-untyped]  # it has no types

    low, high = interval._mpi_  # mpmath's own protocol: the two raw numbers
    return Enclosure(Fraction(*map(int, to_rational(low))), Fraction(*map(int, to_rational(high))))


def above(value: Fraction, digits: int) -> str:
    """A decimal number of so many significant digits that is not below ``value``."""
    return _decimal(value, digits, ROUND_CEILING)


def _decimal(value: Fraction, digits: int, rounding: str) -> str:
    """The rational number rounded to so many significant digits, in that direction."""
    context = Context(prec=digits, rounding=rounding)
    quotient = context.divide(Decimal(value.numerator), Decimal(value.denominator))
    return str(quotient).replace("E", "e")
