"""How far apart the numbers of a format lie, and so which differences of logits it keeps.

The numbers of a binary format with p bits lie ``2^(e - p + 1)`` apart from ``2^e`` to ``2^(e+1)``
(Muller et al., Handbook of Floating-Point Arithmetic, section 2.1). Two logits that are at least
one such step apart are still different, and in the same order, once both are rounded to the format;
two that are closer may become equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A binary format: its bits of precision, and the exponents of its smallest and largest."""

    name: str
    bits: int
    least: int
    most: int

    def step(self, size: float) -> float:
        """Return the distance of neighbouring numbers just above ``size``, a normal number."""
        exponent = math.frexp(size)[1] - 1
        return math.ldexp(1.0, max(exponent, self.least) - self.bits + 1)

    def kept_below(self, margin: float) -> float:
        """Return the largest power of two below which no step is longer than a positive margin.

        It is 0 if all steps are longer, and infinite if none is.
        """
        exponent = math.frexp(margin)[1] - 1 + self.bits - 1
        if exponent < self.least:
            return 0.0
        return math.inf if exponent >= self.most else math.ldexp(1.0, exponent + 1)


FORMATS = (
    Format("bfloat16", 8, -126, 127),
    Format("float16", 11, -14, 15),
    Format("float32", 24, -126, 127),
)
"""The formats in which logits are computed, the coarsest first."""
