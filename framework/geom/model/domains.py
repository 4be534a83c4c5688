"""Domains: the sets of vectors x that a network can pass to its readout.

With LayerNorm before the readout, its scale and shift folded away, ``x`` is a centred vector over
its own standard deviation: ``sum(x) = 0``, and ``|x| < sqrt(d)`` because epsilon under the root
keeps the norm short; every shorter length can be reached. RMSNorm gives the ball without the
condition on the sum. The balls are closed here and open in a network, which changes no verdict: a
margin is continuous in ``x``, so a margin that is positive on the sphere is positive just inside
it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np

from geom.errors import InputError, unknown
from geom.numbers.arrays import Flags, Floats
from geom.numbers.rationals import integers, power_of_two
from geom.numbers.rounding import norm_above
from geom.reprs import short_repr

Shape = Literal["ball", "box", "all"]

NAMES = ("auto", "layernorm", "rmsnorm", "box", "unbounded")
"""The values of ``--domain``; ``auto`` is the domain that the readout's final norm implies."""


_NAME = re.compile(r"(?!.*  )[A-Za-z0-9](?:[A-Za-z0-9 ._()=-]{0,78}[A-Za-z0-9)])?")


@dataclass(frozen=True)
class Domain:
    """A convex set of vectors ``x`` in R^d that contains the origin.

    Attributes
    ----------
    name : str
        The name users know it by, such as ``layernorm``.
    d : int
        The dimension.
    shape : {"ball", "box", "all"}
        ``|x|_2 <= radius``, ``|x_i| <= radius``, or all of R^d.
    size : Fraction, optional
        The exact size: the *squared* radius of a ball (so d itself if the radius is the irrational
        sqrt(d)), the radius of a box, None for all of R^d.
    zero_sum : bool, optional
        Whether ``sum(x) = 0`` must hold as well.
    """

    name: str
    d: int
    shape: Shape
    size: Fraction | None = None
    _: KW_ONLY
    zero_sum: bool = False

    __repr__ = short_repr

    @property
    def bounded(self) -> bool:
        """Whether the domain is a ball or a box."""
        return self.shape != "all"

    @property
    def radius(self) -> float:
        """The radius, rounded to float64; infinity for ``all`` and if it overflows float64."""
        if self.size is None:
            return math.inf
        try:
            return math.sqrt(self.size) if self.shape == "ball" else float(self.size)
        except OverflowError:
            return math.inf

    @property
    def lean(self) -> Fraction:
        """The squared sine of the angle between the walls of a box and the plane ``sum(x) = 0``.

        It is 1 without such a plane or without walls. Inside the plane, a wall is farther away than
        straight across.
        """
        leant = self.shape == "box" and self.zero_sum and self.d > 1
        return 1 - Fraction(1, self.d) if leant else Fraction(1)

    def __str__(self) -> str:
        return f"box(radius={self.radius!r})" if self.shape == "box" else self.name

    def contains(self, x: Floats) -> bool:
        """Decide exactly whether a vector is in the set.

        Parameters
        ----------
        x : ndarray of shape (d,), float64
            The vector.

        Returns
        -------
        bool
            Whether ``x`` is in the set; False for a vector of another shape, or with NaN or
            infinity.
        """
        if x.shape != (self.d,) or not np.isfinite(x).all():
            return False
        mantissas, exponent = integers(x)
        entries: list[int] = mantissas.tolist()
        if self.zero_sum and sum(entries) != 0:
            return False
        if self.size is None:
            return True
        unit = power_of_two(exponent)
        if self.shape == "box":
            return max(map(abs, entries)) * unit <= self.size
        return sum(m * m for m in entries) * unit * unit <= self.size

    def fit(self, x: Floats) -> Floats:
        """Move a vector into the set with a small change: scale it in, and make its sum exactly 0.

        Parameters
        ----------
        x : ndarray of shape (d,), float64
            The vector.

        Returns
        -------
        ndarray of shape (d,), float64
            A point of the set.

        Raises
        ------
        InputError
            If ``x`` does not hold d finite numbers.
        """
        if x.shape != (self.d,):
            raise InputError(f"a point of this domain must be {self.d} finite numbers")
        return np.asarray(self.fit_all(np.asarray(x, dtype=np.float64)[None])[0])

    def fit_all(self, points: Floats) -> Floats:
        """Move vectors into the set, each as `fit` does.

        Parameters
        ----------
        points : ndarray of shape (n, d), float64
            The vectors.

        Returns
        -------
        ndarray of shape (n, d), float64
            Points of the set.

        Raises
        ------
        InputError
            If a vector does not hold d finite numbers.
        """
        if points.ndim != 2 or points.shape[1] != self.d or not np.isfinite(points).all():
            raise InputError(f"a point of this domain must be {self.d} finite numbers")
        out = np.asarray(points, dtype=np.float64)
        if self.bounded:
            exponents = np.frexp(np.abs(out).max(axis=1, keepdims=True))[1]
            if (exponents > 900).any():
                out = np.ldexp(out, np.where(exponents > 900, -exponents, 0))
        if self.zero_sum:
            out = out - out.mean(axis=1, keepdims=True)
        if self.bounded:
            out = self._scaled_in(out)
        return zero_sums(out) if self.zero_sum else out

    def contains_all(self, points: Floats) -> Flags:
        """Decide exactly which vectors are in the set.

        Parameters
        ----------
        points : ndarray of shape (n, d), float64
            The vectors.

        Returns
        -------
        ndarray of shape (n,), bool
            As `contains` says of each.
        """
        inside = np.zeros(len(points), dtype=np.bool_)
        if self.shape == "ball" and points.shape[1:] == (self.d,):
            with np.errstate(over="ignore", invalid="ignore"):
                lengths = norm_above(points, axis=-1)
            inside = np.isfinite(lengths) & (lengths <= self.radius * (1.0 - 2.0**-50))
            if self.zero_sum:
                inside[inside] = [math.fsum(x) == 0.0 for x in points[inside].tolist()]
        for place in np.flatnonzero(~inside).tolist():  # too near to the edge for float64
            inside[place] = self.contains(points[place])
        return inside

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw points uniformly from the set.

        For all of R^d, draw directions: the points are standard normal vectors.

        Parameters
        ----------
        rng : numpy.random.Generator
            The source of randomness.
        n : int
            How many points.

        Returns
        -------
        ndarray of shape (n, d), float64
            The points, in the set up to rounding; `fit` moves a point into it exactly.
        """
        if self.shape == "box":
            return np.asarray(rng.uniform(-self.radius, self.radius, (n, self.d)))
        x = rng.standard_normal((n, self.d))
        if self.zero_sum:
            x -= x.mean(axis=1, keepdims=True)
        if not self.bounded:
            return x
        freedom = max(1, self.d - self.zero_sum)
        lengths = self.radius * rng.uniform(0.0, 1.0, (n, 1)) ** (1.0 / freedom)
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        return np.asarray(
            x * np.divide(lengths, norms, out=np.zeros_like(norms), where=norms > 0.0)
        )

    def _scaled_in(self, points: Floats) -> Floats:
        """Shrink the points (n, d) that are too long to just inside the radius."""
        inside = self.radius * (1.0 - 2.0**-32)
        largest = np.abs(points).max(axis=1)
        unit = np.where(largest == 0.0, 1.0, largest)
        length = largest
        if self.shape == "ball":
            length = largest * np.linalg.norm(points / unit[:, None], axis=1)
        factor = np.divide(inside, length, out=np.ones_like(length), where=length > inside)
        return np.asarray(points * factor[:, None])


def as_settings(domain: Domain) -> dict[str, Any]:
    """Return the domain without its dimension, as JSON values that `from_settings` reads."""
    size = None if domain.size is None else str(domain.size)
    return {
        "name": domain.name,
        "shape": domain.shape,
        "size": size,
        "zero_sum": domain.zero_sum,
    }


def from_settings(stored: Mapping[str, Any], d: int) -> Domain:
    """Return the domain in R^d that `as_settings` wrote; a built-in name must have its own set.

    Raises InputError for anything else.
    """
    try:
        name, shape, zero_sum = stored["name"], stored["shape"], stored["zero_sum"]
        size = None if stored["size"] is None else _fraction(stored["size"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{stored!r} does not describe a domain") from error
    if not (isinstance(name, str) and isinstance(zero_sum, bool)):
        raise InputError(f"{stored!r} does not describe a domain")
    if shape not in get_args(Shape) or (size is None) != (shape == "all"):
        raise InputError(f"{stored!r} does not describe a domain")
    return checked(Domain(name, d, shape, size, zero_sum=zero_sum))


def checked(domain: Domain) -> Domain:
    """Return the domain, unless it has the name of another one, or a name that looks like it.

    Raises InputError then, because its results would be read as those of the other domain.
    """
    if not _NAME.fullmatch(domain.name):
        raise InputError(
            f"a domain cannot be called {domain.name!r}: use ASCII letters and digits, and inside "
            "the name also - . _ ( ) = and single spaces"
        )
    if domain.name not in NAMES and _skeleton(domain.name) in map(_skeleton, NAMES):
        raise InputError(
            f"a domain of your own needs a name that cannot be misread as another, not "
            f"{domain.name!r}"
        )
    if domain.name in NAMES:
        radius = domain.radius if domain.shape == "box" else 1.0
        if domain.name == "auto" or domain != named(domain.name, domain.d, None, radius):
            raise InputError(f"a domain of your own needs a name of its own, not {domain.name!r}")
    return domain


def _skeleton(name: str) -> str:
    """Reduce a name to what a reader sees: no case, no marks, look-alike letters made equal."""
    letters = re.sub(r"[^a-z0-9]", "", name.lower())
    return letters.translate(str.maketrans("1i0", "llo")).replace("rn", "m")


def layernorm(d: int) -> Domain:
    """Return ``{x : sum(x) = 0, |x| <= sqrt(d)}``, which LayerNorm emits before scale and shift."""
    return Domain("layernorm", d, "ball", Fraction(d), zero_sum=True)


def rmsnorm(d: int) -> Domain:
    """Return ``{x : |x| <= sqrt(d)}``, the vectors that RMSNorm can emit before its scale."""
    return Domain("rmsnorm", d, "ball", Fraction(d))


def box(d: int, radius: float = 1.0) -> Domain:
    """Return ``{x : |x_i| <= radius}``. Raises InputError unless 0 < radius < infinity."""
    if not (math.isfinite(radius) and radius > 0):
        raise InputError(f"box radius {radius!r}: give a positive finite number")
    return Domain("box", d, "box", Fraction(radius))


def unbounded(d: int) -> Domain:
    """Return all of R^d."""
    return Domain("unbounded", d, "all")


def named(name: str, d: int, norm: str | None, radius: float = 1.0) -> Domain:
    """Return the domain of that name in R^d; ``auto`` follows the final ``norm``.

    Raises InputError for a name that is not in `NAMES`.
    """
    if name == "auto":
        name = norm or "unbounded"
    if name == "layernorm":
        return layernorm(d)
    if name == "rmsnorm":
        return rmsnorm(d)
    if name == "box":
        return box(d, radius)
    if name == "unbounded":
        return unbounded(d)
    raise unknown("domain", name, NAMES)


def _fraction(text: object) -> Fraction:
    """Parse a positive ratio of two integers, each no longer than a float64 can make it."""
    if not isinstance(text, str):
        raise TypeError(type(text).__name__)
    numerator, _, denominator = text.partition("/")
    digits = numerator + denominator
    if len(digits) > 2000 or not (digits.isdecimal() and digits.isascii()):
        raise ValueError(text[:40])
    return Fraction(int(numerator), int(denominator or "1"))


def zero_sums(points: Floats) -> Floats:
    """Round points (n, d) to grids, each of multiples of a power of two, with sum exactly zero.

    A grid has 50 bits above its unit, and its unit is not below the least float64, so every entry
    on it is exact. Sums are taken in two halves that integers of 64 bits hold for d below 2^38.
    """
    d = points.shape[1]
    largest = np.abs(points).max(axis=1)
    if d == 1:
        return np.zeros_like(points)
    bits = np.minimum(50 - np.frexp(largest)[1], 1074)[:, None]
    grid = np.rint(np.ldexp(points, bits)).astype(np.int64)
    high, low = (grid >> 25).sum(axis=1), (grid & (2**25 - 1)).sum(axis=1)
    for row, top, rest in zip(grid, high.tolist(), low.tolist(), strict=True):
        share, more = divmod((top << 25) + rest, d)
        row -= share
        row[:more] -= 1
    return np.asarray(np.ldexp(grid.astype(np.float64), -bits))
