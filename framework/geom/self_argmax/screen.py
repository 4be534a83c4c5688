"""Upper bounds on scores from products of a few columns, and how many columns are worth it.

``Q`` (d, K) has computed columns, orthonormal up to ``delta >= |Q^T Q - I|``; a screen of width k
uses the first k of them. Their polar factor ``T`` is orthonormal and ``|Q - T| <= delta`` (a
singular value s of Q has ``|s - 1| <= |s^2 - 1|``). For exact ``p = T^T v`` and the rest ``r``,
``|r|^2 = |v|^2 - |p|^2`` and ``v . v' <= p . p' + |r||r'|``. The float32 coordinates ``q`` differ
from ``p`` by at most ``eta |v|``, the sum of delta, the error of the float64 product
(``sqrt(k) gamma_d``, because no column is longer than 1.01) and 2^-24 for float32. Since
``|q| <= (1 + eta)|v|``:

- ``p . p' <= q . q' + (2 eta + eta^2) |v||v'|``, and ``|r|^2 <= |v|^2 - |q|^2 + 3 eta |v|^2``;
- the float32 product of k + 2 columns, summed in any order, is off by at most
  ``1.01 gamma_{k+2} |v||v'|`` with u = 2^-24 (the columns' length is below ``1.005 |v|``), besides
  what the column of the least score adds (`geom.self_argmax.stages`).

The factors of ``|v||v'|`` sum to less than ``slack``. By Cauchy-Schwarz ``a a' + c|v||v'|
<= sqrt(a^2 + c|v|^2) sqrt(a'^2 + c|v'|^2)``, so all of it goes under the root of the one column
that holds the rest, ``rho^2 = |v|^2 - |q|^2 + slack |v|^2``, rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geom.exact.single import slices
from geom.machine.threads import limited_threads
from geom.numbers.arrays import Floats, Ids
from geom.numbers.rounding import gamma
from geom.self_argmax.distinct import DistinctRows

SHARES = (1 / 24, 1 / 16, 1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3)
"""The widths tried for screens, as fractions of d."""

BLOCK = 512
"""How many tokens are screened together. Of fewer, less is gained from each row that is read; of
more, too many rivals are left for some of them."""

PASS, READ = 35, 0.4
"""Estimated costs: scanning a block of bounds costs as much as `PASS` columns of its product, and
making whole rows for a block costs as much as `READ` of their product. They decide how fast an
answer comes, never which answer."""

SAMPLES, RIVALS = 6, 1024
"""How many blocks of tokens are tried, against how many rivals, to choose the screens."""


@dataclass(frozen=True)
class Screens:
    """Screens of several widths, ascending, from the same orthonormal columns ``Q`` (d, K)."""

    Q: Floats
    widths: tuple[int, ...]

    def sound(self) -> bool:
        """Tell whether ``eta`` is below 2^-23, which `slack` has room for."""
        d, K = self.Q.shape
        defect = float(np.linalg.norm(self.Q.T @ self.Q - np.eye(K)))
        rounding = 3 * K * gamma(d + 2)  # of the defect itself
        return bool(defect + rounding < 2.0**-25)

    def columns(
        self, rows: Floats, lengths: Floats
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute ``q`` (n, K), and ``rho`` (n, widths), of rows no longer than ``lengths``."""
        q = (rows @ self.Q).astype(np.float32)
        rho = np.empty((len(rows), len(self.widths)), dtype=np.float32)
        inside, done = np.zeros(len(rows)), 0
        for i, k in enumerate(self.widths):
            part = q[:, done:k]
            inside += np.einsum("ij,ij->i", part, part, dtype=np.float64)
            done = k
            rest = lengths**2 * (1.0 + slack(k)) - inside
            rest = np.maximum(rest, lengths**2 * slack(k) / 2)
            rho[:, i] = np.sqrt(rest) * (1.0 + 2.0**-22)
        return q, rho


