"""The domains: Fractions decide membership here, and hand computation on the borders."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geom import Domain, InputError, Problem, Readout
from geom.model import domains
from support.truth import Floats, fractions

KINDS = ["layernorm", "rmsnorm", "box", "unbounded"]

vectors = st.integers(1, 9).flatmap(
    lambda d: arrays(np.float64, d, elements=st.floats(allow_nan=False, allow_infinity=False))
)


def inside(domain: Domain, x: Floats) -> bool:
    """Return membership by the sets' definitions, in Fractions."""
    entries = fractions(x)
    d, radius = len(entries), Fraction(domain.radius) if domain.name == "box" else None
    return {
        "layernorm": sum(entries) == 0 and sum(e * e for e in entries) <= d,
        "rmsnorm": sum(e * e for e in entries) <= d,
        "box": radius is not None and max(map(abs, entries)) <= radius,
        "unbounded": True,
    }[domain.name]


# Membership


@pytest.mark.parametrize("kind", KINDS)
@given(x=vectors)
def test_membership_is_that_of_fractions(kind: str, x: Floats) -> None:
    domain = domains.named(kind, x.size, None)
    assert domain.contains(x) == inside(domain, x)


@pytest.mark.parametrize("kind", KINDS)
@given(x=st.integers(1, 6).flatmap(lambda d: arrays(np.float64, d, elements=st.floats(-2, 2))))
def test_membership_near_the_border_is_that_of_fractions(kind: str, x: Floats) -> None:
    domain = domains.named(kind, x.size, None)
    assert domain.contains(x) == inside(domain, x)


@pytest.mark.parametrize("kind", KINDS)
def test_the_origin_is_in_every_domain(kind: str) -> None:
    assert domains.named(kind, 3, None).contains(np.zeros(3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "x", [[0.0, np.nan], [np.inf, -np.inf], [0.0], [0.0, 0.0, 0.0], [[0.0, 0.0]]], ids=repr
)
def test_what_is_no_vector_of_finite_numbers_is_in_none(kind: str, x: list[float]) -> None:
    assert not domains.named(kind, 2, None).contains(np.array(x))


def test_the_sphere_belongs_to_the_ball_and_one_ulp_more_does_not() -> None:
    ball = domains.rmsnorm(4)
    assert ball.contains(np.ones(4))
    assert not ball.contains(np.array([1.0, 1.0, 1.0, math.nextafter(1.0, 2.0)]))


def test_an_irrational_radius_is_compared_as_its_square() -> None:
    root = math.sqrt(2.0)
    assert Fraction(root) ** 2 > 2
    assert not domains.rmsnorm(2).contains(np.array([root, 0.0]))
    assert domains.rmsnorm(2).contains(np.array([math.nextafter(root, 0.0), 0.0]))


def test_the_sum_on_the_layernorm_ball_is_exactly_zero() -> None:
    ball = domains.layernorm(3)
    assert ball.contains(np.array([0.1, -0.1, 0.0]))
    assert sum([0.1, 0.2, -0.3]) != 0.0
    assert not ball.contains(np.array([0.1, 0.2, -0.3]))


def test_a_sum_that_float64_takes_for_zero_is_not_zero() -> None:
    x = np.array([1.0, 2.0**-60, -1.0])
    assert x.sum() == 0.0
    assert not domains.layernorm(3).contains(x)


def test_the_layernorm_ball_of_one_dimension_is_the_origin() -> None:
    assert domains.layernorm(1).contains(np.zeros(1))
    assert not domains.layernorm(1).contains(np.array([5e-324]))


# Many at once


many = st.tuples(st.integers(1, 5), st.integers(1, 6)).flatmap(
    lambda shape: arrays(
        np.float64, shape, elements=st.floats(allow_nan=False, allow_infinity=False)
    )
)
near = st.tuples(st.integers(1, 5), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-2, 2))
)


@pytest.mark.parametrize("kind", KINDS)
@given(points=st.one_of(many, near))
def test_membership_of_many_is_that_of_fractions(kind: str, points: Floats) -> None:
    domain = domains.named(kind, points.shape[1], None)
    assert domain.contains_all(points).tolist() == [inside(domain, x) for x in points]


@pytest.mark.parametrize("kind", KINDS)
@given(points=st.one_of(many, near))
def test_many_are_fitted_as_each_is_and_all_are_inside(kind: str, points: Floats) -> None:
    domain = domains.named(kind, points.shape[1], None)
    fitted = domain.fit_all(points)
    assert (fitted == [domain.fit(x) for x in points]).all()
    assert all(inside(domain, x) for x in fitted)
    assert domain.contains_all(fitted).all()


def test_many_points_around_the_sphere_are_told_apart() -> None:
    length = math.nextafter(2.0, 0.0)
    points = np.zeros((5, 4))
    points[0] = 1.0
    points[1] = [1.0, 1.0, 1.0, math.nextafter(1.0, 2.0)]
    points[2, 0], points[3, 0], points[4, 0] = 2.0, length, math.nextafter(2.0, 3.0)
    assert domains.rmsnorm(4).contains_all(points).tolist() == [True, False, True, True, False]


