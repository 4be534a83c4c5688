"""The probability of a cone under a normal distribution, however small, and its standard error.

The distribution's centre is first put where the cone is likely (`half_spaces.centre_within`), and
the probability there is found by counting. Then the centre moves back in many steps, and particles
follow it by exact Hamiltonian Monte Carlo. Each step gives them weights, and in a group whose
weights have grown apart the heavy particles replace the light ones: annealed importance sampling
with resampling, R. M. Neal, Statistics and Computing 11 (2001), P. Del Moral, A. Doucet and
A. Jasra, J. Royal Statistical Society B 68 (2006). The mean weight of a group is the ratio of the
two probabilities without bias, no matter how well or badly its particles mix; bad mixing spreads
the groups, which shows. So each group is an independent repetition, and the error follows from how
far apart the groups lie. If they lie too far apart for it to be known, more and better placed steps
are taken, or there is no answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp, ndtr  # type: ignore[import-untyped]  # it ships no types

from geom import Finding, Floats, cores, limited_threads
from geom_plugins.sampling.half_spaces import RATIO, Cone, Vectors, centre_within
from geom_plugins.sampling.particles import Particles, TooNarrowError, Walls
from geom_plugins.sampling.ways import AIM, TIME, Way

BOUNCES = 6
"""How many walls a particle may meet in a step, on average: near walls, steps are short.

Across a narrow cone, particles mix within a few bounces; moving along it is what takes time.
"""

GROUPS, GROUP = 16, 8
"""Groups of particles in a round, and particles in a group."""

FEW, BUNDLES = 1024, 4
"""With more half-spaces than this, only some matter, and groups travel in bundles, on threads."""

PILOT = 4
"""The particles that look for the half-spaces that matter."""

LOOKS = 60
"""How often they look around after they arrive."""

COUNTED = 4096
"""The points drawn to count how many lie in the cone."""

SPREAD = 2.0
"""The standard deviation of the groups' logarithms up to which the error of their mean is known."""

MOST_LAG = 0.4
"""The most that a quarter turn may add to the spread of weights."""

SURE = 1.1
"""The factor that stretches errors, because normal logarithms are an approximation."""

LEAVE = 2.0
"""The chance, summed over all half-spaces left out, that a particle is beyond one of them."""

TOPS, NEAR = 6, 0.5
"""How often `Cone.top` may move, and how close to `RATIO` ratios should be, in deviations."""

SEEN, WINDOW = 0.1, 0.25
"""If a smaller share of particles sees the surface, the surface gets this many deviations thick."""

_BLOCK = 4096
"""How many half-spaces have their distances computed at a time."""

Report = Callable[[float, int], None]
"""A callback that gets the standard error so far, and the steps that particles have taken."""


@dataclass(frozen=True)
class Estimate:
    """The natural logarithm of a fraction and its standard error.

    Both are NaN if the error is not known; the ``reason`` says why, or why the error is large. With
    a ``proof`` the value is not an estimate but exact.
    """

    log: float
    error: float
    reason: str | None = None
    proof: Finding | None = None


def counted_error(inside: int, drawn: int) -> float:
    """Return the standard error of the logarithm of the share ``inside / drawn``, not zero.

    If all points were inside, one more might not have been.
    """
    outside = max(drawn - inside, 1)
    return math.sqrt(outside / drawn / inside)


@dataclass(frozen=True)
class Brought:
    """The results of groups: ``logs`` (g,) are the logarithms of their mean weights.

    ``gains`` (steps, m) are the changes that each step made to the logarithms of the particles'
    weights. ``shares`` (g,) are the logarithms of the groups' shares where they arrived, and
    ``seen`` (m, k) the points there.
    """

    logs: Floats
    gains: Floats
    shares: Floats
    seen: Vectors


