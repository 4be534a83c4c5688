"""The choice of screens: whether the widths chosen are the cheapest."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geom import Readout
from geom.self_argmax import screen
from geom.self_argmax.distinct import DistinctRows

WIDTHS = [4, 6, 8, 12, 16, 24, 32]


def cost(d: int, widths: list[int], left: list[float], chosen: tuple[int, ...]) -> float:
    """Add up the columns of each product, by the share of rivals that the one before leaves."""
    share = total = 0.0
    share = 1.0
    for k in chosen:
        total += share * (k + 2 + screen.PASS)
        share = left[widths.index(k)]
    return total + share * (d + screen.PASS + (screen.READ * d if chosen else 0.0))


@given(st.lists(st.floats(0, 1), min_size=len(WIDTHS), max_size=len(WIDTHS)), st.integers(33, 2000))
def test_no_other_widths_cost_less(left: list[float], d: int) -> None:
    chosen = screen._cheapest(d, WIDTHS, left)
    every = [some for n in range(len(WIDTHS) + 1) for some in combinations(WIDTHS, n)]
    least = min(cost(d, WIDTHS, left, some) for some in every)
    assert cost(d, WIDTHS, left, chosen) <= least * (1 + 1e-12)


def test_rows_without_leading_directions_are_not_screened() -> None:
    W = np.random.default_rng(0).normal(size=(3000, 24))
    assert screen.choose_screens(DistinctRows(Readout.fold(W), centre=True)) is None


def test_rows_of_few_leading_directions_are_screened() -> None:
    rng = np.random.default_rng(0)
    W = rng.normal(size=(3000, 300)) * np.arange(1, 301) ** -1.0
    screens = screen.choose_screens(DistinctRows(Readout.fold(W), centre=True))
    assert screens is not None
    assert screens.widths[-1] <= 100
