"""The records of a comparison: a point to look at, and one margin there in one precision."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from geom.numbers.arrays import Floats
from geom.numbers.printing import rounded_down
from geom.reprs import short_repr
from geom.text import TokenKind


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


def relative_margin(margin: Floats, scale: Floats) -> Floats:
    """Return ``margin / scale``, with zero over zero as zero, and NaN as far from the border."""
    with np.errstate(all="ignore"):
        out = np.where(margin == 0.0, 0.0, margin / scale)
    return np.where(np.isnan(out), np.inf, out)
