"""A run as a notebook shows it: counts, and the first of its tokens, unspeakable ones in front."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from geom.text import harmless, visible

if TYPE_CHECKING:
    from geom.store.reading import Run

SHOWN = 20
"""Tokens of the table."""


def as_html(run: Run) -> str:
    """HTML without scripts or styles of its own; texts of tokens are escaped."""
    settings, rows = run.settings, sorted(run.rows(), key=lambda row: row.rank)
    counts = Counter(row.label for row in rows)
    numbers = ", ".join(f"{n} {name}" for name, n in counts.most_common()) or "no token examined"
    facts = f"{settings.get('V')} tokens, d = {settings.get('d')}"
    lines = [
        f"<p><b>{escape(harmless(run.model))}</b>, {escape(facts)}: {escape(numbers)}</p>",
        "<table><thead><tr>",
        *(f"<th>{name}</th>" for name in ("id", "token", "verdict", "proof", "largest margin")),
        "</tr></thead><tbody>",
    ]
    for row in rows[:SHOWN]:
        cells = (
            str(row.token_id),
            visible(row.token, row.token_kind),
            row.label,
            row.proof or "-",
            row.margin,
        )
        lines.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    lines.append("</tbody></table>")
    if len(rows) > SHOWN:
        lines.append(f"<p>{len(rows) - SHOWN} more: <code>run.rows()</code></p>")
    return "\n".join(lines)