def test_of_many_points_a_sum_that_float64_takes_for_zero_is_not_zero() -> None:
    points = np.array([[1.0, 2.0**-60, -1.0], [0.1, 0.2, -0.3], [0.5, -0.25, -0.25]])
    assert domains.layernorm(3).contains_all(points).tolist() == [False, False, True]


@pytest.mark.parametrize("size", [Fraction(8, 10**324), Fraction(10**616), Fraction(2, 10**616)])
def test_many_are_in_a_ball_of_any_size_as_fractions_say(size: Fraction) -> None:
    """The square of such a radius is a subnormal float or none; sums of such points overflow."""
    ball = Domain("own", 101, "ball", size, zero_sum=True)
    radius = math.sqrt(size * 10**600) * 1e-300 if size < 1 else 1e308
    signs = np.array([1.0] * 50 + [-1.0] * 50 + [0.0])
    points = np.outer([0.5, 0.9, 0.99, 1.01, 1.05, 1.6, 9.0], signs) * (radius / 10.0)
    truth = [sum(e * e for e in fractions(x)) <= size for x in points]
    assert ball.contains_all(points).tolist() == truth


@pytest.mark.parametrize("kind", KINDS)
def test_what_are_no_vectors_of_finite_numbers_are_in_none(kind: str) -> None:
    domain = domains.named(kind, 2, None)
    points = np.array([[0.0, np.nan], [np.inf, -np.inf], [0.0, 0.0], [-np.inf, 0.0]])
    assert domain.contains_all(points).tolist() == [False, False, True, False]
    assert not domain.contains_all(np.zeros((2, 3))).any()
    assert domain.contains_all(np.zeros((0, 2))).shape == (0,)
    for bad in (points, np.zeros((2, 3)), np.zeros(2)):
        with pytest.raises(InputError, match="must be 2 finite numbers"):
            domain.fit_all(bad)


# Fitting


@pytest.mark.parametrize("kind", KINDS)
@given(x=vectors)
def test_what_is_fitted_is_in_the_domain(kind: str, x: Floats) -> None:
    domain = domains.named(kind, x.size, None)
    assert inside(domain, domain.fit(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-310, 1e-160, 1.0, 1e160, 1e308])
@pytest.mark.parametrize("d", [1, 2, 768])
def test_points_of_every_scale_can_be_fitted(kind: str, scale: float, d: int) -> None:
    domain = domains.named(kind, d, None)
    x = np.random.default_rng(0).uniform(-1.0, 1.0, d) * scale
    assert inside(domain, domain.fit(x))


def test_fitting_a_long_vector_with_one_great_entry_keeps_it_in_the_ball() -> None:
    x = np.full(4096, 0.7 + 2.0**-30)
    x[0] = 1e3
    assert inside(domains.layernorm(4096), domains.layernorm(4096).fit(x))


@pytest.mark.parametrize("kind", ["rmsnorm", "box", "unbounded"])
def test_a_point_of_the_domain_is_fitted_by_itself(kind: str) -> None:
    x = np.array([0.5, -0.25, 0.1])
    assert domains.named(kind, 3, None).fit(x).tolist() == x.tolist()


def test_an_unbounded_point_keeps_its_length_as_a_bias_may_need_it() -> None:
    assert domains.unbounded(2).fit(np.array([1e9, -3.0])).tolist() == [1e9, -3.0]


@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm", "box"])
def test_fitting_keeps_the_direction(kind: str) -> None:
    x = np.random.default_rng(1).normal(size=50) * 100
    x -= x.mean()
    fitted = domains.named(kind, 50, None).fit(x)
    assert fitted @ x == pytest.approx(np.linalg.norm(fitted) * np.linalg.norm(x), rel=1e-12)


@pytest.mark.parametrize(("kind", "length"), [("layernorm", 3.0), ("rmsnorm", 3.0), ("box", 1.0)])
def test_a_long_vector_is_fitted_to_the_border(kind: str, length: float) -> None:
    x = np.array([40.0, -40.0, 0.0, 5.0, -5.0, 10.0, -10.0, 7.0, -7.0])
    fitted = domains.named(kind, 9, None).fit(x)
    reached = np.abs(fitted).max() if kind == "box" else np.linalg.norm(fitted)
    assert reached == pytest.approx(length, rel=1e-9)


@pytest.mark.parametrize("x", [[np.nan, 0.0], [np.inf, 0.0], [1.0], [[1.0, 2.0]]], ids=repr)
def test_what_is_no_vector_of_finite_numbers_is_not_fitted(x: list[float]) -> None:
    with pytest.raises(InputError, match="2 finite numbers"):
        domains.box(2).fit(np.array(x))


# Sampling


@pytest.mark.parametrize("kind", KINDS)
def test_samples_lie_in_the_domain_to_rounding(kind: str) -> None:
    domain = domains.named(kind, 5, None)
    x = domain.sample(np.random.default_rng(0), 200)
    assert x.shape == (200, 5)
    assert all(inside(domain, domain.fit(row)) for row in x)
    assert np.allclose([domain.fit(row) for row in x], x, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("kind", "freedom"), [("rmsnorm", 3), ("layernorm", 2)])
