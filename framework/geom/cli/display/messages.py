"""What a command says beside its results: lines on standard error."""

from __future__ import annotations

import typer

from geom.text import MESSAGE, harmless


def say(message: str) -> None:
    """One line, whatever is in the message, and nothing in it that acts on the terminal."""
    typer.echo(f"geom: {plain(' '.join(message.split()))}", err=True)


def say_skipped_plugins() -> None:
    """Name the plugins that are installed and could not be used, a line each."""
    from geom.plugins.registry import installed

    for skipped in installed().skipped:
        say(str(skipped))


def plain(text: str, most: int = MESSAGE) -> str:
    """Words of a run file, a plugin or a model, as a stranger may have written them, made safe."""
    return harmless(text, most)
