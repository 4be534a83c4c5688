"""``geom activations``: a sample of the vectors that a network hands to its readout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geom.cli import completion
from geom.cli.arguments import PluginOptions, PrintRows, RowFormat


def activations(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="SOURCE:LOCATION?key=value.",
            autocompletion=completion.model,
        ),
    ],
    text: Annotated[Path, typer.Option(metavar="FILE", help="The text to read, in UTF-8.")],
    out: Annotated[Path, typer.Option(metavar="ACTS.npy", help="The file of vectors to write.")],
    count: Annotated[int, typer.Option(metavar="N", min=1, help="How many vectors.")] = 4096,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="The seed of the places drawn.")
    ] = 0,
    window: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            help="The most tokens read at once.  [default: the network's, up to 2048]",
        ),
    ] = None,
    option: PluginOptions = None,
    format: PrintRows = RowFormat.table,
) -> None:
    """Sample what the final norm emits as the network reads a text.

    The vectors are those after the final norm, before its scale and shift, in a .npy file; a .json
    file beside it says how they were made.
    """
    from geom.cli.display.lines import print_json
    from geom.cli.display.messages import plain, say_skipped_plugins
    from geom.cli.display.output import print_line
    from geom.cli.display.progress import bars
    from geom.collecting import activations as collected
    from geom.collecting import header_of
    from geom.plugins.options import by_plugin, parse_assignments

    say_skipped_plugins()
    header_of(out)
    given = by_plugin(parse_assignments(option or []))
    with bars() as watcher:
        found = collected(
            model, text, count=count, seed=seed, window=window, given=given, progress=watcher
        )
    header = found.write(out)
    if format is RowFormat.jsonl:
        print_json([dict(found.header)])
        return
    n, d = found.points.shape
    print_line(
        plain(
            f"{n} vectors of {d} numbers, from {found.header['text_tokens']} tokens of {text}, as "
            f"{found.header['network']} emits them from {found.header['layer']}"
        )
    )
    print_line(plain(f"kept in {out}, and how they were made in {header}"))
