"""Tables of runs: one run, several side by side, and all that a run knows about one token."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from geom.certificates import Weights, Witness
from geom.cli.display.columns import Column, needed, print_columns, text_cells, wrapped_cells
from geom.cli.display.commands import command
from geom.cli.display.cutting import Cut, token_cell
from geom.cli.display.messages import plain
from geom.cli.display.tables import (
    COLOURS,
    empty_grid,
    print_line,
    print_whole,
    results_console,
)
from geom.loading import weights_option
from geom.model.source import PYTHON
from geom.nouns import Noun
from geom.numbers.arrays import Floats, Ids
from geom.numbers.printing import ALONE, rounded, rounded_down
from geom.numbers.spacing import FORMATS, Format
from geom.store import MeasureRow, Ranking, Run, TokenRow
from geom.store.ranking import TIE, legend, may_tie
from geom.store.sorting import HARDNESS, in_order
from geom.store.unexamined import passed_over
from geom.summary import ModelSummary, SharedToken, Summary
from geom.text import TokenKind, mark, visible


def print_run(
    run: Run,
    verdict: str | None = None,
    limit: int | None = None,
    sort: str = HARDNESS,
) -> None:
    """Print counts by class, then the tokens: unspeakable first, then the hardest to speak.

    ``sort`` is a key of `in_order`; InputError is raised for anything else.
    """
    console = results_console()
    ranked = run.ranking(verdict)
    kinds, measured = run.winner_kinds(), run.measured()  # may be damaged: read before printing
    rows = in_order(ranked.rows, measured, sort)
    for warning in run.warnings:
        print_whole(console, f"warning: {warning}", style="yellow")
    title, counts = run_title(run), _counts(run)
    console.print(title)
    console.print(counts)
    for note in run.notes:
        print_line(console, f"note: {note}", style="dim")
    if not rows:
        return
    names = sorted({name for found in measured.values() for name in found})
    shown = rows[:limit]
    main = _tokens(shown, ranked, kinds)
    print_columns(console, main, [_measure(name, shown, measured) for name in names])
    if ranked.about and sort == HARDNESS:
        print_line(console, ranked.about, style="dim")
    for sentence in legend(shown):
        print_line(console, sentence, style="dim")
    if limit is not None and len(rows) > limit and run.path is not None:
        words = [] if verdict is None else ["--verdict", verdict]
        words += [] if sort == HARDNESS else ["--sort", sort]
        rest = command("show", run.path, *words)
        print_whole(console, f"{len(rows) - limit} more: {rest}")
    if run.path is not None and verdict is None:
        _print_place(console, run, run.path)


def _print_place(console: Console, run: Run, path: Path) -> None:
    """Say where a run is kept, and how to check it again."""
    if run.model == str(PYTHON):
        print_whole(console, f"kept in {path}")
        print_line(console, "check it in Python, with its weights: geom.verify(run, readout)")
        return
    check = command("verify", path, *weights_option(run))
    print_whole(console, f"kept in {path}; check it with: {check}")


def print_summary(summary: Summary, limit: int = 40) -> None:
    """Print one line per run, then the tokens that are unspeakable in several runs."""
    console = results_console()
    noun = Noun.shared(*(item.noun for item in summary.models))
    _print_models(console, summary.models, noun)
    padded = [(place, item.padding) for place, item in enumerate(summary.models, 1) if item.padding]
    if padded:
        counts = ", ".join(f"{n} in {place}" for place, n in padded)
        print_whole(console, f"speakable padding, which no tokenizer decodes: {counts}")
    if not summary.shared:
        print_whole(console, f"no {noun} is unspeakable in more than one run")
        return
    print_columns(console, _shared(summary.shared[:limit], console.width))
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


def run_title(run: Run) -> Text:
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
    yield counts["hard"], "hard", beaten
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
    over = passed_over(settings, run.warnings)
    if over is not None:
        yield rest, "not flagged", f"{over.by}{over.because()}"
    else:
        yield rest, "not examined", f"not in the list of {run.noun.plural}"


def _tokens(
    rows: Sequence[TokenRow], ranked: Ranking, kinds: Mapping[int, TokenKind | None]
) -> list[Column]:
    """Return tokens with their verdicts, and the winners along their directions."""
    verdicts = text_cells([row.label for row in rows], COLOURS.__getitem__)
    winners = [_own_direction(row, kinds[row.token_id]) for row in rows]
    return [
        Column("id", text_cells([str(row.token_id) for row in rows]), right=True),
        Column(ranked.noun, [token_cell(row.token, row.token_kind) for row in rows]),
        Column("verdict", verdicts, same=True),
        Column("proof", text_cells([row.proof or "-" for row in rows]), same=True, spare=True),
        Column("largest margin", text_cells([ranked.margin(row) for row in rows]), right=True),
        Column("own direction won by", winners, same=True, spare=True),
    ]


def _measure(
    name: str, rows: Sequence[TokenRow], measured: Mapping[int, Mapping[str, MeasureRow]]
) -> Column:
    """Return the numbers of one measure, blank for a token without."""
    found = (measured.get(row.token_id, {}).get(name) for row in rows)
    texts = ["" if item is None else item.shown for item in found]
    return Column(plain(name), text_cells(texts), right=True, same=True)


def _own_direction(row: TokenRow, kind: TokenKind | None) -> Cut:
    """Return the winner along the token's own direction, for a table."""
    if row.self_argmax:
        return Cut("itself", start=len("itself"))
    return Cut(_winner(row, kind), len(mark(kind)), len(str(row.argmax_id)))


