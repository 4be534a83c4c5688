"""Consoles that print tables and bars in which no text can act on the terminal."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable
from typing import Any, BinaryIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from geom.cli.display.output import out
from geom.text import harmless


class SafeConsole(Console):
    """A console that ignores markup in texts and spells out what could act on a terminal.

    Texts should pass through `.messages.plain` first, so that columns get the width of the text
    that is shown; texts that did not are caught here.
    """

    def __init__(self, stderr: bool = False) -> None:
        file = None if stderr else out()
        super().__init__(file=file, stderr=stderr, highlight=False, markup=False, emoji=False)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; in a file or a pipe, no line of a table ends with blanks."""
        if self.is_terminal:
            super().print(*objects, **options)
            return
        with self.capture() as found:
            super().print(*objects, **options)
        self.file.write("\n".join(line.rstrip(" ") for line in found.get().split("\n")))
        self.file.flush()

    def on_broken_pipe(self) -> None:
        """Let the error pass: `geom.cli` ends the command."""
        raise BrokenPipeError

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of a renderable, their texts made harmless line by line."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                lines = (harmless(line, 10 * len(line)) for line in segment.text.split("\n"))
                yield Segment("\n".join(lines), segment.style)


class _Spelled(io.RawIOBase):
    """A stream to a terminal that spells out, line by line, what could act on the terminal."""

    def __init__(self, terminal: BinaryIO) -> None:
        self._terminal = terminal
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # bytes are all we write
        """Write text in UTF-8."""
        lines = self._decoder.decode(bytes(data)).split("\n")
        shown = "\n".join(harmless(line, 10 * len(line)) for line in lines)
        self._terminal.write(shown.encode("utf-8"))
        return len(data)

    def flush(self) -> None:
        """Flush the terminal."""
        self._terminal.flush()


def standard_output() -> BinaryIO:
    """Return standard output for a reporter: unchanged for a file or pipe, safe for a terminal."""
    file = out()
    return cast(BinaryIO, _Spelled(file.buffer)) if file.isatty() else file.buffer
