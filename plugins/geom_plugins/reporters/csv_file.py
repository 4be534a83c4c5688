"""``csv``: a table for spreadsheets and statistics programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import fields
from typing import BinaryIO

from geom import NoOptions, Reporter, Row, Run, hookimpl


def write(run: Run, file: BinaryIO, options: NoOptions) -> None:
    """A header, then every row, in UTF-8; ``flagged_by`` is joined by spaces, unknown is empty."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Row))
    for row in run.rows():
        values = row.as_dict() | {"flagged_by": " ".join(row.flagged_by)}
        writer.writerow(values.values())
    text.flush()
    text.detach()


@hookimpl
def geom_reporters() -> Iterator[Reporter[NoOptions]]:
    """The hook."""
    yield Reporter("csv", "a table with a header", write, NoOptions, suffix=".csv")
