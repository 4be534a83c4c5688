"""A precision with its options, found by the name that a user types: ``arb?bits=300``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np

from geom.errors import InputError, answered
from geom.files.addresses import split_query
from geom.model.readout import Readout
from geom.numbers.arrays import Floats
from geom.numbers.enclosures import Enclosure
from geom.plugins.chosen import Chosen
from geom.plugins.options import Given
from geom.plugins.records import Precision
from geom.plugins.registry import installed
from geom.plugins.results import PrecisionMargin
from geom.plugins.selection import choose
from geom.reprs import short_repr


@dataclass(frozen=True)
class Arithmetic:
    """A precision with its options, ready to compute.

    Attributes
    ----------
    name : str
        The name as the user gave it, with its options, as in ``arb?bits=300``.
    plugin : Chosen
        The plugin's record, with an instance of its options.
    """

    name: str
    plugin: Chosen[Precision[Any]]

    __repr__ = short_repr

    @property
    def rigorous(self) -> bool:
        """Whether the precision can enclose exact products."""
        return self.plugin.record.products is not None

    def roundoff(self) -> float:
        """Return the unit roundoff of the precision.

        Returns
        -------
        float
            The roundoff, 0 if the precision is exact.

        Raises
        ------
        ValueError
            If the plugin returns a number that is not finite or is negative.
        """
        value = float(self.plugin.record.roundoff(self.plugin.options))
        if not (math.isfinite(value) and value >= 0.0):
            raise ValueError(f"{value} is not a unit roundoff")
        return value

    def memory(self, readout: Readout) -> int:
        """Bound the memory that the precision's margins take in addition to the readout.

        Parameters
        ----------
        readout : Readout
            The weights.

        Returns
        -------
        int
            The bytes, 0 if the precision does not say.
        """
        say = self.plugin.record.memory
        return 0 if say is None else int(say(readout, self.plugin.options))

    def margin(self, readout: Readout, token: int, x: Floats) -> PrecisionMargin:
        """Compute the margin of a token at a point.

        Parameters
        ----------
        readout : Readout
            The weights.
        token : int
            The token.
        x : ndarray of shape (d,), float64
            The point.

        Returns
        -------
        PrecisionMargin
            The margin in logits, the winner and, if known, the error.

        Raises
        ------
        Exception
            Any exception that the plugin raises.
        ValueError
            If the winner is outside the vocabulary.
        """
        with np.errstate(all="ignore"):  # its overflows are part of its answer
            found = answered(
                self.plugin.record.margin(readout, token, x, self.plugin.options), PrecisionMargin
            )
        margin, winner = float(found.margin), index(found.argmax_id)
        error = None if found.error is None else float(found.error)
        if not 0 <= winner < readout.V:
            raise ValueError(f"its winner {winner} is outside the vocabulary")
        return PrecisionMargin(margin, winner, error)

    def products(self, rows: Floats, x: Floats) -> Sequence[Enclosure]:
        """Enclose the exact products of rows and a point.

        Parameters
        ----------
        rows : ndarray of shape (n, k), float64
            The rows.
        x : ndarray of shape (k,), float64
            The point.

        Returns
        -------
        sequence of Enclosure
            One enclosure per row.

        Raises
        ------
        ArithmeticError
            If there is no enclosure, because it overflows or the precision is not rigorous.
        ValueError
            If the plugin does not return one enclosure per row.
        """
        products = self.plugin.record.products
        if products is None:
            raise ArithmeticError(f"{self.plugin.record.name} encloses nothing")
        with np.errstate(all="ignore"):  # the plugin deals with its overflows
            found = products(rows, x, self.plugin.options)
        if len(found) != len(rows):
            raise ValueError(f"{len(found)} enclosures for {len(rows)} rows")
        return found


def find_arithmetic(name: str, given: Given | None = None, *, rigorous: bool = False) -> Arithmetic:
    """Find a precision by name, with its options.

    Parameters
    ----------
    name : str
        The name, followed by options if any, as in ``arb?bits=300``.
    given : mapping of (str, str) to mapping, optional
        Further options, under ``("precision", NAME)``; options in the name take precedence.
    rigorous : bool, optional
        Whether the precision must enclose exact products.

    Returns
    -------
    Arithmetic
        The precision, ready to compute.

    Raises
    ------
    InputError
        If the name or an option is unknown or does not fit, or if ``rigorous`` is true and the
        precision encloses nothing.
    """
    plain, query = split_query(name, f"precision {name!r}")
    values = {**(given or {}).get(("precision", plain), {}), **query}
    (precision,) = choose("precision", [plain], {("precision", plain): values})
    found = Arithmetic(name, precision)
    if rigorous and not found.rigorous:
        records = [item.record for item in installed().listed() if item.kind == "precision"]
        able = ", ".join(record.name for record in records if record.products is not None)
        raise InputError(f"precision {plain} encloses nothing: choose one that does: {able}")
    return found
