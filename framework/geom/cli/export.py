"""``geom export``: a run as a file that other programs read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

if TYPE_CHECKING:
    from geom.store import Run


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A file that geom run wrote.")],
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="A reporter: jsonl, csv, parquet, ...")
    ] = "jsonl",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to; text goes to standard output unless told."),
    ] = None,
) -> None:
    """Write the rows of a run: one token examined a row."""
    from geom.loading import open_run

    with open_run(run) as opened:
        write(opened, format, out)


def write(run: Run, format: str, out: Path | None) -> None:
    """Send a run through the reporter of that name, to a file or to standard output."""
    from geom.errors import InputError
    from geom.options import validate
    from geom.plugins import installed

    reporter = installed().get("reporter", format)
    options = validate("reporter", reporter, {})
    if out is None:
        if not reporter.text:
            raise InputError(f"format {format} is no text: give --out FILE{reporter.suffix}")
        reporter.write(run, sys.stdout.buffer, options)
        sys.stdout.buffer.flush()
        return
    try:
        with _whole(out) as file:
            reporter.write(run, file, options)
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}; give a file that can be written") from error


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
