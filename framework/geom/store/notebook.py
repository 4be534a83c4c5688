"""Tables as a notebook shows them: the first rows, and how many more there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

SHOWN = 20
"""The number of rows that a table shows."""


def table_html(names: Sequence[str], cells: Iterable[Sequence[str]], total: int, rest: str) -> str:
    """Render a table as HTML without scripts or styles, all texts escaped.

    ``cells`` has the first `SHOWN` rows, and ``rest`` is the code that gives all ``total`` rows.
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