def counted(cone: Cone, rng: np.random.Generator) -> Estimate:
    """Count the fraction of directions in the cone; without an error if few are in it."""
    inside = 0
    for _ in range(COUNTED // 256):
        x = cone.draw(256, rng)
        if cone.biased:
            x[:, :-1] /= np.linalg.norm(x[:, :-1], axis=1, keepdims=True)
            x[:, -1] = RATIO
        inside += int(((x @ cone.normals.T) < 0.0).all(axis=1).sum())
    if inside < 64:
        return Estimate(math.nan, math.nan, "too few points to count")
    return Estimate(math.log(inside / COUNTED), counted_error(inside, COUNTED))


def annealed(
    cone: Cone, inside: Floats, rng: np.random.Generator, target: float, most: int, report: Report
) -> Estimate:
    """Estimate the fraction of directions in the cone, its logarithm with error ``target``.

    ``inside`` (k,) is a point of the cone, ``most`` the steps that all particles together may take.
    If those are not enough, the reason says so, and the estimate has a larger error or is missing.
    """
    try:
        return _annealed(cone, inside, rng, target, most, report)
    except TooNarrowError as error:
        return Estimate(math.nan, math.nan, str(error))


def _annealed(
    cone: Cone, inside: Floats, rng: np.random.Generator, target: float, most: int, report: Report
) -> Estimate:
    """Do what `annealed` does; this may give up by raising."""
    centre = centre_within(cone, inside)
    plan = _scouted(cone, centre, rng)
    best = Estimate(math.nan, math.nan, "no point to start from was found")
    gathered: list[Brought] = []
    taken = 0
    while plan is not None and taken + GROUPS * GROUP * plan.way.steps <= most:
        gathered += _round(plan, rng)
        taken += GROUPS * GROUP * plan.way.steps
        estimate, spread = _together(gathered, plan)
        if math.isnan(best.log) or estimate.error < best.error:  # NaN is not less
            best = estimate
        report(best.error, taken)
        if best.error <= target:
            return best
        if math.isnan(estimate.log) or spread > AIM:
            seen = np.concatenate([some.seen for some in gathered])
            way = plan.way.refined(_gains(gathered), spread, (most - taken) // (GROUPS * GROUP))
            plan, gathered = _planned(plan.cone, centre, way, seen, rng), []
    return replace(best, reason=f"within {most} steps {best.reason or 'its error stays larger'}")


@dataclass(frozen=True)
class _Plan:
    """A cone with its top and window, the walls that matter, and the way from a centre to the top.

    ``likely`` is the probability of those walls' cone around the centre; ``points`` lie there.
    """

    cone: Cone
    walls: Walls
    way: Way
    likely: Estimate
    points: Vectors


def _scouted(cone: Cone, centre: Floats, rng: np.random.Generator) -> _Plan | None:
    """Plan from what a few particles see that go the whole way between all walls and look around.

    If they find ratios far from `RATIO`, they move the top and look again. The travel times are
    chosen so that walls are met some `BOUNCES` times.
    """
    points = _within(cone, centre, PILOT, rng)
    if len(points) < PILOT:
        return None
    way = Way.between(centre, cone)
    particles = Particles(Walls(cone), way.direction, float(way.stops[0]), points, TIME, rng)
    times = np.array([_paced(particles, float(stop)) for stop in way.stops[1:]])
    seen = _looked(particles)
    for _ in range(TOPS):
        off, better = cone.fit(seen) if cone.biased else (0.0, 0.0)
        if abs(off) < NEAR:
            break
        moved = cone.around(better)
        up, far = np.sign(moved.top - cone.top), float(np.linalg.norm(moved.top - cone.top))
        walls, time = particles.walls.around(moved), particles.time
        particles = Particles(walls, -up, far, particles.x, time, rng)
        for t in np.linspace(far, 0.0, 9)[1:].tolist():
            _paced(particles, t)
        cone, seen = moved, _looked(particles)
    return _planned(cone, centre, replace(way, times=times), seen, rng)


def _planned(
    cone: Cone, centre: Floats, way: Way, seen: Vectors, rng: np.random.Generator
) -> _Plan | None:
    """Plan by the points ``seen`` (l, k) in the cone; None if no points to start from are found.

    The half-spaces least likely to be crossed are left out, as long as their chances sum to less
    than `LEAVE`; the others matter, and at least `FEW` do.
    """
    kept = np.arange(len(cone.normals))
    if kept.size > FEW:
        chance = _chances(cone, seen)
        order = np.argsort(chance, kind="stable")
        left = int(np.searchsorted(np.cumsum(chance[order]), LEAVE))
        kept = order[min(left, kept.size - FEW) :]
    if cone.biased:
        kept = np.union1d(kept, [len(cone.normals) - 1])
        off, better = cone.fit(seen)
        if abs(off) > NEAR:
            cone = cone.around(better)
        inner = cone.only(kept)
        narrow = np.isfinite(inner.log_shares(seen, inner)).mean() < SEEN
        cone = replace(cone, window=WINDOW * cone.deviation(seen) if narrow else 0.0)
    walls = Walls(cone.only(np.sort(kept)))
    start = _starts(walls.cone, centre, rng)
    return None if start is None else _Plan(cone, walls, way.aimed(centre, cone), *start)


def _chances(cone: Cone, seen: Vectors) -> Floats:
    """Return the chance (n,) of crossing each half-space, from how far inside points were ``seen``.

    The chance is one if a point was beyond it; otherwise the points are taken as normal.
    """
    out = np.empty(len(cone.normals))
    for start in range(0, len(out), _BLOCK):
        rows = slice(start, start + _BLOCK)
        beyond = (seen @ cone.normals[rows].T).astype(np.float64)
        out[rows] = ndtr(beyond.mean(axis=0) / np.maximum(beyond.std(axis=0), 1e-12))
        out[rows][(beyond > 0.0).any(axis=0)] = 1.0
    return out


def _paced(particles: Particles, t: float) -> float:
    """Move to t and travel; return the travel time, adapted to `BOUNCES`."""
    particles.move(t)
    before = particles.bounces
    particles.travel()
    met = (particles.bounces - before) / len(particles.y)
    particles.time = min(TIME, particles.time * min(2.0, (BOUNCES + 1) / (met + 1)))
    return particles.time


def _looked(particles: Particles) -> Vectors:
    """Return the places (l, k) of the particles over some time."""
    seen = []
    for _ in range(LOOKS):
        particles.travel()
        seen.append(particles.x)
    return np.concatenate(seen)


def _within(cone: Cone, centre: Floats, count: int, rng: np.random.Generator) -> Vectors:
    """Return normal vectors (count, k) around the centre that lie in the cone."""
    found: list[Vectors] = []
    for _ in range(200):
        x = (cone.draw(max(16, count), rng) + centre).astype(cone.normals.dtype)
        found += list(x[((x @ cone.normals.T) < 0.0).all(axis=1)])
        if len(found) >= count:
            break
    return np.array(found[:count])


def _starts(
    cone: Cone, centre: Floats, rng: np.random.Generator
) -> tuple[Estimate, Vectors] | None:
    """Count the probability of the cone around the centre, and return the points drawn in it.

    Returns None if fewer points than particles are drawn there.
    """
    found = []
    for _ in range(COUNTED // 256):
        x = (cone.draw(256, rng) + centre).astype(cone.normals.dtype)
        found.append(x[((x @ cone.normals.T) < 0.0).all(axis=1)])
    points = np.concatenate(found)
    if len(points) < GROUPS * GROUP:
        return None
    share = math.log(len(points) / COUNTED)
    return Estimate(share, counted_error(len(points), COUNTED)), points


def _round(plan: _Plan, rng: np.random.Generator) -> list[Brought]:
    """Send groups along the way, in bundles, each on a thread with its own random numbers."""
    way = plan.way

    def go(groups: int, rng: np.random.Generator) -> Brought:
        start = plan.points[rng.choice(len(plan.points), groups * GROUP, replace=False)]
        particles = Particles(plan.walls, way.direction, way.stops[0], start, TIME, rng)
        gains = np.empty((way.steps, groups * GROUP))
        weights, logs = np.zeros((groups, GROUP)), np.zeros(groups)
        for k in range(way.steps):
            gains[k] = particles.move(float(way.stops[k + 1]))
            weights += gains[k].reshape(weights.shape)
            _resample(particles, weights, logs, rng)
            particles.time = float(way.times[k])
            particles.travel()
        whole = logsumexp(weights, axis=1)
        counts = _log_shares(plan.cone, particles).reshape(weights.shape)
        shares = logsumexp(weights + counts, axis=1) - whole
        return Brought(logs + whole - math.log(GROUP), gains, shares, particles.x)

    bundles = BUNDLES if len(plan.cone.normals) > FEW else 1
    with limited_threads(1), ThreadPoolExecutor(min(bundles, cores())) as pool:
        return list(pool.map(go, [GROUPS // bundles] * bundles, rng.spawn(bundles)))


def _resample(
    particles: Particles, weights: Floats, logs: Floats, rng: np.random.Generator
) -> None:
    """Resample the groups whose ``weights`` (g, GROUP) are worth less than half their number.

    Heavy particles replace light ones, by one random number per group; the logarithms of the mean
    weights go into ``logs`` (g,).
    """
    relative = np.exp(weights - weights.max(axis=1, keepdims=True))
    relative /= relative.sum(axis=1, keepdims=True)
    worn = np.flatnonzero((relative**2).sum(axis=1) > 2.0 / GROUP)
    if not worn.size:
        return
    ancestors = np.arange(weights.size).reshape(weights.shape)
    for g in worn.tolist():
        places = (np.arange(GROUP) + rng.random()) / GROUP
        chosen = np.searchsorted(np.cumsum(relative[g]), places)
        ancestors[g] = ancestors[g][np.minimum(chosen, GROUP - 1)]
        logs[g] += float(logsumexp(weights[g])) - math.log(GROUP)
        weights[g] = 0.0
    particles.branch(ancestors.ravel())


def _log_shares(cone: Cone, particles: Particles) -> Floats:
    """Return what the particles (m,) count where they arrived: a mean over some time there."""
    inner = particles.walls.cone
    if not cone.biased and len(inner.normals) == len(cone.normals):
        return np.zeros(len(particles.y))
    total = np.full(len(particles.y), -np.inf)
    for _ in range(LOOKS):
        total = np.logaddexp(total, inner.log_shares(particles.x, cone))
        particles.travel()
    return total - math.log(LOOKS)


def _gains(brought: list[Brought]) -> Floats:
    """Return the changes each step made to the logs of all particles' weights (steps, m)."""
    return np.concatenate([some.gains for some in brought], axis=1)


def _together(brought: list[Brought], plan: _Plan) -> tuple[Estimate, float]:
    """Combine the mean weights of all groups, with a reason if the error is unknown, and a spread.

    Weights that are products of many small factors have nearly normal logarithms. Their mean ``m``
    and variance ``s^2`` in g groups give the mean weight ``exp(m + s^2 / 2)``; the squared error of
    its logarithm is ``s^2 / g + s^4 / 2 (g - 1)``. The mean of the weights themselves does not rely
    on that, but is too low more often than not if there are few. The answer is half way between the
    two, and half their distance is another error; if the two are far apart there is no answer. Nor
    is there one if a quarter turn adds much: particles then lag behind the distribution, and all
    groups fall short alike.
    """
    logs = np.concatenate([some.logs + some.shares for some in brought])
    if not np.isfinite(logs).all():
        why = "not all groups of particles found the token to win on the surface"
        return Estimate(math.nan, math.nan, why), 0.0
    g, spread = logs.size, float(logs.std(ddof=1))
    plain = float(logsumexp(logs)) - math.log(g)
    normal = float(logs.mean()) + spread**2 / 2.0
    known = (spread**2 / g + spread**4 / (2.0 * (g - 1))) * (g - 1) / (g - 3)
    lag = float(plan.way.quarters(_gains(brought))[1].max())
    if lag > MOST_LAG:
        return Estimate(math.nan, math.nan, f"its particles lag behind by {lag:.1f}"), spread
    if spread > SPREAD:
        why = f"its groups of particles spread by {spread:.1f}"
        return Estimate(math.nan, math.nan, why), spread
    if abs(plain - normal) > 3.0 * max(math.sqrt(known), 0.1):
        why = "its groups of particles are far from lognormal"
        return Estimate(math.nan, math.nan, why), spread
    error = SURE * math.hypot(math.sqrt(known), (plain - normal) / 2.0)
    log = plan.likely.log + (plain + normal) / 2.0
    return Estimate(log, math.hypot(error, plan.likely.error)), spread
