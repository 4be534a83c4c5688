"""Points that prove nothing: of another type, outside the domain, or where another token ties."""

from __future__ import annotations

import math

import numpy as np
import pytest

from geom import Finding, judge
from support.judging import LEAST, SQUARE, at
from support.problems import problem


@pytest.mark.parametrize(
    "x",
    [
        np.array([1.0, np.nan]),
        np.array([np.inf, 0.0]),
        np.array([1.0, 1.0, 1.0]),
        np.array([[1.0, 1.0]]),
        np.array(1.0),
        np.array([]),
        np.array([1.0, 1.0], dtype=np.float32),
        np.array([1, 1]),
        np.array([1.0, 1.0]).astype(">f8"),
        np.ma.masked_array([1.0, 9.0], [False, True]),
        [1.0, 1.0],
    ],
    ids=repr,
)
def test_what_is_no_float64_point_proves_nothing(x: object) -> None:
    question = problem(SQUARE, domain="box")
    verdict = judge(question, 0, Finding(x))  # type: ignore[arg-type]
    assert (verdict.name, verdict.margin_lower) == ("undecided", None)
    assert "the point" in (verdict.note or "")


@pytest.mark.parametrize(
    ("domain", "x"),
    [
        ("box", [math.nextafter(1.0, 2.0), 0.0]),
        ("rmsnorm", [1.0, math.nextafter(1.0, 2.0)]),
        ("layernorm", [math.nextafter(1.0, 2.0), -math.nextafter(1.0, 2.0)]),
        ("layernorm", [0.5, -math.nextafter(0.5, 0.0)]),
        ("layernorm", [LEAST, 0.0]),
    ],
)
def test_a_point_one_ulp_outside_the_domain_proves_nothing(domain: str, x: list[float]) -> None:
    verdict = judge(problem([[1.0, 0.0], [-1.0, 0.0]], domain=domain), 0, at(*x))
    assert (verdict.name, verdict.margin_lower) == ("undecided", None)
    assert "not in the domain" in (verdict.note or "")


@pytest.mark.parametrize(
    ("domain", "x"),
    [("box", [1.0, -1.0]), ("rmsnorm", [1.0, -1.0]), ("layernorm", [1.0, -1.0])],
)
def test_a_point_on_the_border_of_the_domain_is_in_it(domain: str, x: list[float]) -> None:
    assert judge(problem([[1.0, 0.0], [-1.0, 0.0]], domain=domain), 0, at(*x)).decided


def test_a_point_where_another_token_ties_is_no_witness() -> None:
    verdict = judge(problem(SQUARE), 0, at(1.0, 0.0))
    assert (verdict.name, verdict.margin_lower) == ("undecided", 0.0)


def test_a_witness_of_another_token_is_none_of_this_one() -> None:
    assert not judge(problem(SQUARE), 1, at(1.0, 1.0)).decided
