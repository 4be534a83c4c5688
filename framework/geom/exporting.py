"""A run as a file that other programs read: through a reporter, whole or not at all."""

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
    """Write a run through the reporter of that name to a file, or to one open for bytes.

    ``options`` are ``{"reporter.NAME.OPTION": value}``. A regular file at the path is replaced when
    all is written; a run, a link, a folder or a device is not. Raises InputError for what cannot be
    asked or a path that cannot be written, PluginError for whatever else a reporter raises, and
    OSError if the open file does.
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
    """Let the reporter write. Raises OSError where that is the file's, not the reporter's."""

    def written(record: Reporter[Any], options: Any) -> OSError | None:
        try:
            record.write(run, file, options)
        except OSError as error:
            return error
        return None

    failed = reporter.call(written)
    if failed is not None:
        raise failed
