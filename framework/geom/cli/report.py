"""``geom report``: a run as a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geom.cli.subject import AllowFetch, RunFile


def report(
    run: RunFile,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Where to.  [default: RUN with the ending .html]"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="SOURCE:LOCATION",
            help="Its weights, where the run cannot find them.",
        ),
    ] = None,
    allow_fetch: AllowFetch = False,
) -> None:
    """Write a run as one self-contained page: verdicts, pictures, and the table of tokens."""
    from geom.cli.messages import say
    from geom.cli.progress import bars
    from geom.cli.subject import subject
    from geom.exporting import export
    from geom.loading import unasked
    from geom.progress import watched
    from geom.store import Run

    path = out or run.with_suffix(".html")
    with (
        bars() as watcher,
        watched(watcher),
        subject(run, model, {}, watcher, allow_fetch) as opened,
    ):
        assert isinstance(opened, Run)
        if model is None and not allow_fetch and (distrust := unasked(opened)) is not None:
            say(distrust)
        export(opened, "html", path)
    say(f"the report is {path}")
