"""Who wins along each token's own direction, exactly and faster than the whole product.

Along its own direction ``w_t`` token j has the score ``w_j . w_t``. By Cauchy and Schwarz a row
shorter than ``w_t`` scores below ``|w_t|^2``, which is t's own score: sorted by length, half of the
product ``W W^T`` decides who wins. That half is done in float32, with its error bound carried as
one more column of the product; the few rows that float32 cannot tell apart are compared in
float64, and those that float64 cannot, in integers. The result is that of exact arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geom.errors import InputError
from geom.progress import track
from geom.rationals import integers
from geom.readout import Readout
from geom.rounding import dot_error, gamma, norm_above

DEFAULT_MEMORY_MIB = 256


def own_winners(
    readout: Readout,
    tokens: Sequence[int] | None = None,
    *,
    centre: bool = True,
    memory_mib: int = DEFAULT_MEMORY_MIB,
) -> NDArray[np.int64]:
    """The winner along the own direction of each of ``tokens`` (all V of them where None).

    A token wins its own direction only strictly: where others tie with it, and where several
    others win together, the answer is the one of lowest id. ``centre`` subtracts the mean row
    first (in float64; the rounded rows are then taken as exact). Blocks of scores take at most
    ``memory_mib`` MiB beside one float32 copy of ``W``. Returns (n,) int64.
    """
    rows = _Rows(readout, centre)
    ids = np.arange(readout.V) if tokens is None else np.asarray(tokens, dtype=np.int64)
    winners = np.empty(ids.size, dtype=np.int64)
    order = np.argsort(rows.place[ids], kind="stable")
    height = max(1, memory_mib * 2**20 // (4 * readout.V))
    blocks = [order[start : start + height] for start in range(0, ids.size, height)]
    for block in track(blocks, "self-argmax", len(blocks)):
        winners[block] = rows.winners(ids[block])
    return winners


class _Rows:
    """The rows, longest first, in float32 with one column more for the bound on rounding.

    Rows are scaled by a power of two so that no entry is above 1. With ``v`` a scaled row, ``s``
    its float32 and u = 2^-24: ``|s_i - v_i| <= u |v_i|``, and a float32 product of two such rows
    has d roundings more, so it is off from ``v . v'`` by at most ``epsilon |v||v'|``, ``epsilon`` a
    little above ``gamma_{d+2}`` with that u. The last column makes the product itself that much
    larger: an upper bound on the score, at no further pass over the block. ``floor`` covers
    underflow.
    """

    def __init__(self, readout: Readout, centre: bool) -> None:
        V, d = readout.V, readout.d
        self._W = readout.W
        with np.errstate(over="ignore", invalid="ignore"):
            self._mean = readout.W.mean(axis=0) if centre else np.zeros(d)
            largest = max(float(np.abs(self._W[part] - self._mean).max()) for part in _slices(V))
        if not math.isfinite(largest):
            raise InputError("the rows of W sum past the range of float64: scale W down")
        unit = 2.0 ** min(1000, -math.frexp(largest)[1])
        self.squares, lengths = np.empty(V), np.empty(V)
        for part in _slices(V):
            rows = (self._W[part] - self._mean) * unit
            self.squares[part] = np.einsum("ij,ij->i", rows, rows)
            lengths[part] = norm_above(rows, axis=-1)
        self.order = np.argsort(-lengths, kind="stable")
        self.place = np.empty(V, dtype=np.int64)
        self.place[self.order] = np.arange(V)
        self.lengths = lengths[self.order]
        self.epsilon = 1.05 * (d + 4) * 2.0**-24 / (1.0 - (d + 4) * 2.0**-24)
        self.floor = (d + 1) * 2.0**-125
        self.single = np.empty((V, d + 1), dtype=np.float32)
        for part in _slices(V):
            self.single[part, :-1] = (self._W[self.order[part]] - self._mean) * unit
        self.single[:, -1] = self.lengths * (1.0 + 2.0**-22)

    def winners(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The winners of a block of tokens, given longest first."""
        places = self.place[ids]
        lengths = self.lengths[places]
        reach = int(np.searchsorted(-self.lengths, -lengths[-1] * (1.0 - 2.0**-30), side="right"))
        left = self.single[places]
        left[:, -1] *= np.float32(self.epsilon)
        above = left @ self.single[:reach].T
        above[np.arange(ids.size), places] = -np.inf
        best = above.max(axis=1)
        own = self.squares[ids] * (1.0 - gamma(self._W.shape[1] + 2)) - 2.0 * self.floor
        winners = ids.copy()
        for i in np.flatnonzero(~(best < own)):
            rival = float(self.lengths[int(above[i].argmax())])
            width = 2.2 * self.epsilon * rival * lengths[i] + 4.0 * self.floor
            near = np.flatnonzero(above[i] >= float(best[i]) - width)
            winners[i] = self._settle(int(ids[i]), np.sort(self.order[near]))
        return winners

    def _settle(self, token: int, rivals: NDArray[np.int64]) -> int:
        """The winner among the token and ``rivals``, ascending ids that may all be the highest."""
        ids = np.append(rivals, token)
        rows = self._W[ids] - self._mean
        norms = norm_above(rows, axis=-1)
        error = 2.0 * dot_error(norms, float(norms[-1]), np.zeros(ids.size), rows.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):
            scores = rows @ rows[-1]
            close = ~(scores + error < (scores - error).max())
        ids, mantissas = ids[close], integers(rows[close])[0]
        exact = mantissas @ integers(rows[-1])[0] if ids.size > 1 else np.zeros(1, dtype=object)
        first = [int(j) for j, score in zip(ids, exact, strict=True) if score == exact.max()]
        return first[0]


def _slices(n: int, step: int = 8192) -> list[slice]:
    return [slice(start, min(n, start + step)) for start in range(0, n, step)]
