"""Reads the variables of CTranslate2's ``model.bin``, version 6 of the format.

The format is defined by its writer, ``ctranslate2/specs/model_spec.py`` of
https://github.com/OpenNMT/CTranslate2: a version, the specification's name and revision, then each
variable with name, shape, type and bytes, then aliases, names under which a variable is used again.
All numbers are little-endian. A string has its length, with a final zero byte, before it.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 6

TYPES = ("<f4", "i1", "<i2", "<i4", "<f2")
"""NumPy's types by their number in the file; the format's next one, bfloat16, is not among them."""


def read_variables(path: Path) -> dict[str, NDArray[Any]]:
    """Map the variables of a file, read-only, by their names and aliases.

    Raises ValueError if the file is not of this format and version, is cut short or has bytes left
    over, or if a variable's name, type, shape or size contradicts the rest.
    """
    file = _File(np.memmap(path, np.uint8, "r"), path)
    version = file.number("I")
    if version != VERSION:
        raise ValueError(f"{path} is version {version} of the format: version {VERSION} is read")
    file.text()  # the specification
    file.number("I")  # its revision
    variables: dict[str, NDArray[Any]] = {}
    for _ in range(file.number("I")):
        name = file.text()
        shape = tuple(file.number("I") for _ in range(file.number("B")))
        variables[_new(name, variables, path)] = file.array(name, shape)
    for _ in range(file.number("I")):
        alias, name = file.text(), file.text()
        if name not in variables:
            raise ValueError(f"{path}: {alias!r} is an alias of {name!r}, which it does not have")
        variables[_new(alias, variables, path)] = variables[name]
    if file.place != len(file.data):
        raise ValueError(f"{path} has {len(file.data) - file.place} bytes after its last alias")
    return variables


def _new(name: str, variables: dict[str, NDArray[Any]], path: Path) -> str:
    """Return a name that no variable has yet."""
    if name in variables:
        raise ValueError(f"{path} has two variables {name!r}")
    return name


@dataclass
class _File:
    """The bytes of a file, and the place up to which they are read."""

    data: NDArray[np.uint8]
    path: Path
    place: int = 0

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return the next bytes."""
        if size > len(self.data) - self.place:
            raise ValueError(f"{self.path} is cut short: it ends within {size} bytes")
        self.place += size
        return self.data[self.place - size : self.place]

    def number(self, kind: str) -> int:
        """Return the next unsigned number of one of `struct`'s kinds."""
        (found,) = struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)).tobytes())
        return int(found)

    def text(self) -> str:
        """Return the next string."""
        found = self.take(self.number("H")).tobytes()
        if not found.endswith(b"\0"):
            raise ValueError(f"{self.path} has a string without its final zero byte")
        try:
            return found[:-1].decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path} has a name that is not UTF-8") from error

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the next variable's numbers, preceded by their type and their size in bytes."""
        kind, size = self.number("B"), self.number("I")
        if kind >= len(TYPES):
            raise ValueError(f"{self.path}: {name!r} has type {kind}, which is not read")
        if size != math.prod(shape) * np.dtype(TYPES[kind]).itemsize:
            raise ValueError(f"{self.path}: {name!r} has {size} bytes, not those of {shape}")
        return self.take(size).view(TYPES[kind]).reshape(shape)
