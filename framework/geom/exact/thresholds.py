"""Proven bounds on the largest min-p threshold that a token survives somewhere in the domain.

Min-p with threshold q drops every token whose probability is less than q times the highest. With
logits divided by the temperature T, the ratio of the two at x is 1 where t is highest, and
``exp(margin(x) / T)`` elsewhere. So t survives somewhere if q is less than ``min(1, exp(m / T))``,
with m the largest margin (`geom.exact.margins`), and nowhere if q is more.

A tie counts as survival, at the threshold 1: the likeliest tokens keep each other. Without biases
all tokens tie at ``x = 0``, so each of them survives every threshold there, and thresholds close to
1 near there.

Source: N. N. Minh et al., Turning up the heat: min-p sampling for creative and coherent LLM
outputs, ICLR 2025.
"""

from __future__ import annotations

import math
from fractions import Fraction

from flint import ctx

from geom.errors import InputError
from geom.numbers.ball_ends import ball, ball_above, ball_below

_BITS = 128

_LEAST = Fraction(-800)
"""The exponential of this is below the least float64."""


def threshold_bounds(low: float, high: float, temperature: float = 1.0) -> tuple[float, float]:
    """Bound the largest min-p threshold that a token survives, from bounds on its largest margin.

    Parameters
    ----------
    low, high : float
        Proven bounds in logits, as `geom.proofs.margin_bounds` returns them; they may be infinite.
    temperature : float, optional
        What logits are divided by, above 0.

    Returns
    -------
    low : float
        A lower bound, at least 0.
    high : float
        An upper bound, at most 1 and above 0.

    Raises
    ------
    InputError
        If the temperature is not a finite number above 0.

    References
    ----------
    The argument of `geom.exact.thresholds`, after N. N. Minh et al., Turning up the heat: min-p
    sampling for creative and coherent LLM outputs, ICLR 2025.
    """
    if not 0.0 < temperature < math.inf:
        raise InputError(f"temperature {temperature!r}: give a finite number above 0")
    return _ends(low, temperature)[0], _ends(high, temperature)[1]


def margin_ends(low: Fraction, high: Fraction, temperature: float) -> tuple[float, float]:
    """Bound the largest margin from proven bounds on the largest threshold; infinite if none is."""
    ends = [-math.inf, math.inf]
    with ctx.workprec(_BITS):
        T = ball(Fraction(temperature))
        if low >= 1:
            ends[0] = 0.0
        elif low > 0:
            ends[0] = ball_below(T * ball(low).log())
        if 0 < high < 1:
            ends[1] = ball_above(T * ball(high).log())
    return ends[0], ends[1]


def _ends(margin: float, temperature: float) -> tuple[float, float]:
    """Return floats below and above ``min(1, exp(margin / temperature))``."""
    if margin >= 0.0:
        return 1.0, 1.0
    if math.isnan(margin):
        return 0.0, 1.0
    power = Fraction(margin) / Fraction(temperature) if math.isfinite(margin) else _LEAST - 1
    if power < _LEAST:
        return 0.0, math.ulp(0.0)
    with ctx.workprec(_BITS):
        threshold = ball(power).exp()
        return max(0.0, ball_below(threshold)), min(1.0, ball_above(threshold))
