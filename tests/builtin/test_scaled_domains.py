"""Certifiers and measures on the hull of points that are very short, very long, or both at once.

The truth is the exact value of the matrix game. Nothing may be wrong at any scale; where all points
are scaled alike, everything is decided as well.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

import geom
from geom import Problem, measure
from support import games
from support.problems import Floats, cloud, problem

V, D, ASKED = 9, 3, range(5)
ALIKE = [1e-6, 1e6, 2.0**-300, 2.0**300]


def asked(points: Floats, scale: float = 1.0) -> Problem:
    """Return rows with a midpoint and twins, and biases of a size that points of a scale meet."""
    W, b = cloud(V, D, seed=0), cloud(V, 1, seed=100)[:, 0] / 4 * scale
    W[1], b[1] = (W[2] + W[3]) / 2, (b[2] + b[3]) / 2
    W[4], b[4] = W[5], b[5]
    return problem(W, b, geom.hull(points))


def alike(scale: float) -> Problem:
    return asked(cloud(5, D, seed=7) * scale, scale)


def far(scale: float) -> Problem:
    """Return a small hull far from the origin, or a large one around it."""
    return asked(cloud(5, D, seed=7) + 1.0 / scale)


def mixed(scale: float) -> Problem:
    return asked(cloud(5, D, seed=7) * np.array([1.0, scale, 1.0, 1.0 / scale, scale])[:, None])


def values(question: Problem) -> list[Fraction]:
    """Return the largest margins, exactly."""
    frame = question.domain.frame
    assert frame is not None
    W, b = question.readout.W, question.readout.b
    return [games.value(games.payoffs(W, b, token, frame.axes)) for token in ASKED]


QUESTIONS = {f"alike {scale:.3g}": alike(scale) for scale in ALIKE}
QUESTIONS |= {f"far {scale:.3g}": far(scale) for scale in ALIKE[:2]}
MIXED = {f"mixed {scale:.3g}": mixed(scale) for scale in ALIKE}


@pytest.mark.parametrize("certifier", ["maxent", "highs"])
@pytest.mark.parametrize("name", [*QUESTIONS, *MIXED])
def test_no_scale_of_the_points_makes_a_verdict_wrong(name: str, certifier: str) -> None:
    question = (QUESTIONS | MIXED)[name]
    with geom.run(
        question.readout,
        tokens=ASKED,
        certifiers=[certifier],
        domain=question.domain,
        opening=False,
    ) as run:
        for row, value in zip(run.rows(), values(question), strict=True):
            truth = "speakable" if value > 0 else "unspeakable"
            assert row.verdict == truth or (row.verdict == "undecided" and name in MIXED)
            assert row.margin_lower is None or Fraction(row.margin_lower) <= value
            assert row.margin_upper is None or Fraction(row.margin_upper) >= value


@pytest.mark.parametrize("name", [*QUESTIONS, *MIXED])
def test_no_scale_of_the_points_makes_a_number_wrong(name: str) -> None:
    question = (QUESTIONS | MIXED)[name]
    biases = measure(question.readout, "logit-bias", ASKED, domain=question.domain)
    shares = measure(question.readout, "min-p", ASKED, domain=question.domain)
    likely = measure(question.readout, "max-probability", ASKED, domain=question.domain)
    ranks = measure(question.readout, "best-rank", ASKED, domain=question.domain)
    for bias, share, chance, rank, value in zip(
        biases, shares, likely, ranks, values(question), strict=True
    ):
        low, high = ends(bias)
        assert low <= -value <= high
        if name not in MIXED:
            assert high - low <= abs(value) / 1000 + Fraction(1, 10**12) * largest(question)
        low, high = ends(share)
        threshold = math.exp(min(0.0, float(value)))
        assert low * Fraction(1 - 1e-9) <= threshold <= high * Fraction(1 + 1e-9) + Fraction(5e-324)
        # at best every rival is as high as the highest; at worst only one is
        low, high = ends(chance)
        assert low <= above_chance(value, rivals=1)
        assert high >= above_chance(value, rivals=V - 1) - 1e-9 * abs(float(high))
        low, high = ends(rank)
        assert (low == 1) or value <= 0
        assert (rank.value == 1) == (value > 0) or name in MIXED


def ends(row: geom.MeasureRow) -> tuple[Fraction, Fraction]:
    """Return the proven ends, infinite errors as errors larger than any number."""
    assert row.value is not None
    assert row.error is not None
    error = Fraction(10**400) if math.isinf(row.error) else Fraction(row.error)
    return Fraction(row.value) - error, Fraction(row.value) + error


def largest(question: Problem) -> Fraction:
    """Return the size of the largest logits."""
    points = question.domain.frame.axes  # type: ignore[union-attr]
    return Fraction(float(np.abs(question.readout.W).max() * np.abs(points).max())) * D


def above_chance(value: Fraction, rivals: int) -> float:
    """Return ``log10 1 / (1 + rivals exp(-value))``, rounded."""
    return -float(np.logaddexp(0.0, math.log(rivals) - float(value))) / math.log(10.0)


@pytest.mark.parametrize("exponent", [-400, 400])
def test_the_scale_of_rows_and_biases_makes_no_margin_wrong(exponent: int) -> None:
    plain = asked(cloud(5, D, seed=7))
    W, b = np.ldexp(plain.readout.W, exponent), np.ldexp(plain.readout.b, exponent)
    question = problem(W, b, plain.domain)
    for row, value in zip(
        measure(question.readout, "logit-bias", ASKED, domain=question.domain),
        values(question),
        strict=True,
    ):
        low, high = ends(row)
        assert low <= -value <= high
        assert high - low <= abs(value) / 1000 + Fraction(2) ** (exponent - 40)
