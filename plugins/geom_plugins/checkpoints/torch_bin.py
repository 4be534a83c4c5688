"""``pytorch_model.bin``: torch's own format, a pickle, which is never unpickled freely.

It is read by ``torch.load`` with ``weights_only=True``, which builds tensors and refuses all else.
A file of the zip format, torch's own since 1.6, is mapped into memory, so that only the rows asked
for are read.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geom import GeomError, InputError, check_memory, install_command, open_regular
from geom_plugins.checkpoints.archives import refuse_crowded
from geom_plugins.checkpoints.pointers import refuse_pointer

if TYPE_CHECKING:
    import torch

_CONVERT = "save its state dict with safetensors, on the machine it comes from"

_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
}
"""The types that are read: torch's name for each, and safetensors' name."""

_SHORT = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
}
"""The types that NumPy does not have, by their names in ml_dtypes."""

_ZIP = b"PK\x03\x04"
_OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first bytes of a zip archive, and of a file from before torch 1.6 (a pickled number)."""


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file, whose rows are read only when asked for, in the type that they have."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    tensor: torch.Tensor

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read a slice of rows, along the first axis. Raises InputError if it is not numbers."""
        part = self.tensor
        if not _is_plain(part):
            kind = "quantised" if part.is_quantized else "sparse or without data"
            raise InputError(
                f"tensor {self.name!r} of {self.file} is {kind}: geom reads plain tensors; "
                f"{_CONVERT}"
            )
        if self.dtype not in _DTYPES.values():
            known = ", ".join(_DTYPES.values())
            raise InputError(
                f"tensor {self.name!r} of {self.file} is {self.dtype}: geom reads {known}"
            )
        part = part.detach().cpu()[rows]
        if self.dtype not in _SHORT:
            return np.asarray(part.numpy(force=True))
        import ml_dtypes

        short: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _SHORT[self.dtype]))
        words = part.contiguous().view(getattr(_torch(), f"uint{8 * short.itemsize}"))
        return np.asarray(words.numpy(force=True)).view(short)

    def as_vector(self) -> Tensor:
        """Return the tensor as it is, but a single number as a vector of one."""
        if self.shape:
            return self
        return replace(self, shape=(1,), tensor=self.tensor.reshape(1))


def read_torch(path: Path) -> dict[str, Tensor]:
    """Return the tensors, by name, of a state dict that ``torch.save`` wrote.

    Raises InputError if torch is not installed, or if the file is missing, damaged, not a torch
    file, or holds anything but tensors by name.
    """
    _refuse_foreign(path)
    loaded = _loaded(path)
    if not isinstance(loaded, Mapping):
        raise InputError(f"{path} holds a {type(loaded).__name__}, not tensors by name; {_CONVERT}")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, _torch().Tensor):
            raise InputError(
                f"{path} holds more than tensors: {name!r} is a {type(value).__name__}; {_CONVERT}"
            )
    return {name: _tensor(path, name, value) for name, value in loaded.items()}


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.layout is _torch().strided and not tensor.is_quantized and not tensor.is_meta


def _tensor(path: Path, name: str, value: torch.Tensor) -> Tensor:
    """Return a tensor of the file. Raises InputError if it claims more numbers than it has."""
    if _is_plain(value) and value.nbytes > value.untyped_storage().nbytes():
        raise InputError(
            f"tensor {name!r} of {path} has {value.numel()} numbers, more than the file; {_CONVERT}"
        )
    kind = str(value.dtype).removeprefix("torch.")
    return Tensor(name, _DTYPES.get(kind, kind), tuple(value.shape), str(path), value)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"a checkpoint in torch's own format needs torch ({error}): {install_command('torch')}"
        ) from error
    return torch


def _refuse_foreign(path: Path) -> None:
    """Raise InputError for a file that does not begin as torch's files do."""
    with open_regular(path) as file:
        start = file.read(64)
    if not start.startswith((_ZIP, _OLD)):
        refuse_pointer(start, str(path))
        why = "it does not begin as one" if start else "it is empty"
        raise InputError(f"{path} is not a torch file: {why}")


def _loaded(path: Path) -> Any:
    """Load the object in the file, which may consist only of tensors and plain containers."""
    torch = _torch()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of the file
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=_can_be_mapped(path)
            )
    except GeomError:
        raise
    except pickle.UnpicklingError as error:
        if _is_about_objects(error):
            raise InputError(
                f"{path} holds Python objects, which may run code when they are read; {_CONVERT}"
            ) from error
        raise _damaged(path, error) from error
    except Exception as error:  # torch passes on what its parsers raise: on damaged bytes, anything
        if "TorchScript" in str(error):
            raise InputError(
                f"{path} is a TorchScript program, not a state dict; {_CONVERT}"
            ) from error
        raise _damaged(path, error) from error


def _can_be_mapped(path: Path) -> bool:
    """Return whether tensors lie in the file uncompressed: not in old files or packed archives.

    Raises InputError for a packed archive that does not fit in memory.
    """
    with open_regular(path) as file:
        if not file.read(4).startswith(_ZIP):
            return False
        refuse_crowded(file, str(path))
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    if all(entry.compress_type == zipfile.ZIP_STORED for entry in entries):
        return True
    check_memory(sum(entry.file_size for entry in entries), f"{path}, unpacked,")
    return False


def _is_about_objects(error: Exception) -> bool:
    """Return whether torch refused an object that the pickle names, rather than failed to parse."""
    return any(word in str(error) for word in ("Unsupported global", "Unsupported class", "GLOBAL"))


def _damaged(path: Path, error: Exception) -> InputError:
    lines = str(error).strip().splitlines()
    why = lines[0][:200] if lines else type(error).__name__
    return InputError(f"{path} is damaged, or not a torch file: {why}; fetch it again")
