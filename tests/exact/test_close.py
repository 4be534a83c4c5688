"""The rivals near a token and the margins over them, against Fractions at the same points."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geom import Problem, Readout
from geom.exact import close, products
from geom.exact.close import close_rivals, margins_below
from geom.machine.devices import find_device, using
from geom.model import domains
from support.problems import cloud, problem
from support.truth import Floats, dot, fractions

NAMES = ("layernorm", "rmsnorm", "box", "unbounded")


@pytest.fixture(params=["cpu", "torch"])
def device(request: pytest.FixtureRequest) -> Iterator[None]:
    with using(find_device(request.param)[0]):
        yield


def margins(asked: Problem, token: int, x: Floats) -> list[Fraction | float]:
    """Return the margin over every token at x, exactly; infinity over the token itself."""
    readout, point = asked.readout, fractions(x)
    biases = readout.exact_biases(np.arange(readout.V))
    logits = [dot(fractions(row), point) + b for row, b in zip(readout.W, biases, strict=True)]
    return [math.inf if j == token else logits[token] - z for j, z in enumerate(logits)]


def check_rivals(asked: Problem, points: Floats, gaps: Floats, most: int) -> int:
    """Check every list of rivals; return how many are complete."""
    V = asked.readout.V
    near = close_rivals(asked, np.arange(V), points, gaps, most=most)
    assert (np.diff(near.owner) >= 0).all()
    for token, x in enumerate(points):
        listed = near.of(token).tolist()
        exact = margins(asked, token, x)
        assert token not in listed
        assert len(set(listed)) == len(listed) <= most
        if near.complete[token]:
            left = [m for j, m in enumerate(exact) if j != token and j not in listed]
            assert min(left, default=math.inf) > gaps[token]
    return int(near.complete.sum())


def check_bounds(asked: Problem, points: Floats, wanted: Floats | None) -> None:
    """Check every lower bound: true, and as high as the margin or as what was wanted."""
    V = asked.readout.V
    lower = margins_below(asked, np.arange(V), points, wanted)
    free = asked.homogeneous and not asked.domain.bounded
    for token, x in enumerate(points):
        margin = min(margins(asked, token, x))
        assert isinstance(margin, Fraction)
        bound = Fraction(lower[token])
        if free:  # per length
            square = dot(fractions(x), fractions(x))
            assert bound * abs(bound) * square <= margin * abs(margin)
            if wanted is None and square:
                length = Fraction(float(np.linalg.norm(x)))
                assert bound >= margin / length - abs(margin / length) * Fraction(1, 2**40)
            continue
        assert bound <= margin
        enough = margin if wanted is None else min(margin, Fraction(wanted[token]))
        assert Fraction(math.nextafter(lower[token], math.inf)) > enough


@st.composite
def questions(draw: st.DrawFn) -> tuple[Problem, Floats, Floats]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    V, d = draw(st.integers(2, 12)), draw(st.integers(1, 5))
    whole = draw(st.booleans())
    W = rng.integers(-3, 4, (V, d)).astype(float) if whole else rng.normal(size=(V, d))
    W *= 2.0 ** draw(st.sampled_from([-300, -40, 0, 3, 40, 300]))
    W += draw(st.sampled_from([0.0, 1.0, 1e6])) * np.abs(W).max()
    b = rng.normal(size=V) * draw(st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e4, 1e38, 1e300]))
    if draw(st.booleans()):
        b *= 10.0 ** -rng.integers(0, 60, V)
    asked = problem(W, b, draw(st.sampled_from(NAMES)))
    points = rng.normal(size=(V, d)) if not whole else rng.integers(-2, 3, (V, d)) * 1.0
    gaps = np.abs(rng.normal(size=V)) * draw(st.sampled_from([0.0, 1e-9, 1.0, 1e6, 1e300]))
    return asked, asked.domain.fit_all(points), gaps


@given(question=questions(), most=st.sampled_from([1, 3, 128]))
def test_a_rival_that_is_not_listed_is_beaten_by_more_than_the_gap(
    question: tuple[Problem, Floats, Floats], most: int
) -> None:
    asked, points, gaps = question
    check_rivals(asked, points, gaps, most)


@given(question=questions())
def test_bounds_are_the_margins_rounded_down(question: tuple[Problem, Floats, Floats]) -> None:
    asked, points, _ = question
    check_bounds(asked, points, None)


@given(question=questions())
def test_bounds_are_as_high_as_the_margins_or_as_what_is_wanted(
    question: tuple[Problem, Floats, Floats],
) -> None:
    check_bounds(*question)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("domain", NAMES)
@pytest.mark.parametrize("biased", [False, True])
def test_of_a_cloud_all_lists_are_complete_and_hold_little_more_than_is_close(
    domain: str, biased: bool
) -> None:
    b = 0.1 * cloud(60, 1, seed=1)[:, 0] if biased else None
    asked = problem(cloud(60, 4, seed=2), b, domain)
    points = asked.domain.fit_all(cloud(60, 4, seed=3))
    gaps = np.full(60, 0.25)
    assert check_rivals(asked, points, gaps, 128) == 60
    near = close_rivals(asked, np.arange(60), points, gaps)
    for token, x in enumerate(points):
        exact = margins(asked, token, x)
        assert all(exact[j] < 0.25 + 1e-4 for j in near.of(token))
    check_bounds(asked, points, None)
    check_bounds(asked, points, gaps)


@pytest.mark.usefixtures("device")
def test_of_more_rivals_than_asked_for_the_highest_are_listed() -> None:
    W = cloud(500, 3, seed=4)
    asked = problem(W, domain="rmsnorm")
    tokens = np.array([int(np.argmin(W[:, 0])), 7])
    points = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    near = close_rivals(asked, tokens, points, np.zeros(2), most=10)
    assert near.complete.tolist() == [False, False]
    assert set(near.of(0).tolist()) == set(np.argsort(-W[:, 0])[:10].tolist())
    assert near.of(1).size == 10


@pytest.mark.usefixtures("device")
def test_lists_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    W, points = cloud(90, 4, seed=5), cloud(90, 4, seed=6)
    most = 20
    before = close_rivals(problem(W), np.arange(90), points, np.zeros(90), most=most)
    monkeypatch.setattr(products, "ROWS", 7)
    monkeypatch.setattr(close, "CLOSE_POINTS", 11)
    after = close_rivals(problem(W), np.arange(90), points, np.zeros(90), most=most)
    assert (before.complete == after.complete).all()
    assert 5 < before.complete.sum() < 85
    for token in range(90):
        assert set(before.of(token).tolist()) == set(after.of(token).tolist())


@pytest.mark.parametrize("domain", ["rmsnorm", "unbounded"])
def test_ties_are_margins_of_zero_and_their_rivals_are_listed(domain: str) -> None:
    W = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [-1.0, -1.0]])
    asked = problem(W, domain=domain)
    points = np.tile([0.5, 0.5], (5, 1))
    near = close_rivals(asked, np.arange(5), points, np.zeros(5))
    assert set(near.of(2).tolist()) == {0, 1, 3}
    lower = margins_below(asked, np.arange(5), points)
    assert lower[:4].tolist() == [0.0] * 4
    assert lower[4] < -1.0


def test_a_margin_far_below_what_float32_sees_is_exact() -> None:
    W = np.array([[1.0, 2.0**-45], [1.0, 0.0], [-1.0, 0.0]])
    asked = problem(W, domain="rmsnorm")
    points = np.tile([0.0, 1.0], (3, 1))
    assert margins_below(asked, np.arange(3), points).tolist() == [
        2.0**-45,
        -(2.0**-45),
        -(2.0**-45),
    ]
    wanted = np.full(3, 2.0**-46)
    assert margins_below(asked, np.arange(3), points, wanted)[0] == 2.0**-46


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_numbers_that_float32_cannot_serve_are_computed_all_the_same(scale: float) -> None:
    """Differences of these rows overflow, or halves of them do not."""
    largest = float(np.finfo(np.float64).max) * scale
    asked = problem([[largest, 0.0], [-largest, 0.0], [0.0, largest]], [1.0, 0.0, 0.0], "box")
    points = np.array([[2.0**-30, 0.0], [2.0**-30, 0.0], [0.0, 0.0]])
    check_rivals(asked, points, np.zeros(3), 128)
    check_bounds(asked, points, None)


@pytest.mark.parametrize("scale", [1e-38, 1e-39, 1e-40, 1e-50, 1e-300])
def test_biases_that_dwarf_the_rows_hide_no_rival(scale: float) -> None:
    """In units of the rows the largest of such biases are infinite in float32."""
    b = np.array([-1e-9, -1e-10, -1.0, 1.0, 1e-30])
    asked = problem(scale * cloud(5, 2, seed=7), b, "rmsnorm")
    check_rivals(asked, np.tile([0.5, 0.5], (5, 1)), np.zeros(5), 128)
    check_bounds(asked, np.tile([0.5, 0.5], (5, 1)), None)


def test_a_shift_of_the_norm_is_part_of_the_margins() -> None:
    rng = np.random.default_rng(8)
    readout = Readout.fold(
        cloud(30, 4, seed=9),
        rng.normal(size=30),
        norm="layernorm",
        gamma=rng.normal(size=4),
        beta=1e6 * rng.normal(size=4),
    )
    asked = Problem(readout, readout.domain)
    points = asked.domain.fit_all(rng.normal(size=(30, 4)))
    check_rivals(asked, points, np.full(30, 1e-3), 128)
    check_bounds(asked, points, None)


def test_no_tokens_have_no_rivals() -> None:
    asked = problem(np.eye(3))
    none = np.zeros(0, dtype=np.int64)
    near = close_rivals(asked, none, np.zeros((0, 3)), np.zeros(0))
    assert (near.owner.size, near.rival.size, near.complete.size) == (0, 0, 0)
    assert margins_below(asked, none, np.zeros((0, 3))).size == 0


def test_many_tokens_are_asked_a_block_at_a_time() -> None:
    W = cloud(3, 2, seed=10)
    asked = Problem(Readout.fold(W), domains.rmsnorm(2))
    tokens = np.arange(5000) % 3
    points = np.random.default_rng(11).normal(size=(5000, 2))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    near = close_rivals(asked, tokens, points, np.zeros(5000))
    logits = points @ W.T
    for place in range(0, 5000, 97):
        gaps = logits[place, tokens[place]] - np.delete(logits[place], tokens[place])
        others = np.delete(np.arange(3), tokens[place])
        assert set(near.of(place).tolist()) >= set(others[gaps <= 0.0].tolist())
        assert set(near.of(place).tolist()) <= set(others[gaps <= 1e-5].tolist())
