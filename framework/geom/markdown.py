"""Markdown in which no text of a stranger acts: code spans, escaped text, and tables of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from geom.text import harmless


def markdown_code(text: str) -> str:
    """Write a text as code, which shows it as it is, in a table or outside.

    The fence is longer than any row of backticks in the text, and bars are escaped for a table's
    cells. Links, mentions, references and formulas of the sites that show Markdown do not act in
    code; control characters are spelled out.

    Parameters
    ----------
    text : str
        Any text; for the text of a token, what `visible` returns.

    Returns
    -------
    str
        The code span, empty for an empty text.
    """
    shown = re.sub(r"(\\*)\|", _escaped_bar, harmless(text))
    if not shown:
        return ""
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown[0] in " `" or shown[-1] in " `" else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def markdown_text(text: str) -> str:
    """Write a text in which no character is Markdown or HTML.

    A site may still act on a mention (``@name``) or an address; use `markdown_code` for what a
    stranger may have written.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        The text, with its punctuation escaped and control characters spelled out.
    """
    return re.sub(r"([\\`*_{}\[\]<>#|~&!$])", r"\\\1", harmless(text))


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Write a table.

    Parameters
    ----------
    columns : sequence of str
        The headings, as Markdown.
    rows : iterable of sequence of str
        The cells, as Markdown without line ends: numbers, or the results of `markdown_code` and
        `markdown_text`.

    Yields
    ------
    str
        The lines.
    """
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _escaped_bar(found: re.Match[str]) -> str:
    r"""Escape a bar after backslashes; an odd one would itself be escaped by that of the bar."""
    before = found[1]
    return before + "\\" * (len(before) % 2) + r"\|"
