"""Tables of runs: one run, several side by side, and all that a run knows about one token."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from geom.certificates import Weights, Witness
from geom.cli.display.messages import plain
from geom.cli.display.tables import (
    Cut,
    empty_grid,
    empty_table,
    print_whole,
    results_console,
    token_cell,
)
from geom.errors import unknown
from geom.nouns import Noun
from geom.numbers.arrays import Floats
from geom.numbers.printing import ALONE, rounded
from geom.store import MeasureRow, Ranking, Run, TokenRow
from geom.summary import ModelSummary, SharedToken, Summary
from geom.text import TokenKind, mark, visible
from geom.token_spec import CANDIDATES

_COLOURS = {"speakable": "green", "unspeakable": "red", "undecided": "yellow"}


HARDNESS = "hardness"
"""The order of `geom.store.ranking`."""


def print_run(
    run: Run,
    verdict: str | None = None,
    limit: int | None = None,
    weights: str = "",
    sort: str = HARDNESS,
) -> None:
    """Print counts by class, then the tokens: unspeakable first, then the hardest to speak.

    ``weights`` is the option that ``geom verify RUN`` needs to find the weights. ``sort`` is
    ``hardness``, ``id``, ``token`` or a measure of the run; InputError is raised for anything else.
    """
    console = results_console()
    ranked = run.ranking(verdict)
    rows = _sorted(run, ranked.rows, sort)
    kinds, measured = run.winner_kinds(), run.measured()  # may be damaged: read before printing
    for warning in run.warnings:
        print_whole(console, f"warning: {warning}", style="yellow")
    title, counts = _title(run), _counts(run)
    console.print(title)
    console.print(counts)
    for note in run.notes:
        print_whole(console, f"note: {note}", style="dim")
    if not rows:
        return
    names = sorted({name for found in measured.values() for name in found})
    console.print(_tokens(rows[:limit], ranked, kinds, names, measured))
    if ranked.about and sort == HARDNESS:
        print_whole(console, ranked.about, style="dim")
    if limit is not None and len(rows) > limit:
        print_whole(console, f"{len(rows) - limit} more: geom show {run.path}")
    if run.path is not None and verdict is None:
        print_whole(console, f"kept in {run.path}; check it with: geom verify {run.path}{weights}")


def print_summary(summary: Summary, limit: int = 40) -> None:
    """Print one line per run, then the tokens that are unspeakable in several runs."""
    console = results_console()
    noun = Noun.shared(*(item.noun for item in summary.models))
    console.print(_models(summary.models, noun))
    padded = [(place, item.padding) for place, item in enumerate(summary.models, 1) if item.padding]
    if padded:
        counts = ", ".join(f"{n} in {place}" for place, n in padded)
        print_whole(console, f"speakable padding, which no tokenizer decodes: {counts}")
    if not summary.shared:
        print_whole(console, f"no {noun} is unspeakable in more than one run")
        return
    console.print(_shared(summary.shared[:limit]))
    if len(summary.shared) > limit:
        print_whole(console, f"{noun.counted(len(summary.shared) - limit)} more")


def print_token(run: Run, row: TokenRow) -> None:
    """Print all that a run knows about one token."""
    console = results_console()
    grid = empty_grid()
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _facts(run, row):
        grid.add_row(name, Text(plain(value)))
    console.print(grid)
    console.print()


def _title(run: Run) -> Text:
    """Return the title: the model, its size and the domain."""
    settings = run.settings
    title = Text(plain(run.model), style="bold")
    title.append(
        plain(
            f"  {settings.get('V')} {run.noun.plural}, d = {settings.get('d')}, "
            f"domain {settings.get('domain', {}).get('name')}"
        ),
        style="not bold",
    )
    return title


def _counts(run: Run) -> Table:
    """Return the number of tokens in each class, with the meaning of the class."""
    grid = empty_grid()
    grid.add_column(justify="right")
    for count, name, meaning in _classes(run):
        if count:
            grid.add_row(str(count), name, Text(meaning, style="dim"))
    return grid


def _classes(run: Run) -> Iterator[tuple[int, str, str]]:
    """Yield each class of tokens: its count, its name and its meaning."""
    settings, pending = run.settings, run.counts()["pending"]
    rows = list(run.rows())
    counts = Counter(row.label for row in rows)
    beaten = "beaten along its own direction, yet some point makes it win"
    yield counts["hard to speak"], "hard to speak", beaten
    yield counts["speakable"], "speakable", "wins along its own direction"
    nowhere = "no point of the domain makes it win"
    if run.noun != Noun.TOKEN:
        nowhere = f"cannot be {run.noun.chosen}: {nowhere}"
    yield counts["unspeakable"], "unspeakable", nowhere
    yield counts["undecided"], "undecided", "not proven either way"
    yield pending, "not examined yet", "the same command goes on"
    padding = sum(row.token_kind == "padding" for row in rows)
    no_text = "of them: rows beyond the tokenizer's tokens, which stand for no text"
    yield padding, "padding", no_text
    undecodable = "of these: rows that a sampler may pick and no tokenizer decodes"
    yield sum(row.undecodable for row in rows), "speakable padding", undecodable
    rest = max(0, int(settings.get("V", 0)) - len(rows) - pending)
    if settings.get("tokens") == CANDIDATES:
        passed_over = plain(f"passed over by {', '.join(settings.get('detectors', {}))}")
        yield rest, "not flagged", passed_over
    else:
        yield rest, "not examined", f"not in the list of {run.noun.plural}"


def _sorted(run: Run, rows: list[TokenRow], key: str) -> list[TokenRow]:
    """Return the rows in the order asked for; those without a number for it come last."""
    measured = run.measured()
    names = sorted({name for found in measured.values() for name in found})
    if key == HARDNESS:
        return rows
    if key == "id":
        return sorted(rows, key=lambda row: row.token_id)
    if key == "token":
        return sorted(rows, key=lambda row: (row.token is None, row.token or ""))
    if key not in names:
        raise unknown("sort key", key, (HARDNESS, "id", "token", *names))

    def value(row: TokenRow) -> float:
        item = measured.get(row.token_id, {}).get(key)
        number = None if item is None else item.value
        return math.inf if number is None or math.isnan(number) else number

    return sorted(rows, key=value)


def _tokens(
    rows: Sequence[TokenRow],
    ranked: Ranking,
    kinds: Mapping[int, TokenKind | None],
    measures: Sequence[str],
    measured: Mapping[int, Mapping[str, MeasureRow]],
) -> Table:
    """Return tokens with their verdicts, the winners along their directions, and measures."""
    table = empty_table()
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column(ranked.noun, max_width=28)
    table.add_column("verdict", no_wrap=True)
    table.add_column("proof", no_wrap=True)
    table.add_column("largest margin", justify="right", no_wrap=True)
    table.add_column("own direction won by", max_width=28)
    for name in measures:
        table.add_column(Text(plain(name)), justify="right", overflow="fold")
    for row in rows:
        found = measured.get(row.token_id, {})
        table.add_row(
            str(row.token_id),
            token_cell(row.token, row.token_kind),
            Text(row.verdict, style=_COLOURS[row.verdict]),
            row.proof or "-",
            ranked.margin(row),
            _own_direction(row, kinds[row.token_id]),
            *(Text(found[name].shown if name in found else "") for name in measures),
        )
    return table


def _own_direction(row: TokenRow, kind: TokenKind | None) -> Cut:
    """Return the winner along the token's own direction, for a table."""
    return Cut("itself") if row.self_argmax else Cut(_winner(row, kind), len(mark(kind)))


