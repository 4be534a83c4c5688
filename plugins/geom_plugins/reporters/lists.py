"""``tokens`` and ``logit-bias``: the tokens of a run as lists that other tools read.

``tokens`` has one id per line, as geom's ``--tokens @FILE`` and most scripts read it.
``logit-bias`` is a JSON object from ids to a number, for the parameter ``logit_bias`` of OpenAI's
API, vLLM and the server of llama.cpp: at -100 a sampler never picks the token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, BinaryIO, Literal

from msgspec import Meta

from geom import Reporter, Run, TokenRow, hookimpl

Which = Literal["notable", "unspeakable", "undecided", "hard", "speakable", "all"]


@dataclass(frozen=True)
class TokensOptions:
    """Which of the examined tokens to list."""

    which: Annotated[
        Which, Meta(description="notable: all but those that win along their own direction")
    ] = "notable"


@dataclass(frozen=True)
class LogitBiasOptions:
    """Which of the examined tokens to list, and what to add to their logits."""

    which: Annotated[
        Which, Meta(description="notable: all but those that win along their own direction")
    ] = "notable"
    bias: Annotated[
        float, Meta(ge=-100, le=100, description="added to each token's logit")
    ] = -100.0


def write_tokens(run: Run, file: BinaryIO, options: TokensOptions) -> None:
    """Write one id per line, ascending."""
    for token in chosen(run, options.which):
        file.write(b"%d\n" % token)


def write_logit_bias(run: Run, file: BinaryIO, options: LogitBiasOptions) -> None:
    """Write one JSON object, on one line."""
    value = float(options.bias)
    bias = int(value) if value.is_integer() else value
    found = {str(token): bias for token in chosen(run, options.which)}
    file.write(json.dumps(found).encode() + b"\n")


def chosen(run: Run, which: Which) -> list[int]:
    """Return the ids of the chosen tokens, ascending."""
    return [row.token_id for row in run.rows() if _is(row, which)]


def _is(row: TokenRow, which: Which) -> bool:
    if which == "notable":
        return row.label != "speakable"
    if which == "hard":
        return row.label == "hard to speak"
    return which in ("all", row.verdict)


@hookimpl
def geom_reporters() -> Iterator[Reporter[TokensOptions] | Reporter[LogitBiasOptions]]:
    yield Reporter("tokens", "ids, one per line", write_tokens, TokensOptions, suffix=".txt")
    yield Reporter(
        "logit-bias",
        "a JSON object that forbids tokens in sampling APIs",
        write_logit_bias,
        LogitBiasOptions,
        suffix=".json",
    )
