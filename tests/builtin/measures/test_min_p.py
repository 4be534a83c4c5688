"""``min-p`` against closed forms, Clarabel, mpmath, and the filter of transformers."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geom import Finding, InputError, Measurement, Problem
from geom.numbers.printing import with_error
from geom.proofs import threshold_bounds
from geom_plugins.measures.logit_bias import LogitBiasOptions, logit_bias
from geom_plugins.measures.min_p import MinPOptions, min_p, proven
from support import conic
from support.problems import cloud, ends, problem, rivals

SHAPES = ["rmsnorm", "layernorm", "box", "unbounded"]


def measured(asked: Problem, token: int = 0, temperature: float = 1.0) -> Measurement:
    return min_p(asked, token, Finding(), MinPOptions(temperature))


# Closed forms


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_of_two_equal_rows_the_lower_survives_up_to_the_ratio_of_their_biases(
    shape: str, temperature: float
) -> None:
    found = measured(problem([[1.0, 2.0], [1.0, 2.0]], [0.0, 0.75], shape), 0, temperature)
    low, high = ends(found)
    assert low <= math.exp(-0.75 / temperature) <= high
    assert high - low <= 1e-5


def test_two_tokens_win_on_their_sides_of_the_plane() -> None:
    # logits 2 x and 0 with a bias of 6, |x| <= 1: the first is behind by 4 at best
    asked = problem([[2.0], [0.0]], [0.0, 6.0], "rmsnorm")
    low, high = ends(measured(asked, 0, 2.0))
    assert low <= math.exp(-2.0) <= high
    assert ends(measured(asked, 1)) == (1.0, 1.0)


@pytest.mark.parametrize("V", [3, 6])
def test_the_mean_of_a_simplex_survives_by_its_bias(V: int) -> None:
    W = np.vstack([np.eye(V), np.full((1, V), 1.0 / V)])
    b = np.append(np.zeros(V), -1.5)
    for shape in ("rmsnorm", "box"):
        low, high = ends(measured(problem(W, b, shape), V))
        assert low <= math.exp(-1.5) <= high
        assert high - low <= 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_without_biases_every_token_survives_any_threshold(shape: str) -> None:
    W = np.vstack([np.eye(3), -np.eye(3), [[0.1, 0.1, 0.0]]])
    for token in range(7):
        found = measured(problem(W, None, shape), token)
        assert (found.value, found.error) == (1.0, 0.0)
        assert found.note is not None
        assert "tie at x = 0" in found.note


def test_a_token_that_wins_far_out_survives_any_threshold() -> None:
    found = measured(problem(np.eye(2), [-1e6, 0.0], "unbounded"))
    assert (found.value, found.error) == (1.0, 0.0)


def test_alone_in_its_vocabulary_it_survives_any_threshold() -> None:
    assert ends(measured(problem([[1.0, 2.0]], [3.0], "rmsnorm"))) == (1.0, 1.0)


# Other programs


@pytest.mark.parametrize("shape", ["rmsnorm", "layernorm", "box"])
def test_it_is_the_exponential_of_the_margin_that_clarabel_finds(shape: str) -> None:
    asked = problem(cloud(30, 4, 1), 2.0 * cloud(30, 1, 2)[:, 0], shape)
    dropped = 0
    for token in range(0, 30, 2):
        low, high = ends(measured(asked, token, 0.7))
        margin = conic.largest_margin(
            *rivals(asked, token), asked.domain.shape, asked.domain.radius
        )
        truth = math.exp(min(margin, 0.0) / 0.7)
        assert low - 1e-6 <= truth <= high + 1e-6
        assert high - low <= 1e-4
        dropped += high < 1.0
    assert dropped


def test_it_says_what_logit_bias_says() -> None:
    asked = problem(cloud(30, 4, 1), 2.0 * cloud(30, 1, 2)[:, 0], "rmsnorm")
    for token in range(0, 30, 3):
        bias = ends(logit_bias(asked, token, Finding(), LogitBiasOptions()))
        low, high = ends(measured(asked, token))
        assert low <= min(1.0, math.exp(-bias[0])) * (1 + 1e-15)
        assert high >= min(1.0, math.exp(-bias[1])) * (1 - 1e-15)


def test_transformers_keeps_no_token_below_its_threshold_at_any_state_drawn() -> None:
    torch = pytest.importorskip("torch")
    warpers = pytest.importorskip("transformers.generation.logits_process")
    W, b = cloud(40, 4, 3), 3.0 * cloud(40, 1, 4)[:, 0]
    asked = problem(W, b, "rmsnorm")
    states = asked.domain.sample(np.random.default_rng(5), 5000)
    scores = torch.tensor(states @ W.T + b) / 0.6
    dropped = 0
    for token in range(40):
        high = 1.0001 * ends(measured(asked, token, 0.6))[1]
        if high > 1.0:
            continue
        kept = warpers.MinPLogitsWarper(high)(None, scores)
        assert not torch.isfinite(kept[:, token]).any()
        dropped += 1
    assert dropped > 5


# The ends


@given(st.floats(-740.0, 0.0), st.floats(0.01, 100.0))
def test_the_ends_enclose_the_exponential_as_closely_as_floats_can(m: float, T: float) -> None:
    with mpmath.workdps(60):
        truth = mpmath.exp(mpmath.mpf(m) / mpmath.mpf(T))
    low, high = threshold_bounds(m, m, T)
    assert low <= truth <= high
    assert high <= math.nextafter(low, 2.0)


@pytest.mark.parametrize("margin", [-1e4, -1e308, -math.inf])
def test_a_threshold_below_all_floats_is_not_zero(margin: float) -> None:
    assert threshold_bounds(margin, margin, 1e-3) == (0.0, 5e-324)


def test_what_underflows_is_shown_with_zero_as_its_lower_end() -> None:
    found = measured(problem([[1.0], [1.0]], [0.0, 5000.0], "rmsnorm"))
    assert found.value > 0.0
    low, high = ends(found)
    assert low <= 0.0 < high
    assert with_error(found.value, found.error, proven=True) == "0 .. 9.89e-324"


def test_a_tiny_threshold_has_digits() -> None:
    found = measured(problem([[1.0], [1.0]], [0.0, 69.0], "rmsnorm"))
    assert found.error is not None
    assert with_error(found.value, found.error, proven=True).startswith("1.08063927770")
    assert found.value == pytest.approx(math.exp(-69.0), rel=1e-12)


def test_nothing_known_of_the_margin_is_nothing_known_of_the_threshold() -> None:
    assert threshold_bounds(-math.inf, math.inf) == (0.0, 1.0)
    assert threshold_bounds(math.nan, math.nan) == (0.0, 1.0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match=r"temperature .*: give a finite number above 0"):
        measured(problem(np.eye(2), [0.0, 1.0], "rmsnorm"), 0, temperature)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_kept_proves_the_number_again(shape: str) -> None:
    asked = problem(cloud(40, 4, 1), cloud(40, 1, 2)[:, 0], shape)
    for token in range(0, 40, 3):
        found = measured(asked, token, 0.5)
        evidence = Finding(found.x, found.weights)
        low, high = proven(asked, token, evidence, MinPOptions(0.5), 1.0)
        assert ends(found)[0] <= low <= high <= ends(found)[1]