def slack(k: int) -> float:
    """Return a bound on the sum of the factors of ``|v||v'|`` for a screen of width k."""
    return math.ldexp(k + 16, -23)


def choose_screens(rows: DistinctRows) -> Screens | None:
    """Choose the screens that cost least on a sample; None if whole rows cost no more.

    The samples are spread evenly over the lengths: rivals, and some blocks of tokens. A block goes
    through the screens one after another, and what a screen costs depends on the share of rivals
    that the one before has left. So the best choice is a shortest path from width to width.
    """
    d = rows.d
    spread = np.zeros((d, d))
    for part in _sampled(rows, max(2 * d, 512)):
        some = rows.scaled(part)
        spread += some.T @ some
    with limited_threads(1):  # on busy cores, two threads take twenty times as long
        basis = np.linalg.eigh(spread)[1][:, ::-1]
    widths = sorted({max(1, round(d * share)) for share in SHARES})
    basis = np.ascontiguousarray(basis[:, : widths[-1]])
    chosen = _cheapest(d, widths, _shares_left(rows, basis, widths))
    if not chosen:
        return None
    screens = Screens(np.ascontiguousarray(basis[:, : chosen[-1]]), chosen)
    return screens if screens.sound() else None


def screen_choice_memory(d: int) -> int:
    """Bound the bytes that `choose_screens` takes for rows of width ``d``."""
    return 8 * (7 * d * d + (RIVALS + BLOCK) * 4 * d + 4 * BLOCK * RIVALS)


def _sampled(rows: DistinctRows, count: int) -> Iterator[Ids]:
    """Yield some places, spread evenly over the lengths, `RIVALS` at a time."""
    count = min(rows.size, count)
    places = np.arange(count) * rows.size // count
    return (places[part] for part in slices(count, RIVALS))


def _shares_left(rows: DistinctRows, basis: Floats, widths: list[int]) -> list[float]:
    """Estimate the share of longer rivals that a screen of each width leaves for a block."""
    (places,) = _sampled(rows, RIVALS)
    rivals = rows.scaled(places)
    q, squares = rivals @ basis, np.einsum("ij,ij->i", rivals, rivals)
    longer, left, size = 0, np.zeros(len(widths)), min(BLOCK, rows.size)
    for start in (np.arange(SAMPLES) * 2 + 1) * (rows.size - size) // (2 * SAMPLES):
        m = int(np.searchsorted(places, start))
        if m == 0:
            continue
        block = rows.scaled(np.arange(start, start + size))
        own = np.einsum("ij,ij->i", block, block)
        least = np.maximum(own, (block @ rivals[:m].T).max(axis=1))
        mine, scores, done = block @ basis, np.zeros((size, m)), 0
        rest, their_rest = own.copy(), squares[:m].copy()
        for i, k in enumerate(widths):
            new, theirs = mine[:, done:k], q[:m, done:k]
            scores += new @ theirs.T
            rest -= np.einsum("ij,ij->i", new, new)
            their_rest -= np.einsum("ij,ij->i", theirs, theirs)
            done = k
            bounds = np.sqrt(np.outer(np.maximum(rest, 0.0), np.maximum(their_rest, 0.0)))
            bounds += scores
            left[i] += np.count_nonzero((bounds >= least[:, None]).any(axis=0))
        longer += m
    return [float(count) / max(1, longer) for count in left]


def _cheapest(d: int, widths: list[int], left: list[float]) -> tuple[int, ...]:
    """Return the widths of the cheapest way from all rivals to the whole rows of those left."""
    steps = [(0, 1.0), *zip(widths, left, strict=True)]
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for k, _ in steps[1:]:
        best[k] = min(
            (best[j][0] + share * (k + 2 + PASS), (*best[j][1], k)) for j, share in steps if j < k
        )
    whole = d + PASS
    ends = [
        (best[k][0] + share * (whole + (READ * d if k else 0.0)), best[k][1]) for k, share in steps
    ]
    return min(ends)[1]
