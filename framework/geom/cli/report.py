"""``geom report``: write a run as a web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geom.cli.arguments import AllowFetch, RunFile, model_option

MARK = b'<meta name="generator" content="geom">'
"""The mark near the beginning of every report: geom may replace a file that has it."""


def report(
    run: RunFile,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="The file to write.  [default: RUN with the ending .html]"
        ),
    ] = None,
    model: Annotated[str | None, model_option("The weights, if the run cannot find them.")] = None,
    allow_fetch: AllowFetch = False,
) -> None:
    """Write a run as one self-contained page.

    The page shows the verdicts, pictures, and the table of tokens.
    """
    from geom.cli.display.commands import explained
    from geom.cli.display.messages import say
    from geom.cli.display.progress import bars
    from geom.cli.subject import open_with_weights
    from geom.errors import UnaskedError
    from geom.exporting import export
    from geom.loading import unasked
    from geom.progress import watched

    path = out or _beside(run)
    with (
        bars() as watcher,
        watched(watcher),
        open_with_weights(run, model, allow_fetch, watcher) as opened,
    ):
        if model is None and not allow_fetch and (distrust := unasked(opened)) is not None:
            say(explained(UnaskedError(distrust, opened.model)))
        export(opened, "html", path)
    say(f"the report is {path}")


def _beside(run: Path) -> Path:
    """Return the run's name with the ending .html.

    Raises InputError if a file of that name is not a report of geom.
    """
    from geom.errors import InputError
    from geom.files.replacing import kind_of

    path = run.with_suffix(".html")
    if kind_of(path) == "a file":
        with path.open("rb") as file:
            if MARK not in file.read(1024):
                raise InputError(f"{path} exists and is not a report of geom: name another --out")
    return path
