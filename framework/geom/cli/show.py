"""``geom show``: print a run on the terminal."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def show(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="One or more files that geom run wrote."),
    ],
    verdict: Annotated[
        str | None,
        typer.Option(metavar="VERDICT", help="Only speakable, unspeakable or undecided tokens."),
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="ID|TEXT", help="One token, with its certificate.")
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="hardness, id, token or a measure.  [default: hardness]"),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="The most tokens to show.  [default: all]"),
    ] = None,
) -> None:
    """Show a run's verdicts, one of its tokens, or several runs.

    For one token, everything that the run knows is shown; several runs are shown side by side.
    """
    from geom.cli.display.messages import say
    from geom.cli.display.run_tables import HARDNESS, print_run, print_summary, print_token
    from geom.errors import InputError, unknown
    from geom.loading import open_run
    from geom.summary import summarise

    verdicts = ("speakable", "unspeakable", "undecided")
    if verdict is not None and verdict not in verdicts:
        raise unknown("verdict", verdict, verdicts)
    if len(runs) > 1:
        if any(given is not None for given in (verdict, token, sort, limit)):
            raise InputError("--verdict, --token, --sort and --limit are for one run: give one RUN")
        print_summary(summarise(runs))
        if len(runs) == 2:
            say(f"what differs: geom diff {shlex.join(map(str, runs))}")
        return
    (run,) = runs
    with open_run(run) as opened:
        if token is None:
            print_run(opened, verdict=verdict, limit=limit, sort=sort or HARDNESS)
            return
        for row in opened.named(token):
            print_token(opened, row)
