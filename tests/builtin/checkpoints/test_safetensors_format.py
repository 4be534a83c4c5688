"""The safetensors format, against the library's own writer and the types of torch and ml_dtypes."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

import geom
from geom import InputError
from geom_plugins.checkpoints.safetensors_format import find, read_format, read_header
from geom_plugins.checkpoints.spans import LocalFile

FLOAT8 = {
    "F8_E4M3": (ml_dtypes.float8_e4m3fn, torch.float8_e4m3fn),
    "F8_E5M2": (ml_dtypes.float8_e5m2, torch.float8_e5m2),
}


def save(path: Path, **tensors: torch.Tensor) -> LocalFile:
    save_file(tensors, path)
    return LocalFile(path)


def write(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> LocalFile:
    """Write a file by the format's description; its header may lie."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return LocalFile(path)


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize("kind", FLOAT8)
def test_every_finite_float8_is_read_without_loss(kind: str, tmp_path: Path) -> None:
    of_numpy, of_torch = FLOAT8[kind]
    words = np.arange(256, dtype=np.uint8)
    words = words[np.isfinite(words.view(of_numpy).astype(np.float64))]
    truth = words.view(of_numpy).astype(np.float64)
    assert len(words) == {"F8_E4M3": 254, "F8_E5M2": 248}[kind]
    tensor = torch.from_numpy(words.copy()).view(of_torch)
    assert tensor.double().tolist() == truth.tolist()
    save(tmp_path / "model.safetensors", W=tensor.reshape(-1, 2))
    readout = geom.load(f"safetensors:{tmp_path}/model.safetensors?unembed=W")
    assert readout.W.ravel().tolist() == truth.tolist()


def bits(dtype: type, kind: Any) -> NDArray[Any]:
    """Return every pattern of 16 bits that is a finite number."""
    words = np.arange(2**16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        finite = np.isfinite(words.view(kind).astype(np.float64))
    return words[finite].view(dtype)


@pytest.mark.parametrize(
    ("of_torch", "of_numpy", "count"),
    [
        (torch.bfloat16, ml_dtypes.bfloat16, 2**16 - 2 * 2**7),
        (torch.float16, np.float16, 2**16 - 2 * 2**10),
    ],
    ids=["bfloat16", "float16"],
)
def test_every_finite_half_is_read_without_loss(
    of_torch: torch.dtype, of_numpy: Any, count: int, tmp_path: Path
) -> None:
    words = bits(np.int16, of_numpy)
    assert len(words) == count
    tensor = torch.from_numpy(words.copy()).view(of_torch)
    file = save(tmp_path / "model.safetensors", W=tensor.reshape(-1, 64))
    read = read_header(file)["W"][:]
    assert read.astype(np.float64).ravel().tolist() == tensor.double().tolist()
    readout = geom.load(f"safetensors:{tmp_path}/model.safetensors?unembed=W")
    assert readout.W.ravel().tolist() == words.view(of_numpy).astype(np.float64).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8])
def test_whole_words_are_read_as_they_are(dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = (torch.randn(9, 5, generator=torch.Generator().manual_seed(3)) * 50).abs().to(dtype)
    file = save(tmp_path / "model.safetensors", W=tensor)
    read = read_header(file)["W"][:]
    assert read.dtype == tensor.numpy().dtype
    assert (read == tensor.numpy()).all()


@pytest.mark.parametrize(
    "rows", [slice(2, 5), slice(7, 100), slice(3, 3), slice(5, 2), slice(-3, None), slice(0, 9, 4)]
)
def test_rows_are_those_of_the_array(rows: slice, tmp_path: Path) -> None:
    a, W = torch.randn(3), torch.randn(9, 4, 2)
    file = save(tmp_path / "model.safetensors", a=a, W=W)
    assert (read_header(file)["W"][rows] == W.numpy()[rows]).all()


def test_metadata_is_no_tensor(tmp_path: Path) -> None:
    save_file({"W": torch.ones(2, 2)}, tmp_path / "model.safetensors", {"format": "pt"})
    assert list(read_header(LocalFile(tmp_path / "model.safetensors"))) == ["W"]


@pytest.mark.parametrize("metadata", [{"format": "mlx"}, {"format": "pt", "more": "x"}, {}, None])
def test_the_format_in_the_metadata_is_told(
    metadata: dict[str, str] | None, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"W": torch.ones(2, 2)}, path, metadata)
    assert read_format(LocalFile(path)) == (metadata or {}).get("format")


@pytest.mark.parametrize(
    "header", [[], {"__metadata__": []}, {"__metadata__": {"format": 3}}, {"W": 1}]
)
def test_a_strange_header_tells_no_format(header: Any, tmp_path: Path) -> None:
    assert read_format(write(tmp_path / "model.safetensors", header)) is None


def test_a_file_too_short_for_a_header_tells_no_format(tmp_path: Path) -> None:
    for content in (b"", b"1234567", b"\xff" * 8, b"\x09" + bytes(7) + b"{}"):
        path = tmp_path / "model.safetensors"
        path.write_bytes(content)
        assert read_format(LocalFile(path)) is None


def test_a_name_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    tensors = read_header(save(tmp_path / "m.safetensors", **{"lm_head.weight": torch.ones(2, 2)}))
    with pytest.raises(InputError, match=r"no tensor 'lm_head.wieght'; it has lm_head.weight"):
        find(tensors, "lm_head.wieght", "m.safetensors")


@pytest.mark.parametrize(
    ("header", "data", "length", "reason"),
    [
        ({"W": entry([2, 2], 0, 16)}, bytes(16), 10**12, "do not begin with a header's length"),
        ({"W": entry([2, 2], 0, 16)}, bytes(16), 3, "damaged"),
        ({"W": entry([2, 2], 0, 16)}, bytes(16), 0, "do not begin with a header's length"),
        ({"W": entry([2, 2], 8, 24)}, bytes(16), None, "'W' lies outside"),
        ({"W": entry([2, 2], 16, 0)}, bytes(16), None, "'W' lies outside"),
        ({"W": entry([2, 2], -4, 12)}, bytes(16), None, "'W' lies outside"),
        ({"W": entry([2, 3], 0, 16)}, bytes(16), None, "has 16 bytes, and needs 24"),
        ({"W": entry([2, 2], 0, 16, "F8_E4M3")}, bytes(16), None, "bytes, and needs 4"),
        ({"W": entry([2, 2], 0, 16)}, bytes(20), None, "end at byte"),
        ({"W": {"shape": [2]}}, bytes(16), None, "damaged"),
        ({"W": 3}, bytes(16), None, "damaged"),
        (b"\xff\xfe\x00", b"", None, "damaged"),
        (b"[" * 5000, b"", None, "damaged"),
    ],
)
def test_a_header_that_lies_is_one_line(
    header: Any, data: bytes, length: int | None, reason: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "bad.safetensors", header, data, length)
    with pytest.raises(InputError, match=reason) as refused:
        read_header(file)
    assert "\n" not in str(refused.value)
