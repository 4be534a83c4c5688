"""The tokens of a run as lists that other tools read, to forbid these tokens or to look at them.

``tokens`` has one id per line, as geom's ``--tokens @FILE`` and most scripts read it. The others
are what a sampler takes:

- ``logit-bias``: a JSON object from ids to a number, for the parameter ``logit_bias`` of OpenAI's
  API, vLLM and the server of llama.cpp. They add the number to the logits; OpenAI and vLLM allow
  -100 to 100.
- ``bad-words-ids`` and ``suppress-tokens``: JSON lists for the arguments of these names of
  ``generate`` in transformers, which then never picks the tokens. ``bad_words_ids`` keeps the
  model's end token even if it is listed.
- ``llama-cpp``: arguments ``--logit-bias ID-inf`` for the programs of llama.cpp.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO, Literal

from msgspec import Meta

from geom import Reporter, Run, TokenRow, VerdictLabel, hookimpl
from geom_plugins.reporters.row_options import Wanted

Which = Literal["unusable", "padding", "notable", "all"]

_Chosen = Annotated[
    Which | None,
    Meta(
        description="unusable: the unspeakable and the padding rows; notable: all but those that "
        "win along their own direction; none: unusable, or all if a verdict is given"
    ),
]


@dataclass(frozen=True)
class ListOptions:
    """Which of the examined tokens to list."""

    which: _Chosen = None
    verdict: Wanted = None


@dataclass(frozen=True)
class LogitBiasOptions:
    """Which of the examined tokens to list, and what to add to their logits."""

    which: _Chosen = None
    verdict: Wanted = None
    bias: Annotated[
        float, Meta(ge=-100, le=100, description="added to each token's logit")
    ] = -100.0


@dataclass(frozen=True)
class ArgumentOptions:
    """Which of the examined tokens to list, and what to add to their logits."""

    which: _Chosen = None
    verdict: Wanted = None
    bias: Annotated[
        Annotated[float, Meta(ge=-100, le=100)] | None,
        Meta(description="added to each token's logit; none forbids the tokens"),
    ] = None


def write_tokens(run: Run, file: BinaryIO, options: ListOptions) -> None:
    """Write one id per line, ascending."""
    for token in chosen(run, options.which, options.verdict):
        file.write(b"%d\n" % token)


def write_logit_bias(run: Run, file: BinaryIO, options: LogitBiasOptions) -> None:
    """Write one JSON object, on one line."""
    value = float(options.bias)
    bias = int(value) if value.is_integer() else value
    _write_json(file, {str(token): bias for token in chosen(run, options.which, options.verdict)})


def write_bad_words(run: Run, file: BinaryIO, options: ListOptions) -> None:
    """Write one JSON list of lists of one id each; ``null`` for none, as transformers wants it."""
    _write_json(file, [[token] for token in chosen(run, options.which, options.verdict)] or None)


def write_suppressed(run: Run, file: BinaryIO, options: ListOptions) -> None:
    """Write one JSON list of ids."""
    _write_json(file, chosen(run, options.which, options.verdict))


def write_arguments(run: Run, file: BinaryIO, options: ArgumentOptions) -> None:
    """Write one line of arguments, ``--logit-bias 5-inf --logit-bias 7-inf``."""
    bias = "-inf" if options.bias is None else f"{float(options.bias):+}"
    words = (f"--logit-bias {token}{bias}" for token in chosen(run, options.which, options.verdict))
    file.write(" ".join(words).encode() + b"\n")


def chosen(run: Run, which: Which | None, verdict: VerdictLabel | None) -> list[int]:
    """Return the ids of the chosen tokens of a verdict, ascending."""
    of = _CHOICES[which or ("unusable" if verdict is None else "all")]
    return [row.token_id for row in run.rows(verdict) if of(row)]


_CHOICES: dict[Which, Callable[[TokenRow], bool]] = {
    "unusable": lambda row: row.verdict == "unspeakable" or row.token_kind == "padding",
    "padding": lambda row: row.token_kind == "padding",
    "notable": lambda row: row.label != "speakable",
    "all": lambda row: True,
}


def _write_json(file: BinaryIO, value: Any) -> None:
    file.write(json.dumps(value).encode() + b"\n")


@hookimpl
def geom_reporters() -> Iterator[Reporter[Any]]:
    yield Reporter("tokens", "ids, one per line", write_tokens, ListOptions, suffix=".txt")
    yield Reporter(
        "logit-bias",
        "a JSON object that forbids tokens in sampling APIs",
        write_logit_bias,
        LogitBiasOptions,
        suffix=".json",
    )
    yield Reporter(
        "bad-words-ids",
        "a JSON list for bad_words_ids of transformers",
        write_bad_words,
        ListOptions,
        suffix=".json",
    )
    yield Reporter(
        "suppress-tokens",
        "a JSON list for suppress_tokens of transformers",
        write_suppressed,
        ListOptions,
        suffix=".json",
    )
    yield Reporter(
        "llama-cpp",
        "arguments --logit-bias that forbid tokens in llama.cpp",
        write_arguments,
        ArgumentOptions,
        suffix=".txt",
    )
