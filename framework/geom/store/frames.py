"""Records as a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from geom.errors import InputError
from geom.store.decoding import TOKEN_COLUMNS
from geom.store.rows import TokenRow

if TYPE_CHECKING:
    import pandas


def frame(rows: Iterable[object], columns: Sequence[str]) -> pandas.DataFrame:
    """Make a DataFrame of one row per record, one column per attribute.

    Raises InputError if pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise InputError("pandas is not installed: pip install pandas") from None
    found = [[getattr(row, name) for name in columns] for row in rows]
    return pandas.DataFrame(found, columns=list(columns))


def token_frame(rows: Iterable[TokenRow]) -> pandas.DataFrame:
    """Make a DataFrame of tokens: the fields of `TokenRow`, and ``hard`` after ``verdict``.

    The column ``verdict`` has the label, as tables and csv do. Raises InputError if pandas is not
    installed.
    """
    place = TOKEN_COLUMNS.index("verdict")
    columns = (*TOKEN_COLUMNS[:place], "label", "hard", *TOKEN_COLUMNS[place + 1 :])
    return frame(rows, columns).rename(columns={"label": "verdict"})
