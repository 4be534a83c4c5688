"""The only code that may say "proven". It calls no solver.

The weights of a model are floats, so they are exact rationals, and the question "is this margin
positive" has one answer. This package gives it from a certificate: a point ``x`` that should show a
token speakable (`geom.exact.points`, and many at once in `geom.exact.bulk`), or weights that should
show it unspeakable (`geom.exact.weights`). A float step is followed by a bound on its rounding
error (`geom.numbers.rounding`); if that does not settle the matter, rationals do
(`geom.numbers.rationals`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TypeGuard, get_args

import numpy as np

from geom.certificates import Finding, ProofName, Verdict, VerdictName, Weights, Witness
from geom.exact.points import margin_below
from geom.exact.weights import PROOFS, prove_unspeakable
from geom.model.problem import Problem
from geom.numbers.arrays import Floats
from geom.numbers.rounding import CLAIM, refuse_flushing


def judge(problem: Problem, token: int, finding: Finding, widen: float = CLAIM) -> Verdict:
    """Say what a finding proves about a token, with proven bounds on its largest margin.

    A wrong finding raises nothing: a finding that proves nothing gives ``undecided``, and the note
    says why.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    token : int
        The token.
    finding : Finding
        A point, weights, both or neither.
    widen : float, optional
        Multiplies every bound on rounding; 1 checks again a claim that was made with more.

    Returns
    -------
    Verdict
        The verdict, its proof, and bounds in logits.

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.
    """
    seen = _weigh(problem, token, finding, widen)
    verdict = partial(Verdict, margin_lower=seen.lower, margin_upper=seen.upper)
    if seen.speakable and finding.x is not None:
        return verdict("speakable", "witness", certificate=Witness(finding.x))
    if seen.proof is not None:
        return verdict("unspeakable", seen.proof, certificate=finding.weights)
    note = "; ".join(seen.faults) or None
    return verdict("undecided", note=note)


def faults(
    problem: Problem, token: int, evidence: Finding, claim: Verdict, known: float | None = None
) -> list[str]:
    """List what a stored verdict claims but its stored evidence does not prove; empty if it holds.

    ``evidence`` is what a run kept (point and weights), ``claim`` its verdict, proof and bounds.
    The named proof itself must hold, not another one. Evidence that is not a point or not weights
    is reported if a claim falls with it; if nothing rests on it, it is not a fault. ``known`` is a
    lower bound that was proven before from the point of the evidence, which is in the domain.
    """
    seen = _weigh(problem, token, evidence, 1.0, claim.proof, known)
    out = []
    if claim.name not in get_args(VerdictName):
        out.append(f"{claim.name!r} is not a verdict")
    if claim.name == "speakable" and not (seen.speakable and claim.proof == "witness"):
        out.append("no stored point proves it speakable")
    if claim.name == "unspeakable" and (seen.proof is None or claim.proof in (None, "witness")):
        out.append("no stored weights prove it unspeakable")
    if claim.name == "undecided" and claim.proof is not None:
        out.append(f"it is undecided and yet names a proof, {claim.proof}")
    lower, upper = claim.margin_lower, claim.margin_upper
    if claim.name == "speakable" and not (lower is not None and lower > 0.0):
        out.append("it is speakable and yet claims no margin_lower above zero")
    if claim.name == "unspeakable" and not (upper is not None and upper <= 0.0):
        out.append("it is unspeakable and yet claims no margin_upper of zero or less")
    if lower is not None and not (_known(lower) and _known(seen.lower) and lower <= seen.lower):
        out.append(f"the stored point does not prove margin_lower {lower!r}")
    if upper is not None and not (_known(upper) and _known(seen.upper) and upper >= seen.upper):
        out.append(f"the stored weights do not prove margin_upper {upper!r}")
    return [*seen.faults, *out] if out else []


@dataclass(frozen=True)
class _Seen:
    """What evidence proves: bounds on the largest margin, a proof of unspeakability, and faults."""

    lower: float | None
    upper: float | None
    proof: ProofName | None
    faults: tuple[str, ...]

    @property
    def speakable(self) -> bool:
        return self.lower is not None and self.lower > 0.0


def _weigh(
    problem: Problem,
    token: int,
    evidence: Finding,
    widen: float,
    named: ProofName | None = None,
    known: float | None = None,
) -> _Seen:
    """Return what the evidence proves, trying only the proof ``named`` if one is given.

    The point is not looked at if it is ``known`` what it proves.
    """
    refuse_flushing()
    problem = problem.asked
    lower: float | None = known
    upper: float | None = None
    proof: ProofName | None = None
    found: list[str] = []
    if evidence.x is not None and known is None:
        fault = _point_fault(problem, evidence.x)
        if fault is None:
            lower = margin_below(problem, token, evidence.x)
        else:
            found.append(fault)
    if evidence.weights is not None:
        fault = _weights_fault(problem, token, evidence.weights)
        if fault is None:
            tried = PROOFS if named in (None, "witness") else (named,)
            if lower is not None and lower > 0.0:
                tried = ()  # if the point wins, only the bound is left to prove
            proof, upper = prove_unspeakable(problem, token, evidence.weights, widen, tried)
            if proof is not None and problem.homogeneous:
                lower = 0.0  # all tokens tie at x = 0, which such a domain has
        else:
            found.append(fault)
    lower = lower if _known(lower) else None
    upper = upper if _known(upper) else None
    return _Seen(lower, upper, proof, tuple(found))


def _known(bound: float | None) -> TypeGuard[float]:
    """Return whether the bound says anything: None, infinity and NaN do not."""
    return bound is not None and math.isfinite(bound)


def is_point(problem: Problem, x: Floats | None) -> bool:
    """Return whether ``x`` is a float64 point (k,) of the domain, decided exactly."""
    return x is not None and _point_fault(problem, x) is None


def is_weights(problem: Problem, token: int, weights: Weights | None) -> bool:
    """Return whether these are weights over other tokens, finite, >= 0 and not all zero."""
    return weights is not None and _weights_fault(problem, token, weights) is None


def _point_fault(problem: Problem, x: Floats) -> str | None:
    """Say why ``x`` is not a point of the domain; None if it is."""
    length = problem.domain.coordinates
    if not _is_array(x, np.float64) or x.shape != (length,):
        return f"the point is not a float64 vector of length {length}"
    if not problem.domain.contains(x):
        return f"the point is not in the domain {problem.domain}"
    return None


def _weights_fault(problem: Problem, token: int, weights: Weights) -> str | None:
    """Say why these are not weights over other tokens; None if they are."""
    indices, values = weights.indices, weights.values
    if not (_is_array(indices, np.int64) and _is_array(values, np.float64)):
        return "the weights are not int64 indices and float64 values"
    if indices.ndim != 1 or indices.shape != values.shape or indices.size == 0:
        return "the weights are not one value per index"
    if indices.min() < 0 or indices.max() >= problem.readout.V or (indices == token).any():
        noun = problem.readout.noun
        return f"the weights name the {noun} itself or ids outside {noun.every}"
    if np.unique(indices).size != indices.size:
        return f"the weights name one {problem.readout.noun} twice"
    if not (np.isfinite(values).all() and values.min() >= 0.0 and values.max() > 0.0):
        return "the weights are not finite numbers >= 0, one of them > 0"
    return None


def _is_array(values: object, dtype: type[np.generic]) -> bool:
    """Return whether ``values`` is a plain array of that type: a plugin may return anything."""
    return type(values) is np.ndarray and values.dtype == dtype
