"""A precision with its options, by the name that a user gives it: ``arb?bits=300``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np

from geom.errors import InputError
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
        What was asked for, options and all, as in ``arb?bits=300``.
    plugin : Chosen
        The plugin's record, with an instance of its options.
    """

    name: str
    plugin: Chosen[Precision[Any]]

    __repr__ = short_repr

    @property
    def rigorous(self) -> bool:
        """Whether it can enclose exact products."""
        return self.plugin.record.products is not None

    def roundoff(self) -> float:
        """Return its unit roundoff.

        Returns
        -------
        float
            The roundoff, 0 if it is exact.

        Raises
        ------
        ValueError
            If the plugin returns something else.
        """
        value = float(self.plugin.record.roundoff(self.plugin.options))
        if not (math.isfinite(value) and value >= 0.0):
            raise ValueError(f"{value} is no unit roundoff")
        return value

    def memory(self, readout: Readout) -> int:
        """Bound the memory that its margins take besides the readout.

        Parameters
        ----------
        readout : Readout
            The weights.

        Returns
        -------
        int
            Bytes; 0 if it does not say.
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
            Whatever the plugin raises.
        ValueError
            If its winner is outside the vocabulary.
        """
        with np.errstate(all="ignore"):  # its overflows are part of its answer
            found = self.plugin.record.margin(readout, token, x, self.plugin.options)
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
            An enclosure a row.

        Raises
        ------
        ArithmeticError
            If it has none: where it overflows, or if it is not rigorous.
        ValueError
            If the plugin returns another number of enclosures.
        """
        products = self.plugin.record.products
        if products is None:
            raise ArithmeticError(f"{self.plugin.record.name} encloses nothing")
        with np.errstate(all="ignore"):  # its overflows are its own affair
            found = products(rows, x, self.plugin.options)
        if len(found) != len(rows):
            raise ValueError(f"{len(found)} enclosures for {len(rows)} rows")
        return found


def find_arithmetic(name: str, given: Given | None = None, *, rigorous: bool = False) -> Arithmetic:
    """Find a precision by name, with its options.

    Parameters
    ----------
    name : str
        The precision, options and all where wanted, as in ``arb?bits=300``.
    given : mapping of (str, str) to mapping, optional
        Further options, under ``("precision", NAME)``, which those in the name overrule.
    rigorous : bool, optional
        Whether it must enclose exact products.

    Returns
    -------
    Arithmetic
        The precision, ready to compute.

    Raises
    ------
    InputError
        For a name or option that is unknown or does not fit, and for a precision that encloses
        nothing if it must.
    """
    plain, query = split_query(name, f"precision {name!r}")
    values = {**(given or {}).get(("precision", plain), {}), **query}
    (precision,) = choose("precision", [plain], {("precision", plain): values})
    found = Arithmetic(name, precision)
    if rigorous and not found.rigorous:
        records = [item.record for item in installed().listed() if item.kind == "precision"]
        able = ", ".join(record.name for record in records if record.products is not None)
        raise InputError(f"precision {plain} encloses nothing: take one that does: {able}")
    return found
