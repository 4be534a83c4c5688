"""A module whose weight may be stored quantised: its tensors, with their types and shapes checked.

The tensors of one module share the name before ``weight``: ``lm_head.weight``, ``lm_head.scales``,
``lm_head.weight.absmax``. A weight that is called otherwise, ``W``, has what begins with its name:
``W_scale``.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom import InputError, check_memory
from geom_plugins.checkpoints.weights import Tensor, Weights
from geom_plugins.quantised.codes import float8

_SCALES = {"F16": "<f2", "BF16": "<f4", "F32": "<f4", "F64": "<f8", "F8_E4M3": "<f2"}
"""The shortest of NumPy's own types that holds a type of scales exactly."""

_TELLING = re.compile(r"_(scale|zero|quant|pack|shape|absmax|g_idx)")
"""What follows the name of a weight that is not called ``weight``, in a quantised form of it."""

_HARMLESS = (
    "bias",
    "input_scale",
    "input_zero_point",
    "input_global_scale",
    "activation_scale",
    "qscale_act",
)
"""What changes no weight: a bias, and the grids that some programs round what comes in to."""

INTEGERS = ("I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64")
FLOAT8 = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
FLOATS = ("F64", "F32", "F16", "BF16", *FLOAT8)


@dataclass(frozen=True)
class Head:
    """The tensors of the module whose plain weight is called ``name``, present or not."""

    weights: Weights
    name: str
    _used: set[str] = field(default_factory=set)

    @property
    def module(self) -> str:
        """The module's name, as configurations name it."""
        return self.name.removesuffix(".weight")

    @cached_property
    def children(self) -> Collection[str]:
        """The names of all tensors of its own, less the module's; the weight's is ``weight``."""
        stem = self.name.removesuffix("weight") if self._is_weight else None
        found = set()
        for other in self.weights.names:
            rest = other.removeprefix(self.name)
            if other.startswith(self.name) and (
                rest[:1] in ("", ".") or (rest[0] == "_" and (stem or _TELLING.match(rest)))
            ):
                found.add("weight" + rest)
            elif stem and other.startswith(stem):
                found.add(other[len(stem) :])
        return found

    @property
    def _is_weight(self) -> bool:
        return self.name == "weight" or self.name.endswith(".weight")

    def has(self, *children: str) -> bool:
        """Return whether it has all these tensors."""
        return all(child in self.children for child in children)

    def full(self, child: str) -> str:
        """Return the name of one of its tensors in the checkpoint."""
        if child.startswith("weight"):
            return self.name + child.removeprefix("weight")
        return self.name.removesuffix("weight") + child

    def kind(self, child: str) -> str:
        """Return the type of one of its tensors, as safetensors names it; empty if it lacks it."""
        return self.weights.tensor(self.full(child)).dtype if self.has(child) else ""

    def strays(self, *own: str) -> list[str]:
        """Return those of its tensors that nobody has read, are not ``own``, and may matter."""
        return sorted(set(self.children) - self._used - {*own, *_HARMLESS})

    def tensor(
        self, child: str, kinds: Collection[str], shape: tuple[int | None, ...] | None = None
    ) -> Tensor:
        """Return one of its tensors.

        Raises InputError if it is missing, of another type, or of another shape (None stands for
        any number above 0).
        """
        if not self.has(child):
            raise self.damaged(f"{self.full(child)} is missing")
        self._used.add(child)
        tensor = self.weights.tensor(self.full(child))
        if tensor.dtype not in kinds:
            raise self.damaged(
                f"{self.full(child)} is {tensor.dtype}, and not {' or '.join(kinds)}"
            )
        if shape is not None and not _fits(tensor.shape, shape):
            wanted = " x ".join("any" if size is None else str(size) for size in shape)
            raise self.damaged(f"{self.full(child)} has shape {tensor.shape}, and needs {wanted}")
        return tensor

    def array(
        self, child: str, kinds: Collection[str], shape: tuple[int | None, ...] | None = None
    ) -> NDArray[Any]:
        """Read one of its tensors whole; a single number becomes a vector.

        Raises InputError as `tensor` does, and if it does not fit in memory.
        """
        vector = self.tensor(child, kinds, shape).as_vector()
        size = vector[:0].dtype.itemsize * prod(vector.shape)
        check_memory(size, self.full(child), "free some memory, or use a machine with more")
        return vector[:]

    def scales(self, child: str, shape: tuple[int | None, ...] | None = None) -> NDArray[Any]:
        """Read scales whole, in a type of NumPy's own that holds them exactly."""
        return self.widened(child, self.array(child, tuple(_SCALES), shape))

    def exponents(self, child: str, shape: tuple[int | None, ...] | None = None) -> NDArray[Any]:
        """Read scales that are bytes of E8M0, powers of two; the byte 255 is no number."""
        words = self.array(child, ("U8", "F8_E8M0"), shape).view(np.uint8)
        return float8("float8_e8m0fnu")[words].astype(np.float32)

    def number(self, child: str) -> float:
        """Read a single positive number. Raises InputError if it is none."""
        values = self.array(child, ("F32", "F16", "BF16", "F64")).astype(np.float64).reshape(-1)
        if len(values) != 1 or not 0 < values[0] < np.inf:
            raise self.damaged(f"{self.full(child)} is not one positive number")
        return float(values[0])

    def widened(self, child: str, values: NDArray[Any]) -> NDArray[Any]:
        """Return scales in the shortest of NumPy's own types that holds them exactly."""
        return values.astype(_SCALES[self.kind(child)])

    def refused(self, form: str, remedy: str = "") -> InputError:
        """Return the error for a form that is not read."""
        return InputError(
            f"{self.weights.where}: {self.name} is stored as {form}; "
            f"{remedy or 'give a checkpoint whose unembedding is stored as floats'}"
        )

    def damaged(self, why: str) -> InputError:
        """Return the error for tensors that do not fit each other."""
        return InputError(
            f"{self.weights.where}: the quantised {self.name} does not fit its format: {why}; "
            "fetch the checkpoint again, or give one whose unembedding is stored as floats"
        )


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        size == want if want is not None else size > 0
        for size, want in zip(shape, wanted, strict=True)
    )
