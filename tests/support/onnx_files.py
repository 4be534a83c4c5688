"""A small ONNX model, as the package onnx writes it, for tests that do without the package."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def written(W: NDArray[np.float32], gamma: NDArray[np.float32]) -> bytes:
    """Return a model of an RMSNorm ``gamma`` and a product with the transpose of ``W`` (V, d)."""
    nodes = _node("RMSNormalization", ["x", "gamma"], "h") + _node("MatMul", ["h", "W"], "y")
    weights = _tensor("W", np.ascontiguousarray(W.T)) + _tensor("gamma", gamma)
    return _field(1, 10) + _field(7, nodes + weights)


def _field(number: int, value: bytes | str | int) -> bytes:
    """Return a field: a small number, or a span of fewer than 2**14 bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    data = value.encode() if isinstance(value, str) else value
    low, high = len(data) & 0x7F, len(data) >> 7
    return bytes([number << 3 | 2, *([low | 0x80, high] if high else [low])]) + data


def _tensor(name: str, array: NDArray[Any]) -> bytes:
    shape = b"".join(_field(1, size) for size in array.shape)
    return _field(5, shape + _field(2, 1) + _field(8, name) + _field(9, array.tobytes()))


def _node(op: str, given: list[str], made: str) -> bytes:
    inputs = b"".join(_field(1, name) for name in given)
    return _field(1, inputs + _field(2, made) + _field(4, op))
