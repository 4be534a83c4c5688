"""The largest margin over a ball for a few rivals: a quadratic program over a simplex.

``max over |x| <= R of min_j (A_j . x + c_j)`` has the dual::

    min over weights lam of  R |v| + c . lam,    v = A' lam,

and both sides come from one ``lam``: the point ``R v / |v|`` and the bound ``R |v| + c . lam``.
Since ``R |v| = min over tau of (R^2 |v|^2 / tau + tau) / 2``, the dual is solved by turns: for a
fixed tau it is a quadratic program over the simplex, which an active-set method solves exactly
(P. Wolfe, Finding the nearest point in a polytope, Mathematical Programming 11, 1976, to whose
program a linear term is added); then ``tau = R |v|``. Without biases one turn is enough.
"""

from __future__ import annotations

import math

import numpy as np

from geom.numbers.arrays import Floats, Ids
from geom.numbers.rounding import U

TURNS = 4
"""How often tau is adapted in a round, at most; later rounds go on from there."""

_RIDGE = 1e-13
"""The share of the largest squared length that is added to all of them, so that equal rivals share
their weight."""


class SmallProgram:
    """The dual program of some rivals, which join and leave; it goes on from its last weights.

    ``radius`` is that of the ball. The program holds the products of the rivals' rows with each
    other and their biases ``c`` (n,), but not the rows ``A`` (n, d).
    """

    def __init__(self, radius: float) -> None:
        self._radius = radius
        self._gram = np.zeros((0, 0))
        self.c = np.zeros(0)
        self.lam = np.zeros(0)

    def add(self, cross: Floats, products: Floats, c: Floats) -> None:
        """Add m rivals, with weights of zero.

        ``cross`` (n, m) are the products of the rivals so far with the new ones, ``products``
        (m, m) those of the new ones with each other, ``c`` (m,) their biases.
        """
        self._gram = np.block([[self._gram, cross], [cross.T, products]])
        self.c = np.append(self.c, c)
        self.lam = np.append(self.lam, np.zeros(len(c)))

    def keep(self, places: Ids) -> None:
        """Keep only the rivals at these places, all those with weight among them."""
        self._gram = self._gram[np.ix_(places, places)]
        self.c, self.lam = self.c[places], self.lam[places]

    @property
    def size(self) -> float:
        """The largest length of a rival's row."""
        return math.sqrt(float(np.diagonal(self._gram).max()))

    def solve(self) -> None:
        """Find the best weights ``lam`` (n,)."""
        squares = np.diagonal(self._gram)
        if not self.lam.any():
            self.lam[int(np.argmin(self._radius * np.sqrt(squares) + self.c))] = 1.0
        size = float(squares.max())
        if size == 0.0:  # the rivals differ in their biases alone
            self.lam[:] = np.arange(self.c.size) == self.c.argmin()
            return
        turns = TURNS if self.c.any() else 1
        length = self._length()
        for _ in range(turns):
            factor = self._radius / max(length, 1e-12 * math.sqrt(size))
            ridge = _RIDGE * size * factor
            self.lam = simplex_minimum(self._gram * factor, self.c, self.lam, ridge)
            before, length = length, self._length()
            if abs(length - before) <= 1e-2 * before:
                break

    def _length(self) -> float:
        """Return ``|v|``."""
        used = np.flatnonzero(self.lam)
        lam = self.lam[used]
        return math.sqrt(max(0.0, float(lam @ self._gram[np.ix_(used, used)] @ lam)))


def vanishing(A: Floats, lam: Floats) -> Floats:
    """Return weights (n,) near ``lam`` whose sum ``A' lam`` vanishes as far as float64 goes.

    Returns ``lam`` itself if there are none, because one of them would be negative or the sum stays
    away from zero.
    """
    size = float(np.abs(A).max())
    if size == 0.0:
        return lam
    system = np.vstack([A.T / size, np.ones(lam.size)])
    target = np.append(np.zeros(A.shape[1]), 1.0)
    try:
        moved = lam + np.linalg.lstsq(system, target - system @ lam, rcond=None)[0]
    except np.linalg.LinAlgError:
        return lam
    gone = float(np.abs(system @ moved - target).max()) <= 1e-12
    return moved if gone and (moved >= 0.0).all() else lam


