"""``geom verify``: check every certificate of a run again, without a solver."""

from __future__ import annotations

from typing import Annotated

import typer

from geom.cli.subject import AllowFetch, RunFile


def verify(
    run: RunFile,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="SOURCE:LOCATION", help="The weights.  [default: the run's]"
        ),
    ] = None,
    allow_fetch: AllowFetch = False,
) -> None:
    """Check every certificate of a run again, in exact arithmetic.

    Leaves with 1 where one fails, and names it. No solver is called.
    """
    from geom.cli.messages import plain
    from geom.cli.output import print_line
    from geom.cli.progress import bars
    from geom.loading import load, open_run
    from geom.progress import watched
    from geom.verification import verify as check

    with open_run(run) as opened, bars() as watcher:
        with watched(watcher):
            readout = load(model) if model else None
        checked = check(opened, readout, watcher, allow_fetch=allow_fetch)
        pending = opened.counts()["pending"]
    for fault in checked.faults:
        print_line(f"BAD  {plain(str(fault))}")
    held = ", ".join(f"{n} {verdict}" for verdict, n in sorted(checked.confirmed.items()))
    print_line(f"holds: {held or 'nothing'}; fails: {len(checked.faults)}")
    if pending:
        print_line(f"not examined yet: {pending}; the command that made the run goes on with it")
    if not checked.ok:
        raise typer.Exit(1)
