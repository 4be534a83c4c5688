"""``maxent``: a point or weights of maximum entropy, by Newton's method.

First every token of a batch tries one Newton step that all share. Most speakable tokens win there,
for the price of one matrix product. The others follow the central path of their program, on a
working set of a few thousand rivals: `geom_plugins.solvers.maximum_entropy`, which the measures
use too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from geom import Certifier, Readout, hookimpl
from geom_plugins.solvers.maximum_entropy import BATCH, Effort, memory, search, search_many


def _tighten(effort: Effort, gap: float, enough: float | None) -> Effort:
    """Return the effort to go on with; a margin near the border takes more than a sign does."""
    return replace(effort, steps=4 * effort.steps, largest=True, gap=gap, enough=enough)


def _memory(readout: Readout, _: Effort) -> int:
    return memory(readout)


@hookimpl
def geom_certifiers() -> Iterator[Certifier[Effort]]:
    yield Certifier(
        "maxent",
        "points and weights of maximum entropy, by Newton's method",
        search,
        Effort,
        certify_many=search_many,
        batch=BATCH,
        sees_all=lambda effort: effort.largest,
        tighten=_tighten,
        devices=("cpu", "torch", "cuda"),
        memory=_memory,
        mixtures=True,
    )
