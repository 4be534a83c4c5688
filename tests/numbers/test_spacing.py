"""Steps of formats, against the formats themselves: NumPy's nextafter and ml_dtypes' finfo."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geom.numbers.spacing import FORMATS, Format

TYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16, "float32": np.float32}

formats = pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)


def after(format: Format, value: float) -> float:
    """Return the next number of the format."""
    kind = TYPES[format.name]
    return float(np.nextafter(kind(value), kind(np.inf)))


@formats
@pytest.mark.parametrize("size", [2.0**-10, 1.0, 16.0, 20.0, 31.0, 32.0, 1000.0])
def test_a_step_is_the_distance_to_the_next_number(format: Format, size: float) -> None:
    number = float(TYPES[format.name](size))
    assert format.step(number) == after(format, number) - number


def test_known_steps_of_logits_near_20() -> None:
    assert [format.step(20.0) for format in FORMATS] == [0.125, 2.0**-6, 2.0**-19]


@formats
def test_exponents_are_those_of_the_format(format: Format) -> None:
    info = ml_dtypes.finfo(TYPES[format.name])
    assert (format.bits, format.least, format.most + 1) == (
        info.nmant + 1,
        info.minexp,
        info.maxexp,
    )


@formats
@given(st.floats(2.0**-30, 64.0))
def test_steps_below_the_size_that_keeps_a_margin_are_no_longer(
    format: Format, margin: float
) -> None:
    size = format.kept_below(margin)
    if size == 0.0:
        assert after(format, 0.0) <= 2.0 ** (format.least - format.bits + 1)
        assert format.step(2.0**format.least) > margin
    elif math.isfinite(size):
        below = float(np.nextafter(TYPES[format.name](size), TYPES[format.name](0.0)))
        assert size - below <= margin
        assert after(format, size) - size > margin
    else:
        assert format.step(2.0**format.most) <= margin


@formats
@given(st.floats(-60.0, 60.0), st.floats(2.0**-12, 1.0))
def test_a_margin_of_a_step_survives_rounding(format: Format, low: float, margin: float) -> None:
    kind, size = TYPES[format.name], format.kept_below(margin)
    if max(abs(low), abs(low + margin)) < size:
        # the sum is rounded, so the margin that is really there is compared
        assert (low + margin) - low < margin or kind(low + margin) > kind(low)


def test_a_smaller_margin_can_be_lost() -> None:
    assert ml_dtypes.bfloat16(20.01) == ml_dtypes.bfloat16(20.06)
    assert np.float16(20.001) == np.float16(20.004)
