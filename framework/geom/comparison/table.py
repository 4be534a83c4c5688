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

    ``margin`` is None where the plugin gave no answer, and NaN where its arithmetic came to that.
    ``sign`` is the margin's sign, None where it has none, and ``agrees`` whether it is the exact
    one. ``error`` is the radius that the precision itself claims around its margin, where it does.
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
        """The row as JSON has it: without ``error``, and null for what is no finite number."""
        out = asdict(self)
        del out["error"]
        if self.margin is not None and not math.isfinite(self.margin):
            out["margin"] = None
        return out


@dataclass(frozen=True, eq=False)
class ComparedPoint:
    """A token at a point ``x`` (d,), which has ``origin``; ``margin`` is the exact one there.

    ``scale`` is ``|w||x|``, in float64: what rounding errors grow with.
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

    ``precisions`` are names with their unit roundoffs, coarse to fine; NaN where one is not known.
    ``claims`` say what a solver returned, where one was asked, ``notes`` what went wrong on the
    way and which tokens were left out.
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
        """One token in one precision. Raises InputError where the comparison has it not."""
        try:
            return self._cells[token, precision]
        except KeyError:
            raise InputError(f"token {token} in {precision!r} was not compared") from None

    def least(self) -> dict[int, str | None]:
        """The coarsest precision that is right on each token, and so is every finer one.

        A coarse one may be right by luck, which is why the finer ones must bear it out. None where
        there is none. One that gave no answer at all counts neither way.
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
        """The rows as a DataFrame, a column a field. Raises InputError without pandas."""
        return frame(self.rows, list(ComparisonRow.__dataclass_fields__))

    def plot(self, path: str | Path) -> None:
        """Draw margin against unit roundoff to a .png or .svg file, see `geom.comparison.plot`.

        Raises InputError without matplotlib, for another ending, and where it cannot be written.
        """
        from geom.comparison.plot import plot_comparison

        plot_comparison(self, Path(path))


def relative_margin(margin: Floats, scale: Floats) -> Floats:
    """``margin / scale``, zero over zero taken for zero, and nonsense for far from the border."""
    with np.errstate(all="ignore"):
        out = np.where(margin == 0.0, 0.0, margin / scale)
    return np.where(np.isnan(out), np.inf, out)
