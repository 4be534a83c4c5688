"""A final norm's shift, kept exactly: what it leaves unchanged, and what it moves."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import Finding, InputError, Problem, Readout, Weights, judge
from geom.exact.balls import ball_bounds
from geom.exact.bulk import prove_own_directions, prove_points
from geom.exact.margins import margin_bounds
from geom.exact.points import margin_at
from geom.model import domains
from geom.model.shared import shared
from geom.model.shift import Shift
from support import truth
from support.truth import Floats

NAMES = ("layernorm", "rmsnorm", "box", "unbounded")


def parts(V: int, d: int, seed: int, size: float = 0.1) -> tuple[Floats, Floats, Floats]:
    """Draw rows, scale and shift as a float32 checkpoint has them."""
    rng = np.random.default_rng(seed)
    W, gamma, beta = rng.standard_normal((V, d)), rng.normal(1.0, 0.3, d), rng.standard_normal(d)
    return tuple(v.astype(np.float32).astype(float) for v in (W, gamma, size * beta))  # type: ignore[return-value]


def folded(V: int, d: int, seed: int, size: float = 0.1) -> Readout:
    W, gamma, beta = parts(V, d, seed, size)
    return Readout.fold(W, norm="layernorm", gamma=gamma, beta=beta)


def asked(readout: Readout, name: str) -> Problem:
    return Problem(readout, domains.named(name, readout.d, None))


def true_logits(
    W: Floats, gamma: Floats, beta: Floats, x: Floats, b: Floats | None = None
) -> list[Fraction]:
    """Return ``W (gamma * x + beta) + b`` in Fractions, as the network's last layers define it."""
    emitted = [
        g * v + shift for g, v, shift in zip(*map(truth.fractions, (gamma, x, beta)), strict=True)
    ]
    biases = truth.fractions(np.zeros(len(W)) if b is None else b)
    return [truth.dot(truth.fractions(row), emitted) + c for row, c in zip(W, biases, strict=True)]


def true_margin(logits: list[Fraction], token: int) -> Fraction:
    return min(logits[token] - logit for j, logit in enumerate(logits) if j != token)


@pytest.mark.parametrize("seed", range(5))
def test_margins_are_those_of_the_checkpoint_not_of_a_rounded_bias(seed: int) -> None:
    W, gamma, beta = parts(9, 4, seed)
    b = np.random.default_rng(seed).standard_normal(9)
    readout = Readout.fold(W, b, norm="layernorm", gamma=gamma, beta=beta)
    for x in (np.zeros(4), np.random.default_rng(seed).standard_normal(4)):
        logits = true_logits(W, gamma, beta, x, b)
        for token in range(9):
            assert margin_at(asked(readout, "unbounded"), token, x) == true_margin(logits, token)


def test_a_rounded_bias_is_within_its_bound() -> None:
    W, gamma, beta = parts(200, 16, 1, size=10.0)
    readout = Readout.fold(W, norm="layernorm", gamma=gamma, beta=beta)
    exact = true_logits(W, gamma, beta, np.zeros(16))
    off = [abs(e - Fraction(b)) for e, b in zip(exact, readout.b.tolist(), strict=True)]
    assert max(off) > 0
    assert all(
        error <= Fraction(bound)
        for error, bound in zip(off, readout.bias_errors.tolist(), strict=True)
    )
    assert readout.exact_biases(np.arange(200)) == exact


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [3])
def test_no_token_is_left_undecided_by_a_shift(name: str, seed: int) -> None:
    readout = folded(80, 3, seed)
    run = geom.run(readout, tokens="all", domain=name)
    verdicts = {row.token_id: row.verdict for row in run.rows()}
    assert "undecided" not in verdicts.values()
    if name != "layernorm":  # -beta/gamma is in the domain: a token that wins anywhere wins near it
        hull = truth.hull_tokens(readout.W)
        assert {t for t, verdict in verdicts.items() if verdict == "speakable"} == hull
    assert geom.verify(run, readout).ok


@pytest.mark.parametrize("name", NAMES)
def test_what_is_proven_of_a_shift_is_so(name: str) -> None:
    rng = np.random.default_rng(7)
    for seed in range(20):
        W, gamma, beta = parts(6, 2, seed, size=(0.0, 0.3, 3.0)[seed % 3])
        readout = Readout.fold(W, norm="layernorm", gamma=gamma, beta=beta)
        problem = asked(readout, name)
        for token in range(6):
            lam = Weights(np.delete(np.arange(6), token), rng.exponential(size=5) ** 2)
            x = problem.domain.fit(rng.standard_normal(2))
            verdict = judge(problem, token, Finding(x, lam))
            low, high = margin_bounds(problem, token, Finding(x, lam))
            for sample in problem.domain.sample(rng, 30):
                inside = problem.domain.fit(sample)
                found = true_margin(true_logits(W, gamma, beta, inside), token)
                assert verdict.name != "unspeakable" or found <= 0
                assert high == np.inf or found <= Fraction(high)
            at_x = true_margin(true_logits(W, gamma, beta, x), token)
            if verdict.name == "speakable":
                assert at_x > 0
            bulk = prove_points(problem, np.array([token]), x[None])[0]
            assert bulk == -np.inf or at_x > 0
            if problem.domain.bounded or not problem.homogeneous:
                assert bulk == -np.inf or Fraction(bulk) <= at_x
            assert not low > 0 or not high <= 0


