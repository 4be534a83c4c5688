"""The two coefficients of the study, against SciPy, and their errors, against drawing again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from association import apart, area, spearman
from scipy.stats import mannwhitneyu, spearmanr

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("n", [5, 40, 300])
def test_the_rank_correlation_is_scipys_with_and_without_ties(n: int) -> None:
    x = RNG.normal(size=n)
    for y in (x + RNG.normal(size=n), np.round(x), -x):
        found = spearman(x, y)
        assert found.n == n
        assert found.value == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize("n", [5, 40, 300])
def test_the_area_is_mann_whitneys_count_of_pairs(n: int) -> None:
    happened = np.arange(n) % 3 == 0
    for x in (RNG.normal(size=n) + happened, np.round(RNG.normal(size=n)), 1.0 * happened):
        found = area(x, happened)
        expected = mannwhitneyu(x[happened], x[~happened]).statistic
        pairs = happened.sum() * (~happened).sum()
        assert (found.n, found.positives) == (n, happened.sum())
        assert found.value == pytest.approx(expected / pairs, abs=1e-12)


def test_what_does_not_vary_predicts_nothing_and_has_no_number() -> None:
    assert math.isnan(spearman(np.ones(9), np.arange(9)).value)
    assert math.isnan(area(np.arange(9), np.ones(9, dtype=bool)).value)
    assert area(np.ones(9), np.arange(9) > 4).value == 0.5


def test_pairs_without_a_finite_number_are_left_out() -> None:
    x = np.array([1.0, np.nan, 3.0, np.inf, 5.0, 2.0])
    keep = np.isfinite(x)
    y = np.arange(6.0)
    assert spearman(x, y) == spearman(x[keep], y[keep])
    assert area(x, y > 2) == area(x[keep], y[keep] > 2)


def test_lists_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="not one list of pairs"):
        spearman([1.0, 2.0], [1.0])


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_the_errors_are_the_spread_over_many_samples(strength: float) -> None:
    drawn = []
    for _ in range(400):
        x = RNG.normal(size=60)
        y = strength * x + RNG.normal(size=60)
        drawn.append((spearman(x, y), area(x, y > 0)))
    for one in zip(*drawn, strict=True):
        spread = np.std([found.value for found in one])
        said = np.mean([found.error for found in one])
        assert said == pytest.approx(spread, rel=0.2)


@pytest.mark.parametrize("how", [spearman, area])
def test_the_error_of_a_difference_is_its_spread_over_many_samples(how: Any) -> None:
    drawn, said = [], []
    for i in range(300):
        x = RNG.normal(size=80)
        rival = -(x + RNG.normal(size=80))  # of the other sign, and not independent
        y = x + 2 * RNG.normal(size=80)
        y = y > 0 if how is area else y
        drawn.append(how(x, y).strength - how(rival, y).strength)
        if i < 12:
            difference, error = apart(how, x, rival, y)
            assert difference == pytest.approx(drawn[-1])
            said.append(error)
    assert np.mean(said) == pytest.approx(np.std(drawn), rel=0.25)


def test_a_measure_and_its_negative_predict_alike() -> None:
    x = RNG.normal(size=50)
    y = x + RNG.normal(size=50)
    for how, happened in ((spearman, y), (area, y > 0)):
        assert apart(how, x, -x, happened) == pytest.approx((0.0, 0.0), abs=1e-12)