def _winner(row: TokenRow, kind: TokenKind | None) -> str:
    if row.argmax is None and not mark(kind):
        return str(row.argmax_id)
    return f"{row.argmax_id} {visible(row.argmax, kind)}"


def _print_models(console: Console, models: Sequence[ModelSummary], noun: Noun) -> None:
    """Print a row per run: its model, and how many of its rows each class has.

    If names and numbers have no room side by side, the names come first, in lines of their own.
    """
    names = (noun.plural, "d", "unspeakable", "undecided", "hard", "own direction", "the rest")
    rows = [(m.V, m.d, m.unspeakable, m.undecided, m.hard, m.own, m.rest) for m in models]
    places = [str(place) for place in range(1, len(models) + 1)]
    numbers = [
        Column("", text_cells(places), right=True),
        *(
            Column(name, text_cells([str(row[i]) for row in rows]), right=True)
            for i, name in enumerate(names)
        ),
    ]
    model = Column("model", text_cells([item.model for item in models]))
    run = Column("run", text_cells([item.path or "in memory" for item in models]))
    columns = [numbers[0], model, *numbers[1:], run]
    if needed(columns, Column.widest) > console.width:
        for place, item in zip(places, models, strict=True):
            print_whole(console, f"{place}  {item.model}  {item.path or 'in memory'}")
        columns = numbers
    print_columns(console, columns)


