"""Bounds along own directions from half a product, against margins in Fractions (`truth`)."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import geom
from geom import Problem, Readout
from geom.exact import symmetric
from geom.exact.aim import Aim
from geom.exact.bulk import own_direction, prove_own_directions
from geom.machine.devices import find_device, using
from geom.model import domains
from geom.numbers.arrays import Ids
from geom.progress import watched
from support import truth
from support.truth import Floats

NAMES = ("layernorm", "rmsnorm", "box", "unbounded")
CLOUD = np.random.default_rng(5).normal(size=(300, 6))
MANY = 10**9
"""More tokens than there are: none of them takes the half product."""


def problem(W: Floats, domain: str = "rmsnorm", b: Floats | None = None) -> Problem:
    return Problem(Readout.fold(W, b), domains.named(domain, W.shape[1], None))


def bounds(question: Problem, *, widen: float = 4.0, least: int = 1, block: int = 64) -> Floats:
    """Return the bounds of all tokens; the half product is used if there are ``least`` of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(symmetric, "LEAST", least)
        patch.setattr(symmetric, "_BLOCK", block)
        patch.setattr(symmetric, "_HELD_BYTES", 3 * 4 * block * (question.readout.d + 1))
        alone = Problem(Readout(question.readout.W, question.readout.b), question.domain)
        return prove_own_directions(alone, np.arange(question.readout.V), widen=widen)


def half_product(question: Problem, *, widen: float = 1.0) -> Floats:
    """Return the bounds that the half product has by itself, NaN where it has none."""
    ids = np.arange(question.readout.V)
    return symmetric.own_margins_below(Aim.of(question), ids, widen, "own direction")


def margin(question: Problem, token: int, x: Floats) -> Fraction:
    """Return the margin at ``x`` in Fractions; on an unbounded domain, rounded up, over ``|x|``."""
    found = truth.margin(question.readout.W, question.readout.b, token, x)
    if question.domain.bounded:
        return found
    return found / Fraction(float(np.linalg.norm(x))) * (1 + Fraction(1, 2**40))


