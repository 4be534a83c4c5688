"""What may be done to the head of any model, as options of its name: new rows, rows, a cast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geom.errors import InputError
from geom.files.addresses import parse_address
from geom.model.grown import DEFAULT_INIT
from geom.model.readout import Readout
from geom.model.row_file import RowFile

OPTIONS = ("new", "init", "init_seed", "rows", "cast", "bias")
"""The options that every source has, because geom takes them itself."""


@dataclass(frozen=True)
class Edits:
    """Changes to a readout, made in this order.

    A checkpoint grows, is trained or repaired, and is then rounded for its deployment.

    Attributes
    ----------
    new : int, optional
        How many rows are appended.
    init : str
        What they start with.
    init_seed : int
        The seed of their draws.
    rows : str, optional
        The file whose rows replace others.
    cast : str, optional
        The format that the rows are rounded to.
    drop_bias : bool
        Whether every bias is zero.
    """

    new: int | None = None
    init: str = DEFAULT_INIT
    init_seed: int = 0
    rows: str | None = None
    cast: str | None = None
    drop_bias: bool = False

    @classmethod
    def taken(cls, values: dict[str, Any], own: frozenset[str]) -> Edits:
        """Take the options of every source out of ``values``, which keeps the source's ``own``.

        Raises InputError for a count or a seed that is not a number, and for an initialisation of
        no rows.
        """
        found = {
            name: values.pop(name)
            for name in OPTIONS
            if name in values and name != "bias" and name not in own
        }
        drop_bias = values.get("bias") == "no"
        if drop_bias:
            del values["bias"]
        new = _count("new", found.pop("new", None))
        seed = _count("init_seed", found.pop("init_seed", None))
        if new is None and (seed is not None or "init" in found):
            raise InputError("init and init_seed are of new rows: give new=N, the number of rows")
        texts = {name: str(value) for name, value in found.items()}
        return cls(new=new, init_seed=seed or 0, drop_bias=drop_bias, **texts)

    def made(self, readout: Readout) -> Readout:
        """Return the readout with these changes. Raises InputError if one cannot be made."""
        if self.new is not None:
            readout = readout.with_new_rows(self.new, self.init, self.init_seed)
        if self.rows is not None:
            readout = _patched(readout, self.rows)
        if self.cast is not None:
            readout = readout.cast(self.cast)
        return readout.without_bias() if self.drop_bias else readout


def named_file(query: Mapping[str, Any], own: frozenset[str]) -> str | None:
    """Return the file that the options of a source name, None if they name none."""
    return None if "rows" in own or "rows" not in query else str(query["rows"])


def _count(name: str, value: Any) -> int | None:
    """Return a whole number. Raises InputError for anything else."""
    if value is None:
        return None
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InputError(f"option {name}={text[:40]}: give a whole number, as in {name}=8")
    return int(text)


def _patched(readout: Readout, location: str) -> Readout:
    """Return a readout with the rows of a file. Raises InputError if they do not fit it."""
    if not location:
        raise InputError("option rows= names no file; write rows=FILE.safetensors")
    path: Path | None = parse_address(location).path
    if path is None:
        raise InputError(f"option rows={location}: give a file on this machine")
    V, k = readout.head.shape
    file = RowFile.read(path, V * (8 * k + 16))
    out = readout.with_rows(file.ids, file.rows, file.bias)
    note = f"{out.notes[-1]} by those of {path.name}"
    return out.described(out.source, (*out.notes[:-1], note))