def _winner(row: TokenRow, kind: TokenKind | None) -> str:
    if row.argmax is None and not mark(kind):
        return str(row.argmax_id)
    return f"{row.argmax_id} {visible(row.argmax, kind)}"


def _models(models: Sequence[ModelSummary], noun: Noun) -> Table:
    """Return one line per run: its model, and how many tokens each class has."""
    table = empty_table()
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("model", overflow="fold")
    for name in (noun.plural, "d", "unspeakable", "undecided", "hard", "own direction", "the rest"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("run", overflow="fold")
    for place, item in enumerate(models):
        numbers = (item.V, item.d, item.unspeakable, item.undecided, item.hard, item.own, item.rest)
        table.add_row(
            str(place + 1),
            Text(plain(item.model)),
            *map(str, numbers),
            Text(plain(item.path or "in memory")),
        )
    return table


def _shared(tokens: Sequence[SharedToken]) -> Table:
    """Return the tokens and the runs in which they are unspeakable."""
    table = empty_table()
    table.add_column("unspeakable in several", max_width=40)
    table.add_column("in", overflow="fold")
    for shared in tokens:
        places = ", ".join(str(place + 1) for place in shared.places)
        table.add_row(token_cell(shared.token, shared.token_kind), places)
    return table


def _facts(run: Run, row: TokenRow) -> Iterator[tuple[str, str]]:
    """Yield names and values for `print_token`."""
    kind = run.winner_kinds()[row.token_id]
    yield run.noun, f"{row.token_id} {visible(row.token, row.token_kind)}"
    yield "verdict", f"{row.verdict} ({row.proof})" if row.proof else row.verdict
    yield "own direction", "won by itself" if row.self_argmax else f"won by {_winner(row, kind)}"
    yield "flagged by", ", ".join(row.flagged_by) or "-"
    yield "certifier", row.certifier or "-"
    yield "largest margin", f"{row.margin} logits"
    yield "seconds", rounded(row.seconds)
    yield "note", row.note or "-"
    for name, item in run.measured().get(row.token_id, {}).items():
        remark = f" ({item.note})" if item.note else ""
        yield name, f"{item.shown} {item.unit}{remark}"
    yield from _proof(run, row)


def _proof(run: Run, row: TokenRow) -> Iterator[tuple[str, str]]:
    """Yield as much of the token's certificate as fits in a few lines."""
    if run.recipe(row.token_id) is not None:
        yield "witness x", f"the {run.noun}'s own direction, rebuilt from the weights"
        return
    certificate = run.certificate(row.token_id)
    if isinstance(certificate, Witness):
        yield "witness x", f"{certificate.x.size} numbers: {_head(certificate.x)}"
    if isinstance(certificate, Weights):
        yield "weights on", run.noun.counted(certificate.indices.size)
        heaviest = certificate.values.argsort()[::-1][:8]
        for i in heaviest:
            yield f"  {certificate.indices[i]}", rounded(certificate.values[i], ALONE)


def _head(x: Floats) -> str:
    shown = ", ".join(rounded(value, ALONE) for value in x[:6])
    return f"{shown}, ..." if len(x) > 6 else shown
