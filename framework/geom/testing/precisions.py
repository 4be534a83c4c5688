"""The suite for precisions. The truth is computed with Python's Fraction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from geom.numbers.arrays import Floats
from geom.plugins.results import PrecisionMargin
from geom.testing.asked import Asked
from geom.testing.known import Known, known_problems


def names_a_winner(asked: Asked) -> None:
    """Check that a margin comes with the token that wins at the point."""
    for known, _, _, seen in _seen(asked):
        assert isinstance(seen, PrecisionMargin), f"{asked} returns {seen!r}"
        assert 0 <= seen.argmax_id < known.readout.V, f"{asked}: its winner of {known}"


def encloses_the_exact_margin(asked: Asked) -> None:
    """Check that the exact margin is within the error, if the precision gives one."""
    for known, x, token, seen in _seen(asked):
        if seen.error is None or not math.isfinite(seen.margin + seen.error):
            continue
        assert seen.error >= 0.0, f"{asked}: its error is {seen.error}"
        off = abs(Fraction(seen.margin) - _margin(known, token, x))
        assert off <= Fraction(seen.error), (
            f"{asked}: the margin of token {token} of {known} is off by {float(off):.3g}, "
            f"and it claims an error of {seen.error:.3g}"
        )


def is_exact_where_it_says_so(asked: Asked) -> None:
    """Check that a precision with a roundoff of 0 is exact."""
    roundoff = asked.record.roundoff(asked.options)
    assert roundoff >= 0.0, f"{asked}: its roundoff is {roundoff}"
    if roundoff > 0.0:
        return
    for known, x, token, seen in _seen(asked):
        truth = _margin(known, token, x)
        assert seen.margin == float(truth), f"{asked}: the margin of token {token} of {known}"


def encloses_products(asked: Asked) -> None:
    """Check that a rigorous precision's enclosures contain the exact products."""
    if asked.record.products is None:
        return
    for known, x in _points():
        rows = known.readout.rows[:7]
        found = asked.record.products(rows, x, asked.options)
        assert len(found) == len(rows), f"{asked}: {len(found)} enclosures of {len(rows)} products"
        for row, enclosure in zip(rows, found, strict=True):
            assert enclosure.low <= _dot(row, x) <= enclosure.high, (
                f"{asked}: an enclosure does not hold its product"
            )


def _seen(asked: Asked) -> Iterator[tuple[Known, Floats, int, PrecisionMargin]]:
    """Yield some tokens of each problem at each point, with the precision's margins."""
    for known, x in _points():
        for token in range(min(5, known.readout.V)):
            yield known, x, token, asked.record.margin(known.readout, token, x, asked.options)


def _points() -> Iterator[tuple[Known, Floats]]:
    """Yield points drawn from the domains, with many digits in float64, and the origin."""
    for known in known_problems():
        draw = np.random.default_rng(known.readout.V)
        for x in known.domain.sample(draw, 2):
            yield known, known.domain.vector(known.domain.fit(x))
        yield known, np.zeros(known.readout.d)


def _margin(known: Known, token: int, x: Floats) -> Fraction:
    rows, b = known.readout.rows[:], known.readout.b
    logits = [_dot(row, x) + Fraction(float(c)) for row, c in zip(rows, b, strict=True)]
    own = logits.pop(token)
    return own - max(logits)


def _dot(row: Floats, x: Floats) -> Fraction:
    return sum(
        (Fraction(float(w)) * Fraction(float(v)) for w, v in zip(row, x, strict=True)), Fraction(0)
    )


SUITE = (
    names_a_winner,
    encloses_the_exact_margin,
    is_exact_where_it_says_so,
    encloses_products,
)
