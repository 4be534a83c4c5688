"""``markdown``: what a run found, to be pasted into a model card or an issue.

Every text that may come from a stranger (tokens, names, notes) is code, in which nothing acts.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, BinaryIO

from msgspec import Meta

from geom import (
    Ranking,
    Reporter,
    Run,
    TokenKind,
    TokenRow,
    VerdictLabel,
    hookimpl,
    markdown_code,
    markdown_table,
    markdown_text,
    visible,
)
from geom_plugins.reporters.origin import (
    command,
    elsewhere,
    portable,
    rest,
    versions,
    without_folders,
)

_MEANINGS: dict[VerdictLabel, str] = {
    "unspeakable": "no point of the domain makes it win",
    "undecided": "not proven either way",
    "hard": "beaten along its own direction, yet some point makes it win",
    "speakable": "wins along its own direction",
}


@dataclass(frozen=True)
class MarkdownOptions:
    """How much to show."""

    limit: Annotated[int, Meta(ge=0, description="the most tokens of each table")] = 20


def write(run: Run, file: BinaryIO, options: MarkdownOptions) -> None:
    """Write the facts of a run, the counts, the unspeakable tokens and the hardest, in UTF-8."""
    for line in _lines(run, options.limit):
        file.write(line.encode("utf-8", "backslashreplace") + b"\n")


def _lines(run: Run, limit: int) -> Iterator[str]:
    ranked, kinds = run.ranking(), run.winner_kinds()
    yield f"### Which {run.noun.plural} can be {run.noun.chosen}"
    yield ""
    yield from markdown_table(("", ""), [(name, markdown_code(text)) for name, text in _facts(run)])
    yield ""
    yield from markdown_table((run.noun.plural, "verdict", "meaning"), _counts(run, ranked.rows))
    for remark in (*run.warnings, *run.notes):
        yield f"\nNote: {markdown_code(without_folders(run, remark))}"
    tables = ("unspeakable", "Unspeakable"), ("undecided", "Undecided")
    told: list[TokenRow] = []
    for verdict, title in (*tables, ("speakable", "The hardest to speak")):
        rows = [row for row in ranked.rows if row.verdict == verdict]
        shown = rows[:limit]
        told += shown
        if not shown:
            continue
        yield f"\n#### {title}\n"
        columns = ("id", run.noun, "proof", "largest margin", "own direction won by")
        yield from markdown_table(columns, (_cells(row, ranked, kinds) for row in shown))
        if verdict == "speakable":
            yield f"\n{_order(ranked, len(shown))}"
        elif len(rows) > len(shown):
            yield f"\n{len(rows) - len(shown)} more."
    for sentence in replace(ranked, rows=told).legend:
        yield f"\n{_sentence(sentence)}"
    yield (
        "\nLargest margins are proven bounds. Every verdict has a certificate in the "
        f"run's file: {markdown_code(_check(run))} checks them."
    )


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    """Yield what identifies the model, the question and the programs."""
    settings = run.settings
    yield "model", portable(run.model)
    yield "SHA-256 of the readout", str(settings.get("digest"))
    yield "readout", f"{settings.get('V')} {run.noun.plural}, d = {settings.get('d')}"
    yield "domain", settings["domain"]["name"]
    yield "versions", ", ".join(f"{name} {version}" for name, version in versions(run).items())
    yield "command", command(run)


def _counts(run: Run, rows: list[TokenRow]) -> Iterator[tuple[str, str, str]]:
    counts = Counter(row.label for row in rows)
    for name, meaning in _MEANINGS.items():
        if counts[name]:
            yield str(counts[name]), name, meaning
    padding = sum(row.token_kind == "padding" for row in rows)
    if padding:
        yield str(padding), "padding", "of them: rows beyond the tokenizer's tokens"
    pending = run.counts()["pending"]
    if pending:
        yield str(pending), "not examined yet", "the same command goes on"
    V = run.settings.get("V")
    left = V - len(rows) - pending if isinstance(V, int) else 0
    if left > 0:
        unexamined, why = rest(run)
        yield str(left), unexamined, markdown_text(why)


def _cells(row: TokenRow, ranked: Ranking, kinds: Mapping[int, TokenKind | None]) -> Sequence[str]:
    """Return a row of the table of tokens."""
    text = markdown_code(visible(row.token, row.token_kind))
    winner = ""
    if row.argmax_id is not None and row.argmax_id != row.token_id:
        shown = visible(row.argmax, kinds[row.token_id])
        winner = f"{row.argmax_id} {markdown_code(shown)}"
    return str(row.token_id), text, row.proof or "", ranked.margin(row), winner


def _order(ranked: Ranking, shown: int) -> str:
    """Say what is proven of the order of the first speakable tokens."""
    if ranked.tied or shown > ranked.proven:
        return _sentence(ranked.about)
    return f"They are proven to be the hardest of those that can be {ranked.noun.chosen}, in order."


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _check(run: Run) -> str:
    name = "RUN" if run.path is None else run.path.name
    return shlex.join(["geom", "verify", name, *elsewhere(run)])


@hookimpl
def geom_reporters() -> Iterator[Reporter[MarkdownOptions]]:
    yield Reporter(
        "markdown",
        "counts and tokens, to paste into a model card or an issue",
        write,
        MarkdownOptions,
        suffix=".md",
    )
