"""Tables for people: runs, tokens and plugins on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from geom.certificates import Weights, Witness
from geom.cli.display.console import SafeConsole
from geom.cli.display.messages import plain
from geom.comparison.table import ComparedPoint, Comparison, ComparisonRow
from geom.diagnosis import Symptom
from geom.measuring import MeasureTable
from geom.numbers.arrays import Floats
from geom.numbers.printing import ALONE, rounded, rounded_down
from geom.plugins.options import OptionInfo
from geom.plugins.registry import Listed
from geom.store import MeasureRow, Run, TokenRow
from geom.summary import Summary
from geom.text import TokenKind, mark, visible
from geom.token_spec import CANDIDATES, format_tokens

_COLOURS = {"speakable": "green", "unspeakable": "red", "undecided": "yellow"}
_TOKEN = 20
"""Columns that the text of a compared token gets at most."""
_CELL = 2
"""Digits of a compared margin."""


def print_run(
    run: Run, verdict: str | None = None, limit: int | None = None, weights: str = ""
) -> None:
    """Counts by class, then the tokens: unspeakable first, then the hardest to speak.

    ``weights`` is what to add to ``geom verify RUN`` so that it finds them.
    """
    console = _console()
    rows = sorted(run.rows(verdict), key=lambda row: row.rank)
    kinds, measured = run.winner_kinds(), run.measured()  # all that may be damaged, before a line
    for warning in run.warnings:
        _line(console, f"warning: {warning}", style="yellow")
    _print_counts(console, run)
    for note in run.notes:
        _line(console, f"note: {note}", style="dim")
    if not rows:
        return
    table = _table()
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column("token", max_width=28)
    table.add_column("verdict", no_wrap=True)
    table.add_column("proof", no_wrap=True)
    table.add_column("largest margin", justify="right", no_wrap=True)
    table.add_column("own direction won by", max_width=28)
    names = sorted({name for found in measured.values() for name in found})
    for name in names:
        table.add_column(Text(plain(name)), justify="right", overflow="fold")
    for row in rows[:limit]:
        found = measured.get(row.token_id, {})
        table.add_row(
            str(row.token_id),
            _Cut(visible(row.token, row.token_kind), len(mark(row.token_kind))),
            Text(row.verdict, style=_COLOURS[row.verdict]),
            row.proof or "-",
            row.margin,
            _own_direction(row, kinds[row.token_id]),
            *(Text(found[name].shown if name in found else "") for name in names),
        )
    console.print(table)
    if limit is not None and len(rows) > limit:
        _line(console, f"{len(rows) - limit} more: geom show {run.path}")
    if run.path is not None and verdict is None:
        _line(console, f"kept in {run.path}; check it with: geom verify {run.path}{weights}")


def print_summary(summary: Summary, limit: int = 40) -> None:
    """A line a run, then the tokens that are unspeakable in several of them."""
    console = _console()
    table = _table()
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("model", overflow="fold")
    for name in ("tokens", "d", "unspeakable", "undecided", "hard", "own direction", "the rest"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("run", overflow="fold")
    for place, item in enumerate(summary.models):
        numbers = (item.V, item.d, item.unspeakable, item.undecided, item.hard, item.own, item.rest)
        table.add_row(
            str(place + 1),
            Text(plain(item.model)),
            *map(str, numbers),
            Text(plain(item.path or "in memory")),
        )
    console.print(table)
    if not summary.shared:
        _line(console, "no token is unspeakable in more than one of them")
        return
    table = _table()
    table.add_column("unspeakable in several", max_width=40)
    table.add_column("in", overflow="fold")
    for shared in summary.shared[:limit]:
        text = _Cut(visible(shared.token, shared.token_kind), len(mark(shared.token_kind)))
        table.add_row(text, ", ".join(str(place + 1) for place in shared.places))
    console.print(table)
    if len(summary.shared) > limit:
        _line(console, f"{len(summary.shared) - limit} tokens more")


def print_comparison(comparison: Comparison, limit: int = 40) -> None:
    """Tokens by precisions, nearest the border first, and the least precision that is right.

    Where the terminal is too narrow for all precisions, the rest follow in tables of their own.
    """
    console = _console()
    points = sorted(comparison.points, key=lambda point: abs(point.relative))
    for claim in comparison.claims:
        _line(console, str(claim))
    if not points:
        _line(console, "no token to compare")
        return
    shown = points[:limit]
    for names in _columns(console, comparison, shown):
        console.print(_compared(comparison, shown, names))
    if len(points) > limit:
        _line(console, f"{len(points) - limit} tokens more: --format jsonl has all")
    console.print(Text("! wrong sign; ? right, but within the error that it claims; - no answer"))
    console.print(Text("margins are rounded down"))
    console.print(_least(comparison))


def print_measurements(result: MeasureTable, limit: int = 200) -> None:
    """Tokens by measures, with their errors, then what the measures remark."""
    console = _console()
    by_token: dict[int, dict[str, MeasureRow]] = {}
    for row in result:
        by_token.setdefault(row.token_id, {})[row.measure] = row
    if not by_token:
        _line(console, "no token to measure")
        return
    units = {row.measure: row.unit for row in result}
    table = _table()
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column("token", max_width=_TOKEN)
    for name, unit in units.items():
        table.add_column(Text(plain(f"{name}, {unit}")), justify="right", overflow="fold")
    for token, found in list(by_token.items())[:limit]:
        first = next(iter(found.values()))
        text = _Cut(visible(first.token, first.token_kind), len(mark(first.token_kind)))
        table.add_row(str(token), text, *(Text(found[name].shown) for name in units))
    console.print(table)
    if len(by_token) > limit:
        _line(console, f"{len(by_token) - limit} tokens more: --format jsonl has all")
    for note in result.notes():
        _line(console, note)
    if any(" " in row.shown for row in result):  # an error
        _line(console, "±: a proven radius; ~: a standard error; -: no number")


def print_token(run: Run, row: TokenRow) -> None:
    """All that a run knows of one token."""
    console = _console()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(run, row):
        table.add_row(name, Text(plain(value)))
    console.print(table)
    console.print()


def print_plugins(listed: Sequence[Listed]) -> None:
    """Every plugin by kind, with the distribution that brought it."""
    table = _table()
    for column in ("kind", "name", "what it does", "from"):
        table.add_column(column, overflow="fold", no_wrap=column in ("kind", "name"))
    kind = ""
    for item in listed:
        shown = "" if item.kind == kind else item.kind
        kind = item.kind
        summary, origin = Text(plain(item.record.summary)), Text(plain(str(item.origin)))
        table.add_row(shown, Text(plain(item.record.name)), summary, origin)
    _console().print(table)


def print_diagnosis(findings: Sequence[Symptom]) -> None:
    """What geom runs on, a line a finding."""
    table = _table()
    for column in ("", "name", "found"):
        table.add_column(column, overflow="fold", no_wrap=column != "found")
    section = ""
    for found in findings:
        shown = "" if found.section == section else found.section
        section = found.section
        style = "" if found.sound else "red"
        table.add_row(shown, Text(plain(found.name)), Text(plain(found.found), style))
    _console().print(table)


def print_options(item: Listed, options: Sequence[OptionInfo]) -> None:
    """One plugin and its options, with types and defaults."""
    console = _console()
    _line(console, f"{item.kind} {item.record.name}: {item.record.summary}")
    _line(console, f"from {item.origin}, module {item.origin.module}")
    if not options:
        console.print("no options")
        return
    table = _table()
    for column in ("option", "type", "default", "meaning"):
        table.add_column(column, overflow="fold", no_wrap=column == "option")
    for option in options:
        default = "-" if option.default is None else str(option.default)
        cells = (option.name, option.type, default, option.summary)
        table.add_row(*(Text(plain(cell)) for cell in cells))
    console.print(table)
    _line(console, f"set with -o {item.kind}.{item.record.name}.{options[0].name}=VALUE")
    if item.kind == "source":
        _line(console, f"or with --model {item.record.name}:LOCATION?{options[0].name}=VALUE")


def _console() -> Console:
    """Standard output; a fixed width where it is no terminal, so that files look the same."""
    console = SafeConsole()
    if not console.is_terminal:
        console.width = 120
    return console


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def _line(console: Console, text: str, style: str = "") -> None:
    """A line of its own that is never broken: a path in it can be copied."""
    console.print(Text(plain(text), style=style), soft_wrap=True)


@dataclass(frozen=True)
class _Cut:
    """Text that gives way, with an ellipsis, where the terminal is narrow; its end does not."""

    text: str
    end: int = 0

    @property
    def widest(self) -> int:
        """The columns that all of it takes."""
        return Text(self.text).cell_len

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.end + 1, self.widest)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        kept = len(self.text) - self.end
        body, end = Text(self.text[:kept]), self.text[kept:]
        body.truncate(max(1, options.max_width - self.end), overflow="ellipsis")
        yield Text.assemble(body, end, no_wrap=True, overflow="ellipsis")


def _print_counts(console: Console, run: Run) -> None:
    settings, pending = run.settings, run.counts()["pending"]
    rows = list(run.rows())
    counts = Counter(row.label for row in rows)
    lines = [
        (
            counts["hard to speak"],
            "hard to speak",
            "beaten along its own direction, yet some point makes it win",
        ),
        (counts["speakable"], "speakable", "wins along its own direction"),
        (counts["unspeakable"], "unspeakable", "no point of the domain makes it win"),
        (counts["undecided"], "undecided", "not proven either way"),
        (pending, "not examined yet", "the same command goes on"),
    ]
    title = Text(plain(run.model), style="bold")
    title.append(
        plain(
            f"  {settings.get('V')} tokens, d = {settings.get('d')}, "
            f"domain {settings.get('domain', {}).get('name')}"
        ),
        style="not bold",
    )
    console.print(title)
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    for count, name, meaning in lines:
        if count:
            table.add_row(str(count), name, Text(meaning, style="dim"))
    padding = sum(row.token_kind == "padding" for row in rows)
    if padding:
        meaning = "of them: rows beyond the tokenizer's tokens, which stand for no text"
        table.add_row(str(padding), "padding", Text(meaning, style="dim"))
    rest = int(settings.get("V", 0)) - len(rows) - pending
    if rest > 0:
        name, meaning = "not examined", "not in the list of tokens"
        if settings.get("tokens") == CANDIDATES:
            name = "not flagged"
            meaning = plain(f"passed over by {', '.join(settings.get('detectors', {}))}")
        table.add_row(str(rest), name, Text(meaning, style="dim"))
    console.print(table)


def _columns(
    console: Console, comparison: Comparison, points: Sequence[ComparedPoint]
) -> list[list[str]]:
    """The precisions, in as many tables as the width asks for."""
    gap = 2
    head = gap + max(len(str(point.token_id)) for point in points)
    head += gap + max(len("token"), min(_TOKEN, max(_token(point).widest for point in points)))
    head += gap + max(len("exactly"), *(len(_margin(point.margin)) for point in points))
    tables: list[list[str]] = [[]]
    used = head
    for name in comparison.precisions:
        cells = [_cell(comparison.cell(point.token_id, name)) for point in points]
        width = max(len(plain(name)), *(cell.cell_len for cell in cells)) + gap
        if tables[-1] and used + width > console.width:
            tables.append([])
            used = head
        tables[-1].append(name)
        used += width
    return tables


def _compared(
    comparison: Comparison, points: Sequence[ComparedPoint], names: Sequence[str]
) -> Table:
    """One table of tokens by precisions, the exact margins in front."""
    table = _table()
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column("token", max_width=_TOKEN)
    table.add_column("exactly", justify="right", no_wrap=True)
    for name in names:
        table.add_column(Text(plain(name)), justify="right", no_wrap=True)
    for point in points:
        table.add_row(
            str(point.token_id),
            _token(point),
            Text(_margin(point.margin), style="bold"),
            *(_cell(comparison.cell(point.token_id, name)) for name in names),
        )
    return table


def _cell(row: ComparisonRow) -> Text:
    """A margin and what to think of it: a mark, as well as a colour; aligned by a blank."""
    if row.margin is None:
        return Text("- ", style="dim")
    text = _margin(row.margin)
    if not row.agrees:
        return Text(f"{text}!", style="bold red")
    if row.error is not None and not row.proven:
        return Text(f"{text}?", style="yellow")
    return Text(f"{text} ", style="green")


def _margin(value: float | Fraction) -> str:
    """A compared margin, rounded down: the exact one is proven of the largest margin too."""
    return rounded_down(value, _CELL)


def _token(point: ComparedPoint) -> _Cut:
    return _Cut(visible(point.token, point.token_kind), len(mark(point.token_kind)))


def _least(comparison: Comparison) -> Table:
    """Which tokens each precision is the least for, that it and every finer one gets right."""
    least = comparison.least()
    table = _table()
    table.add_column("least that is right", no_wrap=True)
    table.add_column("unit roundoff", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("ids", overflow="fold")
    for name in [*comparison.precisions, None]:
        tokens = [token for token, found in least.items() if found == name]
        if tokens:
            ids = format_tokens(sorted(tokens))
            ids = ids if len(ids) <= 200 else f"{ids[:200].rpartition(',')[0]},..."
            roundoff = "-" if name is None else rounded(comparison.precisions[name], _CELL)
            title = Text("none") if name is None else Text(plain(name))
            table.add_row(title, roundoff, str(len(tokens)), ids.replace(",", ", "))
    return table


def _own_direction(row: TokenRow, kind: TokenKind | None) -> _Cut:
    """The winner along the token's own direction, for a table."""
    return _Cut("itself") if row.self_argmax else _Cut(_winner(row, kind), len(mark(kind)))


