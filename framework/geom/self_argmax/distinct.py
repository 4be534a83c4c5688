"""The distinct rows of a readout, longest first.

Equal rows have equal scores everywhere, so each set of equal rows needs one look. Vocabularies with
thousands of tokens that were never trained may hold thousands of equal rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geom.errors import InputError
from geom.exact.single import ScaledRows
from geom.model.readout import Readout
from geom.numbers.arrays import Flags, Floats, Ids
from geom.numbers.rounding import gamma, norm_above


class DistinctRows:
    """The rows less their mean, each set of equal rows once, longest first.

    A distinct row is known by its place in that order. ``heads`` (n,) is the lowest id of each set
    of equal rows; ``place`` (V,) is each token's place; ``lengths`` (n,) are upper bounds on the
    lengths of the scaled rows ``v`` (`geom.exact.single`), and ``squares`` (n,) are their squared
    lengths, computed in float64.
    """

    def __init__(self, readout: Readout, centre: bool) -> None:
        V, d = readout.V, readout.d
        with np.errstate(over="ignore", invalid="ignore"):
            mean = readout.rows.mean if centre else np.zeros(d)
            self._rows = ScaledRows(readout.rows, mean)
        if not math.isfinite(self._rows.largest):
            raise InputError("the rows of W sum past the range of float64: scale W down")
        lengths, squares, keys = np.empty(V), np.empty(V), np.empty(V, dtype=np.uint64)
        for part in self._rows.parts(V):
            rows = self._rows.centred(part)
            keys[part] = row_keys(rows)
            rows *= self._rows.unit
            lengths[part] = norm_above(rows, axis=-1)
            squares[part] = np.einsum("ij,ij->i", rows, rows)
        order = np.lexsort((keys, -lengths))
        new = self._new(order, lengths, keys)
        self.place = np.empty(V, dtype=np.int64)
        self.place[order] = np.cumsum(new) - 1
        self.heads: Ids = order[new]
        self.lengths: Floats = lengths[self.heads]
        self.squares: Floats = squares[self.heads]
        self._second = np.full(self.heads.size, -1)
        seconds = np.flatnonzero(new[:-1] & ~new[1:]) + 1
        self._second[self.place[order[seconds]]] = order[seconds]

    def _new(self, order: Ids, lengths: Floats, keys: NDArray[np.uint64]) -> Flags:
        """Tell which rows of the order differ from the row before.

        Equal rows have equal lengths and keys, so they are neighbours, in the order of their ids,
        unless a row that differs has the same key by chance; then they are not all taken as one.
        """
        new = np.ones(order.size, dtype=np.bool_)
        new[1:] = (np.diff(lengths[order]) != 0.0) | (keys[order[1:]] != keys[order[:-1]])
        like = np.flatnonzero(~new)
        for part in self._rows.parts(like.size):
            at = like[part]
            before, row = self.centred(order[at - 1]), self.centred(order[at])
            new[at] = (before != row).any(axis=1)
        return new

    @property
    def d(self) -> int:
        """The width of a row."""
        return int(self._rows.mean.size)

    @property
    def size(self) -> int:
        """The number of distinct rows."""
        return int(self.heads.size)

    @cached_property
    def own(self) -> tuple[Floats, Floats]:
        """Lower and upper bounds (n,) on the rows' own scores ``|v|^2``."""
        error = self.errors(self.squares)
        return self.squares - error, self.squares + error

    def errors(self, sizes: Floats) -> Floats:
        """Bound the errors of float64 products of scaled rows from ``|v||v'|``.

        No entry is above 1, so each of the d products and sums loses less than 2^-1020 to
        underflow, flushed to zero or not, the rounding of the scaled rows included.
        """
        return np.asarray(1.05 * gamma(self.d + 4) * sizes + (self.d + 4) ** 2 * 2.0**-1020)

    def scaled(self, places: Ids | slice) -> Floats:
        """Return the scaled rows ``v`` (n, d) at these places."""
        return self._rows.scaled(self.heads[places])

    def centred(self, ids: Ids) -> Floats:
        """Return the rows (n, d) of these tokens less their mean, not scaled."""
        return self._rows.centred(ids)

    def blocks(self) -> Iterator[tuple[Ids, Floats]]:
        """Yield the places and the scaled rows of all distinct rows, a block at a time.

        They come in the order of their ids, in which they may lie in a file.
        """
        ids = np.sort(self.heads)
        for part in self._rows.parts(ids.size):
            yield self.place[ids[part]], self._rows.scaled(ids[part])

    def at(self, places: Ids | slice) -> Iterator[tuple[slice, Floats]]:
        """Yield the scaled rows at these places, a block at a time, with their indices."""
        heads = self.heads[places]
        for part in self._rows.parts(heads.size):
            yield part, self._rows.scaled(heads[part])

    def reach(self, place: int) -> int:
        """Return how many places, from the first, may hold rows as long as the one at ``place``."""
        least = self.lengths[place] * (1.0 - 2.0**-30)
        return int(np.searchsorted(-self.lengths, -least, side="right"))

    def is_zero(self, places: Ids) -> Flags:
        """Tell which rows are zero."""
        zero = np.asarray(self.squares[places] == 0.0)
        small = np.flatnonzero(zero)
        for part in self._rows.parts(small.size):
            zero[small[part]] = ~self.centred(self.heads[places[small[part]]]).any(axis=1)
        return zero

    def named(self, ids: Ids, rival: Ids, sign: Ids) -> Ids:
        """Return the winners (n,) along the own directions of tokens, with equal rows told apart.

        ``rival`` (size,) is the lowest id of the rows that score highest along a row's direction,
        itself left out, and ``sign`` (size,) tells whether they score higher than the row itself
        (1), as high (0) or lower (-1).
        """
        at = self.place[ids]
        head, second, beaten, tied = self.heads[at], self._second[at], rival[at], sign[at] == 0
        twin = np.where(ids == head, second, head)
        twin[second < 0] = -1
        alone = np.where(tied, beaten, ids)
        both = np.where(tied, np.minimum(beaten, twin), twin)
        return np.where(sign[at] > 0, beaten, np.where(twin < 0, alone, both))


def row_keys(rows: Floats) -> NDArray[np.uint64]:
    """Return a number (n,) for each row (n, d): equal for equal rows, seldom for others."""
    weights = np.random.default_rng(0).integers(2**63, size=rows.shape[1], dtype=np.uint64)
    bits = (rows + 0.0).view(np.uint64)  # 0 for -0
    return np.asarray(np.einsum("ij,j->i", bits, 2 * weights + 1))
