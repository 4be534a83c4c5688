"""Tensors and settings that nobody wrote: each is read, or is one clear line."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from geom import InputError, Readout
from geom_plugins.quantised.matrix import open_matrix
from support.quantised import Tensors, case, cases, weights_of

CASES = [
    (library, name)
    for library in ("mlx", "compressed_tensors", "bitsandbytes")
    for name in cases(library)
]
JUNK = (None, 0, -1, 1, 3, 10**30, "", "x", True, [], [0, 0], [1, 10**30], {}, {"bits": 1}, 0.5)
KINDS = ("int8", "uint8", "int32", "int64", "uint32", "float32", "float16", "bfloat16")
SHAPES = ((), (0,), (1,), (16,), (8, 1), (1, 8), (16, 3), (0, 4), (4, 0), (2, 3, 4))


def opened(tensors: Tensors, config: dict[str, Any]) -> None:
    """Open a head of these tensors and read its rows; only an InputError may be raised."""
    weights = weights_of({f"lm_head.{child}": value for child, value in tensors.items()})
    said = ""
    try:
        Readout.fold(open_matrix(weights, "lm_head.weight", config))
    except InputError as error:
        said = str(error)
    assert "\n" not in said


def spoilt(value: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Return a tensor of another type, shape or content."""
    choice = rng.integers(4)
    if choice == 0:
        return torch.zeros(SHAPES[rng.integers(len(SHAPES))], dtype=value.dtype)
    if choice == 1:
        kind = getattr(torch, KINDS[rng.integers(len(KINDS))])
        return torch.ones(value.shape, dtype=torch.float32).to(kind)
    if choice == 2:
        return value[: max(0, len(value) - 1)] if value.shape else value
    words = rng.integers(0, 256, value.numel() * value.element_size(), np.uint8)
    if not len(words):
        return value
    return torch.from_numpy(words).view(value.dtype).reshape(value.shape)


def places(entries: Any) -> list[tuple[Any, Any]]:
    """Return every place in nested entries, as the holder and the key."""
    if not isinstance(entries, dict):
        return []
    found: list[tuple[Any, Any]] = [(entries, key) for key in entries]
    return found + [place for value in entries.values() for place in places(value)]


@pytest.mark.parametrize(("library", "name"), CASES)
def test_whatever_is_spoilt_is_read_or_refused(library: str, name: str) -> None:
    rng = np.random.default_rng(0)
    tensors, config, _ = case(library, name)
    for child in tensors:
        for _ in range(8):
            opened(tensors | {child: spoilt(tensors[child], rng)}, config)
        opened({key: value for key, value in tensors.items() if key != child}, config)
    for place in range(len(places(config))):
        for junk in JUNK:
            other = copy.deepcopy(config)
            holder, key = places(other)[place]
            holder[key] = junk
            opened(tensors, other)
