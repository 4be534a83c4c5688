"""The few rows that a slow arithmetic must evaluate, chosen by a proven bound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geom import Floats, Readout
from geom_plugins.precisions.bounds import EXACT, FLOAT64, logit_errors


def rivals(readout: Readout, token: int, x: Floats) -> NDArray[np.intp]:
    """Return the ids, ascending, that include the token's largest rival, both exact and computed.

    All logits are computed in float64, with a bound ``e`` on the error of each, which also holds
    for an arithmetic at least as precise as float64. Its logit and float64's are at most ``2 e``
    apart, and ``3 e`` leaves room for the rounding of the ends: a row whose upper end lies below
    another's lower end is not the largest. Coordinates in which x is 0 do not matter, and of rows
    that agree in the other coordinates only the first is kept, since they have the same logit: at
    x = 0 all rows are alike. A shift of the final norm makes all coordinates matter.
    """
    with np.errstate(all="ignore"):
        logits = readout.logits(x)
        slop = logit_errors(readout.row_norms, x, readout.b, inputs=EXACT, sums=FLOAT64)
        slop = 3.0 * (slop + readout.bias_errors)
        low, high = logits - slop, logits + slop
    unknown = ~(np.isfinite(low) & np.isfinite(high))
    low[unknown], high[unknown] = -np.inf, np.inf
    low[token] = high[token] = -np.inf
    rows: NDArray[np.intp] = np.flatnonzero(high >= low.max())
    rows = rows[rows != token]
    if rows.size < 2:
        return rows
    live = np.flatnonzero(x) if readout.shift is None else np.arange(readout.d)
    keys = np.column_stack([readout.b[rows], readout.rows[rows][:, live]])
    texts = np.ascontiguousarray(keys).view([("", f"V{keys.shape[1] * 8}")]).ravel()
    _, first = np.unique(texts, return_index=True)
    return rows[np.sort(first)]
