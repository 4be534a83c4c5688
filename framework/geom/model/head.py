"""The head of a checkpoint: the arrays of its last map, before the norm is folded in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from geom.errors import InputError
from geom.model.rows import Rows
from geom.model.shift import Shift
from geom.model.stored import Stored
from geom.numbers.arrays import Floats, Ids
from geom.reprs import short_repr


@dataclass(frozen=True, eq=False)
class Head:
    """The arrays that a readout was folded from: ``W (P (gamma * x + beta)) + b``.

    What people do to a head, they do to these rows: they round them, add to them, replace some.
    `Readout.fold` then folds the result as it folds a checkpoint. ``shape`` is (V, k), and
    ``dtype`` the type that rows of the head are written in: that of its rows, or, if they are
    packed, the type that they are unpacked to.

    Attributes
    ----------
    stored : Stored
        The rows ``W`` (V, k), in the type that the checkpoint has them in.
    bias : ndarray of shape (V,), float64, optional
        The biases without the norm's shift; None if there are none.
    gamma : ndarray of shape (d,), float64, optional
        The norm's scale.
    beta : ndarray of shape (d,), float64, optional
        The norm's shift.
    projection : ndarray of shape (k, d), float64, optional
        The matrix ``P`` between the norm and the rows.
    """

    stored: Stored
    bias: Floats | None = None
    gamma: Floats | None = None
    beta: Floats | None = None
    projection: Floats | None = None

    _shown: ClassVar = ("shape", "dtype", "bias", "gamma", "beta", "projection")
    __repr__ = short_repr

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows V, and their width k, which is d without a projection."""
        return len(self.stored.lines), self.stored.d

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type that rows of this head are written in.

        Packed rows are written in the type that they are unpacked to, which is float32 for GGUF.
        """
        return self.stored.dtype

    def numbers(self, ids: slice | Ids) -> Floats:
        """Read rows as the checkpoint has them.

        Parameters
        ----------
        ids : slice or ndarray of shape (n,), int
            The places of the rows.

        Returns
        -------
        ndarray of shape (n, k), float64
            The rows, exactly.
        """
        return self.stored.numbers(ids)


def head_of(rows: Rows, b: Floats, shift: Shift | None) -> Head:
    """Return the head of a readout that was built from folded numbers.

    Its rows are then the head's own, unless a norm's scale was multiplied into them: that cannot be
    taken out again, so it raises InputError.
    """
    bias = b if shift is None else shift.bias
    gamma, beta = rows.scale, None if shift is None else shift.beta
    known = rows.exponent == 0
    if shift is not None and gamma is None:
        known = known and bool((shift.gamma == 1.0).all())
    if not known:
        raise InputError(
            "the head's own rows are not known, as this readout was built from folded rows: build "
            "it with Readout.fold"
        )
    return Head(rows.stored, bias if bias.any() else None, gamma, beta)
