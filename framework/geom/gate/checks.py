"""What a gate says: one check for each thing it watched for, and the words for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from geom.errors import unknown
from geom.nouns import Noun
from geom.store import Run, TokenRow
from geom.text import TokenKind, visible

Token = tuple[int, str | None, TokenKind | None]
"""A token as it is named: its id, text and kind."""

IGNORABLE: tuple[TokenKind, ...] = tuple(kind for kind in get_args(TokenKind) if kind != "normal")
"""The kinds of tokens that a gate may leave out."""

NAMED = 8
"""The most tokens that a sentence names."""


@dataclass(frozen=True)
class Check:
    """One thing a gate watched for: whether it failed, and the words that say why.

    ``what`` is empty for a fault of the run itself, which nothing can pass.
    """

    what: str
    failed: bool
    said: str


def unproven(run: Run, rows: Sequence[TokenRow], ignore: Collection[TokenKind]) -> list[Check]:
    """Return why nothing in a run can pass a gate; empty if it can.

    A run that has no certifier, or whose certifiers all failed, has shown nothing.
    """
    counted = [row for row in rows if row.token_kind not in ignore]
    said = []
    if not run.settings.get("certifiers"):
        said.append("nothing was proven: it has no certifier")
    elif not run.planned:
        said.append("nothing was proven: it has not begun")
    elif counted and all(row.verdict == "undecided" for row in counted):
        said.append(f"nothing was proven: {are(run.noun, len(counted), 'undecided')}")
    left = run.counts()["pending"]
    if left:
        said.append(are(run.noun, left, "not examined yet"))
    said += [
        f"{warning}; the {run.noun.plural} that it would flag are missing"
        for warning in run.warnings
        if warning.startswith("detector ") and " raised " in warning
    ]
    return [Check("", True, words) for words in said]


def parse_names(what: str, given: str | Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return the names in lists separated by commas, each once. Raises InputError for others."""
    choices = tuple(known)
    lists = [given] if isinstance(given, str) else given
    names = [name.strip() for item in lists for name in item.split(",")]
    for name in names:
        if name not in choices:
            raise unknown(what, name, choices)
    return tuple(dict.fromkeys(names))


def are(noun: Noun, count: int, words: str) -> str:
    """Say how many tokens, or other things, are something."""
    return f"{noun.counted(count)} {'is' if count == 1 else 'are'} {words}"


def named(tokens: Sequence[Token], most: int = NAMED) -> str:
    """Name the first tokens by ids and texts, and say how many more there are."""
    first = ", ".join(
        str(token) if text is None and kind is None else f"{token} {visible(text, kind)}"
        for token, text, kind in tokens[:most]
    )
    return f"{first} and {len(tokens) - most} more" if len(tokens) > most else first
