"""Records as a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from geom.errors import InputError

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
