"""The ``mpmath`` certifier: encloses, at many digits, what the chain before it has found.

It is a second arithmetic next to geom's own, and shows it to readers. The proofs are those of
`geom.judge`; the enclosures here (`geom_plugins.certifiers.enclosures`) say how large the margin in
question is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from geom import (
    Certifier,
    Enclosure,
    Finding,
    Floats,
    Problem,
    Weights,
    find_arithmetic,
    hookimpl,
    rounded_down,
    rounded_up,
)
from geom_plugins.certifiers.enclosures import (
    EXACT,
    LIGHT,
    by_direction,
    margin_enclosure,
    reach_enclosure,
)

SHOWN = 17
"""The digits shown of an enclosure's ends, as many as tell two floats apart."""

NOTHING = "nothing to verify: put it after a certifier that finds a direction or weights"


@dataclass(frozen=True)
class MpmathOptions:
    """How finely to enclose."""

    digits: Annotated[int, Meta(ge=15, description="decimal digits of the intervals")] = 50
    backend: Annotated[
        str, Meta(description="the precision that sums products, as in arb?bits=300 or float64")
    ] = EXACT


def prepare(problem: Problem, options: MpmathOptions) -> None:
    """Raise InputError if the backend is unknown or encloses nothing."""
    find_arithmetic(options.backend, rigorous=True)


def certify(problem: Problem, token: int, prior: Finding, options: MpmathOptions) -> Finding:
    """Return the prior's point and weights unchanged, and note enclosures of what they show."""
    problem, notes = problem.asked, []
    if prior.x is not None:
        notes.append(_point_note(problem, token, prior.x, options))
    if prior.weights is not None:
        notes.append(_weights_note(problem, token, prior.weights, options))
    if not notes:
        notes.append(NOTHING)
    return Finding(prior.x, prior.weights, "; ".join(notes))


@hookimpl
def geom_certifiers() -> Iterator[Certifier[MpmathOptions]]:
    yield Certifier(
        "mpmath",
        "encloses, in interval arithmetic, the margin that the chain has found",
        certify,
        MpmathOptions,
        verifies=True,
        prepare=prepare,
        mixtures=True,
    )


def _point_note(problem: Problem, token: int, x: Floats, options: MpmathOptions) -> str:
    if not problem.domain.contains(x):
        return f"nothing to verify: the point is not in the domain {problem.domain}"
    try:
        margin = margin_enclosure(problem, token, x, options.digits, options.backend)
    except ArithmeticError as error:
        return f"nothing to verify: {options.backend} cannot enclose the margin, {error}"
    if margin is None:
        return f"nothing to verify: there is no other {problem.readout.noun}"
    meaning = {
        "positive": f"positive, the {problem.readout.noun} wins there",
        "negative": f"negative, the {problem.readout.noun} does not win there",
        "zero": "exactly zero, a tie",
        "unsettled": "its sign is open",
    }[margin.sign]
    where = " at x/|x|" if by_direction(problem) and x.any() else ""
    return f"margin{where} in {_shown(margin)} at {_fineness(options)}: {meaning}"


def _weights_note(problem: Problem, token: int, weights: Weights, options: MpmathOptions) -> str:
    fault = _fault(problem, token, weights)
    if fault is not None:
        return f"nothing to verify: {fault}"
    try:
        reach = reach_enclosure(problem, token, weights, options.digits, options.backend)
    except ArithmeticError as error:
        return f"nothing to verify: {options.backend} cannot sum the weights, {error}"
    length = f"|r| <= {rounded_up(reach.length.high)} for weights of sum 1"
    if reach.light:
        length += f", the {reach.light} lightest summed in {LIGHT}"
    if reach.bound is None:
        return f"the weights bound no margin: the domain is unbounded and r is not 0; {length}"
    meaning = {
        "positive": "positive, so this bound alone settles nothing",
        "negative": f"negative, the {problem.readout.noun} wins nowhere",
        "zero": f"zero, the {problem.readout.noun} wins nowhere",
        "unsettled": "its sign is open, so this bound alone settles nothing",
    }[reach.bound.sign]
    shown, fineness = _shown(reach.bound), _fineness(options)
    return f"upper bound on the margin in {shown} at {fineness}: {meaning}; {length}"


def _fineness(options: MpmathOptions) -> str:
    sums = "" if options.backend == EXACT else f", sums in {options.backend}"
    return f"{options.digits} digits{sums}"


def _shown(enclosure: Enclosure) -> str:
    """Write the ends rounded outward to `SHOWN` digits, and the width rounded up."""
    low, high = rounded_down(enclosure.low, SHOWN), rounded_up(enclosure.high, SHOWN)
    width = f" (width <= {rounded_up(enclosure.width, 2)})" if enclosure.width else ""
    return f"[{low}, {high}]{width}"


def _fault(problem: Problem, token: int, weights: Weights) -> str | None:
    """Say why these are not weights over other tokens; None if they are."""
    indices, values = weights.indices, weights.values
    if indices.ndim != 1 or indices.shape != values.shape:
        return "the weights are not one value per index"
    if not (np.isfinite(values).all() and (values >= 0.0).all() and values.any()):
        return "the weights are not finite numbers >= 0, one of them > 0"
    if (indices < 0).any() or (indices >= problem.readout.V).any() or (indices == token).any():
        noun = problem.readout.noun
        return f"the weights name the {noun} itself or ids outside {noun.every}"
    if np.unique(indices).size != indices.size:
        return f"the weights name one {problem.readout.noun} twice"
    return None