@st.composite
def questions(draw: st.DrawFn) -> Problem:
    """Draw readouts without biases of all scales, off the origin in many ways."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    V, d = draw(st.integers(2, 12)), draw(st.integers(1, 5))
    whole = draw(st.booleans())
    W = rng.integers(-3, 4, (V, d)).astype(float) if whole else rng.normal(size=(V, d))
    W *= np.exp2(rng.uniform(-draw(st.sampled_from([0, 3, 50])), 0, (V, 1)))
    W *= 2.0 ** draw(st.sampled_from([-300, -40, 0, 3, 40, 300]))
    W += draw(st.sampled_from([0.0, 1.0, 1e6])) * np.abs(W).max()
    W += rng.normal(size=(V, 1)) * draw(st.sampled_from([0.0, 1e5])) * np.abs(W).max()
    return problem(W, draw(st.sampled_from(NAMES)))


@pytest.fixture(params=["cpu", "torch"])
def device(request: pytest.FixtureRequest) -> Iterator[None]:
    with using(find_device(request.param)[0]):
        yield


@given(question=questions(), block=st.integers(1, 5), widen=st.sampled_from([1.0, 4.0]))
def test_a_bound_is_below_the_margin_at_the_point(
    question: Problem, block: int, widen: float
) -> None:
    lower = bounds(question, widen=widen, block=block)
    for token in np.flatnonzero(lower > 0.0).tolist():
        x = own_direction(question, token)
        assert question.domain.contains(x)
        assert Fraction(lower[token]) <= margin(question, token, x)


@given(question=questions(), seed=st.integers(0, 2**32))
def test_a_bound_holds_wherever_a_machine_may_rebuild_the_point(
    question: Problem, seed: int
) -> None:
    lower, rng = half_product(question), np.random.default_rng(seed)
    points, spread = Aim.of(question).points(np.arange(question.readout.V))
    for token in np.flatnonzero(lower > 0.0).tolist():
        off = rng.normal(size=question.readout.d)
        off *= 0.999 * spread[token] / np.linalg.norm(off)
        x = points[token] + (off - off.mean() if question.domain.zero_sum else off)
        if question.domain.zero_sum:
            x = zero_sum(x)
        assert Fraction(lower[token]) <= margin(question, token, x)


def zero_sum(x: Floats) -> Floats:
    """Return ``x`` on a grid of 50 bits, with sum exactly zero."""
    return domains.Domain("plane", x.size, "all", zero_sum=True).fit(x)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("domain", NAMES)
def test_the_same_tokens_win_as_by_the_whole_product(domain: str) -> None:
    question = problem(CLOUD, domain)
    for widen in (1.0, 4.0):
        half = bounds(question, widen=widen)
        whole = bounds(question, widen=widen, least=MANY)
        assert ((half > 0.0) == (whole > 0.0)).all()
        assert 20 < (half > 0.0).sum() < 280
        won = half > 0.0
        assert half[won] == pytest.approx(whole[won], rel=1e-3, abs=1e-5)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("domain", NAMES)
def test_the_winners_are_those_of_float64(domain: str) -> None:
    question = problem(CLOUD, domain)
    points = [own_direction(question, token) for token in range(300)]
    margins = np.array([question.margins(t, x).min() for t, x in enumerate(points)])
    clear = np.abs(margins) > 1e-4 * np.array([np.linalg.norm(x) for x in points])
    assert clear.sum() > 290
    assert ((half_product(question) > 0.0) == (margins > 0.0))[clear].all()


@pytest.mark.usefixtures("device")
def test_bounds_do_not_depend_on_the_blocks() -> None:
    question = problem(CLOUD)
    whole = bounds(question, block=512)
    for block in (1, 7, 100, 150, 299):
        assert bounds(question, block=block) == pytest.approx(whole, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("domain", ["layernorm", "rmsnorm"])
def test_some_tokens_are_bounded_as_among_all_of_them(
    domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symmetric, "LEAST", 100)
    monkeypatch.setattr(symmetric, "_BLOCK", 64)
    whole = bounds(problem(CLOUD, domain), widen=1.0)
    some = np.random.default_rng(0).choice(300, 150)  # some of them twice
    found = prove_own_directions(problem(CLOUD, domain), some, widen=1.0)
    assert found == pytest.approx(whole[some], rel=1e-4)


@pytest.mark.parametrize("domain", NAMES)
@pytest.mark.parametrize(("claimed", "checked"), [(1, 1), (1, MANY), (MANY, 1)])
def test_a_claim_is_below_what_a_check_finds(domain: str, claimed: int, checked: int) -> None:
    question = problem(CLOUD, domain)
    claims = bounds(question, least=claimed)
    checks = bounds(question, widen=1.0, least=checked)
    assert (claims > 0.0).sum() > 20
    assert (claims[claims > 0.0] < checks[claims > 0.0]).all()


@given(question=questions(), seed=st.integers(0, 2**32))
def test_a_claim_is_confirmed_where_sums_have_another_order(question: Problem, seed: int) -> None:
    rng = np.random.default_rng(seed)
    V, d = question.readout.W.shape
    rows, columns = rng.permutation(V), rng.permutation(d)
    other = Problem(Readout.fold(question.readout.W[rows][:, columns]), question.domain)
    claims, checks = np.empty((2, V))
    claims[:] = bounds(question, block=4)
    checks[rows] = bounds(other, widen=1.0, block=3)
    assert (claims[claims > 0.0] <= checks[claims > 0.0]).all()


@pytest.mark.parametrize("domain", NAMES)
def test_twins_zero_rows_and_the_mean_are_never_proven(domain: str) -> None:
    W = np.vstack([CLOUD, CLOUD[:3], -CLOUD.sum(axis=0), np.zeros(6)])
    lower = bounds(problem(W, domain))
    assert (lower[[0, 1, 2, 300, 301, 302, 304]] == -np.inf).all()
    assert (bounds(problem(np.ones((9, 3)), domain)) == -np.inf).all()
    assert (bounds(problem(np.zeros((9, 3)), domain)) == -np.inf).all()


def test_tokens_whose_point_is_spread_widely_take_the_whole_product() -> None:
    question = problem(CLOUD + 1e8)
    assert np.isnan(half_product(question)).all()
    assert (bounds(question) == bounds(question, least=MANY)).all()
    assert (bounds(question) > 0.0).sum() > 20


def test_rows_much_shorter_than_others_take_the_whole_product() -> None:
    question = problem(np.vstack([CLOUD, 2.0**60 * np.eye(6), -(2.0**60) * np.eye(6)]))
    half = half_product(question)
    assert np.isnan(half[:300]).all()
    assert (half[300:] > 0.0).all()


def test_numbers_past_float32_prove_nothing_wrong() -> None:
    W = CLOUD[:40] * np.logspace(-300, 300, 40)[:, None]
    question = problem(W)
    lower = bounds(question)
    for token in np.flatnonzero(lower > 0.0).tolist():
        assert margin(question, token, own_direction(question, token)) >= lower[token]


@pytest.mark.parametrize("radius", [1e-290, 1e-200, 1e200, 1e308])
@pytest.mark.parametrize("scale", [2.0**-200, 1.0, 2.0**200])
def test_a_box_of_any_size_proves_nothing_wrong(radius: float, scale: float) -> None:
    question = Problem(Readout.fold(scale * CLOUD[:40]), domains.box(6, radius))
    lower = bounds(question)
    for token in np.flatnonzero(lower > 0.0).tolist():
        assert margin(question, token, own_direction(question, token)) >= lower[token]


def test_biases_and_few_tokens_take_the_whole_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symmetric, "LEAST", 300)
    asked: list[int] = []
    compute = symmetric.own_margins_below

    def watch(aim: Aim, tokens: Ids, widen: float, stage: str) -> Floats:
        asked.append(len(tokens))
        return compute(aim, tokens, widen, stage)

    monkeypatch.setattr(symmetric, "own_margins_below", watch)
    prove_own_directions(problem(CLOUD), np.arange(299))
    prove_own_directions(problem(CLOUD, b=np.arange(300.0)), np.arange(300))
    assert asked == []
    prove_own_directions(problem(CLOUD, b=np.ones(300)), np.arange(300))
    assert asked == [300]


def test_progress_is_in_tokens_from_none_to_all() -> None:
    seen: list[tuple[str, float, float, str]] = []
    with watched(lambda *said: seen.append(said)):
        bounds(problem(CLOUD), block=32)
    assert {(stage, total, unit) for stage, _, total, unit in seen} == {
        ("own direction", 300, "tokens")
    }
    assert seen[0][1] == 0
    assert seen[-1][1] == 300
    assert all(before[1] <= after[1] for before, after in pairwise(seen))


@pytest.mark.parametrize("domain", ["layernorm", "rmsnorm"])
def test_the_memory_stated_is_enough(domain: str) -> None:
    W = np.random.default_rng(3).normal(size=(6000, 40))
    question = problem(W, domain)
    aim = Aim.of(question)
    tracemalloc.start()
    symmetric.own_margins_below(aim, np.arange(6000), 1.0, "own direction")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= symmetric.memory(question.readout) <= 4 * peak


def test_a_run_and_its_verification_take_half_products(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symmetric, "LEAST", 20)
    asked: list[tuple[int, float]] = []
    compute = symmetric.own_margins_below

    def watch(aim: Aim, tokens: Ids, widen: float, stage: str) -> Floats:
        asked.append((len(tokens), widen))
        return compute(aim, tokens, widen, stage)

    monkeypatch.setattr(symmetric, "own_margins_below", watch)
    readout = Readout.fold(CLOUD)
    with geom.run(readout, tokens="all", domain="rmsnorm", out=tmp_path / "run.db") as run:
        easy = run.recipes()
        assert len(easy) > 20
        for row in run.rows():
            if row.token_id in easy:
                assert row.margin_lower is not None
                x = own_direction(run.problem, row.token_id)
                assert 0 < row.margin_lower <= margin(run.problem, row.token_id, x)
        assert geom.verify(run, readout).ok
    assert [widen for _, widen in asked] == [4.0, 1.0]
    assert asked[1][0] == len(easy)
