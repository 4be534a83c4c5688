"""The mpmath certifier: its enclosures hold the exact numbers, and its notes claim no more."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geom import Certifier, Enclosure, Finding, InputError, NoOptions, Problem, Readout, Weights
from geom.model.domains import Domain, box, layernorm, rmsnorm, unbounded
from geom.plugins.chosen import Chosen
from geom.plugins.options import validate
from geom.runs.certification import certify as certify_chain
from geom_plugins.certifiers import enclosures
from geom_plugins.certifiers.enclosures import margin_enclosure, reach_enclosure
from geom_plugins.certifiers.mpmath_check import MpmathOptions, certify, geom_certifiers

Floats = NDArray[np.float64]
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DIGITS = st.integers(15, 300)
DOMAINS: list[Callable[[int], Domain]] = [layernorm, rmsnorm, box, unbounded]


def exact(values: Floats) -> list[Fraction]:
    return [Fraction(float(v)) for v in values]


def dot(u: list[Fraction], v: list[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(u, v, strict=True)), Fraction(0))


def true_margin(readout: Readout, token: int, x: Floats) -> Fraction:
    """Return the margin by its definition, in fractions."""
    logits = [
        dot(exact(w), exact(x)) + Fraction(float(b))
        for w, b in zip(readout.W, readout.b, strict=True)
    ]
    own = logits.pop(token)
    return own - max(logits)


def true_sums(
    readout: Readout, token: int, weights: Weights
) -> tuple[list[Fraction], Fraction, Fraction]:
    """Return ``r``, ``g`` and the sum of the weights by their definitions, in fractions."""
    lam = exact(weights.values)
    rows = [exact(readout.W[j]) for j in weights.indices]
    own = exact(readout.W[token])
    r = [
        sum(
            (weight * (row[i] - own[i]) for weight, row in zip(lam, rows, strict=True)), Fraction(0)
        )
        for i in range(readout.d)
    ]
    b = exact(readout.b)
    g = sum(
        (weight * (b[j] - b[token]) for weight, j in zip(lam, weights.indices, strict=True)),
        Fraction(0),
    )
    return r, g, sum(lam, Fraction(0))


def seen(domain: Domain, r: list[Fraction]) -> list[Fraction]:
    """Return the part of r that vectors of the domain can tell from zero."""
    mean = sum(r, Fraction(0)) / len(r) if domain.zero_sum else Fraction(0)
    return [entry - mean for entry in r]


def holds_root(enclosure: Enclosure, square: Fraction) -> bool:
    """Return whether the enclosure holds the square root, by comparing squares."""
    low, high = max(Fraction(0), enclosure.low), enclosure.high
    return high >= 0 and low * low <= square <= high * high


def holds_bound(enclosure: Enclosure, problem: Problem, token: int, weights: Weights) -> bool:
    """Return whether the enclosure holds ``(-g + sup -(r . x)) / S``, on a ball by its square."""
    r, g, total = true_sums(problem.readout, token, weights)
    r = seen(problem.domain, r)
    reach = Enclosure(enclosure.low * total + g, enclosure.high * total + g)
    if problem.domain.shape == "box":
        size = problem.domain.size or Fraction(0)
        return reach.low <= size * sum(map(abs, r)) <= reach.high
    size = Fraction(1) if problem.domain.size is None else problem.domain.size
    return holds_root(reach, size * dot(r, r))


def random_problem(
    seed: int, domain: str | None = None, V: int = 30, d: int = 6, bias: bool = True
) -> tuple[Problem, Floats, Weights]:
    """Draw a problem with rows at many scales, a point of its domain, and weights for token 0."""
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.integers(-12, 12, size=(V, 1))
    W = rng.normal(size=(V, d)) * rng.choice([1.0, 1.0, scales.max()], size=(V, 1))
    W[V // 2 :] *= scales[V // 2 :]
    readout = Readout.fold(W, rng.normal(size=V) if bias else None)
    make = DOMAINS[seed % 4] if domain is None else dict(zip(NAMES, DOMAINS, strict=True))[domain]
    problem = Problem(readout, make(d))
    values = rng.random(V - 1) * 10.0 ** rng.integers(-20, 3, size=V - 1)
    return (
        problem,
        problem.domain.fit(rng.normal(size=d)),
        Weights(np.arange(1, V, dtype=np.int64), values),
    )


NAMES = ["layernorm", "rmsnorm", "box", "unbounded"]


# The margin at a point


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(2, 6), st.integers(1, 4), DIGITS)
def test_margin_of_any_floats_lies_in_its_enclosure(
    data: st.DataObject, V: int, d: int, digits: int
) -> None:
    numbers = data.draw(st.lists(FLOATS, min_size=V * d + V + d, max_size=V * d + V + d))
    W, b, x = np.split(np.array(numbers), [V * d, V * d + V])
    b[0] += 1.0 if abs(b[0]) < 1e10 else 0.0
    readout = Readout.fold(W.reshape(V, d), b)
    problem = Problem(readout, unbounded(d))
    if problem.homogeneous:
        return
    token = data.draw(st.integers(0, V - 1))
    margin = true_margin(readout, token, x)
    found = margin_enclosure(problem, token, x, digits)
    assert found is not None
    assert found.low <= margin <= found.high
    assert found.sign == ("zero" if margin == 0 else "positive" if margin > 0 else "negative")


@pytest.mark.parametrize("seed", range(40))
def test_margin_at_many_scales_lies_in_its_enclosure(seed: int) -> None:
    problem, x, _ = random_problem(seed)
    found = margin_enclosure(problem, 0, x, 15 + seed)
    assert found is not None
    assert found.low <= true_margin(problem.readout, 0, x) <= found.high


@pytest.mark.parametrize("seed", range(20))
def test_printed_ends_hold_the_margin_too(seed: int) -> None:
    problem, x, _ = random_problem(seed)
    note = certify(problem, 0, Finding(x=x), MpmathOptions()).note or ""
    printed = re.match(r"margin in \[(\S+), (\S+)\].* at 50 digits: (\w+)", note)
    assert printed is not None
    margin = true_margin(problem.readout, 0, x)
    assert Fraction(printed[1]) <= margin <= Fraction(printed[2])
    assert printed[3] == ("positive" if margin > 0 else "negative")


def test_sign_is_right_where_float64_has_it_wrong() -> None:
    readout = Readout.fold([[1e16, 1.0, -1e16], [0.0, 0.5, 0.0]], [0.0, 1e-30])
    problem = Problem(readout, box(3))
    x = np.ones(3)
    assert problem.margins(0, x)[1] < 0 < true_margin(readout, 0, x)
    note = certify(problem, 0, Finding(x=x), MpmathOptions()).note
    assert note is not None
    assert "[0.499" in note
    assert "positive" in note


def test_least_row_is_found_where_float64_takes_another_for_it() -> None:
    """Every row has large parts that cancel and hide the part that tells rows apart."""
    x = np.array([1.0, 0.75, 1.0, 0.5, 0.5])
    mistaken = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        large = rng.normal(size=200) * 1e17
        small = rng.normal(size=200)
        readout = Readout.fold(np.column_stack([large, small, -large, large, -large]))
        problem = Problem(readout, box(5))
        mistaken += int(problem.margins(0, x).argmin()) != 1 + int(np.argmax(small[1:]))
        found = margin_enclosure(problem, 0, x, 50)
        assert found is not None
        assert found.low <= true_margin(readout, 0, x) <= found.high
    assert mistaken > 10


def test_rows_alike_where_x_is_not_zero_still_differ_by_their_biases() -> None:
    readout = Readout.fold([[0.0, 1.0], [1.0, 2.0], [1.0, 3.0]], [0.0, 2.0**-70, 2.0**-71])
    found = margin_enclosure(Problem(readout, box(2)), 0, np.array([1.0, 0.0]), 50)
    margin = Fraction(-1) - Fraction(1, 2**70)
    assert found == Enclosure(margin, margin)


def test_margin_without_bias_on_all_of_space_is_that_of_the_direction() -> None:
    problem, x, _ = random_problem(3, "unbounded", bias=False)
    margin = true_margin(problem.readout, 0, x)
    for scale in (1e-200, 1.0, 1e200):
        found = margin_enclosure(problem, 0, x * scale, 60)
        assert found is not None
        size = Enclosure(*sorted((abs(found.low), abs(found.high))))
        length = dot(exact(x * scale), exact(x * scale))
        assert holds_root(size, true_margin(problem.readout, 0, x * scale) ** 2 / length)
        assert (found.low > 0) == (margin > 0)


def test_tie_is_called_a_tie() -> None:
    readout = Readout.fold([[0.1, 0.3], [0.3, 0.1], [-1.0, -1.0]])
    note = certify(
        Problem(readout, rmsnorm(2)), 0, Finding(x=np.array([0.7, 0.7])), MpmathOptions()
    ).note
    assert note == "margin in [0, 0] at 50 digits: exactly zero, a tie"


def test_enclosure_shrinks_with_digits_until_it_is_the_margin() -> None:
    problem, x, _ = random_problem(2, "box")
    found = [margin_enclosure(problem, 0, x, digits) for digits in (15, 25, 400)]
    widths = [e.high - e.low for e in found if e is not None]
    assert widths[0] > widths[1] > widths[2] == 0


def test_thousands_of_copies_cost_no_more_than_one() -> None:
    rng = np.random.default_rng(0)
    W = np.repeat(rng.normal(size=(3, 64)), [1, 1, 20_000], axis=0)
    problem = Problem(Readout.fold(W), box(64))
    started = time.perf_counter()
    for x in (np.zeros(64), problem.domain.fit(W[0] - W[2])):
        found = margin_enclosure(problem, 0, x, 50)
        assert found is not None
        few = Readout.fold(W[:3])
        assert found.low <= true_margin(few, 0, x) <= found.high
    assert time.perf_counter() - started < 5.0


# What weights prove


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(8))
def test_bound_that_weights_give_lies_in_its_enclosure(name: str, seed: int) -> None:
    problem, _, weights = random_problem(seed, name, bias=name != "unbounded")
    reach = reach_enclosure(problem, 0, weights, 15 + 5 * seed)
    assert reach.light == 0
    assert reach.bound is not None
    assert holds_bound(reach.bound, problem, 0, weights)
    r, _, total = true_sums(problem.readout, 0, weights)
    r = seen(problem.domain, r)
    assert holds_root(reach.length, dot(r, r) / total**2)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([layernorm, rmsnorm, box]), DIGITS)
def test_bound_from_any_floats_lies_in_its_enclosure(
    data: st.DataObject, make: Callable[[int], Domain], digits: int
) -> None:
    V, d = 4, 3
    numbers = data.draw(st.lists(FLOATS, min_size=V * d + V, max_size=V * d + V))
    W, b = np.split(np.array(numbers), [V * d])
    values = np.array(data.draw(st.lists(FLOATS, min_size=3, max_size=3)))
    weights = Weights(np.array([1, 2, 3]), np.abs(values) + 5e-324)
    if not np.isfinite(weights.values).all():
        return
    problem = Problem(Readout.fold(W.reshape(V, d), b), make(d))
    reach = reach_enclosure(problem, 0, weights, digits)
    assert reach.bound is not None
    assert holds_bound(reach.bound, problem, 0, weights)


@pytest.mark.parametrize("name", ["layernorm", "rmsnorm"])
def test_bound_shrinks_with_digits_and_each_holds_the_truth(name: str) -> None:
    problem, _, weights = random_problem(5, name)
    bounds = [reach_enclosure(problem, 0, weights, n).bound for n in (15, 50, 200, 600)]
    found = [bound for bound in bounds if bound is not None]
    widths = [bound.high - bound.low for bound in found]
    assert len(found) == 4
    assert all(later < earlier / 10**30 for earlier, later in pairwise(widths))
    assert all(holds_bound(bound, problem, 0, weights) for bound in found)


@pytest.mark.parametrize("name", NAMES)
def test_bound_holds_when_light_weights_are_left_to_float64(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enclosures, "HEAVY", 30)
    for seed in range(6):
        problem, _, weights = random_problem(seed, name, bias=name != "unbounded")
        reach = reach_enclosure(problem, 0, weights, 50)
        assert reach.light == 24
        assert reach.bound is not None
        assert reach.bound.low < reach.bound.high
        assert holds_bound(reach.bound, problem, 0, weights)


def test_light_weights_that_overflow_float64_are_summed_exactly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(enclosures, "HEAVY", 1)
    W = np.array([[0.0, 1.0], [1.7e308, 1.0], [1.7e308, 2.0], [1.7e308, 3.0]])
    problem = Problem(Readout.fold(W), rmsnorm(2))
    weights = Weights(np.array([1, 2, 3]), np.array([9.0, 8.0, 7.0]))
    reach = reach_enclosure(problem, 0, weights, 40)
    assert reach.light == 0
    assert reach.bound is not None
    assert holds_bound(reach.bound, problem, 0, weights)


def test_midpoint_of_two_tokens_gets_the_bound_zero() -> None:
    readout = Readout.fold([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])
    weights = Weights(np.array([1, 2]), np.array([0.5, 0.5]))
    for make in DOMAINS:
        note = certify(Problem(readout, make(2)), 0, Finding(weights=weights), MpmathOptions()).note
        assert note == (
            "upper bound on the margin in [0, 0] at 50 digits: zero, the token wins nowhere; "
            "|r| <= 0 for weights of sum 1"
        )


def test_row_off_the_hull_along_ones_is_inside_for_layernorm() -> None:
    readout = Readout.fold([[0.6, 0.6], [1.0, 0.0], [0.0, 1.0]])
    weights = Weights(np.array([1, 2]), np.array([0.3, 0.3]))
    reach = reach_enclosure(Problem(readout, layernorm(2)), 0, weights, 50)
    assert reach.bound is not None
    assert reach.bound.sign == "zero"
    reach = reach_enclosure(Problem(readout, rmsnorm(2)), 0, weights, 50)
    assert reach.bound is not None
    assert reach.bound.sign == "positive"


# Honest notes


def test_finding_comes_back_as_it_was() -> None:
    problem, x, weights = random_problem(1)
    found = certify(problem, 0, Finding(x=x, weights=weights), MpmathOptions())
    assert found.x is x
    assert found.weights is weights
    assert found.note is not None
    assert "margin in" in found.note
    assert "upper bound on the margin in" in found.note


def test_without_a_prior_there_is_nothing_to_verify() -> None:
    problem, _, _ = random_problem(0)
    found = certify(problem, 0, Finding(), MpmathOptions())
    assert found.x is None
    assert found.weights is None
    assert found.note is not None
    assert found.note.startswith("nothing to verify: put it after")


def test_point_where_the_token_loses_is_not_called_a_win() -> None:
    readout = Readout.fold([[1.0, 0.0], [0.0, 1.0]])
    note = certify(
        Problem(readout, box(2)), 0, Finding(x=np.array([0.25, 0.75])), MpmathOptions()
    ).note
    assert note == "margin in [-0.5, -0.5] at 50 digits: negative, the token does not win there"


def test_weights_that_prove_nothing_are_said_to_settle_nothing() -> None:
    readout = Readout.fold([[3.0, 0.0], [0.0, 0.0]])
    weights = Weights(np.array([1]), np.array([2.0]))
    note = certify(Problem(readout, box(2)), 0, Finding(weights=weights), MpmathOptions()).note
    assert note == (
        "upper bound on the margin in [3, 3] at 50 digits: positive, so this bound alone settles "
        "nothing; |r| <= 3 for weights of sum 1"
    )


def test_weights_bound_nothing_on_all_of_space_with_a_bias_unless_r_is_zero() -> None:
    readout = Readout.fold([[0.5], [1.0], [0.0]], [0.0, 0.25, 0.5])
    problem = Problem(readout, unbounded(1))
    off = reach_enclosure(problem, 0, Weights(np.array([1, 2]), np.array([0.5, 0.6])), 50)
    on = reach_enclosure(problem, 0, Weights(np.array([1, 2]), np.array([0.5, 0.5])), 50)
    assert off.bound is None
    assert off.length.low > 0
    assert on.bound == Enclosure(Fraction(-3, 8), Fraction(-3, 8))


@pytest.mark.parametrize(
    "x", [[np.nan, 0.0], [np.inf, 0.0], [2.0, 0.0], [0.5], [[0.5, 0.5]]], ids=str
)
def test_wild_point_is_named_as_such(x: list[float]) -> None:
    problem = Problem(Readout.fold([[1.0, 0.0], [0.0, 1.0]]), box(2))
    note = certify(problem, 0, Finding(x=np.array(x)), MpmathOptions()).note
    assert note == "nothing to verify: the point is not in the domain box(radius=1.0)"


@pytest.mark.parametrize(
    ("indices", "values", "fault"),
    [
        ([1, 2], [0.5, np.nan], "not finite"),
        ([1, 2], [0.5, np.inf], "not finite"),
        ([1, 2], [0.5, -0.5], "not finite numbers >= 0"),
        ([1, 2], [0.0, 0.0], "one of them > 0"),
        ([], [], "one of them > 0"),
        ([0, 1], [0.5, 0.5], "the token itself"),
        ([1, 3], [0.5, 0.5], "outside the vocabulary"),
        ([1, -1], [0.5, 0.5], "outside the vocabulary"),
        ([1, 1], [0.5, 0.5], "twice"),
        ([1, 2], [0.5], "one value per index"),
    ],
)
def test_wild_weights_are_named_as_such(
    indices: list[int], values: list[float], fault: str
) -> None:
    problem = Problem(Readout.fold([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), box(2))
    weights = Weights(np.array(indices, dtype=np.int64), np.array(values, dtype=np.float64))
    note = certify(problem, 0, Finding(weights=weights), MpmathOptions()).note
    assert note is not None
    assert note.startswith("nothing to verify: the weights")
    assert fault in note


def test_token_without_rivals_has_nothing_to_verify() -> None:
    problem = Problem(Readout.fold([[1.0, 0.0]]), box(2))
    note = certify(problem, 0, Finding(x=np.zeros(2)), MpmathOptions()).note
    assert note == "nothing to verify: there is no other token"


# In a chain, among threads, with options


def record() -> Certifier[MpmathOptions]:
    (certifier,) = geom_certifiers()
    return certifier


def test_verdict_of_the_chain_stays_and_the_note_is_added() -> None:
    def own_direction(problem: Problem, token: int, prior: Finding, options: NoOptions) -> Finding:
        return Finding(x=problem.domain.fit(problem.readout.W[token]))

    finder = Certifier("own-direction", "the token's row", own_direction, NoOptions)
    rng = np.random.default_rng(4)
    problem = Problem(Readout.fold(rng.normal(size=(20, 8))), layernorm(8))
    chain = [
        Chosen("certifier", finder, NoOptions()),
        Chosen("certifier", record(), MpmathOptions()),
    ]
    alone, verified = (
        sorted(certify_chain(problem, links, range(20)), key=lambda outcome: outcome.token_id)
        for links in (chain[:1], chain)
    )
    assert {o.verdict for o in alone} == {"speakable", "undecided"}
    for before, after in zip(alone, verified, strict=True):
        assert after.verdict == before.verdict
        assert after.margin_lower == before.margin_lower
        assert after.certifier == before.certifier
        assert after.note is not None
        won = "positive, the token wins there" in after.note
        assert won == (after.verdict == "speakable")


def test_alone_it_decides_nothing() -> None:
    problem, _, _ = random_problem(0)
    (outcome,) = certify_chain(problem, [Chosen("certifier", record(), MpmathOptions())], [0])
    assert outcome.verdict == "undecided"
    assert outcome.note is not None
    assert "nothing to verify" in outcome.note


def test_threads_with_other_digits_do_not_meet() -> None:
    precision = mpmath.iv.prec
    problem, x, weights = random_problem(1)
    jobs = [15, 30, 60, 120, 240] * 6

    def note(digits: int) -> str | None:
        return certify(problem, 0, Finding(x, weights), MpmathOptions(digits)).note

    alone = [note(digits) for digits in jobs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(note, jobs)) == alone
    assert mpmath.iv.prec == precision


def test_fewer_digits_than_a_float_has_are_refused() -> None:
    assert validate("certifier", record(), {"digits": "80"}) == MpmathOptions(80)
    with pytest.raises(InputError, match=r"certifier\.mpmath\.digits=14.*>= 15"):
        validate("certifier", record(), {"digits": 14})


def test_it_is_a_verifier() -> None:
    assert record().name == "mpmath"
    assert record().verifies
