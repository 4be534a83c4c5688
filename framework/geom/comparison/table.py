"""The result of a comparison: tokens at points, with a cell for each one in each arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from geom.comparison.claims import SolverClaim
from geom.comparison.records import ComparedPoint, ComparisonRow
from geom.errors import InputError
from geom.nouns import Noun
from geom.numbers.printing import rounded_down
from geom.reprs import short_repr
from geom.store.frames import frame
from geom.store.notebook import SHOWN, table_html
from geom.text import visible

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class Comparison:
    """Tokens by precisions: iterate over it for its rows, token by token, coarse to fine.

    Attributes
    ----------
    points : tuple of ComparedPoint
        The tokens, each at a point.
    precisions : dict of str to float
        Names with their unit roundoffs, coarse to fine; NaN for an unknown roundoff.
    rows : tuple of ComparisonRow
        One row per point and precision.
    claims : tuple of SolverClaim, optional
        The findings that a solver returned, if one was asked.
    notes : tuple of str, optional
        What went wrong, and which tokens were left out.
    noun : Noun, optional
        What the tokens are called.
    """

    points: tuple[ComparedPoint, ...]
    precisions: dict[str, float]
    rows: tuple[ComparisonRow, ...]
    _: KW_ONLY
    claims: tuple[SolverClaim, ...] = ()
    notes: tuple[str, ...] = ()
    noun: Noun = Noun.TOKEN

    __repr__ = short_repr

    def __iter__(self) -> Iterator[ComparisonRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def _repr_html_(self) -> str:
        """Render one row per point: its exact margin, and the margin in each precision."""
        names = ("id", self.noun, "at", "exact", *self.precisions)
        cells = (
            (
                str(point.token_id),
                visible(point.token, point.token_kind),
                point.origin,
                rounded_down(point.margin),
                *(self._cells[point.token_id, name].shown for name in self.precisions),
            )
            for point in self.points[:SHOWN]
        )
        return table_html(names, cells, len(self.points), "to_pandas()")

    @cached_property
    def _cells(self) -> dict[tuple[int, str], ComparisonRow]:
        return {(row.token_id, row.precision): row for row in self.rows}

    def cell(self, token: int, precision: str) -> ComparisonRow:
        """Look up one token in one precision.

        Parameters
        ----------
        token : int
            The token.
        precision : str
            The precision's name with its options.

        Returns
        -------
        ComparisonRow
            The row of that token and precision.

        Raises
        ------
        InputError
            If the token was not compared in that precision.
        """
        try:
            return self._cells[token, precision]
        except KeyError:
            raise InputError(f"{self.noun} {token} in {precision!r} was not compared") from None

    def least(self) -> dict[int, str | None]:
        """Find, for each token, the coarsest precision that is right along with every finer one.

        A coarse precision may be right by luck, which is why every finer one must be right too. A
        precision that gave no answer counts neither way.

        Returns
        -------
        dict of int to str or None
            The precision's name by token, None if no precision qualifies.
        """
        out: dict[int, str | None] = {}
        for point in self.points:
            found = None
            for name in reversed(self.precisions):
                row = self._cells[point.token_id, name]
                if row.margin is None:
                    continue
                if not row.agrees:
                    break
                found = name
            out[point.token_id] = found
        return out

    def to_pandas(self) -> pandas.DataFrame:
        """Make a DataFrame of the rows, one column per field.

        Returns
        -------
        pandas.DataFrame
            The rows.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        return frame(self.rows, list(ComparisonRow.__dataclass_fields__))

    def plot(self, path: str | Path) -> None:
        """Draw margin against unit roundoff; see `geom.comparison.plot`.

        Parameters
        ----------
        path : str or Path
            A .png or .svg file.

        Raises
        ------
        InputError
            If matplotlib is not installed, the path has another ending, there is nothing to plot,
            or the file cannot be written.
        """
        from geom.comparison.plot import plot_comparison

        plot_comparison(self, Path(path))
