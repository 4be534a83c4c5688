"""The question that certifiers answer: a readout together with a domain."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from geom.errors import InputError
from geom.machine import memory
from geom.model.domains import Domain
from geom.model.folding import fold_shift
from geom.model.readout import Readout
from geom.model.rows import Rows, size
from geom.numbers.arrays import Floats, Ids
from geom.reprs import short_repr

_PLAIN = 256
"""Rows and biases from ``2**-256`` to ``2**256`` are not rescaled."""


@dataclass(frozen=True, eq=False)
class Problem:
    """The question of whether some ``x`` in a domain gives a token a positive margin.

    Attributes
    ----------
    readout : Readout
        The weights.
    domain : Domain
        The set that x ranges over.
    exact : Problem, optional
        The question that this one puts in coordinates, with rounded rows; see `in_coordinates`.

    Raises
    ------
    InputError
        If the domain and the readout have different dimensions.
    """

    readout: Readout
    domain: Domain
    exact: Problem | None = None

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if self.domain.d != self.readout.d:
            raise InputError(
                f"domain {self.domain} has dimension {self.domain.d}, the readout {self.readout.d}"
            )

    @cached_property
    def homogeneous(self) -> bool:
        """Whether lengths do not matter: no bias tells tokens apart, so margins scale with x.

        They do on a domain with a frame, which need not contain the origin.
        """
        plain = self.domain.frame is None and self.domain.shape != "simplex"
        return plain and not self.readout.has_bias

    @property
    def asked(self) -> Problem:
        """The question that is to be answered: this one, or the one it puts in coordinates."""
        return self if self.exact is None else self.exact

    @cached_property
    def in_coordinates(self) -> Problem:
        """The same question about the coordinates of an ellipsoid; otherwise this one.

        It is about a ball and an ordinary readout, so every solver for a ball serves an ellipsoid:
        a point and weights that answer it answer this one. Only its rows and biases, which are
        products with the frame, are rounded, so it is `asked` that a proof is about.
        """
        frame = self.domain.frame
        if frame is None or self.domain.shape == "simplex":
            return self
        V, k = self.readout.V, frame.coordinates
        memory.check_memory(8 * V * k, f"W of {V} x {k} along the axes of an ellipsoid")
        rows, b = np.empty((V, k)), np.array(self.readout.b)
        with np.errstate(over="ignore", invalid="ignore"):
            for part, block in self.readout.rows.blocks(1 << 20):
                rows[part] = block @ frame.axes.T
                if frame.centre is not None:
                    b[part] += block @ frame.centre
        rows.flags.writeable = b.flags.writeable = False
        like = self.readout
        readout = Readout(
            Rows.of(rows),
            b,
            tokens=like.tokens,
            kinds=like.kinds,
            source=like.source,
            noun=like.noun,
        )
        return Problem(readout, self.domain.plain, exact=self)

    @cached_property
    def exponent(self) -> int:
        """The exponent e such that margins of `unit` times ``2**e`` are the margins of this one.

        It is 0 if rows and biases have a size whose squares float64 holds, and for a question that
        puts another in coordinates. If taking out the whole
        exponent would round the smallest of them, half of it is taken out; if that rounds them
        too, 0.
        """
        if self.exact is not None:
            return 0
        rows, biases = self.readout.rows, (self.readout.b, self.readout.offset)
        exponent = math.frexp(max(rows.largest, *map(size, biases)))[1]
        shift = self.readout.shift
        if shift is not None and not np.abs(shift.rounded).max() < 2.0**_PLAIN:
            return 0
        if abs(exponent) <= _PLAIN:
            return 0
        for taken in (exponent, exponent // 2):
            if all(_divides(taken, array) for array in biases) and all(
                _divides(taken, block) for _, block in rows.blocks()
            ):
                return taken
        return 0

    @cached_property
    def unit(self) -> Problem:
        """The same question with rows and biases over ``2**exponent``, exactly; often this itself.

        The same points and weights answer both, and in the scaled one neither squares nor sums
        overflow.
        """
        if self.exponent == 0:
            return self
        rows = self.readout.rows.over(self.exponent)
        offset = np.ldexp(self.readout.offset, -self.exponent)
        b, shift = offset, self.readout.shift
        if shift is not None:  # fold again: the rounded shift may have underflowed
            b = np.concatenate(
                [fold_shift(block, shift.rounded, offset[part]) for part, block in rows.blocks()]
            )
            shift = replace(shift, bias=offset)
        for array in (b, offset):
            array.flags.writeable = False
        return Problem(replace(self.readout, rows=rows, b=b, shift=shift), self.domain)

    def differences(self, token: int, others: Ids) -> tuple[Floats, Floats]:
        """Subtract a token's row and bias from those of other tokens.

        Parameters
        ----------
        token : int
            The token t.
        others : ndarray of shape (n,), int64
            The other tokens j.

        Returns
        -------
        a : ndarray of shape (n, d), float64
            The differences ``w_j - w_t``, each entry rounded once.
        c : ndarray of shape (n,), float64
            The differences ``b_j - b_t`` of `Readout.b`, each rounded once. `Readout.b` itself
            contains the rounding of a shift of the final norm.
        """
        rows, b = self.readout.rows, self.readout.b
        return rows[others] - rows[token], b[others] - b[token]

    def margins(self, token: int, x: Floats) -> Floats:
        """Compute a token's margin over every other token at a point, in float64.

        Parameters
        ----------
        token : int
            The token t.
        x : ndarray of shape (k,), float64
            The point.

        Returns
        -------
        ndarray of shape (V,), float64
            ``logit_t(x) - logit_j(x)`` for every j, in logits; infinity at ``token`` itself.
        """
        logits = self.readout.logits(self.domain.vector(x))
        margins = logits[token] - logits
        margins[token] = np.inf
        return np.asarray(margins)


def _divides(exponent: int, values: Floats) -> bool:
    """Return whether ``values`` over ``2**exponent`` are floats with the same digits."""
    return bool((np.ldexp(np.ldexp(values, -exponent), exponent) == values).all())
