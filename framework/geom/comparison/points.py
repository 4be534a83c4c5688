"""Choose the tokens to compare, and the points to compare them at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from geom.certificates import VerdictName
from geom.comparison.records import ComparedPoint, relative_margin
from geom.errors import InputError, StoreError
from geom.exact.bulk import own_direction
from geom.exact.points import margin_at
from geom.model import domains
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.numbers.arrays import Floats
from geom.numbers.printing import rounded_down, rounded_up
from geom.progress import track_progress
from geom.runs.detection import candidates
from geom.store import Run
from geom.token_spec import ALL, CANDIDATES, asked_ids, listed_ids

BORDERLINE = "borderline"

MULTIPLE = 8.0
"""The default number of `EPSILON` within which a relative margin is borderline."""

EPSILON = 2.0**-23
"""The distance from 1 to the next float32."""

LIMIT = 20
"""The number of tokens compared in a run if none are named: those nearest the border."""

_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class Subject:
    """The subject of a comparison: a problem, and the run that has points for it, if any."""

    problem: Problem
    run: Run | None = None

    @cached_property
    def examined(self) -> dict[int, VerdictName] | None:
        """The tokens of the run with their verdicts, or None if there is no run."""
        if self.run is None:
            return None
        V = self.problem.readout.V
        return {row.token_id: row.verdict for row in self.run.rows() if 0 <= row.token_id < V}

    def point(self, token: int) -> tuple[Floats, str]:
        """Return the token's vector and its origin. Raises InputError if the run lacks the token.

        A point of a domain with a frame is rounded: a precision is asked about float64 vectors.
        """
        if self.run is not None and self.examined is not None:
            if token not in self.examined:
                self.run.row(token)  # raises an error that says what to do
            x = self.run.evidence(token).x
            if x is not None:
                k = self.problem.domain.coordinates
                if x.dtype != np.float64 or x.shape != (k,) or not np.isfinite(x).all():
                    raise StoreError(
                        f"{self.run.path}: the point of {self.run.noun} {token} is not a vector of "
                        f"{k} finite float64 numbers: check the run with geom verify"
                    )
                origin = "witness" if self.examined[token] == "speakable" else "best point"
                return self.problem.domain.vector(x), origin
        x = own_direction(self.problem, token)
        return self.problem.domain.vector(x), "own direction"


def chosen_tokens(
    subject: Subject, asked: str | Iterable[int | str] | None, multiple: float | None
) -> tuple[list[int], tuple[str, ...]]:
    """Return the tokens to compare, ascending, and notes on how they were chosen."""
    examined, V = subject.examined, subject.problem.readout.V
    noun = subject.problem.readout.noun
    known = list(range(V)) if examined is None else list(examined)
    if not known:
        raise InputError(f"the run examined no {noun}: let geom run finish first")
    if asked is None:
        if len(known) <= LIMIT:
            return known, ()
        note = f"the {LIMIT} of {noun.counted(len(known))} nearest the border; 'all' compares all"
        return _nearest(subject, known, LIMIT), (note,)
    if not isinstance(asked, str):
        return asked_ids(asked, subject.problem.readout), ()
    if asked.startswith(BORDERLINE):
        return _borderline(subject, known, asked, multiple)
    if asked == CANDIDATES:
        return candidates(subject.problem, subject.run), ()
    return (known if asked == ALL else asked_ids(asked, subject.problem.readout)), ()


def _borderline(
    subject: Subject, known: Sequence[int], asked: str, multiple: float | None
) -> tuple[list[int], tuple[str, ...]]:
    """Return the tokens within a multiple of float32's epsilon, or the N nearest the border."""
    parts = re.fullmatch(rf"{BORDERLINE}(?:=([1-9]\d{{0,8}}))?", asked)
    if parts is None:
        raise InputError(f"{asked!r}: write borderline, or borderline=20 for the 20 nearest")
    if parts[1]:
        return _nearest(subject, known, int(parts[1])), ()
    multiple = MULTIPLE if multiple is None else multiple
    relative = np.abs(_relative_margins(subject, known))
    within = [token for token, r in zip(known, relative, strict=True) if r <= multiple * EPSILON]
    if within:
        return within, ()
    noun = subject.problem.readout.noun
    least, nearest = rounded_up(float(relative.min()), 2), known[int(relative.argmin())]
    note = (
        f"no {noun}'s relative margin is within {rounded_down(multiple, 6)} epsilons of float32: "
        f"the least is {least}, of {noun} {nearest}; borderline=20 takes the 20 nearest"
    )
    return [], (note,)


def _nearest(subject: Subject, known: Sequence[int], n: int) -> list[int]:
    """Return the n tokens with the smallest relative margins, ascending by id."""
    order = np.argsort(np.abs(_relative_margins(subject, known)), kind="stable")
    return sorted(known[i] for i in order[:n])


def _relative_margins(subject: Subject, tokens: Sequence[int]) -> Floats:
    """Compute the tokens' margins over ``|w||x|`` (n,) at their points, in float64."""
    readout = subject.problem.readout
    height = max(1, _BLOCK_BYTES // (8 * max(readout.V, readout.d)))
    blocks = [tokens[start : start + height] for start in range(0, len(tokens), height)]
    out = []
    for block in track_progress(blocks, "borderline", len(tokens), "tokens", len):
        points = np.array([subject.point(token)[0] for token in block])
        with np.errstate(all="ignore"):
            logits = readout.logits(points)
            each = np.arange(len(block))
            own = logits[each, block].copy()
            logits[each, block] = -np.inf
            scale = np.linalg.norm(points, axis=1) * np.linalg.norm(readout.rows[block], axis=1)
            out.append(relative_margin(own - logits.max(axis=1), scale))
    return np.concatenate(out)


def given_points(
    readout: Readout, tokens: str | Iterable[int | str], at: ArrayLike
) -> list[tuple[int, Floats, str]]:
    """Return the points given, one per token, in the order in which the tokens are listed."""
    ids = listed_ids(tokens, readout)
    for token in ids:
        if ids.count(token) > 1:
            raise InputError(f"id {token} is listed twice: give a point for each id once")
    array = np.asarray(at)
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise InputError(f"points have dtype {array.dtype}: give float32 or float64")
    points = np.array(array, dtype=np.float64, ndmin=2)
    if array.ndim not in (1, 2) or points.shape != (len(ids), readout.d):
        alone = f"({readout.d},) or " if len(ids) == 1 else ""
        raise InputError(
            f"points have shape {array.shape}: for {readout.noun.counted(len(ids))} give {alone}"
            f"({len(ids)}, {readout.d})"
        )
    if not np.isfinite(points).all():
        raise InputError("points hold NaN or infinity: give finite numbers")
    return [(token, x, "given") for token, x in zip(ids, points, strict=True)]


def with_truth(problem: Problem, token: int, x: Floats, origin: str) -> ComparedPoint:
    """Return the point with its exact margin, in an array that no plugin can write to."""
    x = np.array(x, dtype=np.float64)
    x.flags.writeable = False
    margin = margin_at(Problem(problem.readout, domains.unbounded(x.size)), token, x)
    assert margin is not None  # there is more than one token
    readout = problem.readout
    with np.errstate(all="ignore"):
        scale = float(np.linalg.norm(readout.rows[token]) * np.linalg.norm(x))
    return ComparedPoint(
        token,
        token=readout.text(token),
        token_kind=readout.kind(token),
        x=x,
        origin=origin,
        margin=margin,
        scale=scale,
    )
