"""Rows put in the place of others, as `geom repair` and training write them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geom.errors import InputError
from geom.model import arrays
from geom.model.head import Head
from geom.model.stored import Stored
from geom.numbers.arrays import Floats, Ids


def replaced(head: Head, ids: ArrayLike, rows: ArrayLike, bias: ArrayLike | None = None) -> Head:
    """Replace rows of a head, and their biases.

    The others are copied, in their own type; packed ones are unpacked.

    Parameters
    ----------
    head : Head
        The head.
    ids : array_like of shape (n,), int
        The ids of the rows, none twice.
    rows : array_like of shape (n, k)
        The rows as the checkpoint would have them: before the norm is folded in, and numbers of
        the checkpoint's own type.
    bias : array_like of shape (n,), optional
        Their biases; None leaves them as they are.

    Returns
    -------
    Head
        The head with these rows.

    Raises
    ------
    InputError
        For ids that the head does not have or that come twice; for another shape; for numbers that
        are not finite or not of the head's type; for biases of a head that has none; and if there
        is no memory for a copy.
    """
    V, k = head.shape
    places = _places(np.asarray(ids), V)
    given = arrays.matrix("rows", np.asarray(rows), len(places))
    if given.shape[1] != k:
        raise InputError(f"rows has shape {given.shape}: the head needs ({len(places)}, {k})")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        held = given.astype(head.dtype)
    _refuse_rounded(given, held.astype(np.float64), places, head.dtype)
    biases = head.bias
    if bias is not None:
        if biases is None:
            raise InputError("bias is given, and the head has none: leave it out")
        biases = biases.copy()
        biases[places] = arrays.vector("bias", np.asarray(bias), len(places))
        biases = arrays.frozen(biases)
    lines = head.stored.copied()
    lines[places] = held
    lines.flags.writeable = False
    return replace(head, stored=Stored(lines, k), bias=biases)


def _places(ids: NDArray[Any], V: int) -> Ids:
    """Return the ids, checked."""
    if ids.ndim != 1 or ids.size == 0 or ids.dtype.kind not in "iu":
        raise InputError(
            f"ids is {ids.dtype} of shape {ids.shape}: give integers, one per row, and at least one"
        )
    outside = (ids < 0) | (ids >= V)
    if outside.any():
        raise InputError(f"ids holds {ids[outside][0]}: the head has the ids 0 to {V - 1}")
    found, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise InputError(f"ids holds {found[counts > 1][0]} twice: give each id once")
    return ids.astype(np.int64)


def _refuse_rounded(given: Floats, held: Floats, ids: Ids, dtype: np.dtype[Any]) -> None:
    """Raise InputError for the first number that its type does not hold."""
    wrong = given != held
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise InputError(
            f"the row of id {ids[row]} holds {given[row, column]:.17g} at {column}, which is not a "
            f"number of {dtype}, the type of the head: round the rows to it"
        )
