"""What a command works on: a run, with its weights where they are named, or a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geom.progress import Watcher

if TYPE_CHECKING:
    from geom.store import Run

RunFile = Annotated[Path, typer.Argument(metavar="RUN", help="A file that geom run wrote.")]
"""The argument of the commands that read a run."""

AllowFetch = Annotated[
    bool,
    typer.Option(
        "--allow-fetch",
        help="Load the weights from where the run says, be it a server or another folder.",
    ),
]
"""Of the commands that need the weights of a run."""


@contextmanager
def subject(
    run: Path | None,
    model: str | None,
    options: Mapping[str, Any],
    watcher: Watcher,
    allow_fetch: bool,
) -> Iterator[Run | str]:
    """The run, open, or else the model's name, which is ``demo`` unless told."""
    from geom.loading import DEFAULT_MODEL, load, open_run
    from geom.plugins.options import by_plugin
    from geom.progress import watched

    if run is None:
        yield model or DEFAULT_MODEL
        return
    with watched(watcher):
        weights = load(model, by_plugin(options)) if model else None
    with open_run(run, weights, allow_fetch=allow_fetch) as opened:
        yield opened
