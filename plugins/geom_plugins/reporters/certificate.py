"""``certificate``: verdicts and their proofs, for someone who does not have geom.

A token is a JSON object whose numbers are exact: hexadecimal floats and, in the proof *rational*,
integers of any length. ``docs/certificate.md`` has the format, and a program that checks it with
Python's standard library alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO

from msgspec import Meta

from geom import Certificate, InputError, Reporter, Run, TokenRow, Weights, Witness, hookimpl
from geom.proofs import rational_weights
from geom_plugins.reporters.row_options import Wanted

FORMAT = "geom certificate 1"


@dataclass(frozen=True)
class CertificateOptions:
    """Which token to write, or the tokens of which verdict."""

    token: Annotated[str, Meta(description="its id or its exact text; empty writes all")] = ""
    verdict: Wanted = None


def write(run: Run, file: BinaryIO, options: CertificateOptions) -> None:
    """Write one JSON object per line, for the token or for each proven token of the verdict.

    Raises InputError for a token that the run did not examine or decide.
    """
    wanted = run.rows(options.verdict)
    for row in [_one(run, options.token)] if options.token else wanted:
        found = run.certificate(row.token_id)
        if found is not None:
            file.write(json.dumps(_certificate(run, row, found)).encode() + b"\n")
        elif options.token:
            raise InputError(f"token {row.token_id} is {row.verdict}: there is no proof to write")


def _one(run: Run, token: str) -> TokenRow:
    """Return the row with that id, or else the row with that text."""
    first, *more = run.named(token)
    if more and token != str(first.token_id):
        raise InputError(f"{len(more) + 1} tokens have the text {token!r}: give the id of one")
    return first


def _certificate(run: Run, row: TokenRow, found: Certificate) -> dict[str, Any]:
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
    tokens, values = _weights(run, row, found)
    return out | {"weights": {"tokens": tokens, "values": values}}


def _weights(run: Run, row: TokenRow, found: Weights) -> tuple[list[int], list[str]]:
    """Return tokens and their weights; the weights of a rational proof are made exact."""
    if row.proof == "rational":
        exact = rational_weights(run.problem, row.token_id, found)
        if exact is None:
            raise InputError(f"the weights of token {row.token_id} do not prove what the run says")
        return list(exact), [hex(value) for value in exact.values()]
    used = found.values > 0.0
    return found.indices[used].tolist(), [value.hex() for value in found.values[used].tolist()]


@hookimpl
def geom_reporters() -> Iterator[Reporter[CertificateOptions]]:
    yield Reporter(
        "certificate",
        "the proof of a token, which can be checked without geom",
        write,
        CertificateOptions,
        suffix=".json",
    )
