"""The precision ``arb``: balls, a midpoint of so many bits and a radius that holds every error.

W, b and x are float64, which 53 bits and more hold as they are. FLINT's dot product sums in an
order of its own, and its ball holds the exact value whatever that is. The margin is the token's
midpoint less the largest of its rivals'; the error is a radius that holds the exact margin, from
all the balls. The winner is the largest midpoint, of those alike the lowest id.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from threading import Lock
from typing import Annotated

import numpy as np
from flint import arb, arb_mat, ctx, fmpq
from msgspec import Meta

from geom import Enclosure, Floats, Precision, PrecisionMargin, Readout, hookimpl
from geom_plugins.precisions.bounds import UP, as_float
from geom_plugins.precisions.rivals import rivals

BLOCK = 1 << 18
"""Entries of W that are balls at one time."""

_LOCK = Lock()


@dataclass(frozen=True)
class ArbOptions:
    """How finely to compute."""

    bits: Annotated[int, Meta(ge=53, description="bits of the midpoints")] = 128


def margin(readout: Readout, token: int, x: Floats, options: ArbOptions) -> PrecisionMargin:
    """The margin of ``token`` at ``x`` (d,), rounded to float64 at the end."""
    others = rivals(readout, token, x)
    if not others.size:
        return PrecisionMargin(math.inf, token)
    rows = np.append(token, others)
    balls = _balls(readout.W[rows], x, options.bits, readout.exact_biases(rows))
    (own, own_radius), *logits = [(_fraction(a.mid()), _fraction(a.rad())) for a in balls]
    middles = [middle for middle, _ in logits]
    largest = max(middles)
    best = int(others[middles.index(largest)])
    winner = token if own > largest or (own == largest and token < best) else best
    reach = max(radius - (largest - middle) for middle, radius in logits)
    value, off = as_float(own - largest)
    radius, radius_off = as_float(own_radius + reach)
    error = (radius + radius_off + off) * UP
    return PrecisionMargin(value, winner, error if math.isfinite(error) else None)


def roundoff(options: ArbOptions) -> float:
    """``2^-bits``, and the least normal float64 where that is too small for one."""
    return max(math.ldexp(1.0, -options.bits), 2.0**-1022)


def products(rows: Floats, x: Floats, options: ArbOptions) -> list[Enclosure]:
    """The balls of ``rows @ x``, for ``rows`` (n, k) and ``x`` (k,)."""
    balls = _balls(rows, x, options.bits, [Fraction(0)] * len(rows))
    ends = [(_fraction(ball.mid()), _fraction(ball.rad())) for ball in balls]
    return [Enclosure.around(middle, radius) for middle, radius in ends]


def _balls(rows: Floats, x: Floats, bits: int, b: list[Fraction]) -> list[arb]:
    """``rows @ x + b``, some rows at a time."""
    point = [[entry] for entry in x.tolist()]
    out: list[arb] = []
    height = max(1, BLOCK // max(1, x.size))
    for start in range(0, len(rows), height):
        block = slice(start, start + height)
        with _LOCK, ctx.workprec(bits):  # FLINT's context belongs to all threads
            found = (arb_mat(rows[block].tolist()) * arb_mat(point)).entries()
            biases = [fmpq(bias.numerator, bias.denominator) for bias in b[block]]
            out += [ball + bias for ball, bias in zip(found, biases, strict=True)]
    return out


def _fraction(value: arb) -> Fraction:
    """A ball without radius, as the rational number it is."""
    mantissa, exponent = map(int, value.man_exp())
    scale = Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)
    return mantissa * scale


@hookimpl
def geom_precisions() -> Iterator[Precision[ArbOptions]]:
    yield Precision(
        "arb",
        "balls of so many bits, by FLINT",
        margin,
        ArbOptions,
        roundoff=roundoff,
        products=products,
    )