def simplex_minimum(K: Floats, q: Floats, lam: Floats, ridge: float) -> Floats:
    """Minimise ``lam' K lam / 2 + q . lam`` over ``lam >= 0``, ``sum(lam) = 1``.

    ``K`` (n, n) is positive semidefinite, ``lam`` (n,) a point of the simplex to start from, and
    ``ridge`` is added to the diagonal of K.
    """
    lam, joined = lam / lam.sum(), -1
    used = _Inverse(K, ridge)
    if not used.set(np.flatnonzero(lam)):
        return lam
    scale = float(np.abs(q).max()) + float(np.abs(np.diagonal(K)).max())
    for _ in range(10 * q.size + 100):
        ids = used.ids
        ones, biases = used.times(np.ones(ids.size)), used.times(q[ids])
        level = float((1.0 + biases.sum()) / ones.sum())
        wanted = level * ones - biases
        if not np.isfinite(wanted).all():
            break
        if (wanted > 0.0).all():
            lam[:] = 0.0
            lam[ids] = wanted
            slope = wanted @ K[ids] + q - level
            slope[ids] = math.inf
            joined = int(slope.argmin())
            if not (slope[joined] < -64 * U * scale and used.add(joined)):
                break
            continue
        held = lam[ids]
        falling = np.flatnonzero(wanted <= 0.0)
        drop = held[falling] - wanted[falling]
        ratios = np.divide(held[falling], drop, out=np.zeros(falling.size), where=drop > 0.0)
        last = falling[int(ratios.argmin())]
        if ids[last] == joined and held[last] == 0.0:  # it lowers nothing that float64 can tell
            break
        lam[ids] = np.maximum(held + float(ratios.min()) * (wanted - held), 0.0)
        lam[ids[last]] = 0.0
        if not used.remove(int(last)):
            break
    return np.asarray(lam / lam.sum())


class _Inverse:
    """The inverse of some rows and columns of ``K`` plus a ridge, as they join and leave.

    Joining and leaving change the inverse by a product of two vectors. Such changes lose digits, so
    after `FRESH` of them it is computed anew.
    """

    FRESH = 64

    def __init__(self, K: Floats, ridge: float) -> None:
        self._K, self._ridge = K, ridge
        self._M = np.zeros((0, 0))
        self._changes = 0
        self.ids: Ids = np.zeros(0, dtype=np.int64)

    def set(self, ids: Ids) -> bool:
        """Take these ids; False if no inverse is found."""
        from scipy.linalg import lapack  # type: ignore[import-untyped]  # SciPy ships no types

        block = self._K[np.ix_(ids, ids)]
        diagonal = np.diag_indices(ids.size)
        for _ in range(6):
            block[diagonal] += self._ridge
            root, fault = lapack.dpotrf(block, lower=1)
            if not fault:
                half, fault = lapack.dpotri(root, lower=1)
            if not fault:
                self._M = np.tril(half) + np.tril(half, -1).T
                self.ids, self._changes = ids, 0
                return True
            self._ridge *= 100.0
        return False

    def times(self, values: Floats) -> Floats:
        """Return the product of the inverse with a vector."""
        return np.asarray(self._M @ values)

    def add(self, new: int) -> bool:
        """Let an id join; False if no inverse is found."""
        ids = np.append(self.ids, new)
        k = self._K[new, self.ids]
        u = self._M @ k
        s = float(self._K[new, new]) + self._ridge - float(k @ u)
        if self._changes >= self.FRESH or not s > 0.5 * self._ridge:
            return self.set(ids)
        n = self.ids.size
        M = np.empty((n + 1, n + 1))
        np.multiply(u[:, None], u / s, out=M[:n, :n])
        M[:n, :n] += self._M
        M[:n, n] = M[n, :n] = -u / s
        M[n, n] = 1.0 / s
        self._M, self.ids, self._changes = M, ids, self._changes + 1
        return True

    def remove(self, place: int) -> bool:
        """Let the id at a place leave; False if no inverse is found."""
        ids = np.delete(self.ids, place)
        corner = float(self._M[place, place])
        if self._changes >= self.FRESH or not corner > 0.0:
            return self.set(ids)
        kept = np.delete(np.arange(self.ids.size), place)
        column = self._M[kept, place]
        M = self._M[np.ix_(kept, kept)]
        M -= column[:, None] * (column / corner)
        self._M, self.ids, self._changes = M, ids, self._changes + 1
        return True
