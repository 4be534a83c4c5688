"""The question that certifiers answer: a readout on a domain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geom.domains import Domain
from geom.errors import InputError
from geom.readout import Readout
from geom.rounding import Floats


@dataclass(frozen=True, eq=False)
class Problem:
    """The question whether some ``x`` in ``domain`` gives a token a positive margin.

    Raises InputError when the domain has another dimension than the readout.
    """

    readout: Readout
    domain: Domain

    def __post_init__(self) -> None:
        if self.domain.d != self.readout.d:
            raise InputError(
                f"domain {self.domain} has dimension {self.domain.d}, the readout {self.readout.d}"
            )

    @cached_property
    def homogeneous(self) -> bool:
        """Whether lengths do not matter: no bias tells tokens apart, so margins scale with x."""
        return not self.readout.has_bias

    def differences(self, token: int, others: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """``a_j = w_j - w_t`` (n, d) and ``c_j = b_j - b_t`` (n,) in float64, each rounded once.

        The biases are `Readout.b`, which have a shift of the final norm rounded in them.
        """
        W, b = self.readout.W, self.readout.b
        return W[others] - W[token], b[others] - b[token]

    def margins(self, token: int, x: Floats) -> Floats:
        """``logit_t(x) - logit_j(x)`` for every j (V,) in float64; infinity at ``token`` itself."""
        logits = self.readout.logits(x)
        margins = logits[token] - logits
        margins[token] = np.inf
        return np.asarray(margins)
