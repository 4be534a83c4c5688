"""The shift of a final norm, kept next to the bias that it is folded into.

A norm that emits ``gamma * x + beta`` before the readout shifts x: ``W (gamma * x + beta) + b`` is
``W' (x + s) + b`` with ``W' = W * gamma`` and ``s = beta / gamma``. Folding the shift into one
bias, ``b' = W' s + b``, rounds it and loses what follows from its form alone: weights with
``sum lam_j (w_j - w_t) = 0`` do not see it, and at ``x = -s`` all tokens tie. A token inside the
hull of the others then has the largest margin 0, and no rounded bias can show that.

So a readout keeps ``beta`` and ``gamma``. They are floats, so ``s`` is a vector of rationals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Self

import numpy as np

from geom.errors import InputError
from geom.model.arrays import check_folded, frozen
from geom.numbers.arrays import Floats, Integers
from geom.numbers.rationals import integers, power_of_two
from geom.numbers.rounding import TINY, UP, U, norm_above
from geom.reprs import short_repr


@dataclass(frozen=True, eq=False)
class Shift:
    """The shift ``s = beta / gamma`` of a final norm, and the biases it is added to.

    Attributes
    ----------
    beta : ndarray of shape (d,), float64
        The norm's shift, finite.
    gamma : ndarray of shape (d,), float64
        The norm's scale, finite, with no entry zero.
    bias : ndarray of shape (V,), float64
        The biases without the shift, finite.
    """

    beta: Floats
    gamma: Floats
    bias: Floats

    __repr__ = short_repr

    @classmethod
    def folded(cls, beta: Floats, gamma: Floats | None, bias: Floats) -> Self | None:
        """Return the shift of a norm, if it has one to keep.

        Parameters
        ----------
        beta : numpy.ndarray of float64, shape (d,)
            What the norm adds after its scale.
        gamma : numpy.ndarray of float64, shape (d,), optional
            The norm's scale; ones if None.
        bias : numpy.ndarray of float64, shape (V,)
            The biases without the shift.

        Returns
        -------
        Shift or None
            None if the shift is zero, or if a scale of zero hides x from it.
        """
        scale = np.ones(len(beta)) if gamma is None else gamma
        if not beta.any() or beta[scale == 0.0].any():
            return None
        return cls(frozen(beta), frozen(np.where(scale == 0.0, 1.0, scale)), frozen(bias))

    def check_shapes(self, V: int, d: int) -> None:
        """Refuse arrays of the wrong shape, and a scale of zero.

        Parameters
        ----------
        V, d : int
            The number of tokens, and the width of the residual stream.

        Raises
        ------
        InputError
            If a shape is wrong, or an entry of gamma is zero.
        """
        for name, length in (("beta", d), ("gamma", d), ("bias", V)):
            array = getattr(self, name)
            check_folded(name, array, 1)
            if array.size != length:
                raise InputError(f"{name} has shape {array.shape}: W needs ({length},)")
        if not self.gamma.all():
            raise InputError("gamma holds a zero: such a coordinate shifts the bias alone")

    @cached_property
    def rounded(self) -> Floats:
        """``s`` (d,), each entry rounded once; infinite if it overflows."""
        with np.errstate(over="ignore", under="ignore"):
            return self.beta / self.gamma

    @cached_property
    def length(self) -> float:
        """An upper bound on ``|s|``."""
        return float(norm_above(np.abs(self.rounded) * (1.0 + 2 * U) + TINY)) * UP

    @cached_property
    def exact(self) -> tuple[Integers, Fraction]:
        """Integers (d,) and a unit; ``s`` is their product."""
        betas, beta_exponent = integers(self.beta)
        gammas, gamma_exponent = integers(self.gamma)
        common = math.lcm(*gammas.tolist())
        numerators = np.empty(len(betas), dtype=object)
        numerators[:] = [b * (common // g) for b, g in zip(betas, gammas, strict=True)]
        return numerators, power_of_two(beta_exponent - gamma_exponent) / common

    @cached_property
    def total(self) -> Fraction:
        """The sum of the entries of ``s``."""
        numerators, unit = self.exact
        return int(numerators.sum()) * unit

    def along(self, mantissas: Integers, exponent: int) -> list[Fraction]:
        """Multiply rows by the shift, exactly.

        Parameters
        ----------
        mantissas : ndarray of shape (n, d), object
            Rows as Python integers.
        exponent : int
            The rows are the mantissas times ``2**exponent``.

        Returns
        -------
        list of Fraction
            ``rows @ s``, one number per row.
        """
        numerators, unit = self.exact
        scale = unit * power_of_two(exponent)
        return [int(product) * scale for product in mantissas @ numerators]
