"""``geom show``: print a run on the terminal."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from geom.cli.arguments import Verdict


def show(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="One or more files that geom run wrote."),
    ],
    verdict: Verdict = None,
    token: Annotated[
        str | None, typer.Option(metavar="ID|TEXT", help="One token, with its certificate.")
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="hardness (the hardest first), id, token, margin, verdict (unspeakable, "
            "undecided, hard, speakable) or a measure, the least first; -KEY reverses.  "
            "[default: hardness]",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="The most tokens to show.  [default: all]"),
    ] = None,
    sampling: Annotated[
        str | None,
        typer.Option(
            metavar="SETTINGS",
            help="Only tokens that no state can sample under settings such as "
            "min-p=0.05,temperature=0.8, of top-k, top-p, min-p and temperature.",
        ),
    ] = None,
    pager: Annotated[
        bool,
        typer.Option(
            help="At a terminal, page what does not fit: with PAGER, or else less or more.",
        ),
    ] = True,
) -> None:
    """Show a run's verdicts, one of its tokens, or several runs.

    For one token, everything that the run knows is shown; several runs are shown side by side.
    """
    from geom.cli.display.messages import say
    from geom.cli.display.pager import paged
    from geom.cli.display.run_tables import print_run, print_summary, print_token
    from geom.cli.display.truncation_tables import print_unsampleable
    from geom.errors import InputError
    from geom.loading import open_run
    from geom.store import checked_label
    from geom.store.sorting import HARDNESS
    from geom.summary import summarise
    from geom.text import visible
    from geom.truncation import unsampleable
    from geom.truncation.settings import Truncation

    if verdict is not None:
        checked_label(verdict)
    if sampling is not None and any(given is not None for given in (verdict, token, sort)):
        raise InputError("--sampling makes its own list: leave out --verdict, --token and --sort")
    settings = None if sampling is None else Truncation.parse(sampling)
    if len(runs) > 1:
        if any(given is not None for given in (verdict, token, sort, limit, sampling)):
            raise InputError(
                "--verdict, --token, --sort, --limit and --sampling are for one run: give one RUN"
            )
        print_summary(summarise(runs))
        if len(runs) == 2:
            say(f"what differs: geom diff {shlex.join(map(str, runs))}")
        return
    (run,) = runs
    with open_run(run) as opened, paged(pager):
        if settings is not None:
            print_unsampleable(opened, unsampleable(opened, settings), limit)
            return
        if token is None:
            print_run(opened, verdict=verdict, limit=limit, sort=sort or HARDNESS)
            return
        found = opened.named(token)
        first = found[0]
        if token not in (str(first.token_id), first.token):
            known = visible(first.token, first.token_kind)
            say(f"no {opened.noun} is {visible(token)}; this is {known}")
        for row in found:
            print_token(opened, row)
