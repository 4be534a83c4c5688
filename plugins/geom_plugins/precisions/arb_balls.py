"""The precision ``arb``: balls, with a midpoint of a given number of bits and a proven radius.

W, b and x are float64, which 53 bits or more hold exactly. FLINT's dot product chooses its order of
summation, and its ball contains the exact value whatever the order. The margin is the token's
midpoint minus the largest of its rivals'; the error is a radius, from all the balls, that reaches
the exact margin. The winner has the largest midpoint; among equal midpoints, the lowest id.
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
"""The entries of W that are balls at one time."""

_LOCK = Lock()


@dataclass(frozen=True)
class ArbOptions:
    """How precisely to compute."""

    bits: Annotated[int, Meta(ge=53, description="bits of the midpoints")] = 128


def margin(readout: Readout, token: int, x: Floats, options: ArbOptions) -> PrecisionMargin:
    """Compute the margin of ``token`` at ``x`` (d,), rounded to float64 at the end."""
    others = rivals(readout, token, x)
    if not others.size:
        return PrecisionMargin(math.inf, token)
    rows = np.append(token, others)
    balls = _balls(readout.rows[rows], x, options.bits, readout.exact_biases(rows))
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
    """Return ``2^-bits``, but no less than the least normal float64."""
    return max(math.ldexp(1.0, -options.bits), 2.0**-1022)


def products(rows: Floats, x: Floats, options: ArbOptions) -> list[Enclosure]:
    """Compute the balls of ``rows @ x``, for ``rows`` (n, k) and ``x`` (k,)."""
    balls = _balls(rows, x, options.bits, [Fraction(0)] * len(rows))
    ends = [(_fraction(ball.mid()), _fraction(ball.rad())) for ball in balls]
    return [Enclosure.around(middle, radius) for middle, radius in ends]


def _balls(rows: Floats, x: Floats, bits: int, b: list[Fraction]) -> list[arb]:
    """Compute ``rows @ x + b``, some rows at a time."""
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
    """Return a ball without radius as the rational number that it is."""
    mantissa, exponent = map(int, value.man_exp())
    scale = Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)
    return mantissa * scale


@hookimpl
def geom_precisions() -> Iterator[Precision[ArbOptions]]:
    yield Precision(
        "arb",
        "balls of a given number of bits, by FLINT",
        margin,
        ArbOptions,
        roundoff=roundoff,
        products=products,
    )
