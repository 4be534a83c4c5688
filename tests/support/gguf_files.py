"""A writer of GGUF files, by the gguf package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter
from numpy.typing import NDArray

import geom
from geom import InputError

RNG = np.random.default_rng(5)
RMS = {"llama.attention.layer_norm_rms_epsilon": 1e-5}
V, D = 23, 256


def drawn(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(size=shape).astype(np.float32)


def parts(W: NDArray[Any] | None = None) -> dict[str, NDArray[Any]]:
    W = drawn(V, D) if W is None else W
    return {"output.weight": W, "output_norm.weight": drawn(D)}


def write(
    path: Path,
    tensors: dict[str, NDArray[Any]],
    settings: dict[str, Any] = RMS,
    arch: str = "llama",
    kinds: dict[str, Kind] | None = None,
    tokens: Callable[[GGUFWriter], None] | None = None,
    **options: Any,
) -> None:
    """Write a file with the gguf package's writer; ``kinds`` name the token types."""
    writer = GGUFWriter(path, arch, **options)
    for key, value in settings.items():
        add = writer.add_string if isinstance(value, str) else writer.add_float32
        (writer.add_uint32 if isinstance(value, int) else add)(key, value)
    if tokens is not None:
        tokens(writer)
    for name, array in tensors.items():
        writer.add_tensor(name, array, raw_dtype=(kinds or {}).get(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def vocabulary(sort: str, pieces: list[str | bytes], types: list[int]) -> Callable[..., None]:
    def add(writer: GGUFWriter) -> None:
        writer.add_tokenizer_model(sort)
        writer.add_token_list(pieces)
        writer.add_token_scores([0.5] * len(pieces))
        writer.add_token_types(types)
        writer.add_token_merges(["a b", "c d", "é f"])

    return add


def refusal(path: Path, query: str = "") -> str:
    with pytest.raises(InputError) as caught:
        geom.load(f"gguf:{path}{query}")
    message = str(caught.value)
    assert "\n" not in message
    return message
