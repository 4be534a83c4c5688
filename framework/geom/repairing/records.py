"""What a repair comes to, as records."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, ClassVar

from geom.files.replacing import replacing
from geom.model.readout import Readout
from geom.model.row_file import RowFile
from geom.numbers.arrays import Floats
from geom.reprs import short_repr
from geom.text import TokenKind


@dataclass(frozen=True, slots=True)
class RepairedToken:
    """A token that the new rows make speakable, and how far its row moved.

    Lengths are those of the rows with the norm's scale folded in, as the domain sees them: the unit
    of the measure ``perturbation``.

    Attributes
    ----------
    token_id : int
        The token.
    token : str or None
        Its text, None without a tokenizer.
    token_kind : TokenKind or None
        Its kind.
    moved : float
        How far its row moved; 0 if the other rows' moves were enough.
    of_median : float
        The same, over the median length of all rows.
    of_nearest : float or None
        The same, over the distance from its old row to the nearest other one; None if that is 0.
    alone_at_least : float
        A proven lower bound on the change that its row would need if no other row changed; 0 if
        none is proven.
    margin : float
        The largest margin that is proven with the new rows, in logits, rounded down.
    x : ndarray of shape (d,), float64
        The point of the domain at which it wins by that margin.
    """

    token_id: int
    _: KW_ONLY
    token: str | None
    token_kind: TokenKind | None
    moved: float
    of_median: float
    of_nearest: float | None
    alone_at_least: float
    margin: float
    x: Floats

    __repr__ = short_repr

    def as_dict(self) -> dict[str, Any]:
        """Return the record in the form written as JSON.

        Returns
        -------
        dict
            ``"result": "repaired"`` and the fields by name, without the point.
        """
        return {
            "result": "repaired",
            "token_id": self.token_id,
            "token": self.token,
            "token_kind": self.token_kind,
            "moved": self.moved,
            "of_median": self.of_median,
            "of_nearest": self.of_nearest,
            "alone_at_least": self.alone_at_least,
            "margin": self.margin,
        }


@dataclass(frozen=True, slots=True)
class UnrepairedToken:
    """A token whose row is left as it is, and why.

    Attributes
    ----------
    token_id : int
        The token.
    token : str or None
        Its text, None without a tokenizer.
    token_kind : TokenKind or None
        Its kind.
    why : str
        What no row was found for.
    found : float or None
        The shortest change that was found for it, None if none was.
    alone_at_least : float
        A proven lower bound on the change that its row needs as long as no other row changes; 0 if
        none is proven.
    """

    token_id: int
    _: KW_ONLY
    token: str | None
    token_kind: TokenKind | None
    why: str
    found: float | None
    alone_at_least: float

    __repr__ = short_repr

    def as_dict(self) -> dict[str, Any]:
        """Return the record in the form written as JSON.

        Returns
        -------
        dict
            ``"result": "left"`` and the fields by name.
        """
        return {
            "result": "left",
            "token_id": self.token_id,
            "token": self.token,
            "token_kind": self.token_kind,
            "why": self.why,
            "found": self.found,
            "alone_at_least": self.alone_at_least,
        }


@dataclass(frozen=True, eq=False)
class Repair:
    """New rows of a head, and what is proven of them: iterate over it for the repaired tokens.

    Attributes
    ----------
    model : str
        The name of the model that was repaired.
    margin : float
        The margin that was asked for, in logits.
    rows : tuple of RepairedToken
        The tokens that are speakable with the new rows, ascending.
    left : tuple of UnrepairedToken
        The tokens that stay as they are, ascending.
    kept : int
        How many other tokens, speakable before, are proven to be speakable still.
    lost : tuple of int
        The tokens, speakable before, of which this is not shown any more.
    unknown : int
        How many other tokens were not known to be speakable before; nothing is said of them.
    median_length : float
        The median length of the rows.
    file : RowFile or None
        The new rows, as the head itself has them; None if no row changed.
    readout : Readout
        The readout with the new rows.
    """

    model: str
    margin: float
    rows: tuple[RepairedToken, ...]
    left: tuple[UnrepairedToken, ...]
    kept: int
    lost: tuple[int, ...]
    unknown: int
    median_length: float
    file: RowFile | None
    readout: Readout

    _shown: ClassVar = ("model", "margin", "rows", "left", "kept", "lost")
    __repr__ = short_repr

    def __iter__(self) -> Iterator[RepairedToken]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def largest_move(self) -> float:
        """How far the row that moved the furthest did."""
        return max((row.moved for row in self.rows), default=0.0)

    def write(self, path: str | Path) -> None:
        """Write the new rows to a safetensors file, which ``?rows=FILE`` reads.

        Parameters
        ----------
        path : str or Path
            The file; a run, a link or a folder is never replaced.

        Raises
        ------
        InputError
            If no row changed, or nothing can be written there.
        """
        from geom.errors import InputError

        if self.file is None:
            raise InputError("no row changed, so there are no rows to write")
        about = {"made_by": "geom repair", "margin": repr(self.margin)}
        with replacing(Path(path)) as file:
            file.write(self.file.packed(about))

    def as_dicts(self) -> Iterator[dict[str, Any]]:
        """Yield the summary, then each token, in the form written as JSON.

        Yields
        ------
        dict
            ``"result"`` is ``summary``, ``repaired``, ``left`` or ``lost``.
        """
        yield {
            "result": "summary",
            "model": self.model,
            "margin": self.margin,
            "repaired": len(self.rows),
            "left": len(self.left),
            "kept": self.kept,
            "lost": len(self.lost),
            "unknown": self.unknown,
            "largest_move": self.largest_move,
            "median_length": self.median_length if math.isfinite(self.median_length) else None,
        }
        yield from (row.as_dict() for row in self.rows)
        yield from (row.as_dict() for row in self.left)
        yield from ({"result": "lost", "token_id": token} for token in self.lost)
