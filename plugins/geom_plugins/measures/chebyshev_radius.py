"""``chebyshev-radius``: the radius of the largest ball of the domain in which the token wins.

The paper asks for this ball for a class, in a box, and calls the class unargmaxable if there is no
such ball. A vector at the ball's centre may be off by the radius, in any direction, and the token
is still the argmax: the noise, or the error of a low-precision arithmetic, that changes nothing.

With ``F(s)`` the largest ``min_j -(a_j . x + c_j) / |a_j|`` over the domain shrunk to the radius s,
the radius r solves ``F(R - k r) = r`` (``k`` as in `geom.proofs.ball_bounds`, which proves the
bounds). ``F`` is one program of `geom_plugins.solvers.largest_margin`. It is concave, and its
weights give its tangent, so Newton's method closes in on r from one side, and the tangents from the
other. Without biases ``F`` is a straight line, and one program is enough, as it is on all of R^d.

Source: A. Grivas, N. Bogoychev and A. Lopez, Low-rank softmax can have unargmaxable classes in
theory but rarely in practice, ACL 2022.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from geom import Domain, Finding, Floats, Measure, Measurement, Problem, Weights, hookimpl, judge
from geom.proofs import ball_bounds
from geom_plugins.measures.bounds import between
from geom_plugins.measures.verdicts import direction, lengths, settled, without_bias
from geom_plugins.solvers.largest_margin import Program, Solution, solve, working_set

ROUNDS = 24
"""The steps of Newton's method before giving up."""

LEAST_REACH = 1e-3
"""The least radius that the domain is shrunk to, as a share of its own."""


@dataclass(frozen=True)
class ChebyshevRadiusOptions:
    """How close the bounds must be."""

    gap: Annotated[float, Meta(gt=0, description="relative gap between bounds to stop at")] = 1e-6


def chebyshev_radius(
    problem: Problem, token: int, prior: Finding, options: ChebyshevRadiusOptions
) -> Measurement:
    """Measure the radius, in the units of the domain's vectors; ``x`` is the centre.

    It is 0 for an unspeakable token, and infinity if the domain is unbounded and the token wins in
    balls of any size. Raises InputError for the hull of points and an ellipsoid.
    """
    problem.domain.refuse_frame("chebyshev-radius", "measure it on the model's own domain")
    if problem.readout.V == 1:
        alone = Finding(np.zeros(problem.readout.d))
        return between(*ball_bounds(problem, token, alone), "it has no rival", alone.x)
    found, verdict = settled(problem, token, prior)
    if verdict.name == "unspeakable":
        return Measurement(0.0, 0.0, proven=True, note="unspeakable", weights=found.weights)
    note = "undecided whether it is speakable" if verdict.name == "undecided" else None
    rivals = _Rivals.of(problem, token)
    if problem.domain.bounded:
        with np.errstate(over="ignore", invalid="ignore"):
            best = _in_a_domain(rivals, direction(problem, token, found), options.gap)
    else:
        outward, far = settled(without_bias(problem), token, found)
        if far.name == "speakable":
            why = "it wins far enough out, in balls of any size"
            return Measurement(math.inf, 0.0, proven=True, note=why, x=outward.x)
        best = Finding()
        if not problem.homogeneous:
            best = _in_all_of_space(rivals, direction(problem, token, outward), options.gap)
    low, high = ball_bounds(problem, token, best)
    known, _ = ball_bounds(problem, token, Finding(found.x))
    return between(max(low, known), high, note, best.x if low >= known else found.x, best.weights)


def proven(
    problem: Problem, token: int, evidence: Finding, options: ChebyshevRadiusOptions, widen: float
) -> tuple[float, float]:
    """Return the bounds on the radius that a centre and weights prove."""
    free = not problem.domain.bounded and problem.readout.V > 1
    if free and judge(without_bias(problem), token, evidence, widen).name == "speakable":
        return math.inf, math.inf
    return ball_bounds(problem, token, evidence, widen)


