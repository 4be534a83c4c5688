"""The terminal, as far as tables and bars are written to it: nothing in them acts on it."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable
from typing import BinaryIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from geom.cli.display.output import out
from geom.text import harmless


class SafeConsole(Console):
    """A console that takes no markup from a text, and spells out what could act on a terminal.

    Columns are as wide as what is shown if the text went through `.messages.plain`
    before; what did not is caught here.
    """

    def __init__(self, stderr: bool = False) -> None:
        file = None if stderr else out()
        super().__init__(file=file, stderr=stderr, highlight=False, markup=False, emoji=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of a renderable, its texts made harmless line by line."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                lines = (harmless(line, 10 * len(line)) for line in segment.text.split("\n"))
                yield Segment("\n".join(lines), segment.style)


class _Spelled(io.RawIOBase):
    """What is written goes to a terminal, line by line, with what could act on it spelled out."""

    def __init__(self, terminal: BinaryIO) -> None:
        self._terminal = terminal
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # bytes are all we write
        """Write text in UTF-8."""
        lines = self._decoder.decode(bytes(data)).split("\n")
        shown = "\n".join(harmless(line, 10 * len(line)) for line in lines)
        self._terminal.write(shown.encode("utf-8"))
        return len(data)

    def flush(self) -> None:
        """Let the terminal have it."""
        self._terminal.flush()


def standard_output() -> BinaryIO:
    """Standard output for a reporter: as it is for a file or a pipe, safe for a terminal."""
    file = out()
    return cast(BinaryIO, _Spelled(file.buffer)) if file.isatty() else file.buffer
