"""A difference in Markdown, for the comment of a pull request: no text of a token acts in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from geom.cli.display.output import print_line
from geom.cli.display.sections import counts, sections
from geom.cli.display.tables import Cut
from geom.difference.records import Difference
from geom.nouns import Noun
from geom.summary import ModelSummary
from geom.text import harmless

_TEXTS = (*(noun.plural for noun in Noun), "ids")
"""The columns with texts of tokens that are not cut."""


def print_markdown(found: Difference, limit: int) -> None:
    """Print the summary, then at most ``limit`` rows of each table."""
    for line in _lines(found, limit):
        print_line(line)


def _lines(found: Difference, limit: int) -> Iterator[str]:
    yield f"**{_code(found.before.model)} → {_code(found.after.model)}**"
    yield ""
    runs = (("before", found.before), ("after", found.after))
    facts = [(name, *_facts(run)) for name, run in runs]
    yield from _table(
        ("", "run", found.noun.plural, "domain", "unspeakable", "undecided"), facts, ()
    )
    for note in found.notes:
        yield f"\nNote: {_escaped(note)}"
    numbers = [
        (str(count), f"{name}: {_escaped(meaning)}")
        for count, name, meaning in counts(found)
        if count
    ]
    yield ""
    if not numbers:
        yield "Nothing that is known differs."
        return
    yield from _table(("", "what differs"), numbers, ())
    for section in sections(found):
        yield f"\n<details><summary>{section.title}: {len(section.rows)}</summary>\n"
        yield from _table(section.columns, section.rows[:limit], _TEXTS)
        if len(section.rows) > limit:
            yield f"\n{len(section.rows) - limit} more."
        yield "\n</details>"


def _facts(run: ModelSummary) -> tuple[str, ...]:
    path = _code(run.path or "in memory")
    return path, str(run.V), _escaped(run.domain), str(run.unspeakable), str(run.undecided)


def _table(
    columns: Sequence[str], rows: Sequence[Sequence[str | Cut]], texts: Sequence[str]
) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        cells = (
            _code(value.text if isinstance(value, Cut) else value)
            if isinstance(value, Cut) or name in texts
            else value
            for name, value in zip(columns, row, strict=True)
        )
        yield f"| {' | '.join(cells)} |"


def _code(text: str) -> str:
    """Return a text as code, in a fence that it does not hold, with its bars escaped."""
    text = harmless(text).replace("|", r"\|")
    if not text:
        return ""
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _escaped(text: str) -> str:
    """Return a text in which no character is Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", harmless(text))
