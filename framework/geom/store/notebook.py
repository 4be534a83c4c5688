"""Tables as a notebook shows them: the first rows, and how many more there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from geom.nouns import Noun
from geom.store.ranking import ranking
from geom.store.rows import TokenRow
from geom.text import harmless, visible

SHOWN = 20
"""The number of rows that a table shows."""


def run_html(
    model: str, settings: Mapping[str, Any], rows: Iterable[TokenRow], noun: Noun = Noun.TOKEN
) -> str:
    """Render a run: its counts, and a table of its first tokens, the unspeakable ones on top."""
    ranked = ranking(rows, noun)
    ordered = ranked.rows
    counts = Counter(row.label for row in ordered)
    numbers = ", ".join(f"{n} {name}" for name, n in counts.most_common()) or f"no {noun} examined"
    if undecodable := sum(row.undecodable for row in ordered):
        numbers += f"; {undecodable} of them speakable padding, which no tokenizer decodes"
    facts = f"{settings.get('V')} {noun.plural}, d = {settings.get('d')}"
    names = ("id", noun, "verdict", "proof", "largest margin")
    cells = (
        (
            str(row.token_id),
            visible(row.token, row.token_kind),
            row.label,
            row.proof or "-",
            ranked.margin(row),
        )
        for row in ordered[:SHOWN]
    )
    return "\n".join(
        (
            f"<p><b>{escape(harmless(model))}</b>, {escape(facts)}: {escape(numbers)}</p>",
            table_html(names, cells, len(ordered), "run.ranking().rows"),
            *(f"<p>{escape(said)}</p>" for said in (ranked.about, *ranked.legend) if said),
        )
    )


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
