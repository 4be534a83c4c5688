"""Tensors as ggml stores them: plain numbers, or blocks that the gguf package dequantises.

The gguf package decides how the types of tensors are named, blocked and dequantised.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property, partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom import Filed, InputError
from geom_plugins.checkpoints.spans import ByteFile, Span

_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "BF16": "bfloat16",
}
"""The types whose numbers are read as they are; all others are blocks to be dequantised."""


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file, whose rows are read only when asked for.

    ``type`` is ggml's name for how it is stored, ``begin`` its offset in the file. Floats and
    integers keep their type; the block-quantised types become float32.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    file: ByteFile
    begin: int

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read a slice of rows, along the first axis. Raises InputError if it cannot be read."""
        if len(self.shape) == 1:  # one row of blocks
            line: NDArray[Any] = self._unpacked(self.filed()[:])
            return line.reshape(self.shape)[rows]
        lines = self._unpacked(self.filed()[rows])
        return lines.reshape(-1, *self.shape[1:])

    def filed(self) -> Filed:
        """Return the tensor as an array in its file: numbers, or the bytes of blocks to unpack."""
        assert self._line is not None
        if not self.is_quantised:
            return self._span.filed(_numpy(self.type), self.shape)
        lines = (*self.shape[:-1], self._line)
        return self._span.filed(np.uint8, lines, partial(_dequantised, name=self.type))

    @property
    def is_quantised(self) -> bool:
        """Whether its numbers are stored in quantised blocks."""
        return self.type not in _NUMPY

    @property
    def size(self) -> int | None:
        """Its length in bytes, or None if the type is not known."""
        return None if self._line is None else prod(self.shape[:-1]) * self._line

    @cached_property
    def _line(self) -> int | None:
        """The bytes along the last axis. Raises ValueError if they are not whole blocks."""
        known = _quants().get(self.type)
        if known is None:
            return None
        block, size = known
        if self.shape[-1] % block:
            raise ValueError(
                f"tensor {self.name!r} is {self.type} in blocks of {block}, its rows have "
                f"{self.shape[-1]} numbers"
            )
        return self.shape[-1] // block * size

    def _unpacked(self, lines: NDArray[Any]) -> NDArray[Any]:
        """Return the numbers in lines along the last axis."""
        if not self.is_quantised:
            return lines
        if not lines.size:
            return np.zeros((0, self.shape[-1]), np.float32)
        return _dequantised(lines, self.type)

    def refuse_unreadable(self) -> None:
        """Raise InputError for a type that cannot be read: ggml has more than Python's gguf."""
        if self.type in _NUMPY:
            return
        known = _quants().get(self.type)
        try:
            if known is None:
                raise NotImplementedError
            _dequantised(np.zeros((1, known[1]), np.uint8), self.type)
        except NotImplementedError as error:
            raise InputError(
                f"tensor {self.name!r} of {self.file.name} is {self.type}, which the gguf package "
                "cannot dequantise: give a file whose output tensor is of another type, or try a "
                "newer gguf"
            ) from error

    @cached_property
    def _span(self) -> Span:
        return self.file.span(self.begin, self.begin + (self.size or 0))


def _numpy(name: str) -> np.dtype[Any]:
    """Return the NumPy type of numbers that are read as they are."""
    if name == "BF16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)  # type: ignore[no-any-return]  # it has no types
    return np.dtype(_NUMPY[name])


@cache
def type_names() -> dict[int, str]:
    """Return the names of the tensor types by number."""
    from gguf.constants import GGMLQuantizationType

    return {int(kind): kind.name for kind in GGMLQuantizationType}


@cache
def _quants() -> dict[str, tuple[int, int]]:
    """Return how many numbers and bytes make a block, by the type's name."""
    from gguf.constants import GGML_QUANT_SIZES

    return {kind.name: sizes for kind, sizes in GGML_QUANT_SIZES.items()}


def _dequantised(lines: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    """Dequantise lines of blocks to float32.

    Raises NotImplementedError for a type that the gguf package cannot dequantise.
    """
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    with np.errstate(all="ignore"):  # infinite scales are refused when the numbers are used
        out: NDArray[np.float32] = dequantize(lines, GGMLQuantizationType[name])
    return out
