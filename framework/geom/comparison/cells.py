"""Margins in every arithmetic: the cells of a comparison, even if a plugin fails."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial

from geom.comparison.records import ComparedPoint, ComparisonRow
from geom.errors import Raised
from geom.model.readout import Readout
from geom.plugins.arithmetics import Arithmetic
from geom.progress import track_progress


def coarse_to_fine(
    arithmetics: Iterable[Arithmetic],
) -> tuple[list[Arithmetic], dict[str, float], tuple[str, ...]]:
    """Sort the arithmetics from coarse to fine; return their unit roundoffs by name, and notes.

    The roundoff of a precision that cannot say it is NaN: it sorts first, and a note gives the
    reason.
    """
    found, faults = [], []
    for item in arithmetics:
        roundoff = item.plugin.look(item.roundoff, "roundoff")
        if isinstance(roundoff, Raised):
            faults.append(f"precision {item.name} has no unit roundoff: {roundoff}")
            roundoff = math.nan
        found.append((item, roundoff))
    found.sort(key=lambda pair: (-math.inf if math.isnan(pair[1]) else -pair[1], pair[0].name))
    roundoffs = {item.name: roundoff for item, roundoff in found}
    return [item for item, _ in found], roundoffs, tuple(faults)


def rows_of(
    readout: Readout, arithmetics: Sequence[Arithmetic], points: Sequence[ComparedPoint]
) -> tuple[tuple[ComparisonRow, ...], tuple[str, ...]]:
    """Compute every cell, by token and then in the order given, and a note per kind of failure.

    A precision sees all points before the next precision does, because it may cache its rounded
    weights.
    """
    work = [(i, j) for j in range(len(arithmetics)) for i in range(len(points))]
    cells: dict[tuple[int, int], ComparisonRow] = {}
    failed: dict[tuple[str, str], list[int]] = {}
    for i, j in track_progress(work, "compare", len(work), "margins"):
        point, name = points[i], arithmetics[j].name
        cell = arithmetics[j].plugin.look(partial(_cell, readout, arithmetics[j], point), "margin")
        if isinstance(cell, Raised):
            failed.setdefault((name, str(cell)), []).append(point.token_id)
            cell = ComparisonRow(
                point.token_id,
                token=point.token,
                precision=name,
                margin=None,
                argmax_id=None,
                sign=None,
                agrees=False,
            )
        cells[i, j] = cell
    notes = tuple(
        f"precision {name} raised {reason}: {readout.noun} {tokens[0]}"
        + (f" and {len(tokens) - 1} more" if len(tokens) > 1 else "")
        for (name, reason), tokens in failed.items()
    )
    return tuple(cells[key] for key in sorted(cells)), notes


def _cell(readout: Readout, arithmetic: Arithmetic, point: ComparedPoint) -> ComparisonRow:
    """Compute the cell of one precision at one point."""
    found = arithmetic.margin(readout, point.token_id, point.x)
    margin = found.margin
    sign = None if math.isnan(margin) else (margin > 0.0) - (margin < 0.0)
    return ComparisonRow(
        point.token_id,
        token=point.token,
        precision=arithmetic.name,
        margin=margin,
        argmax_id=found.argmax_id,
        sign=sign,
        agrees=sign == point.sign,
        error=found.error,
    )
