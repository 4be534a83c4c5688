"""``jsonl``: one JSON object a token, one a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

from geom import NoOptions, Reporter, Run, hookimpl


def write(run: Run, file: BinaryIO, options: NoOptions) -> None:
    """Every row as a JSON object with the fields of `geom.Row`, in UTF-8."""
    for row in run.rows():
        line = json.dumps(row.as_dict(), ensure_ascii=False, allow_nan=False)
        file.write(line.encode("utf-8", "backslashreplace") + b"\n")


@hookimpl
def geom_reporters() -> Iterator[Reporter[NoOptions]]:
    """The hook."""
    yield Reporter("jsonl", "one JSON object a token", write, NoOptions, suffix=".jsonl")
