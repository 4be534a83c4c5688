"""``geom compare``: margins as each arithmetic computes them, next to the exact margins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geom.cli import completion
from geom.cli.arguments import (
    AllowFetch,
    DomainOfModel,
    ModelOrWeights,
    PluginOptions,
    PrintRows,
    RowFormat,
    RunFileIfAny,
    tokens_option,
)

if TYPE_CHECKING:
    from geom.comparison.table import Comparison

Precisions = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        "-p",
        metavar="NAME",
        autocompletion=completion.plugins("precision"),
        help="An arithmetic, such as arb?bits=300; repeatable.  [default: all installed]",
    ),
]
Tokens = Annotated[
    str | None,
    tokens_option(
        "5,9,100-120, a text, @FILE, all, candidates, borderline, or borderline=N for the N "
        "nearest.  "
        "[default: the run's 20 tokens nearest the border]"
    ),
]
Multiple = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="How near is borderline: a margin of X float32 epsilons of |w||x|.  [default: 8]",
    ),
]
Points = Annotated[
    Path | None,
    typer.Option(metavar="FILE.npy", help="Compare at these points: (d,), or (n, d) for n tokens."),
]
Solver = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A certifier: compare at the directions it returns.",
        autocompletion=completion.plugins("certifier"),
    ),
]
PlotFile = Annotated[
    Path | None, typer.Option(metavar="FILE.png|.svg", help="Also draw a plot in this file.")
]


def compare(
    run: RunFileIfAny = None,
    model: ModelOrWeights = None,
    precisions: Precisions = None,
    tokens: Tokens = None,
    multiple: Multiple = None,
    at: Points = None,
    solver: Solver = None,
    domain: DomainOfModel = None,
    option: PluginOptions = None,
    allow_fetch: AllowFetch = False,
    out: PlotFile = None,
    format: PrintRows = RowFormat.table,
) -> None:
    """Compare margins in several arithmetics with the exact ones."""
    from geom.cli.display.messages import say, say_skipped_plugins
    from geom.cli.display.progress import bars
    from geom.cli.subject import subject
    from geom.comparison import compare as compared
    from geom.comparison.plot import check_plot
    from geom.files.vectors import read_array
    from geom.plugins.options import parse_assignments

    say_skipped_plugins()
    if out is not None:
        check_plot(out)
    points = None if at is None else read_array(at)
    options = parse_assignments(option or [])
    with bars() as watcher, subject(run, model, options, watcher, allow_fetch) as opened:
        result = compared(
            opened,
            tokens,
            precisions or None,
            points,
            solver,
            options,
            domain=domain,
            multiple=multiple,
            progress=watcher,
        )
    if out is not None and result.points:
        result.plot(out)
    for note in result.notes:
        say(note)
    _print(result, format)


def _print(result: Comparison, format: RowFormat) -> None:
    """Print a table and a solver's claims, or one line per cell with the claims as messages."""
    from geom.cli.display.comparison_tables import print_comparison
    from geom.cli.display.lines import print_lines
    from geom.cli.display.messages import say

    if format is RowFormat.table:
        print_comparison(result)
        return
    for claim in result.claims:
        say(str(claim))
    print_lines(result)
