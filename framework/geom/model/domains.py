"""Domains: the sets of vectors x that a network can pass to its readout.

With LayerNorm before the readout, its scale and shift folded away, ``x`` is a centred vector over
its own standard deviation: ``sum(x) = 0``, and ``|x| < sqrt(d)`` because epsilon under the root
keeps the norm short; every shorter length can be reached. RMSNorm gives the ball without the
condition on the sum. The balls are closed here and open in a network, which changes no verdict: a
margin is continuous in ``x``, so a margin that is positive on the sphere is positive just inside
it.

A domain with a frame (`geom.model.frames`) is the image of a simple set: the hull of points that of
the mixtures, an ellipsoid that of a ball. Its points are given by their coordinates in the simple
set, everywhere: a certifier proposes coordinates, a run stores them, and a check reads them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from geom.errors import InputError, unknown
from geom.model import frames
from geom.model.frames import Frame, read_matrix
from geom.numbers.arrays import Flags, Floats
from geom.numbers.rationals import Scaled, integers, power_of_two, scaled
from geom.numbers.rounding import norm_above
from geom.reprs import short_repr

Shape = Literal["ball", "box", "all", "simplex"]

NAMES = ("auto", "layernorm", "rmsnorm", "box", "unbounded")
"""The domains that need nothing but a name; ``auto`` is what the readout's final norm implies."""

FRAMED = ("hull", "ellipsoid")
"""The domains that are made of vectors, which a frame holds."""

_LEAST_SHARE = 52
"""Shares of a mixture are multiples of ``2**-52``, so that they add up to exactly 1."""


_NAME = re.compile(r"(?!.*  )[A-Za-z0-9](?:[A-Za-z0-9 ._()=-]{0,78}[A-Za-z0-9)])?")


