"""``csv``: a table for spreadsheets and statistics programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import fields
from typing import BinaryIO

from geom import Reporter, Run, TokenRow, hookimpl
from geom_plugins.reporters.row_options import RowOptions


def write(run: Run, file: BinaryIO, options: RowOptions) -> None:
    """Write a header, then every row, in UTF-8; ``flagged_by`` is joined by spaces.

    The verdict of a token that is hard to speak is ``hard``. A value that is not known is empty.
    A measure has two columns, its value and its error.
    """
    measured = run.measured()
    names = sorted({name for found in measured.values() for name in found})
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = [column for name in names for column in (name, f"{name} error")]
    writer.writerow([*(field.name for field in fields(TokenRow)), *columns])
    for row in run.rows(options.verdict):
        known = {"verdict": row.label, "flagged_by": " ".join(row.flagged_by)}
        values = row.as_dict() | known
        found = measured.get(row.token_id, {})
        numbers: list[float | None] = []
        for name in names:
            item = found.get(name)
            numbers += [None, None] if item is None else [item.value, item.error]
        writer.writerow([*values.values(), *numbers])
    text.flush()
    text.detach()


@hookimpl
def geom_reporters() -> Iterator[Reporter[RowOptions]]:
    yield Reporter("csv", "a table with a header", write, RowOptions, suffix=".csv")
