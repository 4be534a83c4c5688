"""Reads the texts of rows that a user names himself: a file of lines, a JSON list, or an array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from geom import InputError, read_regular

_MOST = 2**28
"""The most bytes of a file of texts."""


def texts_of_file(path: Path, V: int) -> tuple[str | None, ...]:
    """Return the texts of V rows: one per line, or of a ``.json`` file the strings of its list.

    Raises InputError if the file is missing, is not such a file in UTF-8, or has another number of
    texts.
    """
    content = read_regular(path, _MOST, "give a text file with one line per row, or a JSON list")
    try:
        if path.suffix == ".json":
            texts = msgspec.json.decode(content, type=tuple[str | None, ...])
        else:
            lines = content.decode("utf-8-sig").removesuffix("\n")
            texts = tuple(line.removesuffix("\r") for line in lines.split("\n"))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} does not hold texts ({error}): give one per line in UTF-8, or a .json file "
            "with a list of strings"
        ) from error
    return _counted(texts, V, str(path))


def texts_of_array(array: NDArray[Any], V: int, name: str) -> tuple[str | None, ...]:
    """Return the texts of V rows in an array of strings; ``name`` is what messages call it.

    Raises InputError if it is not an array of V strings.
    """
    if array.ndim != 1 or array.dtype.kind != "U":
        raise InputError(
            f"{name} has shape {array.shape} and type {array.dtype}: save a list of strings, as "
            "in names.astype(str)"
        )
    return _counted(tuple(array.tolist()), V, name)


def _counted(texts: tuple[str | None, ...], V: int, name: str) -> tuple[str | None, ...]:
    if len(texts) != V:
        raise InputError(f"{name} has {len(texts)} texts for {V} rows: give one for each row")
    return texts
