"""Tensors of a library that is not imported, as NumPy arrays that hold the same numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from geom.errors import InputError


@dataclass(frozen=True)
class Columns:
    """``W_U`` (d, V) as rows (V, d): a slice of rows is fetched as columns and transposed."""

    matrix: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """V and d."""
        return tuple(int(n) for n in reversed(self.matrix.shape))

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        return array("W_U", self.matrix[:, rows]).T


@dataclass(frozen=True)
class Lines:
    """A matrix (V, d) whose slices of rows are fetched as arrays."""

    name: str
    matrix: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """V and d."""
        return tuple(map(int, self.matrix.shape))

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        return array(self.name, self.matrix[rows])


def array(name: str, values: Any) -> NDArray[Any]:
    """Convert a tensor or array to a NumPy array that holds it exactly.

    Raises InputError if a tensor has no numbers, or has quantised ones.
    """
    if not hasattr(values, "detach"):
        return np.asarray(values)
    kind = str(values.dtype).removeprefix("torch.")
    if values.is_meta or not values.is_floating_point():
        stored = "on the meta device" if values.is_meta else f"torch.{kind}"
        raise InputError(f"{name} is {stored}: load the model with its weights, as floats")
    held = values.detach().cpu()
    if kind in ("float16", "float32", "float64"):
        return np.asarray(held.numpy())
    single: NDArray[np.float32] = held.float().numpy()  # float32 holds the shorter types exactly
    return single.astype(np.dtype(ml_dtypes.bfloat16)) if kind == "bfloat16" else single
