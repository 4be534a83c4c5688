"""What two runs of one vocabulary differ in, as records."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from geom.nouns import Noun
from geom.reprs import short_repr
from geom.summary import ModelSummary
from geom.text import TokenKind

TokenState = Literal[
    "speakable", "unspeakable", "undecided", "not examined", "not flagged", "no such token"
]
"""A verdict, or why a run has none."""

Bounds = tuple[float | None, float | None]
"""Proven bounds on a largest margin, in logits, None where not known."""


@dataclass(frozen=True, slots=True)
class TokenChange:
    """A token, and what each of two runs says about it.

    Attributes
    ----------
    token_id : int
        The token.
    token : str or None
        Its text, None without a tokenizer.
    token_kind : TokenKind or None
        Its kind; text and kind are those of the second run if it examined the token.
    before : str
        The verdict of the first run; without one ``not flagged`` (its detectors passed over the
        token), ``not examined``, or ``no such token`` (its vocabulary ends before the id).
    after : str
        The verdict of the second run, or likewise why it has none.
    hard_before : bool
        Whether the first run says that it is hard: speakable, but another token wins along its own
        direction.
    hard_after : bool
        Whether the second run does.
    margin_before : tuple of float or None
        The first run's proven bounds on the largest margin, lower and upper, in logits.
    margin_after : tuple of float or None
        The second run's.
    """

    token_id: int
    _: KW_ONLY
    token: str | None
    token_kind: TokenKind | None
    before: TokenState
    after: TokenState
    hard_before: bool
    hard_after: bool
    margin_before: Bounds
    margin_after: Bounds

    __repr__ = short_repr

    @property
    def fall(self) -> Bounds:
        """Proven bounds on how far the largest margin fell, in logits; negative if it rose."""
        (low, high), (below, above) = self.margin_before, self.margin_after
        return _less(low, above, -math.inf), _less(high, below, math.inf)

    def as_dict(self) -> dict[str, Any]:
        """Return the record in the form written as JSON.

        Returns
        -------
        dict
            The fields by name, None for a bound that is not a finite number.
        """
        return {
            "token_id": self.token_id,
            "token": self.token,
            "token_kind": self.token_kind,
            "before": self.before,
            "after": self.after,
            "hard_before": self.hard_before,
            "hard_after": self.hard_after,
            "margin_before": _finite(self.margin_before),
            "margin_after": _finite(self.margin_after),
        }


@dataclass(frozen=True, slots=True)
class TwinGroup:
    """Tokens that have the same row and bias in one run, and not all of them in the other.

    Attributes
    ----------
    tokens : tuple of int
        Their ids, ascending.
    texts : tuple of str or None
        Their texts.
    kinds : tuple of TokenKind or None
        Their kinds.
    parts : tuple of tuple of int
        The same ids, by which of them are equal in the other run.
    """

    tokens: tuple[int, ...]
    _: KW_ONLY
    texts: tuple[str | None, ...]
    kinds: tuple[TokenKind | None, ...]
    parts: tuple[tuple[int, ...], ...]

    __repr__ = short_repr

    def as_dict(self) -> dict[str, Any]:
        """Return the record in the form written as JSON.

        Returns
        -------
        dict
            The fields by name.
        """
        return {
            "tokens": list(self.tokens),
            "texts": list(self.texts),
            "kinds": list(self.kinds),
            "parts": [list(part) for part in self.parts],
        }


@dataclass(frozen=True)
class Difference:
    """What two runs of one vocabulary differ in.

    Attributes
    ----------
    before : ModelSummary
        The first run.
    after : ModelSummary
        The second run.
    notes : tuple of str
        Sentences that a reader of the differences should know: other domains, unfinished runs.
    verdicts : tuple of TokenChange
        The tokens that both runs examined, with different verdicts: those that are unspeakable now
        first, then those that are undecided now.
    only_before : tuple of TokenChange
        The tokens that only the first run examined.
    only_after : tuple of TokenChange
        The tokens that only the second run examined.
    twins : tuple of TwinGroup
        The groups of equal tokens of the second run that were not one group before.
    parted : tuple of TwinGroup
        The groups of equal tokens of the first run that are not one group any more.
    sank : tuple of TokenChange
        The tokens, speakable in both, whose largest margin is proven to have become smaller, the
        greatest share first. Empty if the domains differ.
    rose : tuple of TokenChange
        The tokens, speakable in both, whose largest margin is proven to have become larger.
    level : int
        The number of tokens, speakable in both, whose bounds on the margin, all known, overlap.
    unknown : int
        The number of tokens, speakable in both, whose bounds do not tell and are not all known.
    lost : tuple of int
        The tokens, examined by both, that no longer win along their own direction.
    won : tuple of int
        The tokens, examined by both, that have come to win along their own direction.
    """

    before: ModelSummary
    after: ModelSummary
    _: KW_ONLY
    notes: tuple[str, ...]
    verdicts: tuple[TokenChange, ...]
    only_before: tuple[TokenChange, ...]
    only_after: tuple[TokenChange, ...]
    twins: tuple[TwinGroup, ...]
    parted: tuple[TwinGroup, ...]
    sank: tuple[TokenChange, ...]
    rose: tuple[TokenChange, ...]
    level: int
    unknown: int
    lost: tuple[int, ...]
    won: tuple[int, ...]

    __repr__ = short_repr

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return any(count for name, count in self.counts().items() if name not in _SAME)

    @property
    def noun(self) -> Noun:
        """What both runs call their rows, ``token`` if they differ."""
        return Noun.shared(self.before.noun, self.after.noun)

    @property
    def newly_unspeakable(self) -> tuple[TokenChange, ...]:
        """The tokens that are unspeakable now and were not before, or not examined."""
        return tuple(item for item in self._examined_now if item.after == "unspeakable")

    @property
    def newly_undecided(self) -> tuple[TokenChange, ...]:
        """The tokens that are undecided now and were speakable before, or not examined."""
        return tuple(
            item
            for item in self._examined_now
            if item.after == "undecided" and item.before != "unspeakable"
        )

    @property
    def _examined_now(self) -> tuple[TokenChange, ...]:
        return tuple(sorted((*self.verdicts, *self.only_after), key=lambda item: item.token_id))

    def counts(self) -> dict[str, int]:
        """Count what differs.

        Returns
        -------
        dict of str to int
            The number of tokens, or of groups of twins, by the name of the attribute.
        """
        return {
            "newly_unspeakable": len(self.newly_unspeakable),
            "newly_undecided": len(self.newly_undecided),
            "verdicts": len(self.verdicts),
            "twins": len(self.twins),
            "parted": len(self.parted),
            "sank": len(self.sank),
            "rose": len(self.rose),
            "level": self.level,
            "unknown": self.unknown,
            "only_before": len(self.only_before),
            "only_after": len(self.only_after),
            "lost": len(self.lost),
            "won": len(self.won),
        }

    def as_dicts(self) -> Iterator[dict[str, Any]]:
        """Iterate over the lines of ``geom diff --format jsonl``.

        Yields
        ------
        dict
            The counts first, then each difference; ``change`` says which it is.
        """
        yield {
            "change": "summary",
            "before": _named(self.before),
            "after": _named(self.after),
            **self.counts(),
            "notes": list(self.notes),
        }
        yield from _lines("verdict", self.verdicts)
        yield from _lines("twins", self.twins)
        yield from _lines("parted", self.parted)
        for change, items in (("sank", self.sank), ("rose", self.rose)):
            for item in items:
                yield {"change": change, **item.as_dict(), "fall": _finite(item.fall)}
        yield from _lines("only before", self.only_before)
        yield from _lines("only after", self.only_after)
        yield from ({"change": "own direction lost", "token_id": token} for token in self.lost)
        yield from ({"change": "own direction won", "token_id": token} for token in self.won)


_SAME = ("level", "unknown")
"""The counts that are no differences."""


def _lines(
    change: str, items: Sequence[TokenChange] | Sequence[TwinGroup]
) -> Iterator[dict[str, Any]]:
    for item in items:
        yield {"change": change, **item.as_dict()}


def _named(run: ModelSummary) -> dict[str, Any]:
    return {
        "model": run.model,
        "run": run.path,
        "V": run.V,
        "d": run.d,
        "domain": run.domain,
        "unspeakable": run.unspeakable,
        "undecided": run.undecided,
    }


def _less(bound: float | None, other: float | None, towards: float) -> float | None:
    """Return a difference of bounds, rounded outwards, or None if it is not known."""
    if bound is None or other is None or not math.isfinite(bound - other):
        return None
    return math.nextafter(bound - other, towards)


def _finite(bounds: Bounds) -> list[float | None]:
    return [None if item is None or not math.isfinite(item) else item for item in bounds]
