"""The winner along each token's own direction, exact and faster than the whole product.

Along token t's own direction ``w_t``, token j has the score ``w_j . w_t``. By Cauchy-Schwarz a row
shorter than ``w_t`` scores below ``|w_t|^2``, which is t's own score: with the rows sorted by
length, half of the product ``W W^T`` decides who wins. Most of that half need not be computed
either: if ``p`` are a row's leading principal coordinates and ``r`` is the length of the rest, then
``w_j . w_t`` is at most ``p_j . p_t + r_j r_t``, a product of a few columns. A rival whose bound is
below ``|w_t|^2`` neither wins nor ties, so it is dropped, and the highest remaining rival is the
highest of all. The remaining rivals are compared by whole float32 rows, with their error bound as
one more column of the product; the few that float32 cannot tell apart are compared in float64, and
those that float64 cannot tell apart, in integers. The result is that of exact arithmetic, on any
device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom.errors import InputError
from geom.exact.single import ScaledRows, gamma_single, highest_rival
from geom.machine.devices import current_device
from geom.machine.threads import limited_threads
from geom.model.readout import Readout
from geom.numbers.rationals import integers
from geom.numbers.rounding import dot_error, gamma, norm_above, refuse_flushing
from geom.progress import track_progress

DEFAULT_MEMORY_MIB = 256

PRUNE_ROWS = 8192
"""With fewer rows than this, whole rows are compared: a sample to choose a screen costs more."""

PRUNE_ON = ("cpu", "torch")
"""The devices that use a screen. A GPU computes the whole half product: its products are quick
compared with one gather per token."""

WIDTHS = (1 / 24, 1 / 16, 1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 2)
"""The widths tried for the screen, as fractions of d."""

PRUNED_AT_ONCE = 512
"""The most tokens that are pruned together, even if memory allows more: short blocks stay in
cache."""

PER_TOKEN = 80
"""The bytes per token that the arrays of lengths, places and winners take, apart from rows."""

PASS, GATHER = 48, 20
"""Estimated costs: scanning a block of bounds costs as much as `PASS` columns of its product, and
gathering a pair of whole rows costs `GATHER` times as much as the pair within a product. They
decide how fast an answer comes, never which answer."""


def own_winners(
    readout: Readout,
    tokens: Sequence[int] | None = None,
    *,
    centre: bool = True,
    memory_mib: int = DEFAULT_MEMORY_MIB,
) -> NDArray[np.int64]:
    """Find the winner along each token's own direction, as exact arithmetic would.

    A token wins its own direction only strictly: if others tie with it, or several others win
    together, the answer is the one with the lowest id.

    Parameters
    ----------
    readout : Readout
        The weights.
    tokens : sequence of int, optional
        The tokens, all V of them if None.
    centre : bool, optional
        Whether the mean row is subtracted first (in float64; the rounded rows are then taken as
        exact).
    memory_mib : int, optional
        The most MiB for blocks of scores. In addition it takes one float32 copy of ``W`` and at
        most half a copy more for the screen, both on `geom.current_device()` (twice that on a GPU
        or torch while they are copied there). Choosing the screen briefly takes some ``6 d``
        float64 rows.

    Returns
    -------
    ndarray of shape (n,), int64
        The winner of each token.

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.
    """
    refuse_flushing()
    rows = _SortedRows(readout, centre)
    ids = np.arange(readout.V) if tokens is None else np.asarray(tokens, dtype=np.int64)
    winners = np.empty(ids.size, dtype=np.int64)
    order = np.argsort(rows.place[ids], kind="stable")
    height = max(1, memory_mib * 2**20 // (4 * readout.V))
    if rows.bounds is not None:
        short = max(1, min(PRUNED_AT_ONCE, height * 4 // 5))  # a mask takes a byte a float32
        whole = np.zeros(ids.size, dtype=np.bool_)
        for block in _blocks(order, short):
            winners[block], left = rows.pruned(ids[block])
            whole[block[left]] = True
        order = order[whole[order]]
    for block in _blocks(order, height):
        winners[block] = rows.whole(ids[block])
    return winners


def own_winners_memory(readout: Readout, memory_mib: int = DEFAULT_MEMORY_MIB) -> int:
    """Bound the memory that `own_winners` takes in addition to the readout.

    Parameters
    ----------
    readout : Readout
        The weights.
    memory_mib : int, optional
        As for `own_winners`.

    Returns
    -------
    int
        An upper bound in bytes: rows in float32, a screen of at most half their width, the length,
        place, order and winner of each token, and a block of scores.
    """
    V, d = readout.W.shape
    rows = 4 * V * ((d + 1) + (max(1, d // 2) + 1))
    blocks = max(min(memory_mib * 2**20, 5 * V * V), 5 * V)  # at least a block of one token
    screen = 8 * 6 * d * min(V, max(2 * d, 512)) + 8 * d * d if V >= PRUNE_ROWS else 0
    return int(rows + V * PER_TOKEN + blocks + screen)


def _blocks(order: NDArray[np.int64], height: int) -> Iterator[NDArray[np.int64]]:
    """Yield the order in blocks of that height, with progress; one by one, for there may be V."""
    starts = range(0, order.size, height)
    blocks = (order[start : start + height] for start in starts)
    return track_progress(blocks, "self-argmax", len(starts))


@dataclass(frozen=True)
class _Screen:
    """A product of ``k + 1`` columns that bounds scores from above.

    ``Q`` (d, k) has computed columns, orthonormal up to ``delta >= |Q^T Q - I|``. Its polar factor
    ``T`` is orthonormal and ``|Q - T| <= delta`` (a singular value s of Q has
    ``|s - 1| <= |s^2 - 1|``). For exact ``p = T^T v`` and the rest ``r``,
    ``|r|^2 = |v|^2 - |p|^2`` and ``v . v' <= p . p' + |r||r'|``. The float32 coordinates ``q``
    differ from ``p`` by at most ``eta |v|``, the sum of delta, the error of the float64 product
    (``sqrt(k) gamma_d``, because no column is longer than 1.01) and 2^-24 for float32. Since
    ``|q| <= (1 + eta)|v|``:

    - ``p . p' <= q . q' + (2 eta + eta^2) |v||v'|``, and ``|r|^2 <= |v|^2 - |q|^2 + 3 eta |v|^2``;
    - the float32 product of k + 1 columns, summed in any order, is off by at most
      ``1.01 gamma_{k+1} |v||v'|`` with u = 2^-24 (the columns' length is below ``1.005 |v|``).

    The factors of ``|v||v'|`` sum to less than ``slack``. By Cauchy-Schwarz ``a a' + c|v||v'|
    <= sqrt(a^2 + c|v|^2) sqrt(a'^2 + c|v'|^2)``, so all of it goes under the root of the one column
    that holds the rest, ``rho^2 = |v|^2 - |q|^2 + slack |v|^2``, rounded up.
    """

    Q: NDArray[np.float64]

    @property
    def slack(self) -> float:
        return math.ldexp(self.Q.shape[1] + 16, -23)

    def sound(self) -> bool:
        """Return whether ``eta`` is below 2^-23, which ``slack`` has room for."""
        d, k = self.Q.shape
        defect = float(np.linalg.norm(self.Q.T @ self.Q - np.eye(k)))
        rounding = 3 * k * gamma(d + 2)  # of the defect itself
        return bool(defect + rounding < 2.0**-25)

    def columns(
        self, rows: NDArray[np.float64], lengths: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Compute the k + 1 columns of some rows, whose lengths are at most ``lengths``."""
        k = self.Q.shape[1]
        out = np.empty((len(rows), k + 1), dtype=np.float32)
        out[:, :-1] = rows @ self.Q
        inside = np.einsum("ij,ij->i", out[:, :-1], out[:, :-1], dtype=np.float64)
        rest = np.maximum(lengths**2 * (1.0 + self.slack) - inside, lengths**2 * self.slack / 2)
        out[:, -1] = np.sqrt(rest) * (1.0 + 2.0**-22)
        return out


