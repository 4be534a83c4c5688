"""Outcomes of tokens that are decided in bulk, outside of the chain of certifiers."""

from __future__ import annotations

from geom.certificates import Finding, RecipeName, Verdict
from geom.store import Outcome

OWN_DIRECTION: RecipeName = "own-direction"
"""The name of the certifier, and of the recipe for the witness, of a token that wins there."""


def bulk_outcome(
    token: int,
    verdict: Verdict,
    evidence: Finding,
    certifier: str,
    seconds: float,
    *,
    probability_upper: float | None = None,
    note: str | None = None,
    recipe: RecipeName | None = None,
) -> Outcome:
    """Return the outcome of a token with this verdict."""
    return Outcome(
        token_id=token,
        verdict=verdict.name,
        proof=verdict.proof,
        certifier=certifier,
        margin_lower=verdict.margin_lower,
        margin_upper=verdict.margin_upper,
        probability_upper=probability_upper,
        seconds=seconds,
        note=note,
        evidence=evidence,
        recipe=recipe,
    )


def own_direction_outcome(token: int, margin: float, seconds: float) -> Outcome:
    """Return the outcome of a token proven to win along its own direction.

    It stores no witness, only the recipe that rebuilds it.
    """
    verdict = Verdict("speakable", "witness", margin_lower=margin)
    return bulk_outcome(token, verdict, Finding(), OWN_DIRECTION, seconds, recipe=OWN_DIRECTION)
