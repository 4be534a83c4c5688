"""``geom export``: a run as a file that other programs read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from geom.cli.subject import RunFile

if TYPE_CHECKING:
    from geom.store import Run


def export(
    run: RunFile,
    format: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAME", help="A reporter: jsonl, csv, parquet, tokens, ..."
        ),
    ] = "jsonl",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to; text goes to standard output unless told."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="reporter.NAME.OPTION=VALUE", help="An option."),
    ] = None,
) -> None:
    """Write a run in the form of a reporter: jsonl has one token examined a line."""
    from geom.loading import open_run
    from geom.options import parse_assignments

    with open_run(run) as opened:
        write(opened, format, out, parse_assignments(option or []))


def write(run: Run, format: str, out: Path | None, given: Mapping[str, Any] | None = None) -> None:
    """Send a run through the reporter of that name, to a file or to standard output."""
    from geom.choosing import chosen, refuse_unused
    from geom.errors import GeomError, InputError, PluginError, raised
    from geom.options import by_plugin
    from geom.plugins import installed

    values = by_plugin(given or {})
    refuse_unused(installed(), values, {"reporter": [format]})
    ((reporter, options),) = chosen(installed(), "reporter", [format], values)
    if out is None and not reporter.text:
        raise InputError(f"format {format} is no text: give --out FILE{reporter.suffix}")
    try:
        with _whole(out) if out else nullcontext(sys.stdout.buffer) as file:
            reporter.write(run, file, options)
            file.flush()
    except GeomError:
        raise
    except OSError as error:
        if out is None:
            raise
        raise InputError(f"{out}: {error.strerror}; give a file that can be written") from error
    except Exception as error:  # a stranger's reporter may raise anything
        raise PluginError(f"reporter {format} raised {raised(error)}") from error


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """The file to write to, which is there when all is written; a link or a device as it is."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        with path.open("wb") as file:
            yield file
        return
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
