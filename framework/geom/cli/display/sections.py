"""The sections of a difference: what its tables and its Markdown show, in one order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from geom.cli.display.cutting import Cut, token_cell
from geom.difference.records import Bounds, Difference, TokenChange, TwinGroup
from geom.numbers.printing import enclosure
from geom.text import visible
from geom.token_spec import format_tokens


@dataclass(frozen=True)
class Section:
    """A table: its title, the names of its columns, and its rows; a token is cut to fit."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str | Cut, ...]]


def counts(found: Difference) -> Iterator[tuple[int, str, str]]:
    """Yield the lines of the summary: a count, what it counts, and what that means."""
    new = found.newly_unspeakable
    unseen = sum(item.before == "not examined" for item in new)
    more = f"; of {unseen} the first run says nothing" if unseen else ""
    yield len(new), "newly unspeakable", f"no point makes them win any more{more}"
    again = sum(item.before == "unspeakable" != item.after for item in found.verdicts)
    yield again, "no longer unspeakable", "and were before"
    yield len(found.newly_undecided), "newly undecided", "and were speakable, or not examined"
    noun, count = found.noun, sum(len(group.tokens) for group in found.twins)
    yield len(found.twins), "new groups of twins", f"{noun.counted(count)} whose rows became equal"
    yield len(found.parted), "groups of twins parted", "their rows are not all equal any more"
    yield len(found.sank), "margins sank", "by proven bounds that do not overlap"
    yield len(found.rose), "margins rose", "by proven bounds that do not overlap"
    yield found.level, "margins level", "their proven bounds overlap"
    more = "known too loosely: --hardest N finds the smallest margins"
    yield found.unknown, "margins not compared", more
    yield len(found.lost), "lost their own direction", f"another {noun} wins along it now"
    yield len(found.won), "won their own direction", f"another {noun} won along it before"
    yield len(found.only_before), "examined only before", "the second run has no row of them"
    yield len(found.only_after), "examined only after", "the first run has no row of them"


def sections(found: Difference) -> Iterator[Section]:
    """Yield the tables that have rows, the worst news first."""
    noun = found.noun
    for section in (
        Section(
            "verdicts that changed",
            ("id", noun, "before", "after", "margin if speakable"),
            [_verdict(item) for item in found.verdicts],
        ),
        Section(
            "new groups of twins", ("ids", noun.plural, "parts before"), [*map(_twins, found.twins)]
        ),
        Section(
            "groups of twins parted",
            ("ids", noun.plural, "parts after"),
            [*map(_twins, found.parted)],
        ),
        Section(
            "margins that sank",
            ("id", noun, "margin before", "margin after", "sank by"),
            [_margin(item, 1) for item in found.sank],
        ),
        Section(
            "margins that rose",
            ("id", noun, "margin before", "margin after", "rose by"),
            [_margin(item, -1) for item in found.rose],
        ),
        Section(
            "examined only before",
            ("id", noun, "before", "after"),
            _only(found.only_before),
        ),
        Section(
            "examined only after",
            ("id", noun, "before", "after"),
            _only(found.only_after),
        ),
    ):
        if section.rows:
            yield section


def _verdict(item: TokenChange) -> tuple[str | Cut, ...]:
    margin = item.margin_after if item.after == "speakable" else item.margin_before
    known = "speakable" in (item.before, item.after)
    before = "hard" if item.hard_before else item.before
    after = "hard" if item.hard_after else item.after
    return *_token(item), before, after, _bounds(margin) if known else "-"


def _only(items: Sequence[TokenChange]) -> list[tuple[str | Cut, ...]]:
    """Return the rows of tokens that one run examined, without those that both take to win.

    A detector passes over tokens that win along their own direction, and a little rounding makes
    hundreds begin or cease to: they are counted, and are among the lines of JSON.
    """
    usual = ({"speakable", "not flagged"},)
    return [_verdict(item)[:4] for item in items if {item.before, item.after} not in usual]


def _margin(item: TokenChange, sign: int) -> tuple[str | Cut, ...]:
    least, most = item.fall
    if sign < 0:
        least, most = (None if bound is None else -bound for bound in (most, least))
    return (*_token(item), *map(_bounds, _margins(item)), enclosure(least, most))


def _twins(group: TwinGroup) -> tuple[str, ...]:
    texts = [visible(text, kind) for text, kind in zip(group.texts, group.kinds, strict=True)]
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    shown = "-" if set(texts) == {"-"} else ", ".join(texts[:_NAMED]) + more
    parts = [_ids(part) for part in group.parts if len(part) > 1]
    alone = sum(len(part) == 1 for part in group.parts)
    if alone:
        parts.append(f"{alone} alone")
    return _ids(group.tokens), shown, "; ".join(parts)


_NAMED = 6
"""The most tokens of a group whose texts are shown."""


def _ids(tokens: Sequence[int]) -> str:
    """Return the ids as a spec that may be broken between two of them."""
    return format_tokens(tokens).replace(",", ", ")


def _token(item: TokenChange) -> tuple[str, Cut]:
    return str(item.token_id), token_cell(item.token, item.token_kind)


def _margins(item: TokenChange) -> tuple[Bounds, Bounds]:
    return item.margin_before, item.margin_after


def _bounds(bounds: Bounds) -> str:
    return enclosure(*bounds)
