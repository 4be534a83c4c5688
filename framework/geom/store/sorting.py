"""The orders in which the tokens of a run are listed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from geom.errors import unknown
from geom.store.rows import MeasureRow, TokenRow

HARDNESS = "hardness"
"""The order of `geom.store.ranking`."""

_COLUMNS = {"token_id": "id", "margin_lower": "margin"}
"""The keys that columns of csv and of a DataFrame stand for, which have other names."""

_VERDICTS = ("unspeakable", "undecided", "hard", "speakable")


def in_order(
    rows: Sequence[TokenRow], measured: Mapping[int, Mapping[str, MeasureRow]], key: str
) -> list[TokenRow]:
    """Return ranked rows in the order asked for; those with nothing to sort by come last.

    The key is `HARDNESS`, ``id``, ``token``, ``margin``, ``verdict`` or a measure, the least first;
    a ``-`` before it reverses. ``token_id`` and ``margin_lower``, as columns are called, are ``id``
    and ``margin``. Rows that it does not tell apart stay in their order. Raises InputError for
    another key.
    """
    name, reverse = _parsed(key)
    places = {row.token_id: place for place, row in enumerate(rows)}

    def number(row: TokenRow) -> float | None:
        item = measured.get(row.token_id, {}).get(name)
        return None if item is None else item.value

    values: dict[str, Callable[[TokenRow], Any]] = {
        name: number for found in measured.values() for name in found
    }
    values |= {
        HARDNESS: lambda row: places[row.token_id],
        "id": lambda row: row.token_id,
        "token": lambda row: row.token,
        "margin": _margin,
        "verdict": lambda row: _VERDICTS.index(row.label),
    }
    if name not in values:
        raise unknown("sort key", key, values)
    pairs = [(row, values[name](row)) for row in rows]
    known = [pair for pair in pairs if not _missing(pair[1])]
    known.sort(key=itemgetter(1), reverse=reverse)
    return [row for row, _ in known] + [row for row, value in pairs if _missing(value)]


def by_number(
    tokens: Sequence[int], measured: Mapping[int, Mapping[str, MeasureRow]], key: str
) -> list[int]:
    """Return tokens in the order of ``id`` or of a measure, as `in_order` does for a run."""
    name, reverse = _parsed(key)
    if name == "id":
        return sorted(tokens, reverse=reverse)
    names = {name for found in measured.values() for name in found}
    if name not in names:
        raise unknown("sort key", key, names | {"id"})
    values = {token: measured[token][name].value for token in tokens}
    known = [(value, token) for token, value in values.items() if value is not None]
    known.sort(key=itemgetter(0), reverse=reverse)
    return [token for _, token in known] + [t for t, value in values.items() if value is None]


def _parsed(key: str) -> tuple[str, bool]:
    """Return the key of a column or itself, and whether a ``-`` reverses it."""
    name = key.removeprefix("-")
    return _COLUMNS.get(name, name), key != name


def _margin(row: TokenRow) -> float | None:
    """Return what is proven of the largest margin: a lower bound, or else an upper one."""
    return row.margin_upper if row.margin_lower is None else row.margin_lower


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
