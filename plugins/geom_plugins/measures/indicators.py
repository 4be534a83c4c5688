"""``row-norm``, ``centroid-distance``, ``unused-cosine``: cheap signs of untrained tokens.

Rows that training never reached stay short, stay near the mean row, or stay alike. S. Land and
M. Bartolo, Fishing for Magikarp: Automatically Detecting Under-trained Tokens in Large Language
Models, EMNLP 2024, find candidates by such signs; A. Grivas, N. Bogoychev and A. Lopez, Low-Rank
Softmax Can Have Unargmaxable Classes in Theory but Rarely in Practice, ACL 2022, look at lengths.
These signs see a row and a mean, and nothing of the polytope; they are here to be compared with the
measures that see it.

Rows are those of the readout, with the norm's scale folded in. A shift of all rows changes no
verdict, so distance and cosine are taken from the mean row; the length of a row is not shifted. All
is computed in float64, with some d roundings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from geom import (
    Finding,
    Floats,
    Ids,
    InputError,
    Measure,
    Measurement,
    NoOptions,
    Problem,
    Readout,
    hookimpl,
    parse_tokens,
)

NEVER = frozenset(rf"\x{byte:02x}" for byte in [0xC0, 0xC1, *range(0xF5, 0x100)])
"""The bytes that no text in UTF-8 contains, as tokens spell them (RFC 3629, section 1)."""


@dataclass(frozen=True)
class UnusedOptions:
    """Which rows are known to be unused."""

    unused: Annotated[
        str,
        Meta(
            description="tokens that no text has, as in 5,9,100-120 or @FILE; if empty, those the "
            "tokenizer calls unused or padding, and bytes that UTF-8 never uses"
        ),
    ] = ""


def row_norm(problem: Problem, token: int, prior: Finding, options: NoOptions) -> Measurement:
    """Measure ``|w_t|``."""
    return Measurement(float(np.linalg.norm(problem.readout.rows[token])))


def centroid_distance(
    problem: Problem, token: int, prior: Finding, options: NoOptions
) -> Measurement:
    """Measure ``|w_t - mean_j w_j|``."""
    return Measurement(float(np.linalg.norm(_centred(problem.readout, np.array([token])))))


def unused_cosine(
    problem: Problem, token: int, prior: Finding, options: UnusedOptions
) -> Measurement:
    """Measure the cosine of ``w_t`` and the mean of the unused rows, both seen from the mean row.

    The token itself does not count among the unused. The cosine is NaN if one of the two has no
    length. Raises InputError if no other row is known to be unused.
    """
    readout = problem.readout
    others = unused(readout, options.unused)
    others = others[others != token]
    if not others.size:
        raise InputError(
            "no row is known to be unused: name some, as in -o measure.unused-cosine.unused=5,9"
        )
    own = _centred(readout, np.array([token]))[0]
    mean = _centred(readout, others).mean(axis=0)
    lengths = float(np.linalg.norm(own) * np.linalg.norm(mean))
    if lengths == 0.0:
        return Measurement(math.nan, note="a row that is the mean of all has no direction")
    return Measurement(float(own @ mean) / lengths)


def unused(readout: Readout, spec: str) -> Ids:
    """Return the ids (n,) that ``spec`` lists or, if it is empty, those known to be unused."""
    if spec:
        return np.array(parse_tokens(spec, readout.V, readout.noun), dtype=np.int64)
    kinds = readout.kinds or ()
    known = [
        token
        for token, kind in enumerate(kinds)
        if kind in ("unused", "padding") or (kind == "byte" and readout.text(token) in NEVER)
    ]
    return np.array(known, dtype=np.int64)


def _centred(readout: Readout, tokens: Ids) -> Floats:
    """Return the rows (n, d) minus the mean of all rows."""
    return readout.rows[tokens] - readout.rows.mean


@hookimpl
def geom_measures() -> Iterator[Measure[Any]]:
    yield Measure(
        "row-norm",
        "length of the token's row",
        row_norm,
        NoOptions,
        unit="row units",
        quick=True,
    )
    yield Measure(
        "centroid-distance",
        "distance of the token's row from the mean row",
        centroid_distance,
        NoOptions,
        unit="row units",
        quick=True,
    )
    yield Measure(
        "unused-cosine",
        "cosine to the mean of rows known to be unused",
        unused_cosine,
        UnusedOptions,
        unit="cosine",
        quick=True,
    )