def _winner(row: TokenRow, kind: TokenKind | None) -> str:
    if row.argmax is None and not mark(kind):
        return str(row.argmax_id)
    return f"{row.argmax_id} {visible(row.argmax, kind)}"


def _facts(run: Run, row: TokenRow) -> list[tuple[str, str]]:
    """Names and values for `print_token`."""
    kind = run.winner_kinds()[row.token_id]
    facts = [
        ("token", f"{row.token_id} {visible(row.token, row.token_kind)}"),
        ("verdict", f"{row.verdict} ({row.proof})" if row.proof else row.verdict),
        ("own direction", "won by itself" if row.self_argmax else f"won by {_winner(row, kind)}"),
        ("flagged by", ", ".join(row.flagged_by) or "-"),
        ("certifier", row.certifier or "-"),
        ("largest margin", f"{row.margin} logits"),
        ("seconds", rounded(row.seconds)),
        ("note", row.note or "-"),
    ]
    for name, item in run.measured().get(row.token_id, {}).items():
        remark = f" ({item.note})" if item.note else ""
        facts.append((name, f"{item.shown} {item.unit}{remark}"))
    if run.recipe(row.token_id) is not None:
        return [*facts, ("witness x", "the token's own direction, rebuilt from the weights")]
    certificate = run.certificate(row.token_id)
    if isinstance(certificate, Witness):
        facts.append(("witness x", f"{certificate.x.size} numbers: {_head(certificate.x)}"))
    if isinstance(certificate, Weights):
        facts.append(("weights on", f"{certificate.indices.size} tokens"))
        heaviest = certificate.values.argsort()[::-1][:8]
        for i in heaviest:
            facts.append((f"  {certificate.indices[i]}", rounded(certificate.values[i], ALONE)))
    return facts


def _head(x: Floats) -> str:
    shown = ", ".join(rounded(value, ALONE) for value in x[:6])
    return f"{shown}, ..." if len(x) > 6 else shown
