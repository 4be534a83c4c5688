"""What a comparison comes to: tokens at points, and a cell for each in each arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, asdict, dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geom.comparison.claims import SolverClaim
from geom.errors import InputError
from geom.numbers.arrays import Floats
from geom.numbers.printing import rounded_down
from geom.reprs import short_repr
from geom.store.frames import frame
from geom.store.notebook import SHOWN, table_html
from geom.text import TokenKind, visible

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class ComparisonRow:
    """What one precision says of one token.

    Attributes
    ----------
    token_id : int
        The token.
    token : str or None
        Its text.
    precision : str
        The precision's name, options and all.
    margin : float or None
        The margin in logits, None if the plugin gave no answer, NaN if its arithmetic came to
        that.
    argmax_id : int or None
        The winner that the precision sees.
    sign : int or None
        The margin's sign, None if it has none.
    agrees : bool
        Whether that is the exact sign.
    error : float, optional
        The radius that the precision itself claims around its margin.
    """

    token_id: int
    _: KW_ONLY
    token: str | None
    precision: str
    margin: float | None
    argmax_id: int | None
    sign: int | None
    agrees: bool
    error: float | None = None

    __repr__ = short_repr

    @property
    def shown(self) -> str:
        """The margin in few digits, with ``(wrong)`` where its sign is not the exact one."""
        if self.margin is None:
            return "-"
        return rounded_down(self.margin) + ("" if self.agrees else " (wrong)")

    @property
    def proven(self) -> bool:
        """Whether the precision's own error radius leaves no doubt about its sign."""
        if self.margin is None or self.error is None or self.sign is None:
            return False
        return self.error < abs(self.margin) or self.error == self.margin == 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON has it.

        Returns
        -------
        dict
            The fields but ``error``, None for what is not a finite number.
        """
        out = asdict(self)
        del out["error"]
        if self.margin is not None and not math.isfinite(self.margin):
            out["margin"] = None
        return out


@dataclass(frozen=True, eq=False)
class ComparedPoint:
    """A token at a point, with its exact margin there.

    Attributes
    ----------
    token_id : int
        The token.
    token : str or None
        Its text.
    token_kind : TokenKind or None
        Its kind.
    x : ndarray of shape (d,), float64
        The point.
    origin : str
        Where the point comes from.
    margin : Fraction
        The exact margin, in logits.
    scale : float
        ``|w||x|`` in float64: what rounding errors grow with.
    """

    token_id: int
    _: KW_ONLY
    token: str | None
    token_kind: TokenKind | None
    x: Floats
    origin: str
    margin: Fraction
    scale: float

    __repr__ = short_repr

    @property
    def sign(self) -> int:
        """The exact sign of the margin: 1, 0 or -1."""
        return (self.margin > 0) - (self.margin < 0)

    @property
    def rounded(self) -> float:
        """The exact margin, rounded once to float64."""
        try:
            return float(self.margin)
        except OverflowError:
            return math.copysign(math.inf, self.sign)

    @property
    def relative(self) -> float:
        """The margin over ``|w||x|``, in float64."""
        return float(relative_margin(np.array([self.rounded]), np.array([self.scale]))[0])


@dataclass(frozen=True, eq=False)
class Comparison:
    """Tokens by precisions: iterate over it for its rows, token by token, coarse to fine.

    Attributes
    ----------
    points : tuple of ComparedPoint
        A token each, at a point.
    precisions : dict of str to float
        Names with their unit roundoffs, coarse to fine; NaN if one is not known.
    rows : tuple of ComparisonRow
        A row a point and precision.
    claims : tuple of SolverClaim, optional
        What a solver returned, if one was asked.
    notes : tuple of str, optional
        What went wrong on the way, and which tokens were left out.
    """

    points: tuple[ComparedPoint, ...]
    precisions: dict[str, float]
    rows: tuple[ComparisonRow, ...]
    _: KW_ONLY
    claims: tuple[SolverClaim, ...] = ()
    notes: tuple[str, ...] = ()

    __repr__ = short_repr

    def __iter__(self) -> Iterator[ComparisonRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def _repr_html_(self) -> str:
        """A row a point: its exact margin, and each precision's."""
        names = ("id", "token", "at", "exact", *self.precisions)
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
            The precision's name, options and all.

        Returns
        -------
        ComparisonRow
            What the precision says of the token.

        Raises
        ------
        InputError
            If it was not compared.
        """
        try:
            return self._cells[token, precision]
        except KeyError:
            raise InputError(f"token {token} in {precision!r} was not compared") from None

    def least(self) -> dict[int, str | None]:
        """Find the coarsest precision that is right on each token, and so is every finer one.

        A coarse one may be right by luck, which is why the finer ones must bear it out. One that
        gave no answer at all counts neither way.

        Returns
        -------
        dict of int to str or None
            The precision's name by token, None if there is none.
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
        """Make a DataFrame of the rows, a column a field.

        Returns
        -------
        pandas.DataFrame
            The rows.

        Raises
        ------
        InputError
            Without pandas.
        """
        return frame(self.rows, list(ComparisonRow.__dataclass_fields__))

    def plot(self, path: str | Path) -> None:
        """Draw margin against unit roundoff, see `geom.comparison.plot`.

        Parameters
        ----------
        path : str or Path
            A .png or .svg file.

        Raises
        ------
        InputError
            Without matplotlib, for another ending, and if the file cannot be written.
        """
        from geom.comparison.plot import plot_comparison

        plot_comparison(self, Path(path))


def relative_margin(margin: Floats, scale: Floats) -> Floats:
    """``margin / scale``, zero over zero taken for zero, and nonsense for far from the border."""
    with np.errstate(all="ignore"):
        out = np.where(margin == 0.0, 0.0, margin / scale)
    return np.where(np.isnan(out), np.inf, out)
