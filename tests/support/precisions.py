"""Precisions that tests define: NumPy's floats, Python's fractions, and bad ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from geom import NoOptions, Precision, PrecisionMargin, Readout, hookimpl
from geom.plugins.registry import Plugins
from support.plugins import installed_and

Margin = Callable[[Readout, int, Any, Any], PrecisionMargin]


@dataclass(frozen=True)
class Yielded:
    """A plugin whose hook returns the given precisions."""

    precisions: tuple[Precision[Any], ...]

    @hookimpl
    def geom_precisions(self) -> Iterable[Precision[Any]]:
        return self.precisions


@dataclass(frozen=True)
class Shift:
    """The options of a precision, with one that changes the answer."""

    by: Annotated[float, Meta(description="added to every margin")] = 0.0


def floats(dtype: type[np.floating[Any]]) -> Margin:
    """Return a margin function that computes in one of NumPy's types and sums in order."""

    def margin(readout: Readout, token: int, x: Any, options: Any) -> PrecisionMargin:
        logits = readout.b.astype(dtype)
        for i in range(readout.d):
            logits = logits + readout.W[:, i].astype(dtype) * dtype(x[i])
        rivals = np.delete(logits, token)
        return PrecisionMargin(float(logits[token] - rivals.max()), int(logits.argmax()))

    return margin


def rational(readout: Readout, token: int, x: Any, options: Any) -> PrecisionMargin:
    logits = [
        sum((Fraction(w) * Fraction(v) for w, v in zip(row, x.tolist(), strict=True)), Fraction(b))
        for row, b in zip(readout.W.tolist(), readout.b.tolist(), strict=True)
    ]
    winner = max(range(readout.V), key=lambda j: logits[j])
    margin = min(logits[token] - logits[j] for j in range(readout.V) if j != token)
    return PrecisionMargin(float(margin), winner, 0.0)


def shifted(readout: Readout, token: int, x: Any, options: Shift) -> PrecisionMargin:
    found = rational(readout, token, x, options)
    return PrecisionMargin(found.margin + options.by, found.argmax_id, 0.25)


def precision(
    name: str, margin: Margin, roundoff: float, options: type[Any] = NoOptions
) -> Precision[Any]:
    return Precision(name, "", margin, options, roundoff=lambda _: roundoff)


HALF = precision("half", floats(np.float16), 2.0**-11)
SINGLE = precision("single", floats(np.float32), 2.0**-24)
DOUBLE = precision("double", floats(np.float64), 2.0**-53)
RATIONAL = precision("rational", rational, 0.0)
SHIFTED = precision("shifted", shifted, 2.0**-5, Shift)
USUAL = (RATIONAL, HALF, DOUBLE, SINGLE)
NAMES = ["half", "single", "double", "rational"]


def only(*records: Precision[Any]) -> Plugins:
    """Return the environment's plugins, with these precisions in place of all others."""
    plugins = installed_and(Yielded(records))
    plugins._listed = {
        key: item
        for key, item in plugins._listed.items()
        if key[0] != "precision" or item.record in records
    }
    return plugins
