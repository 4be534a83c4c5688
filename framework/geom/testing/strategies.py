"""Strategies for Hypothesis: readouts of small dyadic numbers, and points for them.

Small integers coincide often, so twins, midpoints and faces of the hull come up without being asked
for. The strategies need Hypothesis, which geom does not install.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from geom.model.domains import NAMES, named
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.numbers.arrays import Floats

SCALE = 4.0
"""The numbers are whole multiples of ``1 / SCALE``."""


def dyadics(most: int = 12) -> SearchStrategy[float]:
    """Make a strategy for whole multiples of a quarter.

    Parameters
    ----------
    most : int, optional
        The largest number of quarters above or below zero.

    Returns
    -------
    SearchStrategy of float
        The strategy.
    """
    return st.integers(-most, most).map(lambda n: n / SCALE)


@st.composite
def readouts(
    draw: st.DrawFn, most_tokens: int = 8, most_dimensions: int = 4, bias: bool | None = None
) -> Readout:
    """Make a strategy for readouts of a few tokens, in a few dimensions.

    Parameters
    ----------
    most_tokens : int, optional
        The most tokens; at least one is drawn.
    most_dimensions : int, optional
        The most dimensions; at least one is drawn.
    bias : bool, optional
        Whether there is a bias; either if None.

    Returns
    -------
    SearchStrategy of Readout
        The strategy.
    """
    d = draw(st.integers(1, most_dimensions))
    V = draw(st.integers(1, most_tokens))
    rows = st.lists(dyadics(), min_size=d, max_size=d)
    W = np.array(draw(st.lists(rows, min_size=V, max_size=V)))
    biased = draw(st.booleans()) if bias is None else bias
    b = draw(st.lists(dyadics(), min_size=V, max_size=V)) if biased else [0.0] * V
    return Readout.fold(W, np.array(b))


@st.composite
def problems(draw: st.DrawFn, most_tokens: int = 8, most_dimensions: int = 4) -> Problem:
    """Make a strategy for readouts with a domain of any kind.

    Parameters
    ----------
    most_tokens : int, optional
        The most tokens; at least one is drawn.
    most_dimensions : int, optional
        The most dimensions; at least one is drawn.

    Returns
    -------
    SearchStrategy of Problem
        The strategy.
    """
    readout = draw(readouts(most_tokens, most_dimensions))
    name = draw(st.sampled_from([name for name in NAMES if name != "auto"]))
    return Problem(readout, named(name, readout.d, None))


@st.composite
def points(draw: st.DrawFn, problem: Problem) -> Floats:
    """Make a strategy for points of a problem's domain.

    Parameters
    ----------
    problem : Problem
        The problem.

    Returns
    -------
    SearchStrategy of ndarray of shape (d,), float64
        The strategy.
    """
    d = problem.readout.d
    x = np.array(draw(st.lists(dyadics(), min_size=d, max_size=d)))
    return problem.domain.fit(x)
