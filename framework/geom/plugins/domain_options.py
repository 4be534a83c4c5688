"""The domain that a user asks for: its name, and the numbers and files that its options give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geom.errors import InputError, unknown
from geom.files.vectors import read_array
from geom.model import domains
from geom.model.domains import Domain
from geom.model.frames import read_matrix
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.numbers.arrays import Floats
from geom.plugins.options import Given

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "box": ("radius",),
    "hull": ("points",),
    "ellipsoid": ("points", "mean", "covariance", "factor", "radius"),
}
"""The options that domains have."""

_WAYS = "give points, or mean and one of covariance and factor"


def domain(readout: Readout, asked: str | Domain, given: Given) -> Domain:
    """Return the domain asked for, by name or as given, made of its options.

    Files are read here, so that a run is refused before anything is written.

    Raises InputError for an unknown name, an option that does not apply, a file that does not serve
    or a domain of another width than the readout.
    """
    name = asked if isinstance(asked, str) else None
    for kind, other in given:
        if kind == "domain" and other not in OPTIONS:
            raise unknown("domain with options", other, OPTIONS)
        if kind == "domain" and other != name:
            raise InputError(f"options are given for domain {other}, which has no part in this run")
    if not isinstance(asked, str):
        found = asked
    else:
        options = given.get(("domain", asked), {})
        for option in options:
            if option not in OPTIONS[asked]:
                raise unknown(f"option of domain {asked}", option, OPTIONS[asked])
        found = _made(asked, readout, options)
    return Problem(readout, domains.checked(found)).domain


def _made(name: str, readout: Readout, options: Mapping[str, Any]) -> Domain:
    if name == "hull":
        if "points" not in options:
            raise InputError(
                "the hull of which points? Give -o domain.hull.points=FILE.npy, of shape (n, "
                f"{readout.d}), or FILE.npz?array=NAME"
            )
        return domains.hull(_matrix("hull", "points", options, readout))
    if name == "ellipsoid":
        return _ellipsoid(readout, options)
    return domains.named(name, readout.d, readout.norm, _radius(name, options))


def _ellipsoid(readout: Readout, options: Mapping[str, Any]) -> Domain:
    """Return the ellipsoid of a sample's mean and covariance, or of those given."""
    radius = _radius("ellipsoid", options)
    given = sorted(options.keys() - {"radius"})
    if given == ["points"]:
        points = _matrix("ellipsoid", "points", options, readout)
        if len(points) < 2:
            raise InputError("option domain.ellipsoid.points: one point has no covariance")
        with np.errstate(over="ignore", invalid="ignore"):
            mean = points.mean(axis=0)
            factor = np.linalg.qr((points - mean) / math.sqrt(len(points) - 1), mode="r")
        return domains.ellipsoid(mean, factor, radius)
    if given in (["covariance", "mean"], ["factor", "mean"]):
        mean = _matrix("ellipsoid", "mean", options, readout)[0]
        if "factor" in options:
            return domains.ellipsoid(mean, _matrix("ellipsoid", "factor", options, readout), radius)
        return domains.ellipsoid(
            mean, _root(_matrix("ellipsoid", "covariance", options, readout)), radius
        )
    raise InputError(f"domain ellipsoid has the options {', '.join(given) or 'none'}: {_WAYS}")


def _root(covariance: Floats) -> Floats:
    """Return a factor (k, d) with ``factor.T @ factor`` a covariance. Raises InputError."""
    what = "option domain.ellipsoid.covariance"
    size = float(np.abs(covariance).max())
    if len(covariance) != covariance.shape[1]:
        raise InputError(f"{what} has shape {covariance.shape}: give a square matrix")
    if not np.abs(covariance - covariance.T).max() <= 1e-6 * size:
        raise InputError(f"{what} is not symmetric: give a covariance, or a factor of it")
    values, vectors = np.linalg.eigh(covariance / 2 + covariance.T / 2)
    if not values.min() >= -1e-6 * max(size, float(values.max())):
        raise InputError(f"{what} has the negative eigenvalue {values.min():.3g}: it is none")
    return np.asarray(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T)


def _matrix(name: str, option: str, options: Mapping[str, Any], readout: Readout) -> Floats:
    """Return an option's vectors (n, d), from the file that it names or from the array it is."""
    what, value, d = f"domain.{name}.{option}", options[option], readout.d
    if isinstance(value, str | Path):
        what = f"{what}={value}"
        try:
            value = read_array(value)
        except InputError as error:
            raise InputError(f"option {what}: {error}") from error
    value = np.asarray(value)
    matrix = read_matrix(f"option {what}", value[None] if value.ndim == 1 else value)
    if matrix.shape[1] != d or (option == "mean" and len(matrix) != 1):
        shape = f"({d},)" if option == "mean" else f"(n, {d})"
        remedy = ""
        if matrix.shape[1] == readout.V:
            many = readout.noun.plural
            remedy = (
                f"; they are as wide as there are {many}, so the matrix of {many} may be "
                "transposed: a source with a layout takes ?layout=dv"
            )
        raise InputError(
            f"option {what} has shape {value.shape}: the readout asks for {shape}{remedy}"
        )
    return matrix


def _radius(name: str, options: Mapping[str, Any]) -> float:
    try:
        return float(options.get("radius", 1.0))
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"option domain.{name}.radius={options['radius']}: give a number"
        ) from None
