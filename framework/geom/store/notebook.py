"""Tables as a notebook shows them: the first rows, and how many there are more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from geom.text import harmless, visible

if TYPE_CHECKING:
    from geom.store.reading import Run

SHOWN = 20
"""Rows of a table."""


def run_html(run: Run) -> str:
    """A run: counts, and the first of its tokens, unspeakable ones in front."""
    settings, rows = run.settings, sorted(run.rows(), key=lambda row: row.rank)
    counts = Counter(row.label for row in rows)
    numbers = ", ".join(f"{n} {name}" for name, n in counts.most_common()) or "no token examined"
    facts = f"{settings.get('V')} tokens, d = {settings.get('d')}"
    names = ("id", "token", "verdict", "proof", "largest margin")
    cells = (
        (
            str(row.token_id),
            visible(row.token, row.token_kind),
            row.label,
            row.proof or "-",
            row.margin,
        )
        for row in rows[:SHOWN]
    )
    return "\n".join(
        (
            f"<p><b>{escape(harmless(run.model))}</b>, {escape(facts)}: {escape(numbers)}</p>",
            table_html(names, cells, len(rows), "run.rows()"),
        )
    )


def table_html(names: Sequence[str], cells: Iterable[Sequence[str]], total: int, rest: str) -> str:
    """HTML without scripts or styles of its own; all texts are escaped.

    ``cells`` are those of the first `SHOWN` rows, and ``rest`` is the code that gives all
    ``total``.
    """
    lines = [
        "<table><thead><tr>",
        *(f"<th>{escape(name)}</th>" for name in names),
        "</tr></thead><tbody>",
        *(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in cells),
        "</tbody></table>",
    ]
    if total > SHOWN:
        lines.append(f"<p>{total - SHOWN} more: <code>{escape(rest)}</code></p>")
    return "\n".join(lines)
