"""From a readout and a model's logits to the row of a check."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from geom import Agreement, Floats, Readout
from geom_plugins.agreement.logit_fit import FLOAT32, fit


def agreement(what: str, readout: Readout, logits: Floats, unit: float = FLOAT32) -> Agreement:
    """Return whether logits are those of a readout.

    Parameters
    ----------
    what : str
        The model that the logits come from.
    readout : Readout
        The readout. Its notes say what the model does to ``W x + b``.
    logits : ndarray of shape (n, V)
        The logits.
    unit : float, optional
        The distance from 1 to the next number of the type that the model computed in.
    """
    cap, scale = _stated(readout.notes)
    found = fit(readout, logits, unit=unit, cap=cap, scale=scale)
    return Agreement(
        what,
        agrees=found.agrees,
        note="; ".join(found.faults or found.remarks) or None,
        difference=None if math.isnan(found.residual) else found.residual,
    )


def _stated(notes: Iterable[str]) -> tuple[float | None, float | None]:
    """Return the soft cap that notes state, and the scale: NaN if they do not say how large."""
    text = "\n".join(notes)
    cap = re.search(r"caps its logits softly at ([-+.\de]+)", text)
    scale = re.search(r"scales its logits(?: by ([-+.\de]+))?", text)
    return float(cap[1]) if cap else None, float(scale[1] or math.nan) if scale else None
