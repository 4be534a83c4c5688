"""Texts of tokens in little room: cut if need be, but never so that two of them look alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells
from rich.text import Text

from geom.text import TokenKind, mark, visible

_SHORTEST = 8
"""The fewest columns that a text is cut to."""

_HEAD = 4
"""The fewest columns that stay of its beginning, with the ellipsis."""


@dataclass(frozen=True)
class Cut:
    """A text cut with an ellipsis if the terminal is narrow.

    Its first ``start`` and its last ``end`` characters stay. If there is a start, it is all that
    stays where little else would.
    """

    text: str
    end: int = 0
    start: int = 0

    @property
    def widest(self) -> int:
        """The number of columns that the whole text takes."""
        return cell_len(self.text)

    @property
    def least(self) -> int:
        """The least number of columns that it is cut to."""
        return min(self.widest, self.start or _SHORTEST + self.end)

    def within(self, room: int, tail: int = 0) -> str:
        """Return the text in at most ``room`` columns, with up to ``tail`` characters of its end.

        What stays anyway at the end does not count.
        """
        if self.widest <= room:
            return self.text
        if self.start and room < self.start + _SHORTEST // 2 + self.end:
            return self.text[: self.start]
        kept = len(self.text) - self.end
        body, end = self.text[:kept], self.text[kept:]
        left = max(1, room - self.end)
        while tail and left - cell_len(body[-tail:]) < _HEAD:
            tail -= 1
        last = body[-tail:] if tail else ""
        head = Text(body[: len(body) - tail])
        head.truncate(left - cell_len(last), overflow="ellipsis")
        return head.plain + last + end


def cut(cells: Sequence[Cut], room: int) -> list[str]:
    """Return the texts in at most ``room`` columns; those that differ look different.

    Texts with the same beginning get as much of their ends as tells them apart. Those that differ
    in their middles alone are not cut, and continue on further lines.
    """
    out = [cell.within(room) for cell in cells]
    for tail in range(1, room):
        alike = _alike(cells, out)
        if not alike:
            return out
        for place in alike:
            out[place] = cells[place].within(room, tail)
    for place in _alike(cells, out):
        out[place] = "\n".join(chop_cells(cells[place].text, max(2, room)))
    return out


def token_cell(text: str | None, kind: TokenKind | None) -> Cut:
    """Return the text of a token; its kind stays visible however narrow the terminal is."""
    return Cut(visible(text, kind), len(mark(kind)))


def _alike(cells: Sequence[Cut], shown: Sequence[str]) -> list[int]:
    """Return the places of the texts that look like another text."""
    texts: dict[str, set[str]] = {}
    for cell, text in zip(cells, shown, strict=True):
        texts.setdefault(text, set()).add(cell.text)
    return [place for place, text in enumerate(shown) if len(texts[text]) > 1]
