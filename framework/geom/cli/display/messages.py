"""The messages of a command, apart from its results: lines on standard error."""

from __future__ import annotations

import typer

from geom.text import MESSAGE, harmless


def say(message: str) -> None:
    """Print a message as one line, with anything that could act on the terminal made harmless."""
    typer.echo(f"geom: {plain(' '.join(message.split()))}", err=True)


def say_skipped_plugins() -> None:
    """Name the installed plugins that could not be used, one line each."""
    from geom.plugins.registry import installed

    for skipped in installed().skipped:
        say(str(skipped))


def plain(text: str, most: int = MESSAGE) -> str:
    """Make text safe that a stranger may have written: in a run file, a plugin or a model."""
    return harmless(text, most)
