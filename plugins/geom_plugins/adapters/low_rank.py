"""Matrices that an adapter has changed, read by slices of their rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom import Floats, Ids, InputError, SlicedArray, exact_product


def numbers(array: SlicedArray, name: str, rows: slice = slice(None)) -> Floats:
    """Return rows of a tensor in float64. Raises InputError for integers, NaN and infinity."""
    found = array[rows]
    if found.dtype.kind in "iub":
        raise InputError(f"{name} holds integers; give an adapter whose tensors are floats")
    out = np.asarray(found).astype(np.float64)
    if not np.isfinite(out).all():
        raise InputError(f"{name} has a number that is not finite; fetch the adapter again")
    return out


@dataclass(frozen=True)
class LowRank:
    """``W + scale * left @ right``: ``W`` (V, d), ``left`` (V, r), ``right`` (r, d).

    Every sum of r products is exact and rounded to float64 once, then multiplied by the scale and
    added to W in float64. The result is the same on every machine.
    """

    W: SlicedArray
    left: SlicedArray
    right: Floats
    scale: float
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of W."""
        return self.W.shape

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read a slice of rows in float64."""
        base = numbers(self.W, self.name, rows)
        left = numbers(self.left, self.name, rows)
        if not base.size:
            return base
        with np.errstate(over="ignore", invalid="ignore"):  # infinite sums are refused later
            return base + self.scale * exact_product(left, self.right)


@dataclass(frozen=True)
class OfLength:
    """The rows of a matrix (V, d), each stretched to a given length, as DoRA does.

    ``lengths`` (V,). The length that a row has is rounded: its squares are summed in float64, one
    after the other, so that it is the same on every machine.
    """

    W: SlicedArray
    lengths: Floats
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of W."""
        return self.W.shape

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read a slice of rows in float64."""
        found = numbers(self.W, self.name, rows)
        squares = np.zeros(len(found))
        for column in found.T:
            squares += column * column
        if not squares.all():
            raise InputError(f"{self.name} has a row of zeros, which DoRA cannot stretch")
        return found * (self.lengths[rows] / np.sqrt(squares))[:, None]


@dataclass(frozen=True)
class WithRows:
    """A matrix (V, d) some rows of which are given: ``rows`` (n, d) for the n ``ids``."""

    W: SlicedArray
    ids: Ids
    rows: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of W."""
        return self.W.shape

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read a slice of rows, in a type that holds both matrices' numbers."""
        found = self.W[rows]
        out = np.array(found, dtype=self._dtype)
        start, stop, step = rows.indices(self.shape[0])
        place, off = np.divmod(self.ids - start, step)
        here = (off == 0) & (self.ids >= start) & (self.ids < stop)
        out[place[here]] = self.rows[here]
        return out

    @cached_property
    def _dtype(self) -> np.dtype[Any]:
        kind = self.W[:1].dtype
        return kind if kind == self.rows.dtype else np.dtype(np.float64)
