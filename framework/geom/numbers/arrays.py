"""The types of arrays, in one word each; their shapes stand in docstrings."""

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
"""An array of Python integers, which are of any length."""

Array = Any
"""An array or a tensor of the library that computes: NumPy's here, another's on its devices."""