@dataclass(frozen=True)
class Domain:
    """A convex set of vectors ``x`` in R^d: one that contains the origin, or the image of one.

    Without a frame a point is its vector ``x``. With one, a point is its k coordinates ``y``, which
    shape and size describe, and its vector is ``centre + y @ axes``.

    Attributes
    ----------
    name : str
        The name users know it by, such as ``layernorm``.
    d : int
        The dimension of the vectors.
    shape : {"ball", "box", "all", "simplex"}
        ``|x|_2 <= radius``, ``|x_i| <= radius``, all of R^d, or ``x_i >= 0`` with sum 1; the last
        is for coordinates.
    size : Fraction, optional
        The exact size: the *squared* radius of a ball (so d itself if the radius is the irrational
        sqrt(d)), the radius of a box, the sum of a simplex, None for all of R^d.
    zero_sum : bool, optional
        Whether ``sum(x) = 0`` must hold as well.
    frame : Frame, optional
        The map from coordinates to vectors.
    """

    name: str
    d: int
    shape: Shape
    size: Fraction | None = None
    _: KW_ONLY
    zero_sum: bool = False
    frame: Frame | None = None

    __repr__ = short_repr

    @property
    def bounded(self) -> bool:
        """Whether the domain is bounded: anything but all of R^d."""
        return self.shape != "all"

    @property
    def coordinates(self) -> int:
        """The length of a point: d, or the number of coordinates that a frame maps to vectors."""
        return self.d if self.frame is None else self.frame.coordinates

    @property
    def plain(self) -> Domain:
        """The set of the coordinates, without the frame; the domain itself if it has none."""
        if self.frame is None:
            return self
        return replace(self, d=self.frame.coordinates, frame=None)

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
        if self.shape == "box" or self.name == "ellipsoid":
            return f"{self.name}(radius={self.radius!r})"
        return f"hull of {self.coordinates} points" if self.name == "hull" else self.name

    def contains(self, x: Floats) -> bool:
        """Decide exactly whether a vector is in the set.

        Parameters
        ----------
        x : ndarray of shape (k,), float64
            The point: a vector, or coordinates if the domain has a frame.

        Returns
        -------
        bool
            Whether ``x`` is in the set; False for an array of another shape, or with NaN or
            infinity.
        """
        if x.shape != (self.coordinates,) or not np.isfinite(x).all():
            return False
        mantissas, exponent = integers(x)
        entries: list[int] = mantissas.tolist()
        if self.zero_sum and sum(entries) != 0:
            return False
        if self.size is None:
            return True
        unit = power_of_two(exponent)
        if self.shape == "simplex":
            return min(entries) >= 0 and sum(entries) * unit == self.size
        if self.shape == "box":
            return max(map(abs, entries)) * unit <= self.size
        return sum(m * m for m in entries) * unit * unit <= self.size

    def fit(self, x: Floats) -> Floats:
        """Move a point into the set with a small change: scale it in, and make its sum exact.

        Parameters
        ----------
        x : ndarray of shape (k,), float64
            The point: a vector, or coordinates if the domain has a frame.

        Returns
        -------
        ndarray of shape (k,), float64
            A point of the set.

        Raises
        ------
        InputError
            If ``x`` does not hold k finite numbers.
        """
        if x.shape != (self.coordinates,):
            raise self._no_points()
        return np.asarray(self.fit_all(np.asarray(x, dtype=np.float64)[None])[0])

    def fit_all(self, points: Floats) -> Floats:
        """Move points into the set, each as `fit` does.

        Parameters
        ----------
        points : ndarray of shape (n, k), float64
            The points.

        Returns
        -------
        ndarray of shape (n, k), float64
            Points of the set.

        Raises
        ------
        InputError
            If a point does not hold k finite numbers.
        """
        if points.shape[1:] != (self.coordinates,) or not np.isfinite(points).all():
            raise self._no_points()
        out = np.asarray(points, dtype=np.float64)
        if self.shape == "simplex":
            return _mixtures(out)
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
        """Decide exactly which points are in the set.

        Parameters
        ----------
        points : ndarray of shape (n, k), float64
            The points.

        Returns
        -------
        ndarray of shape (n,), bool
            As `contains` says of each.
        """
        inside = np.zeros(len(points), dtype=np.bool_)
        if self.shape == "ball" and points.shape[1:] == (self.coordinates,):
            with np.errstate(over="ignore", invalid="ignore"):
                lengths = norm_above(points, axis=-1)
            inside = np.isfinite(lengths) & (lengths <= self.radius * (1.0 - 2.0**-50))
            if self.zero_sum:
                inside[inside] = [math.fsum(x) == 0.0 for x in points[inside].tolist()]
        if self.shape == "simplex" and self.size == 1 and points.shape[1:] == (self.coordinates,):
            inside = _are_mixtures(points)
        for place in np.flatnonzero(~inside).tolist():  # too near to the edge for float64
            inside[place] = self.contains(points[place])
        return inside

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw points uniformly from the set, or from that of the coordinates.

        For all of R^d, draw directions: the points are standard normal vectors.

        Parameters
        ----------
        rng : numpy.random.Generator
            The source of randomness.
        n : int
            How many points.

        Returns
        -------
        ndarray of shape (n, k), float64
            The points, in the set up to rounding; `fit` moves a point into it exactly.
        """
        if self.shape == "box":
            return np.asarray(rng.uniform(-self.radius, self.radius, (n, self.coordinates)))
        if self.shape == "simplex":
            shares = rng.standard_exponential((n, self.coordinates))
            return np.asarray(shares / shares.sum(axis=1, keepdims=True))
        x = rng.standard_normal((n, self.coordinates))
        if self.zero_sum:
            x -= x.mean(axis=1, keepdims=True)
        if not self.bounded:
            return x
        freedom = max(1, self.coordinates - self.zero_sum)
        lengths = self.radius * rng.uniform(0.0, 1.0, (n, 1)) ** (1.0 / freedom)
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        return np.asarray(
            x * np.divide(lengths, norms, out=np.zeros_like(norms), where=norms > 0.0)
        )

    def vectors(self, points: Floats) -> tuple[Floats, Floats]:
        """Compute the vectors of points, and how far they are from the exact ones.

        Parameters
        ----------
        points : ndarray of shape (n, k), float64
            The points.

        Returns
        -------
        x : ndarray of shape (n, d), float64
            Their vectors: the points themselves without a frame, and rounded with one.
        off : ndarray of shape (n,), float64
            Upper bounds on the distance from the exact vectors.
        """
        if self.frame is None:
            return points, np.zeros(len(points))
        return self.frame.vectors(points)

    def vector(self, point: Floats) -> Floats:
        """Return the vector of a point.

        Parameters
        ----------
        point : ndarray of shape (k,), float64
            The point.

        Returns
        -------
        ndarray of shape (d,), float64
            Its vector ``x``, rounded to float64 if there is a frame.
        """
        return np.asarray(self.vectors(point[None])[0][0])

    def exact_vector(self, point: Floats) -> Scaled:
        """Return the vector of a point, exactly.

        Parameters
        ----------
        point : ndarray of shape (k,), float64
            The point.

        Returns
        -------
        Scaled
            Its vector, as a matrix (d, 1) of integers times a power of two, with a method
            ``fractions``.
        """
        return next(self.exact_vectors(point[None]))

    def exact_vectors(self, points: Floats) -> Iterator[Scaled]:
        """Return the vectors of many points, exactly; together they cost less than one by one.

        Parameters
        ----------
        points : ndarray of shape (n, k), float64
            The points.

        Returns
        -------
        iterator of Scaled
            As `exact_vector` returns it for each.
        """
        return map(scaled, points) if self.frame is None else self.frame.exact_vectors(points)

    def refuse_frame(self, what: str, instead: str) -> None:
        """Refuse a domain whose points are coordinates, not vectors.

        Parameters
        ----------
        what : str
            What does not serve such a domain.
        instead : str
            What to do.

        Raises
        ------
        InputError
            If the domain has a frame, naming both.
        """
        if self.frame is not None:
            raise InputError(f"{what} is not made for domain {self.name}: {instead}")

    def _no_points(self) -> InputError:
        return InputError(f"a point of this domain must be {self.coordinates} finite numbers")

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
    """Return the domain without its dimension, as JSON values that `from_settings` reads.

    A frame is described by its number of coordinates and its digest.
    """
    size = None if domain.size is None else str(domain.size)
    out: dict[str, Any] = {
        "name": domain.name,
        "shape": domain.shape,
        "size": size,
        "zero_sum": domain.zero_sum,
    }
    if domain.frame is not None:
        out["coordinates"] = domain.frame.coordinates
        out["frame"] = domain.frame.digest
    return out


def coordinates(stored: Mapping[str, Any], d: int) -> int | None:
    """Return the number of coordinates of the frame of a domain that `as_settings` wrote.

    None if it has no frame. Raises InputError for a number that no frame has.
    """
    if "frame" not in stored and "coordinates" not in stored:
        return None
    k = stored.get("coordinates")
    if type(k) is not int or not 0 < k * d <= frames.MOST or type(stored.get("frame")) is not str:
        raise _no_domain(stored)
    return k


def from_settings(stored: Mapping[str, Any], d: int, frame: Frame | None = None) -> Domain:
    """Return the domain in R^d that `as_settings` wrote; a built-in name must have its own set.

    ``frame`` is the frame, which must be the one described. Raises InputError for anything else.
    """
    domain = _described(stored, d)
    if coordinates(stored, d) != (None if frame is None else frame.coordinates):
        raise _no_domain(stored)
    if frame is not None and frame.digest != stored["frame"]:
        raise InputError(f"the vectors of domain {domain.name} are not those of its digest")
    return checked(replace(domain, frame=frame))


def check_settings(stored: Mapping[str, Any], d: int) -> None:
    """Raise InputError for what `from_settings` would refuse, whatever the frame holds."""
    domain = _described(stored, d)
    if coordinates(stored, d) is None:
        checked(domain)
    else:
        _check_name(domain.name)


def _described(stored: Mapping[str, Any], d: int) -> Domain:
    """Return the domain without its frame, which may be none that there is."""
    try:
        name, shape, zero_sum = stored["name"], stored["shape"], stored["zero_sum"]
        size = None if stored["size"] is None else _fraction(stored["size"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise _no_domain(stored) from error
    if not (isinstance(name, str) and isinstance(zero_sum, bool)):
        raise _no_domain(stored)
    if shape not in get_args(Shape) or (size is None) != (shape == "all"):
        raise _no_domain(stored)
    return Domain(name, d, shape, size, zero_sum=zero_sum)


def _no_domain(stored: Mapping[str, Any]) -> InputError:
    return InputError(f"{stored!r} does not describe a domain")


def checked(domain: Domain) -> Domain:
    """Return the domain, unless it has the name of another one, or a name that looks like it.

    Raises InputError then, because its results would be read as those of the other domain.
    """
    _check_name(domain.name)
    if domain.frame is not None or domain.shape == "simplex" or domain.name in FRAMED:
        _check_frame(domain)
    if domain.name in NAMES:
        radius = domain.radius if domain.shape == "box" else 1.0
        if domain.name == "auto" or domain != named(domain.name, domain.d, None, radius):
            raise InputError(f"a domain of your own needs a name of its own, not {domain.name!r}")
    return domain


def _check_name(name: str) -> None:
    """Raise InputError for a name that no domain may have."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"a domain cannot be called {name!r}: use ASCII letters and digits, and inside the "
            "name also - . _ ( ) = and single spaces"
        )
    known = (*NAMES, *FRAMED)
    if name not in known and _skeleton(name) in map(_skeleton, known):
        raise InputError(
            f"a domain of your own needs a name that cannot be misread as another, not {name!r}"
        )


