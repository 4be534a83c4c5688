"""``geom plugins``: the installed plugins, where they come from, and their options."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geom.cli import completion
from geom.cli.arguments import ListFormat, PrintList

if TYPE_CHECKING:
    from geom.plugins.options import OptionInfo
    from geom.plugins.registry import Listed


def plugins(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="List this plugin's options.",
            autocompletion=completion.one_of(completion.every_plugin),
        ),
    ] = None,
    format: PrintList = ListFormat.table,
) -> None:
    """List the plugins by kind, or the options of one plugin."""
    from geom.cli.display.messages import say_skipped_plugins
    from geom.cli.display.output import print_line
    from geom.cli.display.plugin_tables import print_options, print_plugins
    from geom.plugins.options import describe
    from geom.plugins.registry import installed

    say_skipped_plugins()
    listed = installed().listed() if name is None else installed().named(name)
    if format is ListFormat.json:
        print_line(json.dumps([_as_json(item, describe(item.record)) for item in listed], indent=2))
    elif name is None:
        print_plugins(listed)
    else:
        for item in listed:
            print_options(item, describe(item.record))


def _as_json(item: Listed, options: list[OptionInfo]) -> dict[str, Any]:
    return {
        "kind": item.kind,
        "name": item.record.name,
        "summary": item.record.summary,
        "distribution": item.origin.distribution,
        "version": item.origin.version,
        "module": item.origin.module,
        "options": [vars(option) for option in options],
    }