def test_a_midpoint_of_two_rows_is_unspeakable_wherever_the_shift_is_undone() -> None:
    W, gamma, beta = parts(8, 3, 5)
    W[0] = (W[1] + W[2]) / 2
    readout = Readout.fold(W, norm="layernorm", gamma=gamma, beta=beta)
    claim = Finding(weights=Weights(np.array([1, 2]), np.array([0.5, 0.5])))
    for name in NAMES:
        verdict = judge(asked(readout, name), 0, claim)
        assert (verdict.name, verdict.margin_upper) == ("unspeakable", 0.0)


def test_where_a_sum_of_zero_is_asked_the_shift_counts_along_ones() -> None:
    """On the plane ``sum(x) = 0`` in R^2 the rows [1, 0] and [0, -1] differ only along ones."""
    W, beta = np.array([[1.0, 0.0], [0.0, -1.0]]), np.array([0.25, 0.5])
    readout = Readout.fold(W, norm="layernorm", beta=beta)
    problem = asked(readout, "layernorm")  # logits x + 1/4 and x - 1/2
    assert judge(problem, 0, Finding(np.zeros(2))).margin_lower == 0.75
    verdict = judge(problem, 1, Finding(weights=Weights(np.array([0]), np.array([1.0]))))
    assert verdict.name == "unspeakable"
    assert verdict.margin_upper == pytest.approx(-0.75)
    low, high = margin_bounds(problem, 1, Finding(np.zeros(2), verdict.certificate))  # type: ignore[arg-type]
    assert low <= -0.75 <= high
    assert ball_bounds(problem, 1, Finding(np.zeros(2)))[0] == 0.0


@pytest.mark.parametrize(
    "precision",
    ["bfloat16", "float32", "float64", "longdouble", "double-double", "mpmath", "arb", "exact"],
)
def test_what_a_precision_encloses_is_the_margin_with_the_shift(precision: str) -> None:
    W, gamma, beta = parts(30, 8, 2, size=3.0)
    readout = Readout.fold(W, norm="layernorm", gamma=gamma, beta=beta)
    x = np.random.default_rng(2).standard_normal(8)
    for point in (x, -beta / gamma, np.zeros(8)):
        (row,) = geom.compare(readout, [4], [precision], at=point, domain="unbounded").rows
        assert row.margin is not None
        exact = true_margin(true_logits(W, gamma, beta, point), 4)
        assert row.error is not None
        assert abs(Fraction(row.margin) - exact) <= Fraction(row.error)


@pytest.mark.parametrize("exponent", [-900, 900])
def test_a_shift_is_scaled_with_the_rows(exponent: int) -> None:
    W, gamma, beta = parts(20, 2, 6)
    plain = Readout.fold(W, norm="layernorm", gamma=gamma, beta=beta)
    scaled = Readout.fold(np.ldexp(W, exponent), norm="layernorm", gamma=gamma, beta=beta)
    small = asked(scaled, "box").unit.readout
    assert small.exact_biases(np.arange(20)) == [
        bias * Fraction(2) ** -asked(scaled, "box").exponent
        for bias in scaled.exact_biases(np.arange(20))
    ]
    verdicts = [
        [row.verdict for row in geom.run(readout, tokens="all", domain="box").rows()]
        for readout in (plain, scaled)
    ]
    assert verdicts[0] == verdicts[1]
    assert "undecided" not in verdicts[0]


def test_own_directions_are_proven_in_bulk_with_a_shift() -> None:
    W, gamma, beta = parts(300, 32, 9)
    readout = Readout.fold(W, norm="layernorm", gamma=gamma, beta=beta)
    lower = prove_own_directions(asked(readout, "layernorm"), np.arange(300))
    assert (lower > 0).sum() > 250


def test_the_shift_goes_along(tmp_path: Path) -> None:
    readout = folded(20, 4, 1)
    assert readout.shift is not None
    with shared(readout, tmp_path) as copy:
        assert copy.shift is readout.shift
        assert copy.digest == readout.digest
    assert readout.without_bias().shift is None
    assert not readout.without_bias().has_bias
    plain = Readout(readout.W, readout.b, norm="layernorm")
    assert plain.digest != readout.digest


def test_no_shift_is_kept_where_none_is() -> None:
    W = parts(5, 3, 1)[0]
    assert Readout.fold(W, beta=np.zeros(3)).shift is None
    hidden = Readout.fold(W, gamma=np.array([1.0, 0.0, 1.0]), beta=np.array([0.0, 1.0, 1.0]))
    assert hidden.shift is None  # a scale of zero hides part of x
    assert hidden.b == pytest.approx(W[:, 1] + W[:, 2])


@pytest.mark.parametrize(
    ("beta", "gamma", "bias", "named"),
    [
        ([1.0], [1.0, 1.0], [0.0, 0.0], "beta"),
        ([1.0, 0.0], [0.0, 1.0], [0.0, 0.0], "gamma"),
        ([1.0, 0.0], [1.0, 1.0], [0.0], "bias"),
        ([1.0, np.nan], [1.0, 1.0], [0.0, 0.0], "beta"),
        ([2.0, 0.0], [1.0, 1.0], [0.0, 0.0], "b is not W times the shift"),
    ],
)
def test_a_shift_that_does_not_fit_is_refused(
    beta: list[float], gamma: list[float], bias: list[float], named: str
) -> None:
    shift = Shift(np.array(beta), np.array(gamma), np.array(bias))
    with pytest.raises(InputError, match=named):
        Readout(np.eye(2), np.array([1.0, 0.0]), shift=shift)
