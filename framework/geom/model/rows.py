"""The rows of a readout: float64 numbers of those that are asked for.

A row is the checkpoint's own row times the norm's scale. Only the two factors are held, and the
product of two float32 is exact in float64, so the numbers are the same each time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from operator import index
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from geom.machine import memory
from geom.model import arrays
from geom.model.folding import fold_scale
from geom.model.stored import Stored
from geom.numbers.arrays import Floats, Ids

BLOCK = 1 << 17
"""How many numbers are made at a time: 1 MiB stays in the cache until it has been used."""

KEPT = 1 << 29
"""Products keep the rows in float64 if these take no more bytes than this (512 MiB)."""


class Rows:
    """The rows ``W`` (V, d) of a readout, the norm's scale folded in, read like an array.

    ``rows[ids]`` with a slice, an array of ids or one id, and the products ``rows @ x`` and
    ``lam @ rows``, give float64. Do not write to what they return. The rows themselves are held in
    the type of the checkpoint, in memory or mapped from its file. Products of a small readout keep
    them in float64 as well (up to 512 MiB); those of a larger one go through them block by block.

    Attributes
    ----------
    stored : Stored
        The rows as the checkpoint has them.
    scale : ndarray of shape (d,), float64, optional
        The norm's scale.
    exponent : int
        The rows are divided by ``2**exponent``.
    """

    __array_ufunc__ = None  # so that `lam @ rows` asks the rows

    def __init__(
        self,
        stored: Stored,
        scale: Floats | None = None,
        exponent: int = 0,
        largest: float | None = None,
    ) -> None:
        self.stored, self.scale, self.exponent = stored, scale, exponent
        self._largest = largest
        self._mean: Floats | None = None
        self._is_plain = stored.plain and scale is None and exponent == 0
        self._whole: Floats | None = stored.lines if self._is_plain else None

    @classmethod
    def of(cls, W: Floats) -> Rows:
        """Return the rows of a float64 matrix, which is copied unless it is read-only.

        Parameters
        ----------
        W : ndarray of shape (V, d), float64
            The matrix.

        Returns
        -------
        Rows
            Its rows.

        Raises
        ------
        InputError
            Unless all its numbers are finite.
        """
        arrays.check_folded("W", W, 2)
        return cls(Stored(arrays.frozen(W), W.shape[1]), largest=size(W))

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows V, and their width d."""
        return len(self.stored.lines), self.stored.d

    def __len__(self) -> int:
        return len(self.stored.lines)

    def __repr__(self) -> str:
        V, d = self.shape
        held = memory.describe(self.nbytes)
        return f"Rows(V={V}, d={d}, {held})"

    @property
    def nbytes(self) -> int:
        """The bytes that the rows take now."""
        held = self.stored.lines.nbytes
        whole = self._whole
        return held if whole is None or whole is self.stored.lines else held + whole.nbytes

    @property
    def most_bytes(self) -> int:
        """The bytes that the rows take once products have been asked for."""
        if self._is_plain or not self._is_small:
            return self.nbytes
        return self.stored.lines.nbytes + 8 * math.prod(self.shape)

    @property
    def largest(self) -> float:
        """The size of the largest number."""
        return self.check()

    def check(self) -> float:
        """Check that all numbers are finite.

        Returns
        -------
        float
            The size of the largest number.

        Raises
        ------
        InputError
            If a number is not finite, naming its place.
        """
        if self._largest is None:
            largest = 0.0
            for part, rows in self.blocks():
                arrays.check_finite("W", rows, part.start)
                largest = max(largest, size(rows))
            self._largest = largest
        return self._largest

    @property
    def mean(self) -> Floats:
        """The mean row (d,), read-only."""
        if self._mean is None:
            with np.errstate(over="ignore", invalid="ignore"):
                mean = sum((rows.sum(axis=0) for _, rows in self.blocks()), np.zeros(self.shape[1]))
                mean /= len(self)
            mean.flags.writeable = False
            self._mean = mean
        return self._mean

    def __getitem__(self, ids: int | slice | Sequence[int] | NDArray[Any]) -> Floats:
        """Return rows (n, d) in float64, or one row (d,)."""
        if isinstance(ids, (int, np.integer)):
            place = range(len(self))[index(ids)]
            return np.asarray(self[place : place + 1][0])
        if self._whole is not None:
            return np.asarray(self._whole[ids])
        places = range(len(self))[ids] if isinstance(ids, slice) else _listed(ids)
        height = max(1, BLOCK // self.shape[1])
        if 0 < len(places) <= height:
            return self._made(places)
        out = np.empty((len(places), self.shape[1]))
        for start in range(0, len(places), height):
            out[start : start + height] = self._made(places[start : start + height])
        return out

    def _made(self, places: range | Ids) -> Floats:
        """Return rows (n, d) that are computed from the stored ones."""
        if isinstance(places, range):
            stop = places.stop if places.stop >= 0 else None  # a slice that ends at the first row
            out = self.stored.numbers(slice(places.start, stop, places.step))
        else:
            out = self.stored.numbers(places)
        with np.errstate(over="ignore", under="ignore"):
            if self.scale is not None:
                out = fold_scale(out, self.scale, None if self.stored.plain else out)
            return out if self.exponent == 0 else np.ldexp(out, -self.exponent)

    def blocks(self, numbers: int = BLOCK) -> Iterator[tuple[slice, Floats]]:
        """Iterate over all rows, a block at a time.

        Parameters
        ----------
        numbers : int, optional
            About how many numbers a block holds.

        Yields
        ------
        tuple of slice and ndarray of shape (n, d), float64
            The places of some rows, and these rows.
        """
        V, d = self.shape
        height = max(1, numbers // d)
        for start in range(0, V, height):
            part = slice(start, min(start + height, V))
            yield part, self[part]

    def __matmul__(self, x: Floats) -> Floats:
        """Return ``W x``: (V,) for ``x`` (d,), and (V, n) for ``x`` (d, n)."""
        kept = self.kept()
        if kept is not None:
            return np.asarray(kept @ x)
        out = np.empty((len(self), *x.shape[1:]))
        for part, rows in self.blocks(_shared_by(x.shape[1:])):
            np.matmul(rows, x, out=out[part])
        return out

    def __rmatmul__(self, lam: Floats) -> Floats:
        """Return ``lam W``: (d,) for ``lam`` (V,), and (n, d) for ``lam`` (n, V)."""
        kept = self.kept()
        if kept is not None:
            return np.asarray(lam @ kept)
        out = np.zeros((*lam.shape[:-1], self.shape[1]))
        for part, rows in self.blocks(_shared_by(lam.shape[:-1])):
            out += lam[..., part] @ rows
        return out

    def logits(self, x: Floats) -> Floats:
        """Multiply points with all rows.

        Parameters
        ----------
        x : ndarray of shape (d,) or (n, d), float64
            One point, or points.

        Returns
        -------
        ndarray of shape (V,) or (n, V), float64
            The products.
        """
        if x.ndim == 1:
            return self @ x
        kept = self.kept()
        if kept is not None:
            return np.asarray(x @ kept.T)
        out = np.empty((*x.shape[:-1], len(self)))
        for part, rows in self.blocks(_shared_by(x.shape[:-1])):
            out[..., part] = x @ rows.T
        return out

    def kept(self) -> Floats | None:
        """Return the whole matrix in float64 if it is kept for products and for further readings.

        Returns
        -------
        ndarray of shape (V, d), float64, or None
            None for rows that take more than 512 MiB in float64, or more than there are.
        """
        if not self._is_plain:
            if not self._is_small:
                return None
            if self._whole is None and memory.usable() < 8 * math.prod(self.shape):
                return None
        return self.whole()

    def whole(self) -> Floats:
        """Return the whole matrix in float64, and keep it.

        Returns
        -------
        ndarray of shape (V, d), float64
            The matrix, read-only.

        Raises
        ------
        InputError
            If it does not fit in memory.
        """
        if self._whole is None:
            V, d = self.shape
            memory.check_memory(
                8 * V * d,
                f"W of {V} x {d} as float64",
                "read rows by slices, readout.rows[...], or use a machine with more",
            )
            whole = np.empty((V, d))
            for part, rows in self.blocks():
                whole[part] = rows
            whole.flags.writeable = False
            self._whole = whole
        return self._whole

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return `whole`, for NumPy's functions."""
        return np.array(self.whole(), dtype=dtype, copy=copy)

    def over(self, exponent: int) -> Rows:
        """Return the rows over a power of two.

        Parameters
        ----------
        exponent : int
            The rows are divided by ``2**exponent``, which the caller knows to round nothing.

        Returns
        -------
        Rows
            Rows that share what is stored.
        """
        largest = None if self._largest is None else math.ldexp(self._largest, -exponent)
        return Rows(self.stored, self.scale, self.exponent + exponent, largest)

    def to_share(self) -> Rows:
        """Return the same rows as several processes should hold them: in float64 if it is kept.

        Otherwise each of them would keep a copy of its own.

        Returns
        -------
        Rows
            These rows, or their float64 matrix.
        """
        kept = self.kept()
        return self if kept is None else Rows(Stored(kept, self.shape[1]), largest=self._largest)

    def moved_to(self, lines: NDArray[Any]) -> Rows:
        """Return the same rows with what is stored in another place.

        Parameters
        ----------
        lines : ndarray
            A copy of the stored lines.

        Returns
        -------
        Rows
            Rows that read from there.
        """
        moved = Stored(lines, self.stored.d, self.stored.unpack)
        return Rows(moved, self.scale, self.exponent, self._largest)

    @property
    def _is_small(self) -> bool:
        return 8 * math.prod(self.shape) <= KEPT

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave behind what can be computed again."""
        return Rows, (self.stored, self.scale, self.exponent, self._largest)


def _shared_by(points: tuple[int, ...]) -> int:
    """Return the numbers of a block that is multiplied with so many points.

    Few points wait for the block to be made, which is fastest in the cache; for many, the product
    takes most of the time, and is faster with more rows.
    """
    return BLOCK if math.prod(points) < 64 else 8 * BLOCK


def _listed(ids: Any) -> Ids:
    """Return ids as an array; truth values stand for the places where they are true."""
    array = np.asarray(ids)
    return np.flatnonzero(array) if array.dtype == np.bool_ else array


def size(rows: Floats) -> float:
    """Return the size of the largest of finite numbers, in one pass each way and no copy."""
    return max(float(rows.max(initial=0.0)), -float(rows.min(initial=0.0)))
