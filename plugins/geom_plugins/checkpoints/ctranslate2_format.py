"""CTranslate2's ``model.bin``: variables one after the other, then the aliases of some of them.

The format is defined by its writer, ``python/ctranslate2/specs/model_spec.py``, and its reader,
``src/models/model.cc``, of https://github.com/OpenNMT/CTranslate2: a version, the specification's
name and revision, then each variable with name, shape, type and bytes, then aliases, names under
which a variable is used again. Numbers are little-endian. A string has its length, with a final
zero byte, before it. There is no index: the variables are passed over one by one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom import Filed, InputError
from geom_plugins.checkpoints.spans import ByteFile, Unpack

_VERSIONS = range(2, 7)
"""The versions that are read. The first, of 2019, has neither a specification nor such names."""

_ALIASED, _TYPED = 3, 4
"""The first versions with aliases, and with types in place of the width of a number."""

_TYPES = ("<f4", "<i1", "<i2", "<i4", "<f2", "bfloat16")
"""NumPy's types by their number in the file."""

_BY_WIDTH = {4: "<f4", 2: "<i2", 1: "<i1"}
"""The types of older files, which had no other of these widths."""

_MOST_VARIABLES = 200_000
_MOST_DIMENSIONS = 8
"""The largest models have some thousands of variables, of up to three dimensions."""

_INT16_SCALE = 1000.0
"""The scale of int16 numbers in files that do not store one (``src/ops/quantize.cc``)."""

_GLANCE = 4096
"""How many bytes are read at once: the heads of small variables lie within them."""


@dataclass(frozen=True)
class Variable:
    """A variable of the file, whose rows are read only when asked for, in their own type."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: ByteFile
    begin: int

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read a slice of rows, along the first axis. Raises InputError if it cannot be read."""
        if not self.shape:
            raise InputError(f"variable {self.name!r} of {self.file.name} is a single number")
        return self.filed()[rows]

    def filed(self) -> Filed:
        """Return the variable as an array in its file, which is on this machine then."""
        span = self.file.span(self.begin, self.begin + self.size)
        return span.filed(_numpy(self.dtype), self.shape)

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return prod(self.shape) * _numpy(self.dtype).itemsize

    @property
    def is_quantised(self) -> bool:
        """Whether its numbers are integers, to be divided by a scale."""
        return "i" in self.dtype

    def number(self) -> float:
        """Return the number of a variable that has only one. Raises InputError for more."""
        if prod(self.shape) != 1:
            raise InputError(f"variable {self.name!r} of {self.file.name} is not a single number")
        span = self.file.span(self.begin, self.begin + self.size)
        return float(span.filed(_numpy(self.dtype), (1,))[:][0])