def _shared(tokens: Sequence[SharedToken], width: int) -> list[Column]:
    """Return the tokens and the runs in which they are unspeakable."""
    places = [", ".join(str(place + 1) for place in shared.places) for shared in tokens]
    room = max(8, width // 3)
    return [
        Column(
            "unspeakable in several",
            [token_cell(shared.token, shared.token_kind) for shared in tokens],
            most=40,
        ),
        Column("in", wrapped_cells(places, room)),
    ]


def _facts(run: Run, row: TokenRow) -> Iterator[tuple[str, str]]:
    """Yield names and values for `print_token`."""
    kind = run.winner_kinds()[row.token_id]
    yield run.noun, f"{row.token_id} {visible(row.token, row.token_kind)}"
    yield "verdict", f"{row.label} ({row.proof})" if row.proof else row.label
    yield "own direction", "won by itself" if row.self_argmax else f"won by {_winner(row, kind)}"
    yield "flagged by", ", ".join(row.flagged_by) or "-"
    yield "certifier", row.certifier or "-"
    yield "largest margin", f"{row.margin} logits"
    if may_tie(row):
        yield "", TIE
    yield from _rounding(row)
    if row.chance:
        more = f"never the argmax, and never more likely than {row.chance} at temperature 1"
        yield "probability", more
    yield "seconds", rounded(row.seconds)
    yield "note", row.note or "-"
    for name, item in run.measured().get(row.token_id, {}).items():
        remark = f" ({item.note})" if item.note else ""
        yield name, f"{item.shown} {item.unit}{remark}"
    yield from _proof(run, row)


def _rounding(row: TokenRow) -> Iterator[tuple[str, str]]:
    """Yield the sizes of logits among which formats keep the token's largest margin."""
    if row.verdict == "speakable" and row.margin_lower is not None and row.margin_lower > 0.0:
        kept = (_kept(format, row.margin_lower) for format in FORMATS)
        yield "if rounded", f"kept {', '.join(kept)}"


def _kept(format: Format, margin: float) -> str:
    size = format.kept_below(margin)
    if size == 0.0:
        return f"never in {format.name}"
    if size == math.inf:
        return f"always in {format.name}"
    return f"in {format.name} among logits below {rounded_down(size)}"


def _proof(run: Run, row: TokenRow) -> Iterator[tuple[str, str]]:
    """Yield as much of the token's certificate as fits in a few lines."""
    if run.recipe(row.token_id) is not None:
        yield "witness x", f"the {run.noun}'s own direction, rebuilt from the weights"
        yield "", "the witness is a point of the domain at which it has the highest logit"
        return
    certificate = run.certificate(row.token_id)
    if isinstance(certificate, Witness) and run.domain.shape == "simplex":
        used = certificate.x.nonzero()[0]
        counted = "1 point" if used.size == 1 else f"{used.size} points"
        yield from _shares("witness of", counted, used, certificate.x[used], {})
        yield "", "the mean of these points, so weighted: there it has the highest logit"
    elif isinstance(certificate, Witness):
        name = "witness x" if run.domain.frame is None else "witness y"
        yield name, f"{certificate.x.size} numbers: {_head(certificate.x)}"
        yield "", "the witness is a point of the domain at which it has the highest logit"
    if isinstance(certificate, Weights):
        counted = run.noun.counted(certificate.indices.size)
        texts = _texts(run)
        ids, values = certificate.indices, certificate.values
        yield from _shares("weights on", counted, ids, values, texts)
        held = "the mean of their logits, so weighted,"
        if ids.size == 1:
            held = f"the logit of that {run.noun}"
        yield "", f"{held} is at least as high at every point of the domain"


def _texts(run: Run) -> dict[int, str]:
    """Return the texts that the run has, of the tokens examined and of those that beat them."""
    kinds = run.winner_kinds()
    rows = list(run.rows())
    found = {
        row.argmax_id: visible(row.argmax, kinds[row.token_id])
        for row in rows
        if row.argmax_id is not None and row.argmax is not None
    }
    for row in rows:
        if row.token is not None:
            found[row.token_id] = visible(row.token, row.token_kind)
    return found


def _shares(
    title: str, counted: str, ids: Ids, values: Floats, texts: Mapping[int, str]
) -> Iterator[tuple[str, str]]:
    """Yield how many ids have a share, and the largest shares, with the texts of the ids."""
    yield title, counted
    for i in values.argsort()[::-1][:8]:
        text = texts.get(int(ids[i]), "")
        yield f"  {ids[i]}", f"{rounded(values[i], ALONE)}{text and f'  {text}'}"


def _head(x: Floats) -> str:
    shown = ", ".join(rounded(value, ALONE) for value in x[:6])
    return f"{shown}, ..." if len(x) > 6 else shown
