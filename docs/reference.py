"""Parts of the reference that are made from the code when the documentation is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import typer

from geom.cli import app
from geom.distribution import DISTRIBUTION
from geom.plugins.options import describe
from geom.plugins.registry import HOOKS, installed


def commands() -> str:
    """Return a section for every command: what it does, its usage and its arguments."""
    group = typer.main.get_command(app)
    return "\n".join(line for name in group.commands for line in _command(group, name))


def _command(group: Any, name: str) -> Iterator[str]:
    command = group.commands[name]
    context = typer.Context(command, info_name=f"geom {name}")
    yield f"## geom {name}\n"
    yield f"{command.help}\n"
    yield f"```text\n{context.get_usage()}\n```\n"
    records = (param.get_help_record(context) for param in command.get_params(context))
    rows = ((_bare(r[0]), r[1]) for r in records if r and "--help" not in r[0])
    yield _table(("argument", "meaning"), rows)


def _bare(argument: str) -> str:
    """Return the name of an argument without its Python type."""
    return argument if argument.startswith("-") else argument.partition(" <")[0]


def plugins() -> str:
    """Return a section for every plugin that comes with geom, by kind, with its options."""
    listed = [p for p in installed().listed() if p.origin.distribution == DISTRIBUTION]
    return "\n".join(
        line
        for kind in HOOKS
        for line in (f"## {kind}\n", *_kind(p for p in listed if p.kind == kind))
    )


def _kind(listed: Iterable[Any]) -> Iterator[str]:
    for plugin in listed:
        yield f"### {plugin.record.name}\n"
        yield f"{plugin.record.summary[:1].upper()}{plugin.record.summary[1:]}.\n"
        options = describe(plugin.record)
        rows = ((o.name, o.type, repr(o.default), o.summary) for o in options)
        if options:
            yield _table(("option", "type", "default", "meaning"), rows)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table in which every column but the last is code."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for first, *rest in rows:
        cells = [f"`{first}`", *(f"`{cell}`" for cell in rest[:-1]), rest[-1]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