def _check_frame(domain: Domain) -> None:
    """Raise InputError unless a frame belongs to the domain, and suits its name and shape."""
    shapes = {"hull": ("simplex",), "ellipsoid": ("ball",)}.get(domain.name, ("simplex", "ball"))
    if domain.name in NAMES or domain.shape not in shapes:
        raise InputError(f"a domain of your own needs a name of its own, not {domain.name!r}")
    if domain.frame is None or domain.zero_sum or (domain.shape == "simplex" and domain.size != 1):
        raise InputError(f"domain {domain.name} is neither the hull of points nor an ellipsoid")
    if domain.frame.axes.shape[1] != domain.d:
        raise InputError(
            f"the vectors of domain {domain.name} have {domain.frame.axes.shape[1]} numbers, not "
            f"{domain.d}"
        )


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


def hull(points: ArrayLike) -> Domain:
    """Return the convex hull of points: all mixtures of them.

    A point of this domain is its n coefficients, which are >= 0 and add up to exactly 1.

    Parameters
    ----------
    points : array_like of shape (n, d), float16, float32 or float64
        The points.

    Returns
    -------
    Domain
        The hull, which has a boundary and perhaps no interior.

    Raises
    ------
    InputError
        For another shape or type, and for NaN and infinity.
    """
    P = read_matrix("the points of the hull", points)
    return Domain("hull", P.shape[1], "simplex", Fraction(1), frame=Frame(P))


