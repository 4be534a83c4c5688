"""``angular-margin``: the angle by which a token's best direction can be turned and still win.

If no biases matter, its sine is the largest ``min_j -a_j . u / |a_j|`` over unit vectors, and by
duality the distance from the origin to the hull of the normalised rows: one program of
`geom_plugins.solvers.largest_margin`. On a ball with biases every rival is a cap of the sphere,
``angle(u, -a_j) < phi_j``, and the margin of ``u`` is the least of ``phi_j - angle(u, -a_j)``.
There ``m`` is reached if ``-a_j . u / |a_j| >= cos(phi_j - m)`` for all j; the program is
linearised in ``m`` about the best margin so far, and its solutions converge in a few rounds, like
those of Newton's method. `geom.proofs.angle_bounds` proves the bounds, and says how.

In one dimension, where no direction can be turned, the formula gives a token that wins a right
angle.

Sources: P. Wolfe, Finding the nearest point in a polytope, Math. Programming 11, 1976, for the
duality; W. Dinkelbach, On nonlinear fractional programming, Management Science 13, 1967, for the
rounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from msgspec import Meta

from geom import (
    Finding,
    Flags,
    Floats,
    Ids,
    Measure,
    Measurement,
    Problem,
    Weights,
    hookimpl,
    judge,
)
from geom.proofs import angle_bounds
from geom_plugins.measures.bounds import between
from geom_plugins.measures.verdicts import direction, lengths, settled, without_bias
from geom_plugins.solvers.largest_margin import Program, solve, working_set

ROUNDS = 24
"""The most programs that are linearised, one after another."""

DRAWN = 64
"""The directions that are drawn to start from if programs end inside the ball."""

LEAST_SINE = 0.05
"""The least slope of a cap's border where the program is linearised."""


@dataclass(frozen=True)
class AngularMarginOptions:
    """How close the bounds must be."""

    gap: Annotated[float, Meta(gt=0, description="relative gap between bounds to stop at")] = 1e-6


def angular_margin(
    problem: Problem, token: int, prior: Finding, options: AngularMarginOptions
) -> Measurement:
    """Measure the angle in radians, 0 if the token wins nowhere at full length.

    ``x`` is the direction. If the domain is unbounded, directions have no end and biases do not
    count. Raises InputError on a box with biases, the hull of points and an ellipsoid.
    """
    problem.domain.refuse_frame("angular-margin", "measure it on the model's own domain")
    low, high = angle_bounds(problem, token, Finding())
    if problem.readout.V == 1:
        return between(low, high, "it has no rival")
    asked = problem if problem.domain.bounded else without_bias(problem)
    found, verdict = settled(asked, token, prior)
    if verdict.name == "unspeakable":
        free = problem.homogeneous or problem.domain.bounded
        why = "unspeakable" if free else "unspeakable without biases, which do not count far out"
        return Measurement(0.0, 0.0, proven=True, note=why, weights=found.weights)
    start = direction(asked, token, found)
    if asked.homogeneous:
        best = _without_caps(asked, token, start, options.gap)
    else:
        best = _with_caps(asked, token, start, options.gap)
    low, high = angle_bounds(asked, token, best)
    note = None
    if verdict.name == "undecided":
        note = "undecided whether it is speakable"
    elif low == 0.0:
        note = "no direction was found that wins at full length"
    elif high - low > 4.0 * options.gap * high:
        note = "it wins by more at less than full length: the upper end is not a close bound"
    return between(low, high, note, best.x if low > 0.0 else None, best.weights)


def proven(
    problem: Problem, token: int, evidence: Finding, options: AngularMarginOptions, widen: float
) -> tuple[float, float]:
    """Return the bounds on the angle that a direction and weights prove."""
    asked = problem if problem.domain.bounded else without_bias(problem)
    if judge(asked, token, evidence, widen).name == "unspeakable":
        return 0.0, 0.0
    return angle_bounds(asked, token, evidence, widen)


def _without_caps(problem: Problem, token: int, start: Floats, gap: float) -> Finding:
    """Find the direction whose least sine is largest, and its weights."""
    size = lengths(problem, token)
    scale = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0.0)
    program = Program(problem, token, np.zeros_like(size), scale)
    found = solve(program, working_set(program, start), gap)
    return _finding(problem, found.y, found.ids, found.lam * scale[found.ids])


def _with_caps(problem: Problem, token: int, start: Floats, gap: float) -> Finding:
    """Find the direction of the largest margin, by programs linearised about the last margin.

    A program's best point may be shorter than 1: the token wins by more at less than full length.
    Directions are then searched for from several starts, and nothing proves that they are the best.
    """
    caps = _Caps.of(problem, token)
    if not caps.counts.any():
        return Finding(problem.domain.fit(_any(problem, start)))
    best, low, high, m, y = Finding(), -math.pi, math.inf, 0.0, start
    for _ in range(ROUNDS):
        program = caps.program(m)
        found = solve(program, working_set(program, y), gap)
        inner = float(np.linalg.norm(found.y)) < 1.0 - 1e-6
        q = found.lam * (1.0 if program.scale is None else program.scale[found.ids])
        bound = _bound(problem, token, Weights(found.ids, q), problem.domain.radius)
        if bound < high:
            high, best = bound, Finding(best.x, Weights(found.ids, q))
        for u in _around(caps, found.y, start) if inner else [found.y]:
            least = caps.turn(u)
            if least > low:
                low, y, best = least, u, Finding(u, best.weights)
        if inner or high - low <= gap * abs(high) or max(low, 0.0) - m <= 0.01 * gap * abs(m):
            break
        m = max(low, 0.0)
    if best.x is None or best.weights is None:
        return Finding(start)
    return _finding(problem, best.x, best.weights.indices, best.weights.values)