@dataclass(frozen=True, eq=False)
class _Rivals:
    """The planes on which the token ties with its rivals, their rows scaled to length 1."""

    plain: Program
    domain: Domain

    @classmethod
    def of(cls, problem: Problem, token: int) -> _Rivals:
        """Return the planes of all rivals; a rival with the token's own row has none."""
        size = lengths(problem, token)
        scale = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0.0)
        c = (problem.readout.b - problem.readout.b[token]) * scale
        c[size == 0.0] = -np.inf
        shape = problem.domain.shape
        assert shape != "simplex"
        return cls(Program(problem, token, c, scale, shape=shape), problem.domain)

    def farthest(self, reach: float, start: Floats, gap: float) -> Solution:
        """Find the point farthest in, of the domain shrunk to the radius ``reach``, over it."""
        program = replace(self.plain, c=self.plain.c / reach)
        return solve(program, working_set(program, start / reach), gap)

    def tangent(self, found: Solution) -> tuple[float, float]:
        """Return ``n`` and ``g`` with ``F(s) <= n s - g`` for every s, by a solution's weights."""
        lam = found.lam / found.lam.sum()
        order: Literal[1, 2] = 1 if self.domain.shape == "box" else 2
        n = float(np.linalg.norm(lam @ self.plain.rows(found.ids), order))
        return n, float(lam @ self.plain.c[found.ids])

    def inside(self, x: Floats) -> float:
        """Return how far ``x`` is from the nearest plane, negative if the token does not win."""
        return -float(self.plain.values(x).max())

    def finding(self, x: Floats, found: Solution | None) -> Finding:
        """Return a centre, and the weights on the unscaled rows."""
        weights, scale = None, self.plain.scale
        if found is not None and scale is not None:
            weights = Weights(found.ids, found.lam * scale[found.ids])
        return Finding(self.domain.fit(x), weights)


def _in_a_domain(rivals: _Rivals, start: Floats, gap: float) -> Finding:
    """Find the centre and weights in a ball or box, by Newton's method from its surface inwards."""
    domain, homogeneous = rivals.domain, rivals.plain.problem.homogeneous
    R, norm = domain.radius, np.inf if domain.shape == "box" else 2
    k = math.sqrt(domain.lean)
    centre, tight = np.zeros(domain.d), None
    low, high, reach, x = min(rivals.inside(centre), R / k), R / k, R, R * start
    for _ in range(ROUNDS):
        if high - low <= gap * high:
            break
        found = rivals.farthest(reach, x, 0.1 * gap)
        n, g = rivals.tangent(found)
        bound = (R * n - g) / (1.0 + k * n)
        if tight is None or bound < high:
            tight, high = found, min(high, bound)
        x = reach * found.y
        length = float(np.linalg.norm(x, norm))
        if homogeneous and length > 0.0:
            x = x * (R / (length + k * rivals.inside(x)))
            length = float(np.linalg.norm(x, norm))
        inside = min(rivals.inside(x), (R - length) / k)
        if inside > low:
            centre, low = x, inside
        before, reach = reach, max(R - k * high, LEAST_REACH * R)
        if reach == before:
            break
    return rivals.finding(centre, tight)


def _in_all_of_space(rivals: _Rivals, start: Floats, gap: float) -> Finding:
    """Find the centre and weights on all of R^d, where the radius is one program's margin."""
    if not np.isfinite(rivals.plain.c).any():
        return rivals.finding(np.zeros_like(start), None)
    found = rivals.farthest(1.0, start, gap)
    return rivals.finding(found.y, found)


@hookimpl
def geom_measures() -> Iterator[Measure[ChebyshevRadiusOptions]]:
    yield Measure(
        "chebyshev-radius",
        "radius of the largest ball of the domain in which the token wins",
        chebyshev_radius,
        ChebyshevRadiusOptions,
        unit="length of x",
        bounds=proven,
        price="0.007 to 0.07 of a product W W^T",
    )
