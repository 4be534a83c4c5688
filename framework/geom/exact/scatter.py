"""The mean and the covariance of a sample, as exactly defined numbers.

Let ``x_i`` (n, d) be the points, which are floats. ``m`` is their mean: each column's sum, rounded
once, over n, rounded once; if ``sum(x) = 0`` in the domain, it is then rounded to a vector with
that sum. ``rho`` and ``mu`` are floats too. These numbers are the same on every machine, and with
them the covariance is an exact matrix that nobody needs to compute::

    S = (1 - rho) / n sum y_i y_i' + rho mu I,     y_i = x_i - m,

with ``P y_i`` for ``y_i`` and P for I if ``sum(x) = 0``, P the projection to that plane. ``mu`` is
the mean variance per free dimension. ``S = L L'`` for ``L = [sqrt((1 - rho) / n) Y', sqrt(rho mu)
I]``, whose columns are the ``y_i`` and the axes. So ``|L' v|^2`` is a sum of squares of products
with the points, and no bound needs an inverse or a factor of S.

The share ``rho`` makes up for a small sample. Unless it is given, it is the one that minimises the
expected squared error of S, as estimated from the sample itself, rounded to four digits and not
below 1e-4. It takes the points as independent draws. Points of one text are not, and so deserve a
larger share than they get.

Source: O. Ledoit and M. Wolf, A well-conditioned estimator for large-dimensional covariance
matrices, J. Multivariate Analysis 88, 2004, section 3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from geom.errors import InputError
from geom.machine.memory import check_memory
from geom.model.domains import Domain, zero_sums
from geom.numbers.arrays import Array, Floats
from geom.numbers.rounding import TINY, UP, U, gamma, norm_above, refuse_flushing
from geom.reprs import short_repr

_LEAST = 1e-4
"""The least shrinkage that a sample chooses for itself: S must stay invertible in float64."""


@dataclass(frozen=True, eq=False)
class Scatter:
    """The mean and shrunk covariance of a sample of points, as a domain sees them.

    Build one with `Scatter.of`.

    Attributes
    ----------
    centred : ndarray of shape (n, d), float64
        The points less the mean, each entry rounded once.
    mean : ndarray of shape (d,), float64
        The mean ``m``.
    shrinkage : float
        The share ``rho`` of the mean variance in the covariance, in (0, 1].
    variance : float
        The mean variance ``mu``.
    zero_sum : bool
        Whether only the parts with ``sum(x) = 0`` count.
    """

    centred: Floats
    mean: Floats
    shrinkage: float
    variance: float
    zero_sum: bool

    __repr__ = short_repr

    @classmethod
    def of(cls, points: Array, domain: Domain, shrinkage: float | None = None) -> Scatter:
        """Compute the mean and the covariance of points.

        Parameters
        ----------
        points : ndarray of shape (n, d), float16, float32 or float64
            The points, n at least 2.
        domain : Domain
            The set that they are points of; they need not be in it exactly.
        shrinkage : float, optional
            The share of the mean variance in the covariance, in (0, 1]; Ledoit and Wolf's if None.

        Returns
        -------
        Scatter
            The mean and the covariance.

        Raises
        ------
        InputError
            If the points are not such an array of finite numbers, or are all equal, or if the
            shrinkage is not in (0, 1].
        ArithmeticModeError
            If the process flushes subnormal numbers to zero.

        References
        ----------
        `geom.exact.scatter`, after O. Ledoit and M. Wolf, A well-conditioned estimator for
        large-dimensional covariance matrices, J. Multivariate Analysis 88, 2004.
        """
        refuse_flushing()
        _check(points, domain.d, shrinkage)
        n, d = points.shape
        check_memory(3 * 8 * n * d, f"a sample of {n} x {d} as float64", "take fewer points")
        wide = points.astype(np.float64)
        with np.errstate(all="ignore"):
            mean = np.array([math.fsum(column.tolist()) / n for column in wide.T])
            if domain.zero_sum:
                mean = zero_sums(mean[None])[0]
            centred = wide - mean
            freedom = max(1, d - domain.zero_sum)
            squares = [math.fsum(row.tolist()) for row in centred * centred]
            if domain.zero_sum:
                sums = [math.fsum(row.tolist()) for row in centred]
                squares = [a - s * s / d for a, s in zip(squares, sums, strict=True)]
            variance = math.fsum(squares) / n / freedom
        if not 2.0**-400 < variance < 2.0**400:
            wrong = "are all equal" if variance <= 0.0 else f"have the variance {variance:.3g}"
            raise InputError(f"the {n} points {wrong}: give a sample of the network's vectors")
        if shrinkage is not None:
            rho = float(shrinkage)
        elif domain.zero_sum:
            rho = _ledoit_wolf(centred - centred.mean(axis=1, keepdims=True), freedom)
        else:
            rho = _ledoit_wolf(centred, freedom)
        for array in (centred, mean):
            array.flags.writeable = False
        return cls(centred, mean, rho, variance, domain.zero_sum)

    @cached_property
    def covariance(self) -> Floats:
        """The matrix ``S`` (d, d), rounded: a suggestion, which no bound relies on."""
        n, d = self.centred.shape
        centred, eye = self.centred, np.eye(d)
        if self.zero_sum:
            centred = centred - centred.mean(axis=1, keepdims=True)
            eye = eye - 1.0 / d
        S = centred.T @ centred * ((1.0 - self.shrinkage) / n)
        return np.asarray(S + self.shrinkage * self.variance * eye)

    @cached_property
    def precision(self) -> Floats:
        """The inverse (d, d) of ``S``, rounded, on the plane ``sum(x) = 0`` if only that counts."""
        S = self.covariance
        if self.zero_sum:
            level = self.variance / len(S)
            return np.asarray(np.linalg.inv(S + level) - 1.0 / (level * len(S) ** 2))
        return np.asarray(np.linalg.inv(S))

    def length(self, x: Floats) -> float:
        """Compute the Mahalanobis length ``|S^(-1/2) (x - m)|``, as a suggestion.

        Parameters
        ----------
        x : ndarray of shape (d,), float64
            The point.

        Returns
        -------
        float
            The length, rounded, in standard deviations.
        """
        off = x - self.mean
        return math.sqrt(max(0.0, float(off @ self.precision @ off)))

    def spread_above(self, v: Floats, error: Floats, widen: float) -> float:
        """Bound the standard deviation ``|L' u|`` of the sample along a vector, from above.

        Parameters
        ----------
        v : ndarray of shape (d,), float64
            The vector, nearly.
        error : ndarray of shape (d,), float64
            Bounds on how far each entry of the vector is from ``v``.
        widen : float
            Multiplies the bounds on rounding, as in `geom.judge`.

        Returns
        -------
        float
            The bound, which holds for every such vector.

        Notes
        -----
        ``L' P u`` is what counts if ``sum(x) = 0``. With ``v`` less its mean for v, the rest of
        ``P u`` has at most the length of ``error`` plus d + 2 roundings of ``v``, and adds at most
        its product with ``|L|``. The products with the points carry d + 1 roundings and the one of
        ``y_i`` (Higham 3.5); their errors are at most ``gamma |y_i| |v|`` each.
        """
        d = v.size
        with np.errstate(over="ignore", invalid="ignore"):
            off = float(norm_above(error))
            if self.zero_sum:
                off += (2 * U + gamma(d + 2)) * float(norm_above(v)) * widen
                v = v - v.mean()
            length = float(norm_above(v))
            slip = gamma(d + 4) * self._size * length
            slip += self.centred.size * TINY * (1.0 + length + self._size)
            along = float(norm_above(self.centred @ v)) + widen * slip * UP
            share = (1.0 - self.shrinkage) / len(self.centred) * UP
            square = share * along**2 + self.shrinkage * self.variance * length**2 * UP
            return (math.sqrt(square * UP) + self._longest * off * UP) * UP + TINY

    def length_above(self, x: Floats, widen: float, error: float = 0.0) -> float:
        """Bound the Mahalanobis length ``|S^(-1/2) (x - m)|`` from above.

        Parameters
        ----------
        x : ndarray of shape (d,), float64
            The point, nearly.
        widen : float
            Multiplies the bounds on rounding, as in `geom.judge`.
        error : float, optional
            A bound on the distance of the point from ``x``.

        Returns
        -------
        float
            The bound, in standard deviations, which holds for every such point.

        Notes
        -----
        For any ``p`` (n,) and ``f = (x - m) - sum p_i y_i``, ``x = m + L z`` with
        ``|z|^2 = n / (1 - rho) |p|^2 + |f|^2 / (rho mu)``, and no other z is shorter than the one
        whose ``p_i`` are ``(1 - rho) / n y_i . S^-1 (x - m)``. An error of these p changes the
        length by its square, so the inverse need not be accurate. ``f`` carries n + 2 roundings of
        its terms, whose sizes sum to at most ``|p|`` times the root of ``sum |y_i|^2``, and all of
        ``error``.
        """
        if error == 0.0 and bool((x == self.mean).all()):
            return 0.0
        n, d = self.centred.shape
        with np.errstate(over="ignore", invalid="ignore"):
            off = x - self.mean
            share = (1.0 - self.shrinkage) / n
            p = share * (self.centred @ (self.precision @ off))
            f = off - p @ self.centred
            size = float(norm_above(p))
            slip = gamma(n + 4) * (float(norm_above(off)) + size * self._size) + error
            slip += self.centred.size * TINY * (1.0 + size + self._size)
            if self.zero_sum:
                slip += (2 * U + gamma(d + 2)) * float(norm_above(f))
                f = f - f.mean()
            rest = float(norm_above(f)) + widen * slip * UP
            square = rest**2 / (self.shrinkage * self.variance) * UP
            if self.shrinkage < 1.0:
                square += size**2 / share * UP
            length = math.sqrt(square * UP) * UP + TINY
        return length if math.isfinite(length) else math.inf

    @cached_property
    def _size(self) -> float:
        """An upper bound on the root of ``sum |y_i|^2``."""
        return float(norm_above(norm_above(self.centred, axis=-1))) * UP

    @cached_property
    def _longest(self) -> float:
        """An upper bound on ``|L|``."""
        share = (1.0 - self.shrinkage) / len(self.centred)
        return math.sqrt(share * self._size**2 + self.shrinkage * self.variance) * UP


def _check(points: Array, d: int, shrinkage: float | None) -> None:
    """Raise InputError unless these are points and a shrinkage."""
    shape = "x".join(map(str, points.shape))
    if points.ndim != 2 or points.shape[1] != d or len(points) < 2:
        raise InputError(f"the sample has shape {shape}, and (n, {d}) with n > 1 is needed")
    if points.dtype not in (np.float16, np.float32, np.float64):
        raise InputError(f"the sample holds {points.dtype}: give float32 or float64")
    if not np.isfinite(points).all():
        raise InputError("the sample holds NaN or infinity: give finite numbers")
    if float(np.abs(points).max()) > 2.0**200:
        raise InputError("the sample holds numbers above 2^200: give a network's vectors")
    if shrinkage is not None and not 0.0 < shrinkage <= 1.0:
        raise InputError(f"shrinkage {shrinkage!r}: give a number above 0, and 1 at most")


def _ledoit_wolf(centred: Floats, freedom: int) -> float:
    """Return the shrinkage of Ledoit and Wolf, to four digits.

    With ``C = Y' Y / n``, it is the smaller of 1 and the mean of ``|y_i y_i' - C|^2 / n`` over
    ``|C - mu I|^2``, where the mean of ``|y_i y_i' - C|^2`` is that of ``|y_i|^4``, less ``|C|^2``.
    Norms are Frobenius's.
    """
    n = len(centred)
    lengths = np.einsum("ij,ij->i", centred, centred)
    C = centred.T @ centred / n
    square = float(np.einsum("ij,ij->", C, C))
    away = square - float(np.trace(C)) ** 2 / freedom
    noise = (float(lengths @ lengths) / n - square) / n
    rho = 1.0 if not noise < away else max(noise / away, _LEAST)
    return float(f"{rho:.4g}")
