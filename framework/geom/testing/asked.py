"""The subject of a suite: a plugin and its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Asked:
    """The record of a plugin with options that fit it.

    ``location`` is the location that a source is to read; ``decides`` is the number of known
    questions that a certifier must decide, and ``flags`` that of their unspeakable tokens that a
    detector must flag.
    """

    kind: str
    record: Any
    options: Any
    location: str = ""
    decides: int = 1
    flags: int = 1

    def __str__(self) -> str:
        return f"{self.kind} {self.record.name}"
