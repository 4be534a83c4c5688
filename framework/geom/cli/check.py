"""``geom check``: the readout, compared with the model that it is read from."""

from __future__ import annotations

from typing import Annotated

import typer

from geom.cli import completion
from geom.cli.arguments import PluginOptions, PrintRows, RowFormat


def check(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A file, a folder, a Hub id, or SOURCE:LOCATION?key=value.",
            autocompletion=completion.model,
        ),
    ],
    option: PluginOptions = None,
    format: PrintRows = RowFormat.table,
) -> int:
    """Compare the readout with the logits of the model itself.

    The exit code is 0 if they agree, 1 if not, and 2 if nothing could be compared.
    """
    from geom.checking import check as checked
    from geom.cli.display.check_tables import print_check
    from geom.cli.display.lines import print_lines
    from geom.cli.display.messages import say, say_skipped_plugins
    from geom.cli.display.progress import bars
    from geom.plugins.options import by_plugin, parse_assignments

    say_skipped_plugins()
    given = by_plugin(parse_assignments(option or []))
    with bars() as watcher:
        result = checked(model, given, progress=watcher)
    if format is RowFormat.table:
        print_check(result)
    else:
        print_lines(result)
    if result.agrees is None:
        say("nothing could be compared")
        return 2
    return 0 if result.agrees else 1
