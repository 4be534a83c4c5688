"""``perturbation``: the least change of a token's own row that changes its verdict.

In both directions it is a question about ``margin(x) / |x|``, because a change D of the row adds
``D . x`` to the margin at x; `geom.exact.changes` has the argument, `geom.proofs.silencing_bounds`
and `geom.proofs.freeing_bounds` the proofs.

A speakable token is silenced by a change as long as the largest ``margin(x) / |x|``, and by none
shorter. With ``u = x / |x|`` and ``s = 1 / |x|``, not below 1 / R, that is the largest of
``-max_j(a_j . u + s c_j)``, concave in both: for one s it is a program of
`geom_plugins.solvers.largest_margin`, and its weights are a cut, a line in s that is nowhere below
the maximum. The next cut is made where the two cuts around the best s cross (J. E. Kelley, The
cutting-plane method for solving convex programs, J. SIAM 8, 1960). Without biases one program is
enough: the distance from the token to the hull of the others.

An unspeakable token is freed by the least ``max_j(a_j . x + c_j) / |x|``: its depth inside the
hull. That is the distance to the nearest face, found by a local search: a linear program finds the
face by which a direction leaves the hull, and the face's normal is the next direction, until the
two are equal. The upper bound is the best of several starts. The lower bound is proven too, but may
be a small part of the upper bound: the value is the middle of the two, and the note gives both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from geom import (
    Finding,
    Floats,
    Measure,
    Measurement,
    Problem,
    Weights,
    hookimpl,
    judge,
    rounded_down,
    rounded_up,
    track_progress,
)
from geom.proofs import freeing_bounds, silencing_bounds
from geom_plugins.measures.bounds import between
from geom_plugins.measures.verdicts import direction, lengths, settled
from geom_plugins.solvers.largest_margin import Program, Solution, solve, working_set

CUTS = 24
"""The most cuts, lines in ``1 / |x|``."""

FACES = 12
"""The most faces along which a search moves."""

SURE = 1e-11
"""The share of a weight that makes up for rounding, times n; the bound loses as large a share."""

FAR = 2.0**30
"""The length of a point far out, in multiples of that at which rows and biases weigh the same."""


@dataclass(frozen=True)
class PerturbationOptions:
    """How close the bounds must be, and how widely to search if they cannot be close."""

    gap: Annotated[float, Meta(gt=0, description="relative gap between bounds to stop at")] = 1e-6
    starts: Annotated[
        int, Meta(ge=1, description="directions to search from for an unspeakable token")
    ] = 3
    seed: Annotated[int, Meta(ge=0, description="seed of the directions drawn")] = 0


def perturbation(
    problem: Problem, token: int, prior: Finding, options: PerturbationOptions
) -> Measurement:
    """Measure the Euclidean length of the least change, in units of W.

    ``x`` is the point at which a change that long is needed. It is a change of the row as the
    domain sees it: if ``sum(x) = 0``, a change along ones has no effect. Raises InputError for the
    hull of points and an ellipsoid.
    """
    problem.domain.refuse_frame("perturbation", "measure it on the model's own domain")
    if problem.readout.V == 1:
        return Measurement(math.inf, 0.0, proven=True, note="it has no rival")
    found, verdict = settled(problem, token, prior)
    if verdict.name == "speakable":
        return _silencing(problem, token, found, options.gap)
    if verdict.name == "unspeakable":
        return _freeing(problem, token, found, options)
    return Measurement(math.nan, note="undecided whether it is speakable")


def _silencing(problem: Problem, token: int, found: Finding, gap: float) -> Measurement:
    low, high = silencing_bounds(problem, token, Finding())
    if low == math.inf:
        return between(low, high, "its bias is the largest: it wins at x = 0 whatever its row")
    if problem.homogeneous:
        ours = _nearest(problem, token, found, gap)
    elif problem.domain.shape == "box":
        ours = _in_a_box(problem, token, found, gap)
    else:
        ours = _by_length(problem, token, found, gap)
    low, high = silencing_bounds(problem, token, ours)
    return between(low, high, None, ours.x if low > 0.0 else found.x, ours.weights)


def _nearest(problem: Problem, token: int, found: Finding, gap: float) -> Finding:
    """Find, without biases, the nearest point of the hull of the others."""
    program = Program(problem, token, np.zeros(problem.readout.V))
    start = direction(problem, token, found)
    best = solve(program, working_set(program, start), gap)
    return Finding(_placed(problem, best.y, math.inf), Weights(best.ids, best.lam))


def _by_length(problem: Problem, token: int, found: Finding, gap: float) -> Finding:
    """Solve, with biases, by cuts in ``s = 1 / |x|``, from the longest ``x`` on."""
    readout, domain = problem.readout, problem.domain
    c = readout.b - readout.b[token]
    s = least = 1.0 / domain.radius if domain.bounded else 0.0
    y = direction(problem, token, found)
    size = lengths(problem, token)
    rival = _weakest(c, size, token)
    best, top = Finding(), -math.inf
    rising: _Cut | None = None
    falling = _Cut.of_one(rival, float(size[rival]), float(c[rival]))
    for _ in range(CUTS):
        program = Program(problem, token, s * c)
        solution = solve(program, working_set(program, y), 0.1 * gap)
        if solution.y.any():
            y = solution.y / max(1.0, float(np.linalg.norm(solution.y)))
        if solution.margin > top:
            top = solution.margin
            best = Finding(_placed(problem, y, 1.0 / s if s > 0.0 else math.inf))
        cut = _Cut.of(problem, token, solution)
        if cut.g >= 0.0:
            falling = cut
        else:
            rising = cut
        if rising is None:
            break
        s = max(least, falling.crossing(rising))
        if falling.at(s) - top <= gap * abs(top):
            break
    weights = falling.weights if rising is None else _lifted(falling.mixed(rising), c)
    return Finding(best.x, weights)


def _in_a_box(problem: Problem, token: int, found: Finding, gap: float) -> Finding:
    """Find, with biases on a box, the weights and the point of the largest margin."""
    c, radius = problem.readout.b - problem.readout.b[token], problem.domain.radius
    program = Program(problem, token, c / radius, shape="box")
    start = np.zeros(problem.readout.d) if found.x is None else found.x / radius
    best = solve(program, working_set(program, start), gap)
    size = lengths(problem, token)
    rival = _weakest(c, size, token)
    cut = _Cut.of(problem, token, best)
    weights = cut.weights
    if cut.g < 0.0:
        weights = _lifted(_Cut.of_one(rival, float(size[rival]), float(c[rival])).mixed(cut), c)
    return Finding(problem.domain.fit(best.y * radius), weights)


def _lifted(weights: Weights, c: Floats) -> Weights:
    """Add a little weight to the rival of the highest bias, so that ``g >= 0`` is certain.

    If no bias is higher than the token's, no weight can do that, and none is added.
    """
    top = int(c.argmax())
    if c[top] <= 0.0:
        return weights
    used = np.abs(c[weights.indices]).max()
    extra = min(SURE * max(1.0, used / float(c[top])), 1.0)
    ids = np.union1d(weights.indices, [top])
    values = np.zeros(ids.size)
    values[np.searchsorted(ids, weights.indices)] = weights.values
    values[np.searchsorted(ids, top)] += extra
    return Weights(ids, values)


def _weakest(c: Floats, size: Floats, token: int) -> int:
    """Return the rival with the nearest row and no smaller bias: alone it bounds the change."""
    others = np.flatnonzero(c >= 0.0)
    others = others[others != token]
    return int(others[size[others].argmin()])


@dataclass(frozen=True, eq=False)
class _Cut:
    """Weights, their ``|r|`` and ``g``: no ``-max_j(a_j . u + s c_j)`` is above ``|r| - s g``."""

    weights: Weights
    r: float
    g: float

    @classmethod
    def of(cls, problem: Problem, token: int, found: Solution) -> _Cut:
        """Return the cut of a solution."""
        a, c = problem.differences(token, found.ids)
        r = found.lam @ a
        if problem.domain.zero_sum:
            r -= r.mean()
        return cls(Weights(found.ids, found.lam), float(np.linalg.norm(r)), float(found.lam @ c))

    @classmethod
    def of_one(cls, j: int, r: float, g: float) -> _Cut:
        """Return the cut of one rival."""
        return cls(Weights(np.array([j]), np.ones(1)), r, g)

    def at(self, s: float) -> float:
        """Return the height of the line at ``s``."""
        return self.r - s * self.g

    def crossing(self, other: _Cut) -> float:
        """Return the ``s`` at which the two lines meet."""
        return (self.r - other.r) / (self.g - other.g)

    def mixed(self, other: _Cut) -> Weights:
        """Mix the weights of both to ``g = 0``; this cut's is not negative and the other's is."""
        share = -other.g / (self.g - other.g)
        ids = np.union1d(self.weights.indices, other.weights.indices)
        values = np.zeros(ids.size)
        values[np.searchsorted(ids, self.weights.indices)] += share * self.weights.values
        values[np.searchsorted(ids, other.weights.indices)] += (1 - share) * other.weights.values
        return Weights(ids, values)


def _placed(problem: Problem, y: Floats, length: float) -> Floats | None:
    """Return the point of the domain along ``y`` of that length or, if it is infinite, far out."""
    domain, readout = problem.domain, problem.readout
    size = float(np.linalg.norm(y))
    if size == 0.0:
        return None
    if math.isinf(length):
        length = domain.radius if domain.bounded else 1.0
        if not problem.homogeneous:
            length = FAR * float(np.ptp(readout.b)) / float(np.median(readout.row_norms))
    return domain.fit(y / size * length)


def _freeing(
    problem: Problem, token: int, found: Finding, options: PerturbationOptions
) -> Measurement:
    weights = found.weights
    low, high = freeing_bounds(problem, token, Finding(weights=weights))
    best: Floats | None = None
    c = problem.readout.b - problem.readout.b[token]
    starts = _starts(problem, token, found, options)
    for z in track_progress(starts, "perturbation", len(starts), "starts"):
        for x in _along_faces(problem, token, z, c, options.gap):
            bound = freeing_bounds(problem, token, Finding(x))[1]
            if bound < high:
                high, best = bound, x
        if high == low:
            break
    if high == low:
        return between(low, high, None, best, weights)
    close = high - low <= 2.0 * options.gap * high
    ends = f"from {rounded_down(low, 6)} to {rounded_up(high, 6)}"
    note = None if close else f"proven to lie {ends}; a change as long as the upper end was found"
    return between(low, high, note, best, weights)


def proven(
    problem: Problem, token: int, evidence: Finding, options: PerturbationOptions, widen: float
) -> tuple[float, float]:
    """Return the bounds on the change that a point and weights prove, if they prove the verdict."""
    if problem.readout.V == 1:
        return math.inf, math.inf
    verdict = judge(problem, token, evidence, widen).name
    if verdict == "unspeakable":
        return freeing_bounds(problem, token, evidence, widen)
    low, high = silencing_bounds(problem, token, evidence, widen)
    return (low, high) if verdict == "speakable" or low == math.inf else (0.0, math.inf)


def _starts(
    problem: Problem, token: int, found: Finding, options: PerturbationOptions
) -> list[Floats]:
    """Return unit vectors to start from: the token's known directions, and the best of a sample."""
    d = problem.readout.d
    out = []
    if not problem.homogeneous:
        out.append(_least_bad(problem, token, options.gap))
    out += [direction(problem, token, Finding()), direction(problem, token, found)]
    drawn = np.random.default_rng(options.seed).standard_normal((64, d))
    if problem.domain.zero_sum:
        drawn -= drawn.mean(axis=1, keepdims=True)
    drawn /= np.maximum(np.linalg.norm(drawn, axis=1, keepdims=True), 1e-300)
    logits = problem.readout.rows @ drawn.T
    logits -= logits[token]
    logits[token] = -math.inf
    out += list(drawn[np.argsort(logits.max(axis=0), kind="stable")])
    return [z for z in out if z.any()][: options.starts]


