"""``geom plugins``: what is installed, where it comes from, and what it can be told."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer


class Format(StrEnum):
    """How to print."""

    table = "table"
    json = "json"


def plugins(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One plugin.")] = None,
    format: Annotated[Format, typer.Option(help="How to print.")] = Format.table,
) -> None:
    """List the plugins by kind, or the options of one."""
    from geom.cli.display.messages import say
    from geom.cli.display.output import print_line
    from geom.cli.display.tables import print_options, print_plugins
    from geom.plugins.options import describe
    from geom.plugins.registry import installed

    found = installed()
    for skipped in found.skipped:
        say(str(skipped))
    listed = found.listed() if name is None else found.named(name)
    if format is Format.json:
        print_line(json.dumps([_as_json(item, describe(item.record)) for item in listed], indent=2))
    elif name is None:
        print_plugins(listed)
    else:
        for item in listed:
            print_options(item, describe(item.record))


def _as_json(item: Any, options: list[Any]) -> dict[str, Any]:
    return {
        "kind": item.kind,
        "name": item.record.name,
        "summary": item.record.summary,
        "distribution": item.origin.distribution,
        "version": item.origin.version,
        "module": item.origin.module,
        "options": [vars(option) for option in options],
    }