def _choose_screen(
    rows: NDArray[np.float64], lengths: NDArray[np.float64], tries: NDArray[np.int64]
) -> _Screen | None:
    """Choose the screen that costs least on a sample; None if whole rows cost no more.

    ``rows`` are a sample, longest first; ``tries`` are the places in it of the tokens that are
    tried against the longer rows.
    """
    d = rows.shape[1]
    with limited_threads(1):  # on busy cores, two threads take twenty times as long
        basis = np.linalg.eigh(rows.T @ rows)[1][:, ::-1]
    coordinates = rows @ basis
    squares = lengths**2
    longer = np.arange(len(rows)) < tries[:, None]
    scores = np.zeros((tries.size, len(rows)))
    best, cost, done = 0, float(longer.sum()) * (d + PASS), 0
    for k in sorted({max(1, round(d * share)) for share in WIDTHS}):
        part = coordinates[:, done:k]
        scores += part[tries] @ part.T
        done = k
        rest = np.sqrt(np.maximum(squares - (coordinates[:, :k] ** 2).sum(axis=1), 0.0))
        left = (longer & (scores + np.outer(rest[tries], rest) >= squares[tries, None])).sum(axis=1)
        whole = longer.sum(axis=1)
        now = float((whole * (k + PASS) + d * np.minimum(left * GATHER, whole)).sum())
        if now < cost:
            best, cost = k, now
    screen = _Screen(np.ascontiguousarray(basis[:, :best]))
    return screen if best and screen.sound() else None