def _least_bad(problem: Problem, token: int, gap: float) -> Floats:
    """Find the direction of the largest margin over the ball that contains the domain."""
    domain = problem.domain
    radius = domain.radius * (math.sqrt(domain.d) if domain.shape == "box" else 1.0)
    s = 1.0 / radius if domain.bounded else 0.0
    program = Program(problem, token, s * (problem.readout.b - problem.readout.b[token]))
    y = solve(program, working_set(program, np.zeros(domain.d)), gap).y
    size = float(np.linalg.norm(y))
    return y / size if size > 0.0 else y


def _along_faces(
    problem: Problem, token: int, z: Floats, c: Floats, gap: float
) -> Iterator[Floats]:
    """Yield points of the domain, each with a smaller ``max_j(a_j . x + c_j) / |x|``."""
    plain = Program(problem, token, np.zeros_like(c))
    least = math.inf
    for _ in range(FACES):
        gains = plain.values(z)
        s = _best_length(problem, gains, c, token, z)
        height = float(np.delete(gains + s * c, token).max())
        if not height < least * (1.0 - gap):
            return
        least = height
        x = _placed(problem, z, 1.0 / s if s > 0.0 else math.inf)
        if x is None:
            return
        yield x
        if height <= 0.0:
            return
        level = gains + s * c
        level[token] = 0.0
        program = Program(problem, token, level, across=z, shape="all")
        y = program.seen(solve(program, working_set(program, np.zeros_like(z)), gap).y) + z
        z = y / float(np.linalg.norm(y))


