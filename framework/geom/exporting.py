"""A run as a file that other programs read: through a reporter, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from geom.choosing import chosen, refuse_unused
from geom.errors import GeomError, InputError, PluginError, raised
from geom.options import by_plugin
from geom.plugins import installed
from geom.store import Run


def export(
    run: Run,
    format: str,
    out: str | Path | BinaryIO,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Write a run through the reporter of that name to a file, or to one open for bytes.

    ``options`` are ``{"reporter.NAME.OPTION": value}``. What stands at the path is replaced when
    all is written. Raises InputError for what cannot be asked or a path that cannot be written,
    PluginError for whatever else a reporter raises, and OSError where the open file does.
    """
    values = by_plugin(options or {})
    refuse_unused(installed(), values, {"reporter": [format]})
    ((reporter, settings),) = chosen(installed(), "reporter", [format], values)
    try:
        if isinstance(out, str | Path):
            with _whole(Path(out)) as file:
                reporter.write(run, file, settings)
        else:
            reporter.write(run, out, settings)
            out.flush()
    except GeomError:
        raise
    except OSError as error:
        if not isinstance(out, str | Path):
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
