"""Tables of what is installed: plugins, their options, and the system geom runs on."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from geom.cli.display.messages import plain
from geom.cli.display.tables import empty_table, print_whole, results_console
from geom.diagnosis import Symptom
from geom.plugins.options import OptionInfo
from geom.plugins.registry import Listed


def print_plugins(listed: Sequence[Listed]) -> None:
    """Print every plugin by kind, with the distribution that provides it."""
    table = empty_table()
    for column in ("kind", "name", "what it does", "from"):
        table.add_column(column, overflow="fold", no_wrap=column in ("kind", "name"))
    kind = ""
    for item in listed:
        shown = "" if item.kind == kind else item.kind
        kind = item.kind
        summary, origin = Text(plain(item.record.summary)), Text(plain(str(item.origin)))
        table.add_row(shown, Text(plain(item.record.name)), summary, origin)
    results_console().print(table)


def print_options(item: Listed, options: Sequence[OptionInfo]) -> None:
    """Print one plugin and its options, with types and defaults."""
    console = results_console()
    print_whole(console, f"{item.kind} {item.record.name}: {item.record.summary}")
    print_whole(console, f"from {item.origin}, module {item.origin.module}")
    if not options:
        console.print("no options")
        return
    table = empty_table()
    for column in ("option", "type", "default", "meaning"):
        table.add_column(column, overflow="fold", no_wrap=column == "option")
    for option in options:
        default = "-" if option.default is None else str(option.default)
        cells = (option.name, option.type, default, option.summary)
        table.add_row(*(Text(plain(cell)) for cell in cells))
    console.print(table)
    name, first = item.record.name, options[0].name
    print_whole(console, f"set with -o {item.kind}.{name}.{first}=VALUE")
    if item.kind == "source":
        print_whole(console, f"or with --model {name}:LOCATION?{first}=VALUE")


def print_diagnosis(findings: Sequence[Symptom]) -> None:
    """Print a description of the system geom runs on, one line per finding."""
    table = empty_table()
    for column in ("", "name", "found"):
        table.add_column(column, overflow="fold", no_wrap=column != "found")
    section = ""
    for found in findings:
        shown = "" if found.section == section else found.section
        section = found.section
        style = "" if found.sound else "red"
        table.add_row(shown, Text(plain(found.name)), Text(plain(found.found), style))
    results_console().print(table)
