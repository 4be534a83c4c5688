"""``geom show``: a run for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A file that geom run wrote.")],
    verdict: Annotated[
        str | None, typer.Option(help="Only speakable, unspeakable or undecided tokens.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="ID|TEXT", help="One token, with its certificate.")
    ] = None,
) -> None:
    """Show the verdicts of a run, or all that it knows of one token."""
    from geom.cli.tables import print_run, print_token
    from geom.errors import InputError, unknown
    from geom.loading import open_run

    verdicts = ("speakable", "unspeakable", "undecided")
    if verdict is not None and verdict not in verdicts:
        raise unknown("verdict", verdict, verdicts)
    with open_run(run) as opened:
        if token is None:
            print_run(opened, verdict=verdict)
            return
        named = [row for row in opened.rows() if token in (str(row.token_id), row.token)]
        if not named:
            raise InputError(
                f"token {token!r} was not examined in {run}: give its id or exact text"
            )
        for row in named:
            print_token(opened, row)
