"""The vectors of a run's domain: the points of a hull, or the axes and the centre of an ellipsoid.

They are in the run file itself, so that whoever checks the run needs no other file, and no file can
name another one that is then opened. The settings name their digest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from geom.errors import InputError
from geom.model.frames import Frame
from geom.store.arrays import HEADER, ITEM, array, blob
from geom.store.file_format import FRAME_SCHEMA
from geom.store.run_file import RunFile


def write_frame(execute: Any, frame: Frame) -> None:
    """Make the table of a new run that keeps the domain's vectors, and fill it."""
    execute(FRAME_SCHEMA)
    for name, values in (("axes", frame.axes), ("centre", frame.centre)):
        if values is not None:
            execute("INSERT INTO frame VALUES (?, ?)", (name, blob(values.ravel())))


def read_frame(file: RunFile, k: int, d: int) -> Frame:
    """Read ``k`` axes of ``d`` numbers and the centre.

    Raises StoreError if the run does not keep them, or keeps something else.
    """
    arrays = {}
    for name, size in (("axes", k * d), ("centre", d)):
        found = (
            file.select("SELECT length(CAST(data AS BLOB)) FROM frame WHERE name = ?", (name,))
            if _has_table(file)
            else []
        )
        if not found:
            continue
        if found[0][0] != HEADER + ITEM * size:
            raise file.damaged(f"its domain has {name} of {found[0][0]} bytes")
        query = "SELECT data FROM frame WHERE name = ?"
        arrays[name] = array(
            file.select(query, (name,), HEADER + ITEM * size)[0][0], "f8", size, size
        )
    if "axes" not in arrays:
        raise file.damaged("it lacks the vectors of its domain")
    try:
        return Frame(np.reshape(arrays["axes"], (k, d)), arrays.get("centre"))
    except InputError as error:
        raise file.damaged(str(error)) from error


def _has_table(file: RunFile) -> bool:
    return bool(file.select("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'frame'"))
