"""Leads that rounding loses: what a head answers, in its own arithmetic, where a class should win.

A witness proves that a class is the strict argmax in exact arithmetic. The lead may be smaller
than what the arithmetic of the head keeps, and then its own answer at that point is another class.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from geom.errors import demand
from geom.exact.bulk import own_direction
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.nouns import Noun
from geom.numbers.arrays import Floats, Ids
from geom.numbers.printing import rounded_up
from geom.store import Writer
from geom.text import visible

Choice = Callable[[Floats], Ids]
"""A head's own answers: it takes points (n, d) in float64 and returns ids (n,)."""

_WORK = 2**28
"""The most multiplications: the narrowest leads are asked about first."""


def note_lost_leads(problem: Problem, writer: Writer, choice: Choice | None) -> None:
    """Note of each speakable row whether the head itself answers otherwise at the witness.

    ``choice`` is the answer of a model in memory. Without one, rows that are not tokens are scored
    in float64 or, if the head is narrower, float32; a model of tokens computes in too many types.
    Of many rows, those of the narrowest leads are asked about.
    """
    readout, run = problem.readout, writer.run
    if choice is None and readout.noun == Noun.TOKEN:
        return
    most = max(1, _WORK // (readout.V * readout.d))
    rows = sorted(run.rows("speakable"), key=lambda row: row.margin_lower or 0.0)[:most]
    if not rows:
        return
    points = np.array([_witness(problem, writer, row.token_id) for row in rows])
    if choice is None:
        who, answers = _scores(readout), _chosen(readout, points)
    else:
        who, answers = "the model itself", demand("the model", lambda: choice(points))
    lost = [(row, int(j)) for row, j in zip(rows, answers, strict=True) if j != row.token_id]
    if not lost:
        return
    noun = readout.noun
    writer.remark(
        {
            row.token_id: f"rounding loses its lead: at the witness {who} answers "
            f"{noun} {j}{_text(readout, j)}"
            for row, j in lost
        }
    )
    widest = max(row.margin_lower or 0.0 for row, _ in lost)
    writer.warn(
        f"{noun.counted(len(lost))} {'wins' if len(lost) == 1 else 'win'} only in exact "
        f"arithmetic: rounding loses a lead of {rounded_up(widest)} or less, and at the witness "
        f"{who} answers another {noun}"
    )


def _witness(problem: Problem, writer: Writer, token: int) -> Floats:
    """Return the witness (d,) of a speakable token."""
    x = writer.run.evidence(token).x
    return problem.domain.vector(own_direction(problem, token) if x is None else x)


def _type(readout: Readout) -> type[np.floating]:
    """Return the type to score in: a head that is narrower than float64 is used in float32."""
    return np.float64 if readout.head.dtype.itemsize >= 8 else np.float32


def _scores(readout: Readout) -> str:
    return f"a product in {np.dtype(_type(readout)).name}"


def _chosen(readout: Readout, points: Floats) -> Ids:
    """Return the first highest row at each point, scored in the head's own type."""
    kind = _type(readout)
    x, best = points.astype(kind), np.full(len(points), -np.inf, dtype=kind)
    chosen = np.zeros(len(points), dtype=np.int64)
    for part, rows in readout.rows.blocks():
        with np.errstate(over="ignore", invalid="ignore"):
            scores = x @ rows.astype(kind).T + readout.b[part].astype(kind)
        highest = scores.argmax(axis=1)
        value = scores[np.arange(len(x)), highest]
        higher = value > best
        best[higher], chosen[higher] = value[higher], highest[higher] + part.start
    return chosen


def _text(readout: Readout, token: int) -> str:
    text = readout.text(token)
    return "" if text is None else f" {visible(text)}"
