"""Bounds on angles, balls and changes of rows, against points and weights that contradict them.

    python -m campaigns.domains --cases 20000 --seed 1

Each case is a small problem with at least two rivals, on any domain (`hostile`), a finding, honest
or not, and one of `angle_bounds`, `ball_bounds`, `silencing_bounds` and `freeing_bounds`. The
finding's own point must prove a lower bound, and an upper bound must hold at the best point that
`regions` finds; both are checked in balls of 400 bits or in exact integers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from flint import arb, ctx

from campaigns.campaign import Case, main
from campaigns.hostile import (
    LARGEST,
    balanced,
    domain,
    finding,
    pick,
    problem,
    raised,
    rivals,
    shaken,
)
from campaigns.judge import wins
from campaigns.regions import (
    BITS,
    angle_at,
    ball_at,
    blend,
    centre,
    clears,
    directions,
    normals,
    silencing_at,
    view,
)
from geom import Finding, InputError, Problem, Readout, Weights
from geom.proofs import angle_bounds, ball_bounds, freeing_bounds, silencing_bounds
from support.suprema import Floats, Rivals


def draw(rng: np.random.Generator, number: int) -> Case:
    """Draw a problem, a finding and a measure, and check the bounds that geom proves."""
    name, ask, check = MEASURES[number % len(MEASURES)]
    drawn = ordinary(rng, name) if rng.random() < 0.4 else None
    while drawn is None or drawn[0].readout.V < 3:
        drawn = problem(rng)
    asked, token = drawn
    truth = rivals(asked, token)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            sought = best(rng, name, truth)
            evidence = finding(rng, asked, token, truth)
            if rng.random() < 0.7:
                evidence = honest(rng, asked, truth, sought, evidence)
            try:
                ends = ask(asked, token, evidence)
            except InputError as error:
                refused = name == "angles" and asked.domain.shape == "box"
                return Case(f"{name}: refused", None if refused else str(error))
            with ctx.workprec(BITS):
                wrong = "; ".join(check(truth, evidence, sought[0], *ends))
        except Exception as error:
            return Case("raised", raised(error))
    tight = "tight" if ends[1] - ends[0] <= 1e-6 * abs(ends[1]) else "wide"
    return Case(f"{name} {asked.domain.name} {tight}", f"{ends}: {wrong}" if wrong else None)


def ordinary(rng: np.random.Generator, name: str) -> tuple[Problem, int]:
    """Draw normal rows, and the token with most to measure: the outermost, or the innermost."""
    V, d = int(rng.integers(3, 11)), int(rng.integers(2, 5))
    W = rng.standard_normal((V, d))
    b = rng.standard_normal(V) * pick(rng, 0.0, 0.1, 0.5)
    far = np.linalg.norm(W - W.mean(axis=0), axis=1)
    token = int(far.argmin() if name == "freeing" else far.argmax())
    return Problem(Readout.fold(W, b), domain(rng, d)), token


Sought = tuple[Floats | None, Floats | None]


def best(rng: np.random.Generator, name: str, truth: Rivals) -> Sought:
    """Find the point and weights that say most about the measure, as far as float64 sees."""
    if name == "angles":
        return directions(truth)
    if name == "balls":
        return centre(truth) or (None, None)
    if name == "silencing":
        weights, x = blend(truth) or (None, None)
        return x, weights
    return nearest_face(truth), balanced(rng, truth)


def nearest_face(truth: Rivals) -> Floats:
    """Return the direction with the least negative margin per length, at several lengths."""
    a, c, radius = view(truth)
    points = normals(truth)
    with np.errstate(all="ignore"):
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
        points = np.vstack([points * length for length in (1.0, 0.5, 0.1, 1e-3)])
        short = -(points @ a.T + c).max(axis=1) / np.linalg.norm(points, axis=1)
    return np.asarray(points[int(np.nan_to_num(short, nan=-np.inf).argmax())] * radius)


def honest(
    rng: np.random.Generator, asked: Problem, truth: Rivals, sought: Sought, other: Finding
) -> Finding:
    """Return an honest finding of a good search; at times one part comes from another finding."""
    x, lam = sought
    point, weights = other.x, other.weights
    if x is not None and rng.random() < 0.9:
        with np.errstate(over="ignore", invalid="ignore"):
            point = asked.domain.fit(np.clip(np.nan_to_num(x), -1e300, 1e300))
    if lam is not None and np.any(lam > 0.0) and rng.random() < 0.9:
        values = np.clip(np.nan_to_num(lam), 0.0, LARGEST)
        if rng.random() < 0.3:
            values = shaken(rng, values)
        ids = np.array(truth.ids, dtype=np.int64)
        weights = Weights(ids[values > 0.0], values[values > 0.0])
    return Finding(point, weights)


def in_domain(truth: Rivals, x: Floats | None) -> bool:
    return x is not None and is_vector(truth, x) and truth.holds(x)


def is_vector(truth: Rivals, x: Floats) -> bool:
    return x.dtype == np.float64 and x.shape == (len(truth.a[0]),) and bool(np.isfinite(x).all())


def finite(low: float, high: float) -> bool:
    return 0.0 <= low < math.inf and high >= 0.0


def angles(
    truth: Rivals, evidence: Finding, x: Floats | None, low: float, high: float
) -> Iterator[str]:
    """Check the angle of the finding's direction, and that of the best direction."""
    if not finite(low, high) or high == math.inf:
        yield "no bounds"
        return
    if low > 0.0:
        turn = None
        given = evidence.x
        if given is not None and given.any() and np.isfinite(given).all():
            turn = angle_at(truth, given)
        if turn is None or turn < arb(low):
            yield f"its direction can be turned by {turn}"
    if x is not None and x.any():
        turn = angle_at(truth, x)
        if turn is not None and turn > arb(high):
            yield f"{x.tolist()} can be turned by {turn}"