@dataclass(frozen=True, eq=False)
class _Caps:
    """The caps ``angle(u, -a_j) < phi_j`` of a token's rivals, and which caps count (V,)."""

    plain: Program
    size: Floats
    phi: Floats
    counts: Flags

    @classmethod
    def of(cls, problem: Problem, token: int) -> _Caps:
        """Return the caps for a domain that is a ball."""
        size = lengths(problem, token)
        c = problem.readout.b - problem.readout.b[token]
        with np.errstate(divide="ignore", invalid="ignore"):
            cosine = c / (problem.domain.radius * size)
        counts = (size > 0.0) & (cosine > -1.0)
        counts[token] = False
        phi = np.arccos(np.clip(np.where(counts, cosine, 0.0), -1.0, 1.0))
        return cls(Program(problem, token, np.zeros_like(size)), size, phi, counts)

    def program(self, m: float) -> Program:
        """Return the program whose margin is how much ``m`` can grow, linearised at ``m``."""
        sine = np.maximum(np.sin(self.phi - m), LEAST_SINE)
        scale = np.where(self.counts, 1.0 / (np.where(self.counts, self.size, 1.0) * sine), 0.0)
        level = np.where(self.counts, np.cos(self.phi - m) / sine, -np.inf)
        return replace(self.plain, c=level, scale=scale)

    def turn(self, y: Floats) -> float:
        """Return the least ``phi_j - angle(y, -a_j)``, minus infinity at ``y = 0``."""
        length = float(np.linalg.norm(y))
        if length == 0.0:
            return -math.inf
        gains = self.plain.values(y / length)[self.counts]
        turned = np.arccos(np.clip(-gains / self.size[self.counts], -1.0, 1.0))
        return float((self.phi[self.counts] - turned).min(initial=math.pi))


def _around(caps: _Caps, y: Floats, start: Floats) -> Iterator[Floats]:
    """Yield directions, from several starts, each with a larger margin than the one before.

    With ``u . y = 1`` in place of ``|y| = 1`` the program is linear, and its best ``y`` is the next
    direction ``u``.
    """
    problem = caps.plain.problem
    drawn = np.random.default_rng(0).standard_normal((DRAWN, y.size))
    if problem.domain.zero_sum:
        drawn -= drawn.mean(axis=1, keepdims=True)
    drawn = drawn[np.argsort([-caps.turn(u) for u in drawn], kind="stable")][:2]
    for u in (y, start, *drawn):
        best = -math.inf
        for _ in range(ROUNDS):
            length = float(np.linalg.norm(u))
            turn = caps.turn(u)
            if not turn > best + 1e-9:
                break
            best, u = turn, u / length
            yield u
            program = caps.program(max(turn, 0.0))
            level = program.values(u)
            across = replace(program, c=level, across=u, shape="all")
            step = solve(across, working_set(across, np.zeros_like(u)), 1e-6).y
            u = u + across.seen(step)


def _bound(problem: Problem, token: int, weights: Weights, radius: float) -> float:
    """Return the angle that `geom.proofs.angle_bounds` will find for the weights, in float64."""
    a, c = problem.differences(token, weights.indices)
    if problem.domain.zero_sum:
        a -= a.mean(axis=1, keepdims=True)
    q = weights.values
    C = float(q @ c) / radius
    S = float(q @ np.sqrt(np.maximum(np.einsum("ij,ij->i", a, a) - (c / radius) ** 2, 0.0)))
    reach, length = math.hypot(C, S), float(np.linalg.norm(q @ a))
    return math.pi if length >= reach else math.atan2(S, C) - math.acos(length / reach)


def _any(problem: Problem, start: Floats) -> Floats:
    """Return the direction itself or, if it is zero, some direction of the domain."""
    out = start if start.any() else np.eye(start.size)[0]
    return out - out.mean() if problem.domain.zero_sum else out


def _finding(problem: Problem, y: Floats, ids: Ids, q: Floats) -> Finding:
    """Return the direction as a point of the domain, as far out as possible, and the weights."""
    domain = problem.domain
    length = float(np.linalg.norm(y))
    x = domain.fit(y / length * (domain.radius if domain.bounded else 1.0)) if length else None
    return Finding(x, Weights(ids, q))


@hookimpl
def geom_measures() -> Iterator[Measure[AngularMarginOptions]]:
    yield Measure(
        "angular-margin",
        "angle by which the best direction can be turned in any way and still win",
        angular_margin,
        AngularMarginOptions,
        unit="radians",
        bounds=proven,
        price="0.01 to 0.1 of a product W W^T, about 1 on a model as small as demo",
    )
