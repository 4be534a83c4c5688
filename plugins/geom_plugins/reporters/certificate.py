"""``certificate``: verdicts and their proofs, for someone who does not have geom.

A token is a JSON object whose numbers are exact: hexadecimal floats and, in the proof *rational*,
integers of any length. ``docs/certificate.md`` has the format, and two programs that check it with
Python's standard library alone: the verdict, and how likely an unspeakable token is at most.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, BinaryIO

import numpy as np
from msgspec import Meta

from geom import (
    Certificate,
    Finding,
    InputError,
    Reporter,
    Run,
    TokenRow,
    Weights,
    Witness,
    hookimpl,
)
from geom.proofs import probability_bounds, rational_weights
from geom_plugins.reporters.row_options import Wanted

FORMAT = "geom certificate 1"

TEMPERATURE = 1.0
"""The temperature of the bounds on probabilities."""

TWINS = 256
"""The most twins that prove a token's verdict where all tokens are written: of a group of n twins
each would name n - 1 others."""

_ROOM = 1.0 + 2.0**-20
"""Widens a bound on a probability: a stranger corrects and rounds weights in his own way."""


@dataclass(frozen=True)
class CertificateOptions:
    """Which token to write, or the tokens of which verdict."""

    token: Annotated[str, Meta(description="its id or its exact text; empty writes all")] = ""
    verdict: Wanted = None


def write(run: Run, file: BinaryIO, options: CertificateOptions) -> None:
    """Write one JSON object per line, for the token or for each proven token of the verdict.

    Raises InputError for a token that the run did not examine or decide, and for a run on the hull
    of points or on an ellipsoid, whose vectors a certificate does not hold.
    """
    domain = run.domain
    domain.refuse_frame("the certificate for strangers", "check the run with geom verify")
    wanted = run.rows(options.verdict)
    for row in [_one(run, options.token)] if options.token else wanted:
        found = run.certificate(row.token_id)
        if found is not None:
            most = len(run) if options.token else TWINS
            file.write(json.dumps(_certificate(run, row, found, most)).encode() + b"\n")
        elif options.token:
            raise InputError(
                f"{run.noun} {row.token_id} is {row.verdict}: there is no proof to write"
            )


def _one(run: Run, token: str) -> TokenRow:
    """Return the row with that id, or else the row with that text."""
    first, *more = run.named(token)
    if more and token != str(first.token_id):
        raise InputError(
            f"{run.noun.counted(len(more) + 1)} have the text {token!r}: give the id of one"
        )
    return first


def _certificate(run: Run, row: TokenRow, found: Certificate, most: int) -> dict[str, Any]:
    """Return the object of a token, whose weights name at most so many twins."""
    domain = run.settings["domain"]
    out: dict[str, Any] = {
        "format": FORMAT,
        "token_id": row.token_id,
        "token": row.token,
        "verdict": row.verdict,
        "proof": row.proof,
        "V": run.settings["V"],
        "d": run.settings["d"],
        "domain": {key: domain[key] for key in ("name", "shape", "size", "zero_sum")},
        "model": run.model,
        "digest": run.settings["digest"],
    }
    if isinstance(found, Witness):
        return out | {"x": [value.hex() for value in found.x.tolist()]}
    if row.twins or row.proof == "rational":
        exact = _exact(run, row, found, most)
        tokens, values = list(exact), [hex(value) for value in exact.values()]
        cap: float | None = _cap(run, row.token_id, exact)
    else:
        used = found.values > 0.0
        tokens, values = (
            found.indices[used].tolist(),
            [v.hex() for v in found.values[used].tolist()],
        )
        cap = row.probability_upper and min(0.5, row.probability_upper * _ROOM)
    return out | {
        "weights": {"tokens": tokens, "values": values},
        "probability_upper": None if cap is None else cap.hex(),
        "temperature": TEMPERATURE.hex(),
    }


def _exact(run: Run, row: TokenRow, found: Weights, most: int) -> dict[int, int]:
    """Return integer weights that prove a token unspeakable: equal ones if it has twins.

    The run keeps rounded ones; the error says so if the rows that correct them are not at hand.
    """
    try:
        problem = run.problem
    except InputError as error:
        what = f"{run.noun} {row.token_id} is unspeakable: its exact weights are made from its rows"
        error.args = (f"{what}, and {error}", *error.args[1:])
        raise
    if row.twins:
        exact = dict.fromkeys(problem.readout.twins(row.token_id)[:most], 1)
    else:
        exact = rational_weights(problem, row.token_id, found) or {}
    if not exact:
        raise InputError(f"the weights of {run.noun} {row.token_id} do not prove what the run says")
    return exact


def _cap(run: Run, token: int, exact: dict[int, int]) -> float:
    """Return an upper bound on the token's probability that these weights prove.

    If they are equal, it is 1 / (n + 1) or less, whatever is rounded.
    """
    total = sum(exact.values())
    shares = np.array([value / total for value in exact.values()])
    weights = Weights(np.array(list(exact)), shares)
    _, high = probability_bounds(run.problem, token, Finding(weights=weights), TEMPERATURE)
    cap = min(0.5, max(math.exp(high) * _ROOM, math.ulp(0.0)))
    if len(set(exact.values())) == 1:
        equal = 1.0 / (len(exact) + 1)
        rounded_down = Fraction(equal) * (len(exact) + 1) < 1
        cap = min(cap, math.nextafter(equal, 1.0) if rounded_down else equal)
    return cap


@hookimpl
def geom_reporters() -> Iterator[Reporter[CertificateOptions]]:
    yield Reporter(
        "certificate",
        "the proof of a token, which can be checked without geom",
        write,
        CertificateOptions,
        suffix=".json",
    )
