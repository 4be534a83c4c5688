"""The finding that a certifier returned for a token, before `exact`, and what it proves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

import numpy as np

from geom import exact
from geom.certificates import Finding, VerdictName, Weights
from geom.errors import Raised, answered
from geom.model.problem import Problem
from geom.nouns import Noun
from geom.numbers.arrays import Floats
from geom.numbers.printing import rounded_up
from geom.plugins.chosen import Chosen
from geom.plugins.records import Certifier
from geom.progress import track_progress
from geom.reprs import short_repr
from geom.runs.findings import as_kept


@dataclass(frozen=True)
class SolverClaim:
    """The finding that a certifier returned for a token, and what it proves in exact arithmetic.

    Attributes
    ----------
    token_id : int
        The token.
    solver : str
        The certifier's name.
    direction : bool
        Whether the certifier returned a point.
    inside : bool
        Whether that point lies in the domain.
    bound : float or None
        The upper bound on the margin that its weights would prove if they cancelled the rows
        exactly, in logits; None without weights.
    residual : float or None
        The length of the weighted sum of row differences, 0 if they cancel; None without weights.
    verdict : {"speakable", "unspeakable", "undecided"}
        The verdict that the finding proves.
    note : str or None
        The certifier's remark, or what went wrong.
    noun : Noun, optional
        What the token is called.
    """

    token_id: int
    solver: str
    _: KW_ONLY
    direction: bool
    inside: bool
    bound: float | None
    residual: float | None
    verdict: VerdictName
    note: str | None
    noun: Noun = Noun.TOKEN

    __repr__ = short_repr

    def __str__(self) -> str:
        parts = []
        if self.direction:
            parts.append("a direction" + ("" if self.inside else " outside the domain"))
        if self.bound is not None and self.residual is not None:
            parts.append(
                f"weights that claim a margin <= {rounded_up(self.bound)} "
                f"and leave {rounded_up(self.residual, 2)}"
            )
        returned = f"returned {' and '.join(parts) or 'nothing'}"
        said = f" ({self.note})" if self.note else ""
        proves = "nothing" if self.verdict == "undecided" else f"it {self.verdict}"
        return f"{self.noun} {self.token_id}: {self.solver} {returned}{said}; that proves {proves}"


def returned(
    problem: Problem, tokens: Sequence[int], certifier: Chosen[Certifier[Any]]
) -> tuple[list[tuple[int, Floats, str]], tuple[SolverClaim, ...]]:
    """Return the directions that the certifier returns, unchanged, and its claims."""
    found, claims = [], []
    name = certifier.record.name
    for token in track_progress(tokens, name, len(tokens)):
        claimed = certifier.attempt(partial(_claimed, problem, token), "certify")
        if isinstance(claimed, Raised):
            note = f"it raised {claimed}"
            claim = SolverClaim(
                token,
                name,
                direction=False,
                inside=False,
                bound=None,
                residual=None,
                verdict="undecided",
                note=note,
                noun=problem.readout.noun,
            )
            x = None
        else:
            claim, x = claimed
        claims.append(claim)
        if x is not None:
            found.append((token, problem.domain.vector(x), name))
    return found, tuple(claims)


def _claimed(
    problem: Problem, token: int, certifier: Certifier[Any], options: Any
) -> tuple[SolverClaim, Floats | None]:
    """Return the certifier's claim about a token. Raises what it raises, or TypeError."""
    answer = answered(certifier.certify(problem.in_coordinates, token, Finding(), options), Finding)
    return _claim(problem, token, certifier.name, answer)


def _claim(
    problem: Problem, token: int, solver: str, answer: Finding
) -> tuple[SolverClaim, Floats | None]:
    """Return the claim of a finding, and its direction if that is a vector of finite numbers."""
    kept = as_kept(answer)
    verdict = exact.judge(problem, token, kept)
    x, note = kept.x, kept.note
    if x is not None and (x.shape != (problem.domain.coordinates,) or not np.isfinite(x).all()):
        x, note = None, "its direction is not a vector of finite numbers"
    bound = residual = None
    if kept.weights is not None:
        bound, residual = _weighed(problem, token, kept.weights)
    inside = x is not None and problem.domain.contains(x)
    claim = SolverClaim(
        token,
        solver,
        direction=x is not None,
        inside=inside,
        bound=bound,
        residual=residual,
        verdict=verdict.name,
        note=note,
        noun=problem.readout.noun,
    )
    return claim, x


def _weighed(problem: Problem, token: int, weights: Weights) -> tuple[float, float]:
    """Compute ``-sum lam_j c_j`` and ``|sum lam_j a_j|`` of the normalised weights in float64."""
    with np.errstate(all="ignore"):
        lam = weights.values / weights.values.sum()
        r, g = np.zeros(problem.readout.d), 0.0
        for start in range(0, lam.size, 8192):
            part = slice(start, start + 8192)
            a, c = problem.differences(token, weights.indices[part])
            r, g = r + lam[part] @ a, g + float(lam[part] @ c)
        return 0.0 - g, float(np.linalg.norm(r))
