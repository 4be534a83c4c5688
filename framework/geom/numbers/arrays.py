"""The types of arrays, one word each; docstrings give their shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
"""An array of float64."""

Ids = NDArray[np.int64]
"""An array of int64: ids of tokens, or indices into another array."""

Flags = NDArray[np.bool_]
"""An array of truth values."""

Integers = NDArray[np.object_]
"""An array of Python integers, which have any length."""

Array = Any
"""An array or tensor of the library that computes: NumPy here, another library on its devices."""
