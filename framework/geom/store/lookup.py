"""The tokens that a name means: an id, a text, or a text as it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from geom.store.rows import TokenRow
from geom.text import mark, visible

_LONGEST = 100
"""The most characters of texts that are compared for being nearly the same."""


def named(rows: Sequence[TokenRow], name: str) -> list[TokenRow]:
    """Return the row with that id, and those with that text; empty if there is none.

    Without a row of that id or exact text, the name is taken for a text as it is shown, and else
    for a text without the space that it begins with.
    """
    for forms in (_exact, _shown, _spaced):
        found = [row for row in rows if name in forms(row)]
        if found:
            return sorted(found, key=lambda row: str(row.token_id) != name)
    return []


def near(rows: Sequence[TokenRow], name: str) -> list[str]:
    """Return up to three texts, as they are shown, that are nearly the name."""
    wanted = _plain(name)
    texts: dict[str, TokenRow] = {}
    for row in rows:
        if row.token is not None and len(row.token) <= _LONGEST:
            texts.setdefault(_plain(row.token), row)
    if not wanted or len(wanted) > _LONGEST:
        return []
    found = get_close_matches(wanted, texts, n=3, cutoff=0.7)
    return [visible(texts[text].token, texts[text].token_kind) for text in found]


def _plain(text: str) -> str:
    return text.strip().casefold()


def _exact(row: TokenRow) -> tuple[str | None, ...]:
    return str(row.token_id), row.token


def _shown(row: TokenRow) -> tuple[str, ...]:
    if row.token is None:
        return ()
    whole = visible(row.token, row.token_kind)
    quoted = whole.removesuffix(mark(row.token_kind))
    return whole, quoted, quoted[1:-1]


def _spaced(row: TokenRow) -> tuple[str, ...]:
    return (row.token[1:],) if row.token and row.token[0] == " " else ()
