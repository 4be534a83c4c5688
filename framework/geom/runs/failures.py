"""Certifiers that raised: how a token's note records it, and how a run lists them."""

from __future__ import annotations

from dataclasses import dataclass

from geom.nouns import Noun
from geom.store import Run

_RAISED = " raised "


@dataclass(frozen=True)
class Failure:
    """A certifier that raised: the tokens it raised for, and what it raised for the first."""

    certifier: str
    reason: str
    tokens: tuple[int, ...]
    noun: Noun = Noun.TOKEN

    def __str__(self) -> str:
        more = f" and {len(self.tokens) - 1} more" if len(self.tokens) > 1 else ""
        return (
            f"certifier {self.certifier} raised {self.reason}: {self.noun} {self.tokens[0]}{more}"
        )


def failure_note(certifier: str, reason: str) -> str:
    """Return the words in a token's note for a certifier that raised."""
    return f"{certifier}{_RAISED}{reason}"


def failures(run: Run) -> list[Failure]:
    """List the certifiers of a run that raised, in the order of the first token of each."""
    chain = run.settings.get("certifiers", {})
    found: dict[str, list[tuple[int, str]]] = {}
    for row in run.rows():
        for part in (row.note or "").split("; "):
            certifier, raised, reason = part.partition(_RAISED)
            if raised and certifier in chain:
                found.setdefault(certifier, []).append((row.token_id, reason))
    return [
        Failure(certifier, cases[0][1], tuple(token for token, _ in cases), run.noun)
        for certifier, cases in found.items()
    ]