class _SortedRows:
    """The rows, longest first, in float32 with one more column for the bound on rounding.

    A product of two rows differs from ``v . v'`` by at most ``epsilon |v||v'|``, where ``epsilon``
    is a little above ``gamma_{d+2}`` (`geom.exact.single`). The last column makes the product
    larger by that amount, so that it is an upper bound on the score. ``floor`` covers underflow,
    flushed to zero or not.
    """

    def __init__(self, readout: Readout, centre: bool) -> None:
        V, d = readout.V, readout.d
        self.device = current_device()
        self._W = readout.W
        with np.errstate(over="ignore", invalid="ignore"):
            mean = readout.W.mean(axis=0) if centre else np.zeros(d)
            self._rows = ScaledRows(readout.W, mean)
        if not math.isfinite(self._rows.largest):
            raise InputError("the rows of W sum past the range of float64: scale W down")
        self.order = np.argsort(-self._rows.lengths, kind="stable")
        self.place = np.empty(V, dtype=np.int64)
        self.place[self.order] = np.arange(V)
        self.lengths = self._rows.lengths[self.order]
        self.epsilon = 1.05 * gamma_single(d + 4)
        self.floor = (d + 1) * math.sqrt(d) * 2.0**-123
        screen = self._screen() if V >= PRUNE_ROWS and self.device.name in PRUNE_ON else None
        single = np.empty((V, d + 1), dtype=np.float32)
        bounds = np.empty((V, screen.Q.shape[1] + 1 if screen else 0), dtype=np.float32)
        self.squares = np.empty(V)
        for part, rows in self._rows.blocks(self.order):
            self.squares[part] = np.einsum("ij,ij->i", rows, rows)
            single[part, :-1] = rows
            if screen:
                bounds[part] = screen.columns(rows, self.lengths[part])
        single[:, -1] = self.lengths * (1.0 + 2.0**-22)
        self.single = self.device.put(single)
        self.bounds: Any = self.device.put(bounds) if screen else None

    def _screen(self) -> _Screen | None:
        """Choose the screen for these rows from a sample spread evenly over their lengths."""
        V, d = self._W.shape
        size = min(V, max(2 * d, 512))
        places = np.arange(size) * V // size
        tries = (np.arange(48) * size + size // 2) // 48
        return _choose_screen(self._rows.scaled(self.order[places]), self.lengths[places], tries)

    def _reach(self, ids: NDArray[np.int64]) -> int:
        """Return how many rows, longest first, may be as long as the shortest of ``ids``."""
        shortest = self.lengths[self.place[ids[-1]]]
        return int(np.searchsorted(-self.lengths, -shortest * (1.0 - 2.0**-30), side="right"))

    def _own(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return lower bounds on the own scores, less what underflow may take from a rival's."""
        own = self.squares[self.place[ids]] * (1.0 - gamma(self._W.shape[1] + 2)) - 2.0 * self.floor
        return np.asarray(own)

    def _left(self, places: NDArray[np.int64]) -> Any:
        """Return rows as left factors, the last column scaled to the error that it stands for."""
        xp = self.device.xp
        left = xp.take(self.single, self.device.put(places), axis=0)
        left[:, -1] *= self.epsilon
        return left

    def whole(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the winners of a block of tokens, given longest first, by whole rows."""
        reach = self._reach(ids)
        places, winners = self.place[ids], ids.copy()
        above = self._left(places) @ self.single[:reach, :].T
        best = highest_rival(self.device, above, places)
        for i in np.flatnonzero(~(best < self._own(ids))):
            scores = self.device.get(above[int(i), :])
            winners[i] = self._highest(int(ids[i]), np.arange(reach), scores)
        return winners

    def pruned(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find the winners by the screen, and the indices of tokens the screen could not settle."""
        reach, winners = self._reach(ids), ids.copy()
        xp, put, get = self.device.xp, self.device.put, self.device.get
        places, own = self.place[ids], self._own(ids)
        least = (own * (1.0 - 2.0**-22)).astype(np.float32)  # no higher than own, once rounded
        bounds = xp.take(self.bounds, put(places), axis=0) @ self.bounds[:reach, :].T
        kept = bounds >= put(least)[:, None]
        del bounds
        kept[put(np.arange(ids.size)), put(places)] = False
        counts = get(xp.count_nonzero(kept, axis=1))
        few = counts * GATHER <= reach
        left = self._left(places)
        for i in np.flatnonzero(few & (counts > 0)):
            rivals = xp.nonzero(kept[int(i), :])[0]
            scores = get(xp.take(self.single, rivals, axis=0) @ left[int(i), :])
            if not scores.max() < own[i]:
                winners[i] = self._highest(int(ids[i]), get(rivals), scores)
        return winners, np.flatnonzero(~few)

    def _highest(self, token: int, places: NDArray[np.int64], above: NDArray[np.float32]) -> int:
        """Find the winner among the token and the rows at ``places``, with scores <= ``above``."""
        top = int(above.argmax())
        rival, own = self.lengths[int(places[top])], self.lengths[self.place[token]]
        width = 2.2 * self.epsilon * float(rival * own) + 4.0 * self.floor
        near = places[above >= float(above[top]) - width]
        return self._settle(token, np.sort(self.order[near]))

    def _settle(self, token: int, rivals: NDArray[np.int64]) -> int:
        """Find the winner among the token and ``rivals``, ascending ids that may all be highest."""
        ids = np.append(rivals, token)
        rows = self._W[ids] - self._rows.mean
        norms = norm_above(rows, axis=-1)
        error = 2.0 * dot_error(norms, float(norms[-1]), np.zeros(ids.size), rows.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):
            scores = rows @ rows[-1]
            close = ~(scores + error < (scores - error).max())
        ids = ids[close]
        if ids.size == 1:
            return int(ids[0])
        exact = integers(rows[close])[0] @ integers(rows[-1])[0]
        first = [int(j) for j, score in zip(ids, exact, strict=True) if score == exact.max()]
        return first[0]
