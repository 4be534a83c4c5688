"""The options of the reporters that write one row per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from geom import VerdictLabel

Wanted = Annotated[
    VerdictLabel | None,
    Meta(
        description="only tokens of this verdict; hard: speakable, but not along the own "
        "direction; none: all"
    ),
]


@dataclass(frozen=True)
class RowOptions:
    """Which of the examined tokens to write."""

    verdict: Wanted = None