def _best_length(problem: Problem, gains: Floats, c: Floats, token: int, z: Floats) -> float:
    """Return the ``s = 1 / |x|`` along the unit vector z whose highest ``gains + s c`` is lowest.

    That is convex in s: the next s is where the lines highest at the two ends cross.
    """
    domain = problem.domain
    if problem.homogeneous:
        return 0.0
    size = float(np.abs(z).max()) if domain.shape == "box" else 1.0
    s = least = size / domain.radius if domain.bounded else 0.0
    others = np.arange(c.size) != token
    slopes, levels = c[others], gains[others]
    top = int((levels + s * slopes).argmax())
    if slopes[top] >= 0.0:
        return s
    rising = int(slopes.argmax())
    if slopes[rising] < 0.0:
        return s
    falling = top
    for _ in range(60):
        s = (levels[falling] - levels[rising]) / (slopes[rising] - slopes[falling])
        values = levels + s * slopes
        top = int(values.argmax())
        if values[top] <= values[falling] + 1e-14 * abs(values[falling]):
            break
        if slopes[top] >= 0.0:
            rising = top
        else:
            falling = top
    return max(float(s), least)


@hookimpl
def geom_measures() -> Iterator[Measure[PerturbationOptions]]:
    yield Measure(
        "perturbation",
        "least change of the token's own row that changes its verdict",
        perturbation,
        PerturbationOptions,
        unit="row units",
        bounds=proven,
        price="0.02 to 0.9 of a product W W^T",
    )
