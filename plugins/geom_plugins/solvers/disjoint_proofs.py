"""Proofs that a rival is above a token everywhere, no rival in two of them, found greedily.

The sign of the largest margin over the rivals that are left tells whether there is another proof.
Its weights are cut down to as few rivals as they can be, so that many are left for the next: to
the weightiest that prove enough and, in few dimensions, to a vertex. Equal rivals come first, as
each is a proof of its own.

Source: J. W. Chinneck, Feasibility and Infeasibility in Optimization, Springer 2008, chapters 6 and
7, on infeasible subsystems and on covering them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from geom import Floats, Ids, Weights
from geom_plugins.solvers.contest import Contest
from geom_plugins.solvers.largest_margin import Program, Solution, solve, working_set

GAP = 1e-2
"""The relative gap at which bounds are close, if they do not tell a sign before."""

FEW = 2
"""The rivals that the search for a proof starts with, times the width d: about as many as it takes
for a point in the middle to lie in their hull (J. G. Wendel, Math. Scand. 11, 1962)."""

EXCHANGES = 2e8
"""The most work, in multiplications, that cutting weights down to a vertex may take."""

_VANISHED = 1e-13
"""Weights and singular values below this share of the largest are those of rounding."""


def disjoint_proofs(
    contest: Contest, start: Floats, limit: int, proves: Callable[[Weights], bool]
) -> tuple[list[Weights], Floats]:
    """Find weights of which each ``proves`` that some rival is above, and which share no rival.

    ``start`` (k,) is the point to look for rivals from. Returns at most ``limit`` weights, and the
    last point (k,): one at which the token wins against the rivals that are left, if that ended the
    search.
    """
    readout, proofs, y = contest.problem.readout, list[Weights](), start
    out = np.zeros(readout.V, dtype=np.bool_)
    twins = list(readout.twins(contest.token))
    out[twins] = True  # one that proves nothing is never above: ties count as below
    alone = [Weights(np.array([twin]), np.ones(1)) for twin in twins[:limit]]
    proofs += filter(proves, alone)
    while len(proofs) < limit and out.sum() < out.size - 1:
        program = contest.without(out)
        found = solve(program, working_set(program, y, times=FEW), GAP, sign=True, sure=False)
        y = found.y if found.y.any() else start
        if found.margin > 0.0:
            break
        proof = next(filter(proves, _cut(program, found)), None)
        if proof is None:
            break
        out[proof.indices] = True
        proofs.append(proof)
    return proofs, y


def _cut(program: Program, found: Solution) -> Iterator[Weights]:
    """Yield weights on ever more rivals: the last are nearly those that were found."""
    order = np.argsort(-found.lam, kind="stable")
    order = order[found.lam[order] > 0.0]
    ids, lam = found.ids[order], found.lam[order]
    A, c = program.rows(ids), program.c[ids]
    if found.bound < 0.0 and program.shape != "all":
        count = _enough(program, A, c, lam)
        ids, lam, A, c = ids[:count], lam[:count], A[:count], c[:count]
    if program.points is not None and len(program.points) < A.shape[1]:
        A = A @ program.points.T  # what the points tell apart is less than all of R^d
    d = A.shape[1]
    if (ids.size - d) * float(d) ** 3 <= EXCHANGES:
        kept, mu = _vertex(A, c, lam)
        yield Weights(ids[kept], mu)
    face = lam > 1e-7 * lam[0]
    if not face.all():
        yield Weights(ids[face], lam[face])
    yield Weights(ids, lam)


def _enough(program: Program, A: Floats, c: Floats, lam: Floats) -> int:
    """Return how many of the weightiest rivals bound the margin by half as much as all do."""
    r, g = np.cumsum(lam[:, None] * A, axis=0), np.cumsum(lam * c)
    bounds = (program.reach(r) - g) / np.cumsum(lam)
    return int(np.argmax(bounds <= 0.5 * bounds[-1])) + 1


def _vertex(A: Floats, c: Floats, lam: Floats) -> tuple[Ids, Floats]:
    """Return weights with the same ``A' lam`` and no lower ``c . lam`` on as few rivals as can be.

    While some combination of rivals changes nothing, it is added until a weight vanishes (C.
    Caratheodory's theorem). Of more than d + 1 rivals there always is one.
    """
    rows = np.column_stack([A / (np.abs(A).max() or 1.0), np.ones(len(A))])
    kept, mu = np.arange(lam.size), lam.copy()
    while kept.size > 1:
        some = kept[-rows.shape[1] - 1 :]  # the lightest
        _, sizes, vectors = np.linalg.svd(rows[some].T)
        if some.size <= sizes.size and not sizes[-1] <= _VANISHED * sizes[0]:
            break
        change = vectors[-1] if vectors[-1] @ c[some] >= 0.0 else -vectors[-1]
        falling = change < 0.0
        if not falling.any():
            break
        steps = np.full(some.size, np.inf)
        steps[falling] = mu[some[falling]] / -change[falling]
        mu[some] += steps.min() * change
        mu[some[steps.argmin()]] = 0.0
        kept = kept[mu[kept] > _VANISHED * mu[kept].max()]
    return kept, mu[kept]