@dataclass(frozen=True, eq=False)
class Dequantised:
    """A matrix of integers that a readout holds as it is stored: a line is a scale and its row.

    CTranslate2's ``src/ops/dequantize_cpu.cc`` defines the numbers: integers times the reciprocal
    of the scale, both rounded to float32.
    """

    codes: Variable
    scale: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the matrix."""
        return self.codes.shape

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """Return rows in float32. Raises InputError if they cannot be read."""
        return self.unpack(self.lines(rows))

    def lines(self, rows: slice) -> NDArray[np.uint8]:
        """Return the lines of a slice of rows: four bytes, and those of the integers."""
        codes = np.ascontiguousarray(self.codes[rows])
        with np.errstate(over="ignore"):  # an infinite number is refused when it is used
            factor = np.float32(1.0) / np.ascontiguousarray(self.scale[rows])
        return np.concatenate([factor.view(np.uint8), codes.view(np.uint8)], axis=1)

    @property
    def unpack(self) -> Unpack:
        """Makes rows in float32 from lines."""
        return partial(_dequantised, dtype=self.codes.dtype)


def _dequantised(lines: NDArray[np.uint8], dtype: str) -> NDArray[np.float32]:
    factor, codes = np.ascontiguousarray(lines[:, :4]), np.ascontiguousarray(lines[:, 4:])
    with np.errstate(over="ignore", invalid="ignore"):
        out: NDArray[np.float32] = codes.view(dtype).astype(np.float32)
        out *= factor.view("<f4")
    return out


@dataclass(frozen=True)
class Model:
    """The variables of a file by their names and aliases, and the specification they follow."""

    name: str
    specification: str
    revision: int
    variables: Mapping[str, Variable]

    def variable(self, name: str) -> Variable:
        """Return the variable of that name. Raises InputError, with the nearest, without one."""
        if name not in self.variables:
            near = get_close_matches(name, self.variables, n=1) or list(self.variables)[:8]
            raise InputError(
                f"{self.name} has no variable {name!r}; it has {', '.join(near) or 'none'}"
            )
        return self.variables[name]

    def matrix(self, name: str) -> Variable | Dequantised:
        """Return a matrix: as it is stored, or dequantised to float32 if it is quantised.

        Raises InputError for AWQ's packed matrices, and for a scale that is missing or does not
        fit.
        """
        found = self.variable(name)
        if f"{name}_zero" in self.variables or found.dtype == "<i4":
            raise InputError(
                f"{self.name}: {name} is quantised by AWQ, which geom does not read in this "
                "format; convert the model without it, or from a checkpoint whose output layer "
                "is stored as floats"
            )
        if not found.is_quantised:
            return found
        if len(found.shape) != 2:
            raise InputError(f"{self.name}: {name} has shape {found.shape}, and is not a matrix")
        return Dequantised(found, self._scale(found, name))

    def _scale(self, matrix: Variable, name: str) -> NDArray[np.float32]:
        """Return the scale of each row (V, 1) of a quantised matrix."""
        stored = self.variables.get(f"{name}_scale") or self.variables.get(f"{matrix.name}_scale")
        if stored is None:
            if matrix.dtype == "<i2":
                return np.full((matrix.shape[0], 1), _INT16_SCALE, np.float32)
            raise InputError(f"{self.name}: {name} is quantised, and {name}_scale is missing")
        shape = () if matrix.dtype == "<i2" else (matrix.shape[0],)
        if prod(stored.shape) != prod(shape) or stored.dtype != "<f4":
            raise InputError(
                f"{self.name}: {stored.name} is of type {stored.dtype} and shape {stored.shape}, "
                f"which is not a scale of {name}"
            )
        span = stored.file.span(stored.begin, stored.begin + stored.size)
        scale = span.filed("<f4", (prod(shape),))[:]
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise InputError(f"{self.name}: {stored.name} has a scale that is not positive")
        return np.broadcast_to(scale.reshape(-1, 1), (matrix.shape[0], 1))


def is_model(start: bytes) -> bool:
    """Return whether a file that starts so has a version of this format that is read."""
    return len(start) >= 4 and int.from_bytes(start[:4], "little") in _VERSIONS


def read_model(file: ByteFile) -> Model:
    """Return the variables of a ``model.bin``; their numbers are passed over.

    Raises InputError if the file is not of this format or of a version that is not read, is cut
    short or has bytes left over, or if a name, type, shape or size contradicts the rest.
    """
    try:
        return _parse(file, _Cursor(file))
    except ValueError as error:
        raise InputError(f"{file.name} is not CTranslate2's, or is damaged: {error}") from error


def _parse(file: ByteFile, cursor: _Cursor) -> Model:
    version = cursor.number("I")
    if version not in _VERSIONS:
        hint = "; if it is a pointer of Git LFS, run git lfs pull" if version == _LFS else ""
        raise ValueError(
            f"geom reads the versions {_VERSIONS[0]} to {_VERSIONS[-1]} of the format, and this "
            f"says version {version}{hint}"
        )
    specification, revision = cursor.text(), cursor.number("I")
    variables: dict[str, Variable] = {}
    for _ in range(cursor.count("variables", least=8)):
        found = _variable(file, cursor, typed=version >= _TYPED)
        _add(variables, found.name, found)
    for _ in range(cursor.count("aliases", least=4) if version >= _ALIASED else 0):
        alias, name = cursor.text(), cursor.text()
        if name not in variables:
            raise ValueError(f"{alias!r} is an alias of {name!r}, which it does not have")
        _add(variables, alias, variables[name])
    if cursor.at != file.size:
        raise ValueError(f"it has {file.size - cursor.at} bytes after its last name")
    return Model(file.name, specification, revision, variables)


_LFS = int.from_bytes(b"vers", "little")


def _variable(file: ByteFile, cursor: _Cursor, *, typed: bool) -> Variable:
    """Read the head of a variable, and move past its numbers."""
    name = cursor.text()
    rank = cursor.number("B")
    if rank > _MOST_DIMENSIONS:
        raise ValueError(f"{name!r} has {rank} dimensions")
    shape = tuple(cursor.number("I") for _ in range(rank))
    kind, length = cursor.number("B"), cursor.number("I")
    dtype = (dict(enumerate(_TYPES)) if typed else _BY_WIDTH).get(kind)
    if dtype is None:
        raise ValueError(f"{name!r} has type {kind}, which is not one of the format's")
    out = Variable(name, dtype, shape, file, cursor.at)
    if out.size != length * (1 if typed else kind):
        raise ValueError(f"{name!r} has {length} bytes or numbers, not those of {shape}")
    cursor.skip(out.size, name)
    return out


def _add(variables: dict[str, Variable], name: str, variable: Variable) -> None:
    if name in variables:
        raise ValueError(f"it has two variables {name!r}")
    variables[name] = variable


def _numpy(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)  # type: ignore[no-any-return]  # it has no types
    return np.dtype(name)


@dataclass
class _Cursor:
    """A position in the file. Reading beyond its end raises ValueError."""

    file: ByteFile
    at: int = 0
    _near: bytes = b""
    _from: int = 0

    def take(self, length: int) -> bytes:
        """Return the next bytes, of which there are few."""
        self.refuse_beyond(length)
        begin = self.at - self._from
        if not 0 <= begin <= len(self._near) - length:
            end = min(self.file.size, self.at + max(length, _GLANCE))
            self._near, self._from = self.file.span(self.at, end).bytes(), self.at
            begin = 0
        self.at += length
        return self._near[begin : begin + length]

    def skip(self, length: int, name: str) -> None:
        """Move past the numbers of a variable."""
        self.refuse_beyond(length, f", {name!r}")
        self.at += length

    def refuse_beyond(self, length: int, what: str = "") -> None:
        """Raise ValueError if so many bytes do not follow."""
        if length > self.file.size - self.at:
            raise ValueError(f"it is cut short: it ends within {length} bytes{what}")

    def number(self, kind: str) -> int:
        """Return the next unsigned number of one of `struct`'s kinds."""
        (found,) = struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))
        return int(found)

    def count(self, what: str, *, least: int) -> int:
        """Return how many items follow, each of at least so many bytes."""
        count = self.number("I")
        if count > _MOST_VARIABLES or count * least > self.file.size - self.at:
            raise ValueError(f"it claims {count} {what}")
        return count

    def text(self) -> str:
        """Return the next string."""
        found = self.take(self.number("H"))
        if not found.endswith(b"\0"):
            raise ValueError("it has a string without its final zero byte")
        try:
            return found[:-1].decode()
        except UnicodeDecodeError as error:
            raise ValueError("it has a name that is not UTF-8") from error