def ellipsoid(mean: ArrayLike, factor: ArrayLike, radius: float = 1.0) -> Domain:
    """Return ``{mean + y @ factor : |y| <= radius}``.

    With a sample's mean and a factor whose ``factor.T @ factor`` is its covariance, these are the
    vectors within ``radius`` standard deviations of the mean, in Mahalanobis's distance. A point of
    this domain is its k coordinates ``y``.

    Parameters
    ----------
    mean : array_like of shape (d,), float16, float32 or float64
        The centre.
    factor : array_like of shape (k, d), float16, float32 or float64
        The axes, one a row.
    radius : float, optional
        The radius, in standard deviations.

    Returns
    -------
    Domain
        The ellipsoid.

    Raises
    ------
    InputError
        For another shape or type, for NaN and infinity, and unless ``0 < radius < infinity``.
    """
    if not (math.isfinite(radius) and radius > 0):
        raise InputError(f"ellipsoid radius {radius!r}: give a positive finite number")
    L = read_matrix("the factor of the ellipsoid", factor)
    m = read_matrix("the mean of the ellipsoid", np.asarray(mean)[None])[0]
    if m.shape != (L.shape[1],):
        raise InputError(
            f"the mean of the ellipsoid has {m.size} numbers, its axes {L.shape[1]}: give as many"
        )
    return Domain("ellipsoid", m.size, "ball", Fraction(radius) ** 2, frame=Frame(L, m))


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
    raise unknown("domain", name, (*NAMES, *FRAMED))


def _fraction(text: object) -> Fraction:
    """Parse a positive ratio of two integers, each no longer than a float64 can make it."""
    if not isinstance(text, str):
        raise TypeError(type(text).__name__)
    numerator, _, denominator = text.partition("/")
    digits = numerator + denominator
    if len(digits) > 2000 or not (digits.isdecimal() and digits.isascii()):
        raise ValueError(text[:40])
    return Fraction(int(numerator), int(denominator or "1"))


def _mixtures(points: Floats) -> Floats:
    """Move points (n, k) to the simplex: no share below zero, and the sum exactly 1.

    Shares are rounded to multiples of ``2**-52``; what is left over goes to the largest.
    """
    shares = np.maximum(points, 0.0)
    largest = shares.max(axis=1, keepdims=True)
    shares = np.divide(shares, largest, out=np.ones_like(shares), where=largest > 0.0)
    shares /= shares.sum(axis=1, keepdims=True)
    grid = np.rint(np.ldexp(shares, _LEAST_SHARE)).astype(np.int64)
    rest = (1 << _LEAST_SHARE) - grid.sum(axis=1)
    grid[np.arange(len(grid)), grid.argmax(axis=1)] += rest
    return np.asarray(np.ldexp(grid.astype(np.float64), -_LEAST_SHARE))


def _are_mixtures(points: Floats) -> Flags:
    """Return which points (n, k) are shares, all multiples of ``2**-52``, with the sum 1.

    A sum of such numbers in float64 is off by less than 1 if k is below 2^52, so integers of 64
    bits hold the exact sum of those that come near 1.
    """
    with np.errstate(all="ignore"):
        near = (points >= 0.0).all(axis=1) & (points.sum(axis=1) < 2.0)
        grid = np.ldexp(points[near], _LEAST_SHARE)
        whole = (grid == np.rint(grid)).all(axis=1)
        near[near] = whole & (grid.astype(np.int64).sum(axis=1) == 1 << _LEAST_SHARE)
    return np.asarray(near)


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
