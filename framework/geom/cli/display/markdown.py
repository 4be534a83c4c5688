"""A difference in Markdown, for the comment of a pull request: no text of a token acts in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from geom.cli.display.cutting import Cut
from geom.cli.display.output import print_line
from geom.cli.display.sections import counts, sections
from geom.difference.records import Difference
from geom.markdown import markdown_code, markdown_table, markdown_text
from geom.nouns import Noun
from geom.summary import ModelSummary

_TEXTS = (*(noun.plural for noun in Noun), "ids")
"""The columns with texts of tokens that are not cut."""


def print_markdown(found: Difference, limit: int) -> None:
    """Print the summary, then at most ``limit`` rows of each table."""
    for line in _lines(found, limit):
        print_line(line)


def _lines(found: Difference, limit: int) -> Iterator[str]:
    yield f"**{markdown_code(found.before.model)} → {markdown_code(found.after.model)}**"
    yield ""
    runs = (("before", found.before), ("after", found.after))
    facts = [(name, *_facts(run)) for name, run in runs]
    columns = ("", "run", found.noun.plural, "domain", "unspeakable", "undecided")
    yield from markdown_table(columns, facts)
    for note in found.notes:
        yield f"\nNote: {markdown_text(note)}"
    numbers = [
        (str(count), f"{name}: {markdown_text(meaning)}")
        for count, name, meaning in counts(found)
        if count
    ]
    yield ""
    if not numbers:
        yield "Nothing that is known differs."
        return
    yield from markdown_table(("", "what differs"), numbers)
    for section in sections(found):
        yield f"\n<details><summary>{section.title}: {len(section.rows)}</summary>\n"
        rows = (_cells(section.columns, row) for row in section.rows[:limit])
        yield from markdown_table(section.columns, rows)
        if len(section.rows) > limit:
            yield f"\n{len(section.rows) - limit} more."
        yield "\n</details>"


def _facts(run: ModelSummary) -> tuple[str, ...]:
    path = markdown_code(run.path or "in memory")
    return path, str(run.V), markdown_text(run.domain), str(run.unspeakable), str(run.undecided)


def _cells(columns: Sequence[str], row: Sequence[str | Cut]) -> list[str]:
    """Return the cells of a row, those with texts of tokens as code."""
    return [
        markdown_code(value.text if isinstance(value, Cut) else value)
        if isinstance(value, Cut) or name in _TEXTS
        else value
        for name, value in zip(columns, row, strict=True)
    ]
