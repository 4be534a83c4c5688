"""``geom measure``: measure how hard tokens are to speak, in numbers with their errors."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Annotated

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


def measure(
    run: RunFileIfAny = None,
    model: ModelOrWeights = None,
    measures: Annotated[
        list[str] | None,
        typer.Option(
            "--measure",
            metavar="NAME",
            autocompletion=completion.plugins("measure"),
            help="A measure; repeatable.  [default: those that cost next to nothing]",
        ),
    ] = None,
    tokens: Annotated[
        str,
        tokens_option(
            "candidates, all (for a run, all it examined), 5,9,100-120, a text, or @FILE."
        ),
    ] = "candidates",
    domain: DomainOfModel = None,
    option: PluginOptions = None,
    allow_fetch: AllowFetch = False,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="The order of the table: as of geom show for a run, id or a measure for a model; "
            "-KEY reverses.  [default: hardness; for a model, or listed tokens, id]",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=0, help="The most tokens of the table.")
    ] = 20,
    format: PrintRows = RowFormat.table,
) -> None:
    """Measure how hard tokens are to speak. The results for a RUN are stored in it."""
    from geom.cli.display.lines import print_lines
    from geom.cli.display.measure_tables import print_measurements
    from geom.cli.display.messages import say, say_skipped_plugins
    from geom.cli.display.progress import bars, forewarning
    from geom.cli.subject import subject
    from geom.measuring import by_price
    from geom.measuring import measure as measured
    from geom.plugins.options import parse_assignments
    from geom.store import Run
    from geom.store.sorting import HARDNESS
    from geom.token_spec import ALL, CANDIDATES

    say_skipped_plugins()
    options = parse_assignments(option or [])
    with ExitStack() as stack:
        with bars() as watcher:
            opened = stack.enter_context(subject(run, model, options, watcher, allow_fetch))
            many = tokens in (CANDIDATES, ALL)
            told = forewarning(watcher) if many else watcher
            result = measured(opened, measures, tokens, options, domain=domain, progress=told)
        if format is RowFormat.table:
            of = opened if isinstance(opened, Run) else None
            hardest = of is not None and many
            print_measurements(result, of, sort or (HARDNESS if hardest else "id"), limit)
    if format is RowFormat.jsonl:
        for note in result.notes():
            say(note)
        print_lines(result)
    if not measures:
        _say_others(by_price()[1])


def _say_others(prices: Mapping[str, str]) -> None:
    """Name the measures that were not taken, and what one number of each costs."""
    from geom.cli.display.messages import say

    if prices:
        say("these cost next to nothing a number; name others with --measure, at a price each:")
    for name, price in prices.items():
        say(f"{name}: {price or 'not known'}")
