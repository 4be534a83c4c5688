"""Frames: the affine maps that carry coordinates to the vectors of a domain.

The hull of points ``p_i`` is the image of the mixtures ``y`` (``y_i >= 0``, sum 1) under
``x = sum y_i p_i``, and an ellipsoid is the image of a ball. A point of such a domain *is* its
coordinates. The vector ``x`` rounded to float64 is not: unless the points span all of R^d, hardly a
float64 vector lies in their hull, and whether one does is a linear program. The coordinates are
floats, so membership is decided by looking at them, and what a token's margin is at the exact ``x``
that they stand for is a question about rationals, which `geom.exact` answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from geom.errors import InputError
from geom.machine import memory
from geom.model.arrays import frozen
from geom.numbers.arrays import Floats
from geom.numbers.exact_products import exact_products
from geom.numbers.rationals import Scaled
from geom.numbers.rounding import TINY, UP, gamma, norm_above
from geom.reprs import short_repr

MOST = 1 << 27
"""The most numbers in the axes of a frame: a run file keeps them in one array of 1 GiB."""


@dataclass(frozen=True, eq=False)
class Frame:
    """The affine map ``x = centre + y @ axes`` from coordinates to vectors.

    Two frames are equal if all their numbers are.

    Parameters
    ----------
    axes : ndarray of shape (k, d), float64
        The vector that each coordinate counts. A writable array is copied.
    centre : ndarray of shape (d,), float64, optional
        The vector at ``y = 0``; None stands for zero.

    Raises
    ------
    InputError
        If a number is not finite, or there are none or too many of them.
    """

    axes: Floats
    centre: Floats | None = None

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if self.axes.ndim != 2 or not self.axes.size:
            raise InputError("a domain needs at least one vector of at least one number")
        if self.axes.size > MOST:
            raise InputError(
                f"a domain of {len(self.axes)} vectors of {self.axes.shape[1]} numbers is too "
                f"large: give at most {MOST // self.axes.shape[1]}"
            )
        for name, array in (("axes", self.axes), ("centre", self.centre)):
            if array is not None:
                if not np.isfinite(array).all():
                    raise InputError("the vectors of a domain hold NaN or infinity")
                object.__setattr__(self, name, frozen(array))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and (self is other or self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def coordinates(self) -> int:
        """The number k of coordinates of a point."""
        return len(self.axes)

    @cached_property
    def digest(self) -> str:
        """The SHA-256, in hexadecimal, of the shape, the axes and the centre as float64."""
        k, d = self.axes.shape
        state = hashlib.sha256(f"geom frame {k} {d}\n".encode())
        centre = np.zeros(d) if self.centre is None else self.centre
        for array in (self.axes, centre):
            state.update(np.ascontiguousarray(array + 0.0, dtype="<f8").data)
        return state.hexdigest()

    @cached_property
    def lengths(self) -> Floats:
        """Upper bounds (k,) on the lengths of the axes."""
        return norm_above(self.axes, axis=-1)

    def vectors(self, points: Floats) -> tuple[Floats, Floats]:
        """Compute the vectors that coordinates stand for, and how far they are from the exact ones.

        A sum of k products and the centre, in any order, is off by at most ``gamma_{k+1}`` times
        the sum of the terms' sizes, coordinate by coordinate (Higham 3.5), so its length by as much
        of the sum of the terms' lengths; each product and sum may also lose ``TINY`` to underflow.

        Parameters
        ----------
        points : ndarray of shape (n, k), float64
            The coordinates.

        Returns
        -------
        x : ndarray of shape (n, d), float64
            The vectors, rounded.
        off : ndarray of shape (n,), float64
            Upper bounds on the distance from the exact vectors; infinity if numbers overflow.
        """
        k, d = self.axes.shape
        with np.errstate(over="ignore", invalid="ignore"):
            x = points @ self.axes
            sizes = np.abs(points)
            length = sizes @ self.lengths
            if self.centre is not None:
                x += self.centre
                length = length + float(norm_above(self.centre))
            lost = 2 * (k + 1) * d * TINY * (1.0 + sizes.sum(axis=1) + float(self.lengths.max()))
            off = (length * gamma(k + 3) * (1.0 + gamma(k + 3)) + lost) * UP
        off[~(np.isfinite(off) & np.isfinite(x).all(axis=1))] = np.inf
        return np.asarray(x), np.asarray(off)

    def exact_vectors(self, points: Floats) -> Iterator[Scaled]:
        """Yield the vector (d, 1) that each row of coordinates (n, k) stands for, exactly."""
        if self.centre is None:
            return exact_products(points, self.axes)
        whole = np.column_stack([points, np.ones(len(points))])
        return exact_products(whole, np.vstack([self.axes, self.centre]))

    def against(self, r: Floats, error: Floats) -> tuple[Floats, Floats]:
        """Compute ``axes @ r`` with bounds on its error, for every ``r`` within an error.

        Parameters
        ----------
        r : ndarray of shape (d,), float64
            A vector.
        error : ndarray of shape (d,), float64
            Bounds on what each of its numbers may be off by.

        Returns
        -------
        q, q_error : ndarray of shape (k,), float64
            The products, and bounds on their errors.
        """
        d = r.size
        with np.errstate(over="ignore", invalid="ignore"):
            size, doubt = float(norm_above(r)), float(norm_above(error))
            lost = 2 * (d + 1) * TINY * (1.0 + size + self.lengths)
            off = self.lengths * ((size * gamma(d + 2) + doubt) * UP) + lost
            return np.asarray(self.axes @ r), np.asarray(off * UP)


def read_matrix(what: str, values: object) -> Floats:
    """Return numbers as a float64 matrix, exactly.

    Raises InputError unless ``values`` is a matrix of float16, float32 or float64.
    """
    array = np.asarray(values)
    if array.dtype.kind != "f" or array.dtype.itemsize not in (2, 4, 8):
        raise InputError(f"{what} has dtype {array.dtype}: give float16, float32 or float64")
    if array.ndim != 2 or not array.size:
        raise InputError(f"{what} has shape {array.shape}: give (n, d), one vector a row, n > 0")
    memory.check_memory(8 * array.size, what, "give fewer vectors")
    out = np.asarray(array, dtype=np.float64)
    if not np.isfinite(out).all():
        row = int(np.flatnonzero(~np.isfinite(out).all(axis=1))[0])
        raise InputError(f"{what} holds NaN or infinity, first in row {row}: give finite numbers")
    return out
