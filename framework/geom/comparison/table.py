"""The result of a comparison: tokens at points, with a cell for each one in each arithmetic."""

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
    """The margin of one token in one precision.

    Attributes
    ----------
    token_id : int
        The token.
    token : str or None
        Its text.
    precision : str
        The precision's name with its options.
    margin : float or None
        The margin in logits, None if the plugin gave no answer, NaN if its arithmetic produced
        NaN.
    argmax_id : int or None
        The winner in this precision.
    sign : int or None
        The margin's sign, None if the margin is None or NaN.
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
        """The margin in few digits, followed by ``(wrong)`` if its sign is not the exact sign."""
        if self.margin is None:
            return "-"
        return rounded_down(self.margin) + ("" if self.agrees else " (wrong)")

    @property
    def proven(self) -> bool:
        """Whether the precision's own error radius proves its sign."""
        if self.margin is None or self.error is None or self.sign is None:
            return False
        return self.error < abs(self.margin) or self.error == self.margin == 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the row in the form written as JSON.

        Returns
        -------
        dict
            The fields except ``error``; None for a margin that is not finite.
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
        The origin of the point, in words.
    margin : Fraction
        The exact margin, in logits.
    scale : float
        ``|w||x|`` in float64, which rounding errors are proportional to.
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
        The tokens, each at a point.
    precisions : dict of str to float
        Names with their unit roundoffs, coarse to fine; NaN for an unknown roundoff.
    rows : tuple of ComparisonRow
        One row per point and precision.
    claims : tuple of SolverClaim, optional
        The findings that a solver returned, if one was asked.
    notes : tuple of str, optional
        What went wrong, and which tokens were left out.
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
        """Render one row per point: its exact margin, and the margin in each precision."""
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
            raise InputError(f"token {token} in {precision!r} was not compared") from None

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


def relative_margin(margin: Floats, scale: Floats) -> Floats:
    """Return ``margin / scale``, with zero over zero as zero, and NaN as far from the border."""
    with np.errstate(all="ignore"):
        out = np.where(margin == 0.0, 0.0, margin / scale)
    return np.where(np.isnan(out), np.inf, out)