def balls(
    truth: Rivals, evidence: Finding, x: Floats | None, low: float, high: float
) -> Iterator[str]:
    """Check the ball about the finding's point, the ball about the best, and that there is any."""
    if math.isnan(low) or not low >= 0.0 or not high >= 0.0:
        yield "no bounds"
        return
    if low > 0.0:
        radius = ball_at(truth, evidence.x) if in_domain(truth, evidence.x) else arb(-1)
        if radius is not None and (low == math.inf or radius < arb(low)):
            yield f"the ball about its point has the radius {radius}"
        if not wins(truth, evidence.x):
            yield "its point does not win"
    if high == 0.0 and not truth.at_most(0):
        yield "it is speakable"
    if x is not None and high < math.inf:
        for shrunk in (1.0, 1.0 - 2.0**-40):
            point = inside(truth, x * shrunk)
            if point is not None and truth.holds(point):
                radius = ball_at(truth, point)
                if radius is None or radius > arb(high):
                    yield f"the ball about {point.tolist()} has the radius {radius}"


def inside(truth: Rivals, x: Floats) -> Floats | None:
    """Return the point with its sum made zero, if the domain requires it, on its own grid."""
    if not truth.region.zero_sum:
        return x
    top = float(np.abs(x).max())
    if not 1e-250 < top < 1e250:
        return None
    grid = np.rint(np.ldexp(x, 48 - math.frexp(top)[1]))
    grid[0] -= grid.sum()
    return np.asarray(np.ldexp(grid, math.frexp(top)[1] - 48))


def silencing(
    truth: Rivals, evidence: Finding, x: Floats | None, low: float, high: float
) -> Iterator[str]:
    """Check the lower bound by a point's margin per length, the upper by the weights' change."""
    if not (low >= 0.0 and high >= 0.0):
        yield "no bounds"
        return
    first = truth.margin([0.0] * len(truth.a[0]))
    if low == math.inf:
        if first <= 0:
            yield "the token does not win at the origin"
        return
    given = evidence.x
    if low > 0.0 and not (
        given is not None and in_domain(truth, given) and clears(truth, given, low)
    ):
        yield "its point has no such margin"
    if high == math.inf:
        return
    if first > 0:
        yield "no change silences a token that wins at the origin"
    for point in (given, x):
        if point is not None and in_domain(truth, point) and clears(truth, point, after(high)):
            yield f"{point.tolist()} asks for more"
    for values in (weights_of(truth, evidence), (blend(truth) or (None,))[0]):
        length = None if values is None else silencing_at(truth, values)
        if length is not None and length < arb(low):
            yield f"weights silence it by {length}"


def after(high: float) -> float:
    return math.nextafter(high, math.inf)


def weights_of(truth: Rivals, evidence: Finding) -> Floats | None:
    """Return the finding's weights on all rivals, or None if they are not weights."""
    weights = evidence.weights
    if weights is None or weights.values.dtype != np.float64 or weights.values.ndim != 1:
        return None
    values = dict(zip(weights.indices.tolist(), weights.values.tolist(), strict=False))
    if len(values) != weights.values.size or not set(values) <= set(truth.ids):
        return None
    found = np.array([values.get(j, 0.0) for j in truth.ids])
    return found if np.isfinite(found).all() and (found >= 0.0).all() else None


def freeing(
    truth: Rivals, evidence: Finding, x: Floats | None, low: float, high: float
) -> Iterator[str]:
    """Check what tokens lack per length: the point at most ``high``, no point less than ``low``."""
    if not (0.0 <= low < math.inf and high >= 0.0):
        yield "no bounds"
        return
    given = evidence.x
    if high < math.inf:
        fits = given is not None and in_domain(truth, given)
        if not (fits and given is not None and clears(truth, given, -high)):
            yield "its point lacks more"
    if low > 0.0:
        for point in (given, x):
            if point is None or not is_vector(truth, point):
                continue
            seen = inside(truth, point)
            if seen is not None and in_domain(truth, seen) and clears(truth, seen, -before(low)):
                yield f"{seen.tolist()} lacks less"


def before(low: float) -> float:
    return math.nextafter(low, -math.inf)


Check = Callable[[Rivals, Finding, Floats | None, float, float], Iterator[str]]
Ask = Callable[[Problem, int, Finding], tuple[float, float]]

MEASURES: list[tuple[str, Ask, Check]] = [
    ("angles", angle_bounds, angles),
    ("balls", ball_bounds, balls),
    ("silencing", silencing_bounds, silencing),
    ("freeing", freeing_bounds, freeing),
]


if __name__ == "__main__":
    main("domains", draw, cases=20_000)
