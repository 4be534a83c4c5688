"""Tracebacks, for the authors of plugins: ``geom --debug COMMAND``."""

from __future__ import annotations

from geom.cli.display.messages import say_traceback
from geom.errors import GeomError, behind, traceback_of


class Tracebacks:
    """Prints tracebacks if they are wanted, each once, however many tokens it costs.

    Attributes
    ----------
    wanted : bool
        Whether they are printed.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._printed: set[str] = set()

    def caught(self, error: Exception) -> None:
        """Print what a plugin raised; a refusal in geom's own words is left to what it ends."""
        if not isinstance(error, GeomError):
            self._print(behind(error))

    def ended(self, error: BaseException) -> None:
        """Print what ends the command, unless it was caught before."""
        cause = error.__cause__
        if cause is None or traceback_of(behind(cause)) not in self._printed:
            self._print(error)

    def told(self, text: str) -> None:
        """Print a traceback that another process sent."""
        if self.wanted and text not in self._printed:
            self._printed.add(text)
            say_traceback(text)

    def _print(self, error: BaseException) -> None:
        if self.wanted:
            self.told(traceback_of(error))
