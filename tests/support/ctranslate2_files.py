"""Models of CTranslate2: files as its own writer writes them, and toy models that it converts."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

TYPES = [np.float32, np.int8, np.int16, np.int32, np.float16, ml_dtypes.bfloat16]
"""NumPy's types in the order of ``model_spec.py``, which numbers them."""


def string(text: str) -> bytes:
    return struct.pack("<H", len(text.encode()) + 1) + text.encode() + b"\0"


def variable(name: str, array: NDArray[Any], version: int = 6) -> bytes:
    """Return a variable as the writer of a version of the format writes it."""
    shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
    if version < 4:  # the width of a number, and how many there are
        kind = struct.pack("<BI", array.dtype.itemsize, array.size)
    else:
        kind = struct.pack("<BI", TYPES.index(array.dtype.type), array.nbytes)
    return string(name) + shape + kind + array.tobytes()


def written(
    variables: Sequence[bytes],
    aliases: Sequence[tuple[str, str]] = (),
    *,
    kind: str = "WhisperSpec",
    revision: int = 3,
    version: int = 6,
) -> bytes:
    """Return a file of some version."""
    head = struct.pack("<I", version) + string(kind) + struct.pack("<I", revision)
    parts = [head, struct.pack("<I", len(variables)), *variables]
    if version >= 3:
        parts.append(struct.pack("<I", len(aliases)))
        parts += [string(alias) + string(name) for alias, name in aliases]
    return b"".join(parts)


def save(
    where: Path,
    arrays: Mapping[str, NDArray[Any]],
    aliases: Sequence[tuple[str, str]] = (),
    **options: Any,
) -> Path:
    """Write a model's folder, with nothing but the file of its variables."""
    where.mkdir(exist_ok=True)
    version = options.get("version", 6)
    parts = [variable(name, np.asarray(array), version) for name, array in arrays.items()]
    (where / "model.bin").write_bytes(written(parts, aliases, **options))
    return where


def convert(model: Any, where: Path, quantization: str | None = None) -> Path:
    """Let CTranslate2's own converter write a model of transformers, with a made-up vocabulary."""
    from ctranslate2.converters.transformers import _MODEL_LOADERS

    spec = _MODEL_LOADERS[type(model.config).__name__].get_model_spec(model)
    sequence = hasattr(spec, "register_target_vocabulary")
    if sequence:
        for register in (spec.register_source_vocabulary, spec.register_target_vocabulary):
            register([f"t{n}" for n in range(spec.get_target_vocabulary_size())])
    else:
        spec.register_vocabulary([f"t{n}" for n in range(spec.get_vocabulary_size())])
    spec.validate()
    spec.optimize(quantization)
    where.mkdir(exist_ok=True)
    spec.save(str(where))
    return where
