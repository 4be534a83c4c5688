"""A run as a notebook shows it: its counts, and its first tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from geom.nouns import Noun
from geom.store.ranking import ranking
from geom.store.rows import TokenRow
from geom.store.unexamined import passed_over
from geom.text import harmless


def run_html(
    model: str,
    settings: Mapping[str, Any],
    rows: Iterable[TokenRow],
    noun: Noun,
    warnings: Sequence[str],
    pending: int,
) -> str:
    """Render a run: its counts, and a table of its first tokens, the unspeakable ones on top."""
    ranked = ranking(rows, noun)
    counts = Counter(row.label for row in ranked.rows)
    numbers = ", ".join(f"{n} {name}" for name, n in counts.most_common()) or f"no {noun} examined"
    if undecodable := sum(row.undecodable for row in ranked.rows):
        numbers += f"; {undecodable} of them speakable padding, which no tokenizer decodes"
    over = passed_over(settings, warnings)
    rest = settings["V"] - len(ranked) - pending
    if over is not None and rest > 0:
        numbers += f"; {rest} not flagged, {over.by}{over.because()}"
    facts = f"{settings['V']} {noun.plural}, d = {settings['d']}"
    return "\n".join(
        (
            f"<p><b>{escape(harmless(model))}</b>, {escape(facts)}: {escape(numbers)}</p>",
            *(f"<p>warning: {escape(harmless(line))}</p>" for line in warnings),
            ranked.html("run.ranking().rows"),
        )
    )
