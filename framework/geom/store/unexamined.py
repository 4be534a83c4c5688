"""Why a run has no row of a token: it does not exist, was passed over, or was not asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from geom.nouns import Noun
from geom.text import harmless
from geom.token_spec import CANDIDATES

OWN_WINNERS = "self-argmax"
"""The detector that passes over just the tokens that win along their own direction."""


@dataclass(frozen=True)
class PassedOver:
    """The detectors that passed over the tokens that a run did not examine.

    ``winners`` tells whether each of those wins along its own direction, as far as a detector
    says: nothing is proven of them.
    """

    detectors: tuple[str, ...]
    winners: bool

    @property
    def by(self) -> str:
        """By whom they were passed over."""
        return harmless(f"passed over by {', '.join(self.detectors)}")

    def because(self, who: str = "each") -> str:
        """Return why they were passed over, after a colon; empty if it is not known."""
        return f": {who} wins along its own direction" if self.winners else ""


def passed_over(settings: Mapping[str, Any], warnings: Iterable[str]) -> PassedOver | None:
    """Return who passed over tokens, None for a run that was asked for a list of them.

    ``warnings`` tell which detectors failed.
    """
    if settings.get("tokens") != CANDIDATES:
        return None
    named = settings.get("detectors")
    names = tuple(named) if isinstance(named, Mapping) else ()
    failed = any(line.startswith(f"detector {OWN_WINNERS} ") for line in warnings)
    return PassedOver(names, OWN_WINNERS in names and not failed)


def why_not(
    token: int,
    V: int,
    pending: bool,
    over: PassedOver | None,
    noun: Noun,
    where: str,
    shown: str = "",
) -> str:
    """Say why a run has no row of an id, and what would make one.

    ``pending`` tells whether it is planned, ``over`` who passed over tokens, ``where`` is the run.
    ``shown`` is the id's text as it is shown, if it is known.
    """
    named = f"{noun} {token}{shown and f' {shown}'}"
    if pending:
        return f"{named} was not examined in {where} yet: the same command goes on"
    if not 0 <= token < V:
        return f"there is no {noun} {token} in {where}: ids are 0 to {V - 1}"
    missing = f"{named} was not examined in {where}"
    if over is None:
        return f"{missing}: it is not in the list that was asked for"
    proves = "proves it" if over.winners else "examines it"
    remedy = f"geom run --tokens {token} {proves} (tokens=[{token}] in Python)"
    return f"{missing}: {over.by}{over.because('it')}; {remedy}"
