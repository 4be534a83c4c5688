"""What filters drop for sure, against sums over many states in mpmath and NumPy."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geom.exact.truncation import Standing, log10_above, margin_below, margin_reaches

Floats = NDArray[np.float64]

SEEDS = st.integers(0, 2**32 - 1)


def states(seed: int) -> Floats:
    """Draw the logits (n, V) of few tokens at some states; the first is low in all of them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(20, int(rng.integers(2, 9)))) * rng.choice([0.1, 1.0, 5.0])
    z[:, 0] = z[:, 1:].min(axis=1) * rng.choice([0.0, 1.0]) - rng.exponential(4.0)
    return z


def likelihoods(z: Floats, temperature: float) -> Floats:
    shares = np.exp((z - z.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def standing(z: Floats, temperature: float) -> Standing:
    """Return what is true of the first token over these states, a little weaker for rounding."""
    rivals, own = z[:, 1:], z[:, :1]
    cap = math.log10(likelihoods(z, temperature)[:, 0].max()) + 1e-12
    return Standing(
        rivals.shape[1],
        margin=float((own - rivals).min(axis=1).max()) + 1e-12,
        above=int((rivals > own).sum(axis=1).min()),
        level=int((rivals >= own).sum(axis=1).min()),
        caps=((temperature, Fraction(cap)),),
    )


def kept_by_top_p(z: Floats, p: float, temperature: float) -> NDArray[np.bool_]:
    shares = likelihoods(z, temperature)
    return np.asarray((shares * (z > z[:, :1])).sum(axis=1) < p)


@given(SEEDS, st.floats(0.2, 5.0), st.floats(0.2, 5.0), st.floats(0.01, 0.99))
def test_what_top_p_drops_for_sure_no_state_keeps(
    seed: int, measured_at: float, temperature: float, p: float
) -> None:
    z = states(seed)
    if standing(z, measured_at).dropped_by_top_p(p, temperature) == "always":
        assert not kept_by_top_p(z, p + 1e-9, temperature).any()


@given(SEEDS, st.floats(0.2, 5.0), st.floats(0.001, 1.0))
def test_what_min_p_drops_for_sure_no_state_keeps(seed: int, temperature: float, q: float) -> None:
    z = states(seed)
    shares = likelihoods(z, temperature)
    if standing(z, 1.0).dropped_by_min_p(q, temperature):
        assert (shares[:, 0] < q * shares.max(axis=1)).all()


@given(SEEDS, st.integers(1, 9))
def test_what_top_k_drops_for_sure_no_state_keeps(seed: int, k: int) -> None:
    z = states(seed)
    dropped = standing(z, 1.0).dropped_by_top_k(k) == "always"
    assert dropped == bool(((z > z[:, :1]).sum(axis=1) >= k).all())


@given(SEEDS, st.floats(0.1, 10.0), st.floats(0.1, 10.0))
def test_a_cap_at_one_temperature_holds_at_every_other(
    seed: int, measured_at: float, temperature: float
) -> None:
    z = states(seed)
    known = Standing(z.shape[1] - 1, caps=standing(z, measured_at).caps)
    truth = np.log(np.exp((z[:, 1:] - z[:, :1]) / temperature).sum(axis=1)).min()
    proven = float(known._odds(temperature).mid())
    assert proven <= truth + 1e-9
    if temperature == measured_at and truth > -5.0:  # where a cap near 1 still has digits
        assert proven >= truth - 1e-6


def test_the_cap_itself_loses_nothing_and_equal_rivals_lose_nothing_at_any_temperature() -> None:
    at = Standing(4, caps=((2.0, Fraction(math.log10(0.01))),))
    assert float(at._odds(2.0).mid()) == pytest.approx(math.log(99.0), abs=1e-12)
    equal = Standing(4, caps=((2.0, Fraction(math.log10(0.2))),))
    for temperature in (0.1, 1.0, 2.0):
        odds = float(equal._odds(temperature).mid())
        assert odds == pytest.approx(math.log(4.0), abs=1e-12)


def test_the_token_that_crosses_p_is_kept_and_one_behind_exactly_p_is_not() -> None:
    # one rival with a probability of at least one half, whatever the state
    behind = Standing(1, above=1)
    assert behind.dropped_by_top_p(0.5, 1.0) == "always"
    assert behind.dropped_by_top_p(math.nextafter(0.5, 1.0), 1.0) is None
    assert Standing(1, level=1).dropped_by_top_p(0.5, 1.0) == "but for ties"


def test_with_p_of_one_nothing_is_dropped_for_sure() -> None:
    known = Standing(9, margin=-1e300, above=9, level=9, caps=((1.0, Fraction(-(10**9))),))
    assert known.dropped_by_top_p(1.0, 1.0) is None
    assert known.dropped_by_top_p(math.nextafter(1.0, 0.0), 1.0) == "always"


def test_ties_are_told_from_rivals_that_are_higher() -> None:
    assert Standing(5, above=2, level=3).dropped_by_top_k(2) == "always"
    assert Standing(5, above=2, level=3).dropped_by_top_k(3) == "but for ties"
    assert Standing(5, above=2, level=3).dropped_by_top_k(4) is None


def test_of_nothing_known_nothing_is_dropped() -> None:
    known = Standing(5)
    assert known.dropped_by_top_k(1) is None
    assert known.dropped_by_top_p(0.01, 1.0) is None
    assert known.dropped_by_min_p(1.0, 1.0) is None
    assert Standing(5, margin=math.nan).dropped_by_min_p(1.0, 1.0) is None
    assert Standing(5, margin=math.nan).dropped_by_top_p(0.01, 1.0) is None


@given(st.floats(0.0, 1.0, exclude_min=True), st.floats(1e-3, 1e3), st.sampled_from([-1, 0, 1]))
def test_a_margin_next_to_the_border_is_on_its_true_side(q: float, T: float, side: int) -> None:
    with mpmath.workdps(60):
        border = mpmath.mpf(T) * mpmath.log(mpmath.mpf(q))
        margin = float(border)
        margin = math.nextafter(margin, math.inf * side) if side else margin
        below = mpmath.mpf(margin) < border
    if margin_below(margin, q, T):
        assert below
    if margin_reaches(margin, q, T):
        assert not below
    assert margin_below(margin, q, T) != margin_reaches(margin, q, T)


@given(st.floats(0.0, 1.0, exclude_min=True))
def test_the_logarithm_of_a_probability_is_rounded_up(probability: float) -> None:
    with mpmath.workdps(60):
        truth = mpmath.log10(mpmath.mpf(probability))
    found = float(log10_above(probability))
    assert truth <= found <= math.nextafter(float(truth), 1.0)
