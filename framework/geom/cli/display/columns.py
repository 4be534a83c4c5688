"""The columns of a table, laid out in the width there is: what shrinks, folds and is left out.

In a narrow terminal, in this order: empty columns are left out; headings wrap; columns that say the
same of all rows are left out, and a line below the table says it; columns that can be spared are
shortened, then left out, from the last on, and named; numbers fold at their middle; what still has
no room follows in further tables; and only then the texts of tokens are cut, each to something that
no other row shows.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress

from rich.console import Console
from rich.text import Text

from geom.cli.display.cutting import Cut, cut
from geom.cli.display.messages import plain
from geom.cli.display.tables import empty_table, print_line

_GAP = 2
"""The columns of the terminal between two columns, and at the two edges together."""


@dataclass(frozen=True, eq=False)
class Column:
    """A column: its heading, its cells, and what may become of it in a narrow table.

    It is left out if all its cells are the same and ``same`` is set, and whatever they are if
    ``spare`` is. Cells are shortened if they are `Cut`, before others if the column can be spared,
    and get ``most`` columns at the most.
    """

    name: str
    cells: Sequence[Text | Cut]
    right: bool = False
    same: bool = False
    spare: bool = False
    most: int = 28

    def widest(self) -> int:
        """The width that shows everything on one line."""
        return max([Text(self.name).cell_len, *map(self._whole, self.cells)])

    def easy(self) -> int:
        """The width that shows the cells whole under a heading that wraps."""
        return self._width(self._whole)

    def least(self) -> int:
        """The least width: the heading wraps, and what can be cut is."""
        return self._width(lambda cell: cell.least if isinstance(cell, Cut) else self._whole(cell))

    def short(self) -> int:
        """The width that leaves the texts of tokens whole, and what can be spared as it must be."""
        return self.least() if self.spare else self.easy()

    @property
    def constant(self) -> bool:
        """Whether all cells are the same."""
        return len({_plain(cell) for cell in self.cells}) == 1

    @property
    def folded(self) -> Column:
        """The column with its numbers over two lines: after ``..``, or before the error."""
        cells = [cell if isinstance(cell, Cut) else _folded(cell) for cell in self.cells]
        return replace(self, cells=cells)

    def only(self, told: Sequence[bool]) -> Column:
        """Return the column with those of its cells alone."""
        return replace(self, cells=list(compress(self.cells, told)))

    def heading(self, width: int) -> str:
        """Return the heading, in lines of at most that width if its words are no longer."""
        lines = textwrap.wrap(
            self.name, max(1, width), break_long_words=False, break_on_hyphens=False
        )
        return "\n".join(lines)

    def shown(self, width: int) -> list[Text]:
        """Return the cells in that width, those that can be cut so that no two look alike."""
        cuts = [cell for cell in self.cells if isinstance(cell, Cut)]
        texts = iter(cut(cuts, width))
        return [Text(next(texts)) if isinstance(cell, Cut) else cell for cell in self.cells]

    def _whole(self, cell: Text | Cut) -> int:
        if isinstance(cell, Cut):
            return min(self.most, cell.widest)
        return max(Text(line).cell_len for line in cell.plain.split("\n"))

    def _width(self, of: Callable[[Text | Cut], int]) -> int:
        return max([0, *map(len, self.name.split()), *map(of, self.cells)])


@dataclass(frozen=True, eq=False)
class Fitted:
    """The columns of one table that fit, those that say the same of all rows, those left out."""

    columns: list[Column]
    same: list[Column]
    missing: list[Column]
    fits: bool


def print_columns(
    console: Console, main: Sequence[Column], more: Sequence[Column] = (), repeated: int = 2
) -> None:
    """Print a table of the main columns and of as many more as fit, then tables of the rest.

    Each further table begins with the first ``repeated`` main columns, and has the rows that it
    says something of.
    """
    for fitted in laid_out(main, more, console.width, repeated):
        _print(console, fitted.columns)
        said = [(column.name, _plain(column.cells[0])) for column in fitted.same]
        for title, parts in (
            ("the same for all", [f"{name} {value}" for name, value in said if value]),
            ("no row shown has a value for", [name for name, value in said if not value]),
            (
                f"{console.width} columns have no room for",
                [column.name for column in fitted.missing],
            ),
        ):
            if parts:
                print_line(console, f"{title}: {', '.join(parts)}", style="dim")


def laid_out(
    main: Sequence[Column], more: Sequence[Column], width: int, repeated: int = 2
) -> list[Fitted]:
    """Return the tables of `print_columns`."""
    head, rest = list(main), list(more)
    empty: list[Column] = []
    if needed([*head, *rest], Column.widest) > width:
        empty = [column for column in rest if column.constant and not _plain(column.cells[0])]
        rest = [column for column in rest if column not in empty]
    tables: list[Fitted] = []
    while head:
        least = 1 if tables else 0
        for count in range(len(rest), least - 1, -1):
            found = fitted([*head, *rest[:count]], width)
            if found.fits:
                break
        tables.append(found)
        rest = rest[count:]
        cells = zip(*(column.cells for column in rest), strict=True)
        told = [any(map(_plain, row)) for row in cells]
        rest = [column.only(told) for column in rest]
        head = [column.only(told) for column in main[:repeated]] if rest else []
    return [replace(tables[0], same=[*tables[0].same, *empty]), *tables[1:]]


def fitted(columns: Sequence[Column], width: int) -> Fitted:
    """Return what remains of columns in a table of that width."""
    kept = list(columns)
    same: list[Column] = []
    missing: list[Column] = []

    def fit(one: Callable[[Column], int]) -> bool:
        return needed(kept, one) <= width

    for column in reversed(columns):
        if column.same and column.constant and not fit(Column.easy):
            kept.remove(column)
            same.insert(0, column)
    for column in reversed(columns):
        if column.spare and column in kept and not fit(Column.short):
            kept.remove(column)
            missing.insert(0, column)
    if not fit(Column.short):
        kept = [column.folded for column in kept]
    return Fitted(kept, same, missing, fit(Column.short))


def needed(columns: Sequence[Column], width: Callable[[Column], int]) -> int:
    """Return the width of a table whose columns have these widths."""
    return sum(map(width, columns)) + _GAP * len(columns)


def _print(console: Console, columns: Sequence[Column]) -> None:
    """Print a table; the width that is left goes to the texts first, then to the headings."""
    widths = [column.least() for column in columns]
    least = needed(columns, Column.least)
    left = max(0, console.width - least)
    texts = [any(isinstance(cell, Cut) for cell in column.cells) for column in columns]
    for place in sorted(range(len(columns)), key=lambda place: not texts[place]):
        more = max(0, min(left, columns[place].widest() - widths[place]))
        widths[place] += more
        left -= more
    table = empty_table()
    for column, room in zip(columns, widths, strict=True):
        heading = Text(column.heading(room))
        table.add_column(
            heading, justify="right" if column.right else "left", no_wrap=True, width=room
        )
    shown = (column.shown(room) for column, room in zip(columns, widths, strict=True))
    for cells in zip(*shown, strict=True):
        table.add_row(*cells)
    before, console.width = console.width, max(console.width, least)  # the terminal may wrap lines
    console.print(table)
    console.width = before


def text_cells(texts: Sequence[str], style: Callable[[str], str] = lambda text: "") -> list[Text]:
    """Return the cells of a column of texts, made safe."""
    return [Text(plain(text), style=style(text)) for text in texts]


def wrapped_cells(texts: Sequence[str], width: int, style: str = "") -> list[Text]:
    """Return the cells of a column of sentences, made safe, in lines of at most that width."""
    lines = (textwrap.wrap(plain(text), max(1, width)) for text in texts)
    return [Text("\n".join(parts), style=style) for parts in lines]


def _plain(cell: Text | Cut) -> str:
    return cell.text if isinstance(cell, Cut) else cell.plain


def _folded(cell: Text) -> Text:
    text = re.sub(r" \.\. ", " ..\n", cell.plain)
    return Text(re.sub(r" (?=[±~] )", "\n", text), style=cell.style)
