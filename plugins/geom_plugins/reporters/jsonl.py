"""``jsonl``: one JSON object per token, one per line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from geom import MeasureRow, Reporter, Run, hookimpl, json_line
from geom_plugins.reporters.row_options import RowOptions


def write(run: Run, file: BinaryIO, options: RowOptions) -> None:
    """Write every row as a JSON object with the fields of `geom.TokenRow`, in UTF-8.

    See `geom.json_line`. In a run with measures each object also has ``measures``: the value, error
    and unit of each measure, by name.
    """
    measured = run.measured()
    for row in run.rows(options.verdict):
        fields = row.as_dict()
        if measured:
            found = measured.get(row.token_id, {})
            fields["measures"] = {name: _numbers(item) for name, item in found.items()}
        file.write(json_line(fields).encode() + b"\n")


def _numbers(item: MeasureRow) -> dict[str, Any]:
    row = item.as_dict()
    return {name: row[name] for name in ("value", "error", "unit")}


@hookimpl
def geom_reporters() -> Iterator[Reporter[RowOptions]]:
    yield Reporter("jsonl", "one JSON object per token", write, RowOptions, suffix=".jsonl")
