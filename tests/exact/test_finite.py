"""Proofs at the ends of float64, where sums overflow, vanish or are NaN."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geom import Finding, InputError, Problem, Readout, Verdict, Weights, judge
from geom.errors import ArithmeticModeError
from geom.exact import faults
from geom.exact.aim import Aim
from geom.exact.angles import angle_bounds
from geom.exact.balls import ball_bounds
from geom.exact.bulk import prove_own_directions, prove_points
from geom.exact.changes import freeing_bounds, silencing_bounds
from geom.exact.margins import margin_bounds
from geom.exact.symmetric import own_margins_below
from geom.model import domains
from geom.proofs import own_direction, rational_weights
from geom.self_argmax import own_winners
from support import truth
from support.problems import problem

LEAST, LARGEST = 5e-324, sys.float_info.max
BOUNDS = (angle_bounds, ball_bounds, freeing_bounds, margin_bounds, silencing_bounds)

numbers = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, LEAST, -LEAST, 2.0**-1022, 1e-200, 1e154, -1e160, 1e308]),
    st.sampled_from([-1e308, LARGEST, -LARGEST, 1.7e308, 0.1, 10.0]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-3, 3).map(float),
)
weights = st.one_of(st.sampled_from([LEAST, 2.0**-1030, 0.1, 1.0, 1e308]), st.floats(0, LARGEST))


@contextmanager
def flushing() -> Iterator[None]:
    """Flush subnormal numbers to zero in the processor, as some programs do for their models."""
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor keeps subnormal numbers")
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("radius", [None, 1e308])
def test_biases_whose_difference_overflows_prove_nothing_false(radius: float | None) -> None:
    W, b = [[0.0], [10.0], [-1.0]], [-1e308, 1e308, -1.7e308]
    domain = domains.unbounded(1) if radius is None else domains.box(1, radius)
    asked = problem(W, b, domain)
    assert truth.margin(W, b, 0, [-5e307]) == pytest.approx(Fraction(2 * 10**307), rel=1e-15)
    claim = Finding(weights=Weights(np.array([1, 2]), np.array([0.1, 1.0])))
    assert not judge(asked, 0, claim).decided
    assert faults(asked, 0, claim, Verdict("unspeakable", "interior", margin_upper=0.0))
    assert judge(asked, 0, Finding(np.array([-5e307]))).name == "speakable"


@given(data=st.data(), V=st.integers(2, 4), radius=st.sampled_from([None, 1.0, 1e-300, 1e308]))
def test_whatever_is_proven_of_any_finite_numbers_is_so(
    data: st.DataObject, V: int, radius: float | None
) -> None:
    W = np.array(data.draw(st.lists(numbers, min_size=V, max_size=V)))[:, None]
    b = np.array(data.draw(st.lists(numbers, min_size=V, max_size=V)))
    lam = np.array(data.draw(st.lists(weights, min_size=V - 1, max_size=V - 1)))
    x = np.array([data.draw(numbers)])
    asked = problem(W, b, domains.unbounded(1) if radius is None else domains.box(1, radius))
    finding = Finding(x, Weights(np.arange(1, V), lam))
    largest = truth.largest_margin(W, b, 0, radius)
    for found in (finding, Finding(x), Finding(weights=finding.weights)):
        verdict = judge(asked, 0, found)
        assert verdict.name != "speakable" or largest > 0
        assert verdict.name != "unspeakable" or largest <= 0
        for bound in (verdict.margin_lower, verdict.margin_upper):
            assert bound is None or math.isfinite(bound)
        if radius is not None:
            assert verdict.margin_lower is None or verdict.margin_lower <= largest
            assert verdict.margin_upper is None or verdict.margin_upper >= largest
        if asked.homogeneous and radius is None:
            continue
        low, high = margin_bounds(asked, 0, found)
        unending = radius is None and largest >= max(1, truth.margin(W, b, 0, [0.0]))
        assert low == -math.inf or unending or low <= largest
        assert high == math.inf or high >= min(largest, Fraction(1) if unending else largest)
    if asked.domain.contains(x):
        lower = prove_points(asked, np.array([0]), x[None])[0]
        assert lower == -math.inf or largest > 0
        if radius is not None or not asked.homogeneous:
            assert lower == -math.inf or Fraction(lower) <= truth.margin(W, b, 0, x)


@given(data=st.data(), V=st.integers(2, 3), radius=st.sampled_from([1.0, 1e-300, 1e300]))
def test_measures_of_any_finite_numbers_are_bounded_rightly(
    data: st.DataObject, V: int, radius: float
) -> None:
    W = np.array(data.draw(st.lists(numbers, min_size=V, max_size=V)))[:, None]
    b = np.array(data.draw(st.lists(numbers, min_size=V, max_size=V)))
    lam = np.array(data.draw(st.lists(weights, min_size=V - 1, max_size=V - 1)))
    asked = problem(W, b, domains.box(1, radius))
    found = Finding(np.array([data.draw(numbers)]), Weights(np.arange(1, V), lam))
    low, high = ball_bounds(asked, 0, found)
    true = truth_of_interval(W[:, 0], b, Fraction(radius))
    assert not math.isnan(low)
    assert Fraction(low) <= true
    assert high == math.inf or Fraction(high) >= true
    for bounds in (silencing_bounds, freeing_bounds):
        low, high = bounds(asked, 0, found)
        assert low <= high  # neither is NaN


def truth_of_interval(w: truth.Floats, b: truth.Floats, radius: Fraction) -> Fraction:
    """Return half the length of the interval of [-radius, radius] on which token 0 wins."""
    left, right = -radius, radius
    for slope, bias in zip(w[1:], b[1:], strict=True):
        a, c = Fraction(slope) - Fraction(w[0]), Fraction(bias) - Fraction(b[0])
        if a > 0:
            right = min(right, -c / a)
        elif a < 0:
            left = max(left, -c / a)
        elif c >= 0:
            return Fraction(0)
    return max(Fraction(0), (right - left) / 2)


@pytest.mark.parametrize("bound", [math.inf, -math.inf, math.nan, -LARGEST * 2])
def test_no_stored_bound_is_infinite(bound: float) -> None:
    asked = problem([[1.0], [-1.0], [0.0]], None, "box")
    point = Finding(np.array([1.0]))
    assert not faults(asked, 0, point, Verdict("speakable", "witness", margin_lower=1.0))
    assert faults(asked, 0, point, Verdict("speakable", "witness", margin_lower=bound))
    assert faults(
        asked, 0, point, Verdict("speakable", "witness", margin_lower=1.0, margin_upper=bound)
    )
    middle = Finding(weights=Weights(np.array([0, 1]), np.array([0.5, 0.5])))
    assert not faults(asked, 2, middle, Verdict("unspeakable", "interior", margin_upper=0.0))
    assert faults(asked, 2, middle, Verdict("unspeakable", "interior", margin_upper=bound))


def test_an_upper_bound_below_all_floats_is_the_least_of_them() -> None:
    W, b = [[0.0], [1e308], [-1e308]], [-1.7e308, 1.7e308, 1.7e308]
    asked = problem(W, b, domains.box(1, 0.1))
    verdict = judge(asked, 0, Finding(weights=Weights(np.array([1, 2]), np.array([0.5, 0.5]))))
    assert (verdict.name, verdict.margin_upper) == ("unspeakable", -LARGEST)
    assert truth.largest_margin(W, b, 0, 0.1) < -LARGEST
    claim = Finding(weights=verdict.certificate)  # type: ignore[arg-type]
    assert not faults(asked, 0, claim, verdict)


def test_a_margin_in_bulk_beyond_the_largest_float_is_bounded_by_it() -> None:
    asked = problem([[1.3e154], [-1.3e154]], None, domains.box(1, 1e200))
    lower = prove_points(asked, np.array([0]), np.array([[1.3e154]]))
    assert lower[0] == pytest.approx(LARGEST)
    assert math.isfinite(lower[0])


def test_units_that_overflow_one_after_the_other_bound_no_margin_too_high() -> None:
    W = np.array([[1e308, 0.0], [-1e308, 0.0], [0.0, 1e307]])
    for size in (1e-300, 1e-320, 1e-5, 1e200, 1.7e308):
        asked = problem(W, None, domains.box(2, 1.7e308))
        point = np.array([size, 0.0])
        lower = prove_points(asked, np.array([0]), point[None])[0]
        assert lower == -math.inf or Fraction(lower) <= truth.margin(W, np.zeros(3), 0, point)


def test_weights_that_flushing_would_let_prove_a_falsehood_are_refused() -> None:
    asked = problem([[0.0], [1.0]], [3e-310, 0.0], "box")
    claim = Finding(weights=Weights(np.array([1]), np.array([1.0])))
    with flushing(), pytest.raises(ArithmeticModeError, match=r"set_flush_denormal\(False\)"):
        judge(asked, 0, claim)
    assert not judge(asked, 0, claim).decided


@pytest.mark.parametrize("bounds", BOUNDS)
def test_no_measure_is_proven_where_subnormals_are_flushed(
    bounds: Callable[[Problem, int, Finding], tuple[float, float]],
) -> None:
    asked = problem([[1.0], [-1.0]], None, "rmsnorm")
    with flushing(), pytest.raises(ArithmeticModeError):
        bounds(asked, 0, Finding(np.array([1.0])))


def test_what_was_asked_for_where_subnormals_are_flushed_is_not_remembered() -> None:
    readout = Readout(np.array([[1.0], [-1.0]]), np.array([3e-310, 0.0]))
    for name in ("has_bias", "row_norms", "digest"):
        with flushing(), pytest.raises(ArithmeticModeError):
            getattr(readout, name)
    with flushing(), pytest.raises(ArithmeticModeError):
        own_direction(Problem(readout, domains.rmsnorm(1)), 0)
    with flushing(), pytest.raises(ArithmeticModeError):
        Readout(readout.W, readout.b)
    with flushing(), pytest.raises(ArithmeticModeError):
        rational_weights(
            Problem(readout, domains.rmsnorm(1)), 1, Weights(np.array([0]), np.ones(1))
        )
    assert readout.has_bias


def test_rows_whose_squares_underflow_are_compared_exactly() -> None:
    """An allowance for underflow in lengths is not small for these rows: it hid the wrong rival."""
    W = [
        [1.0988571499523328e-151, 6.0181465730975e-152],
        [-2.5240184725917813e-151, -1.345172899672332e-152],
        [2.4331654245214382e-151, 2.050203638607803e-151],
        [5.007936515632935e-151, 2.705057150613029e-152],
        [7.297547590722808e-152, -3.4563019596032534e-152],
    ]
    b = [
        -1.4750976544947194e-169,
        2.3059121995175127e-169,
        -3.888702782639219e-169,
        -4.5783188270863395e-169,
        8.087477571650757e-170,
    ]
    x = np.array([0.039111523763490405, -0.9992348516284337])
    low, _ = angle_bounds(problem(W, b, "rmsnorm"), 4, Finding(x))
    assert low <= 0.103913174414368258  # by mpmath at 400 bits
    assert low == pytest.approx(0.103913174414368258, abs=1e-15)


def test_a_change_too_large_for_a_float_is_bounded_by_the_largest() -> None:
    asked = problem([[1.0], [2.0], [0.5]], [-1.3e308, 1.6e308, 1.6e308], domains.box(1, 0.1))
    weights = Weights(np.array([1, 2]), np.array([0.5, 0.5]))
    low, high = freeing_bounds(asked, 0, Finding(np.array([0.1]), weights))
    assert low <= high
    assert math.isfinite(low)


def test_nothing_is_proven_in_bulk_where_subnormals_are_flushed() -> None:
    asked, ids = problem([[1.0], [-1.0]], None, "rmsnorm"), np.array([0, 1])
    with flushing(), pytest.raises(ArithmeticModeError):
        prove_points(asked, ids, np.array([[1.0], [-1.0]]))
    with flushing(), pytest.raises(ArithmeticModeError):
        prove_own_directions(asked, ids)
    aim = Aim.of(asked)
    with flushing(), pytest.raises(ArithmeticModeError):
        own_margins_below(aim, ids, 1.0, "own direction")
    with flushing(), pytest.raises(ArithmeticModeError):
        own_winners(asked.readout)


@pytest.mark.parametrize(
    "W",
    [
        np.array([[1.0], [math.nan]]),
        np.array([[1.0], [math.inf]]),
        np.array([[1.0], [2.0]], dtype=np.float32),
        np.array([[1], [2]]),
        np.array([1.0, 2.0]),
        np.ma.masked_array([[1.0], [2.0]]),
        np.zeros((0, 3)),
        np.zeros((2, 0)),
        [[1.0], [2.0]],
        np.array([[1.0], [2.0]], dtype=">f8"),
    ],
)
def test_a_readout_built_from_its_fields_is_checked(W: truth.Floats) -> None:
    with pytest.raises(InputError, match="W"):
        Readout(W, np.zeros(2))
    with pytest.raises(InputError, match="b"):
        Readout(np.ones((2, 1)), np.asarray(W).astype(float).ravel() * math.nan)


def test_what_somebody_writes_to_after_is_not_the_readout() -> None:
    W = np.ones((2, 1))
    readout = Readout(W, np.zeros(2))
    digest = Readout(np.ones((2, 1)), np.zeros(2)).digest
    W[0] = math.nan
    assert readout.digest == digest
    with pytest.raises(ValueError, match="read-only"):
        readout.W[0] = 1.0
