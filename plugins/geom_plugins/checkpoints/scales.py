"""The scale of a norm as the model computes it from the weight that is stored."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geom import InputError, SlicedArray

YesNo = Literal["yes", "no"]

PLUS_ONE = "whether the norm multiplies by 1 + gamma"
"""What the option ``gamma_plus_one`` says, in every source that has it."""


def scale_of(gamma: SlicedArray | None, plus_one: bool) -> SlicedArray | None:
    """Return the scale, given the stored weight: gamma, or 1 + gamma.

    The sum is taken in float32, as in the models, and in float64 if gamma is float64. Raises
    InputError if 1 is to be added to nothing.
    """
    if not plus_one:
        return gamma
    if gamma is None:
        raise InputError("gamma_plus_one=yes needs the norm's weight: give &gamma=NAME")
    stored: NDArray[Any] = np.asarray(gamma[:])
    return stored + 1.0 if stored.dtype == np.float64 else stored.astype(np.float32) + np.float32(1)
