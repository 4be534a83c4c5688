"""Strategies for hypothesis: readouts whose numbers are small dyadic ones, and points for them.

Small integers meet often: twins, midpoints and faces of the hull come up by themselves. They need
hypothesis, which geom does not install.
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
"""Numbers are whole multiples of 1 / SCALE."""


def dyadics(most: int = 12) -> SearchStrategy[float]:
    """Whole multiples of a quarter, at most ``most`` of them from zero."""
    return st.integers(-most, most).map(lambda n: n / SCALE)


@st.composite
def readouts(
    draw: st.DrawFn, most_tokens: int = 8, most_dimensions: int = 4, bias: bool | None = None
) -> Readout:
    """Readouts of 1 to ``most_tokens`` tokens; with a bias, without, or either (None)."""
    d = draw(st.integers(1, most_dimensions))
    V = draw(st.integers(1, most_tokens))
    rows = st.lists(dyadics(), min_size=d, max_size=d)
    W = np.array(draw(st.lists(rows, min_size=V, max_size=V)))
    biased = draw(st.booleans()) if bias is None else bias
    b = draw(st.lists(dyadics(), min_size=V, max_size=V)) if biased else [0.0] * V
    return Readout.fold(W, np.array(b))


@st.composite
def problems(draw: st.DrawFn, most_tokens: int = 8, most_dimensions: int = 4) -> Problem:
    """Readouts with a domain of any kind."""
    readout = draw(readouts(most_tokens, most_dimensions))
    name = draw(st.sampled_from([name for name in NAMES if name != "auto"]))
    return Problem(readout, named(name, readout.d, None))


@st.composite
def points(draw: st.DrawFn, problem: Problem) -> Floats:
    """Points (d,) float64 of a problem's domain."""
    d = problem.readout.d
    x = np.array(draw(st.lists(dyadics(), min_size=d, max_size=d)))
    return problem.domain.fit(x)