def test_half_the_samples_of_a_ball_lie_within_the_radius_of_half_its_volume(
    kind: str, freedom: int
) -> None:
    x = domains.named(kind, 3, None).sample(np.random.default_rng(0), 4000)
    within = np.linalg.norm(x, axis=1) < math.sqrt(3) * 0.5 ** (1 / freedom)
    assert within.mean() == pytest.approx(0.5, abs=0.03)


def test_all_samples_of_a_domain_that_is_a_point_are_that_point() -> None:
    assert not domains.layernorm(1).sample(np.random.default_rng(0), 5).any()


# Names


@pytest.mark.parametrize(
    ("norm", "name"),
    [("layernorm", "layernorm"), ("rmsnorm", "rmsnorm"), (None, "unbounded")],
)
def test_auto_is_what_the_final_norm_implies(norm: str | None, name: str) -> None:
    assert domains.named("auto", 7, norm) == domains.named(name, 7, None)


def test_a_domain_that_is_named_does_not_ask_the_norm() -> None:
    assert domains.named("box", 7, "layernorm", 2.5) == domains.box(7, 2.5)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="'layernorm'"):
        domains.named("layer-norm", 7, None)


@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan, math.inf])
def test_a_box_has_a_positive_finite_radius(radius: float) -> None:
    with pytest.raises(InputError, match="radius"):
        domains.box(3, radius)


@pytest.mark.parametrize(
    ("kind", "radius"),
    [("layernorm", 3.0), ("rmsnorm", 3.0), ("box", 1.0), ("unbounded", math.inf)],
)
def test_radii_are_those_of_the_table(kind: str, radius: float) -> None:
    domain = domains.named(kind, 9, None)
    assert domain.radius == radius
    assert domain.bounded == math.isfinite(radius)


def test_a_box_is_printed_with_its_radius_and_others_by_name() -> None:
    assert str(domains.box(3, 0.5)) == "box(radius=0.5)"
    assert str(domains.layernorm(3)) == "layernorm"


# Settings

OWN = Domain("own", 3, "ball", Fraction(2, 7), zero_sum=True)


@pytest.mark.parametrize(
    "domain",
    [*(domains.named(kind, 3, None) for kind in KINDS), domains.box(3, 0.1), OWN],
    ids=str,
)
def test_a_domain_is_read_back_from_its_settings(domain: Domain) -> None:
    stored = json.loads(json.dumps(domains.as_settings(domain)))
    assert domains.from_settings(stored, 3) == domain


@pytest.mark.parametrize(
    "change",
    [
        {"size": "-1"},
        {"size": None},
        {"size": "wide"},
        {"size": "1/0"},
        {"size": []},
        {"shape": "all"},
        {"shape": "all", "size": "-1"},
        {"shape": "cone"},
        {"name": "rmsnorm"},
        {"name": "auto"},
        {"name": "box", "shape": "box", "size": "1e400"},
    ],
    ids=repr,
)
def test_settings_that_describe_no_domain_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"does not describe a domain|name of its own|radius"):
        domains.from_settings(domains.as_settings(OWN) | change, 3)


@pytest.mark.parametrize("missing", ["name", "shape", "size", "zero_sum"])
def test_settings_that_lack_a_part_are_refused(missing: str) -> None:
    stored = domains.as_settings(OWN)
    del stored[missing]
    with pytest.raises(InputError, match="does not describe a domain"):
        domains.from_settings(stored, 3)


def test_a_domain_may_not_bear_the_name_of_another() -> None:
    with pytest.raises(InputError, match="name of its own"):
        domains.checked(replace(domains.layernorm(3), size=Fraction(1)))
    assert domains.checked(OWN) is OWN


def test_a_radius_that_no_float_holds_is_infinite() -> None:
    assert Domain("vast", 1, "ball", Fraction(10) ** 700).radius == math.inf


# Problems


def test_a_domain_of_another_dimension_is_refused() -> None:
    with pytest.raises(InputError, match="dimension 3, the readout 2"):
        Problem(Readout.fold(np.eye(2)), domains.box(3))


@pytest.mark.parametrize(("b", "homogeneous"), [([1.0, 1.0], True), ([1.0, 2.0], False)])
def test_a_bias_that_is_the_same_for_all_is_none(b: list[float], homogeneous: bool) -> None:
    assert Problem(Readout.fold(np.eye(2), b), domains.box(2)).homogeneous is homogeneous


def test_the_margin_of_a_token_over_itself_is_infinite() -> None:
    question = Problem(Readout.fold([[2.0], [1.0], [0.0]], [0.0, 0.5, 0.0]), domains.box(1))
    assert question.margins(0, np.ones(1)).tolist() == [np.inf, 0.5, 2.0]


def test_differences_are_those_of_rows_and_biases() -> None:
    question = Problem(Readout.fold([[2.0], [1.0], [0.0]], [0.0, 0.5, 0.0]), domains.box(1))
    a, c = question.differences(1, np.array([2, 0]))
    assert (a.tolist(), c.tolist()) == ([[-1.0], [1.0]], [-0.5, -0.5])
