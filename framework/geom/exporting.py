"""Write a run to a file that other programs read, through a reporter, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from geom.files.replacing import replacing
from geom.plugins.chosen import Chosen
from geom.plugins.options import by_plugin
from geom.plugins.records import Reporter
from geom.plugins.selection import choose, refuse_unused
from geom.store import Run


def export(
    run: Run,
    format: str,
    out: str | Path | BinaryIO,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Write a run through a reporter.

    A regular file at the path is replaced once everything is written; a run, a link, a folder or a
    device is never replaced.

    Parameters
    ----------
    run : Run
        The run.
    format : str
        The reporter's name.
    out : str, Path or BinaryIO
        A path, or a file open for bytes.
    options : mapping of str to object, optional
        ``{"reporter.NAME.OPTION": value}``.

    Raises
    ------
    InputError
        If a name or an option is unknown or does not fit, or the path cannot be written.
    PluginError
        If a reporter raises anything else.
    OSError
        If the open file raises it.
    """
    values = by_plugin(options or {})
    refuse_unused(values, {"reporter": [format]})
    (reporter,) = choose("reporter", [format], values)
    if isinstance(out, str | Path):
        with replacing(Path(out)) as file:
            _write(run, reporter, file)
    else:
        _write(run, reporter, out)
        out.flush()


def _write(run: Run, reporter: Chosen[Reporter[Any]], file: BinaryIO) -> None:
    """Let the reporter write. Raises the file's OSError unchanged, not as the reporter's error."""

    def written(record: Reporter[Any], options: Any) -> OSError | None:
        try:
            record.write(run, file, options)
        except OSError as error:
            return error
        return None

    failed = reporter.call(written, "write")
    if failed is not None:
        raise failed
