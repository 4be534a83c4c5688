"""The bounds of each stage, against products in float64 or in rational numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geom import Readout
from geom.machine.devices import CPU
from geom.self_argmax.distinct import DistinctRows
from geom.self_argmax.screen import Screens
from geom.self_argmax.stages import Stage, WholeStage, screen_stages
from support.truth import Floats, dot, fractions

entry = st.integers(-3, 3).map(float) | st.floats(-1, 1) | st.floats(-1e-30, 1e-30)
matrices = st.integers(2, 8).flatmap(lambda V: arrays(np.float64, (V, 6), elements=entry))


def distinct(W: Floats) -> DistinctRows:
    return DistinctRows(Readout.fold(W), centre=False)


def orthonormal(d: int) -> Floats:
    return np.linalg.qr(np.random.default_rng(8).normal(size=(d, d)))[0]


def all_stages(rows: DistinctRows, widths: tuple[int, ...]) -> list[Stage]:
    Q = np.ascontiguousarray(orthonormal(rows.d)[:, : widths[-1]])
    screens = Screens(Q, widths)
    assert screens.sound()
    return [*screen_stages(CPU, rows, screens), WholeStage(CPU, rows, held=False)]


@given(W=matrices, factor=st.floats(-2, 2))
def test_a_rival_that_reaches_the_least_score_has_no_bound_below_zero(
    W: Floats, factor: float
) -> None:
    """Take each pair's own score, and scores a little below it, for the least score."""
    rows = distinct(W)
    every = np.arange(rows.size)
    exact = [fractions(row) for row in rows.scaled(every)]
    for stage in all_stages(rows, (1, 2, 4)):
        right = stage.right(every)
        for i in every:
            scores = [dot(exact[i], other) for other in exact]
            for share in (1.0, min(factor, 1.0)):
                least = np.array([below(share * float(score)) for score in scores])
                left = stage.left(np.full(rows.size, i), least)
                bounds = np.einsum("ij,ij->i", left, right)
                reach = [score >= Fraction(x) for score, x in zip(scores, least, strict=True)]
                assert (bounds >= 0.0)[reach].all()


def below(x: float) -> float:
    """Return a float64 that is certainly no higher than the score that ``x`` approximates."""
    return x - abs(x) * 2.0**-52 - 2.0**-1060


@given(W=matrices)
def test_what_a_whole_row_is_known_to_score_is_no_more_than_it_scores(W: Floats) -> None:
    rows = distinct(W)
    every = np.arange(rows.size)
    exact = [fractions(row) for row in rows.scaled(every)]
    stage = WholeStage(CPU, rows, held=False)
    for i in every:
        tokens = np.full(rows.size, i)
        least = rows.squares[tokens] * 0.7
        bounds = np.einsum("ij,ij->i", stage.left(tokens, least), stage.right(every))
        known = stage.known(bounds.astype(np.float64), least, tokens, every)
        assert all(Fraction(k) <= dot(exact[i], exact[j]) for j, k in enumerate(known))


def test_bounds_are_near_the_scores_if_the_screen_sees_all() -> None:
    W = np.random.default_rng(0).normal(size=(80, 4)) @ orthonormal(12)[:, :4].T
    rows = distinct(W)
    every, scaled = np.arange(80), rows.scaled(np.arange(80))
    for stage in all_stages(rows, (4, 6)):
        bounds = stage.left(every, np.zeros(80)) @ stage.right(every).T
        scores = scaled @ scaled.T
        assert (bounds >= scores).all()
        assert (bounds <= scores + 2e-5 * np.outer(rows.lengths, rows.lengths)).all()


def test_a_basis_that_is_not_orthonormal_is_refused() -> None:
    Q = orthonormal(12)[:, :4]
    assert Screens(Q, (4,)).sound()
    assert not Screens(Q * (1.0 + 2.0**-24), (4,)).sound()


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**-60, 1.0, 2.0**900])
def test_own_scores_lie_between_their_bounds(scale: float) -> None:
    rows = distinct(np.random.default_rng(1).normal(size=(30, 6)) * scale)
    lower, upper = rows.own
    for j, row in enumerate(rows.scaled(np.arange(30))):
        exact = fractions(row)
        assert Fraction(lower[j]) <= dot(exact, exact) <= Fraction(upper[j])
