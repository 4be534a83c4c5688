"""``npz:FILE``: a readout from NumPy's own files, ``.npz`` or ``.npy``."""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from geom import InputError, ModelSource, Readout, check_memory, hookimpl, open_regular
from geom_plugins.checkpoints.archives import refuse_crowded
from geom_plugins.checkpoints.locations import local_path

Arrays = Mapping[str, NDArray[Any]]

_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    MemoryError,
    RuntimeError,  # a member that is encrypted, or compressed by an unknown method
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""The errors that numpy and zipfile raise for a damaged file."""


@dataclass(frozen=True)
class NpzOptions:
    """The names of the arrays. A ``.npy`` file has one array, W."""

    W: Annotated[str, Meta(description="name of the unembedding matrix")] = "W"
    b: Annotated[str | None, Meta(description="name of the bias; 'b' if there is one")] = None
    gamma: Annotated[str | None, Meta(description="name of the final norm's scale")] = None
    beta: Annotated[str | None, Meta(description="name of the final norm's shift")] = None
    layout: Annotated[
        Literal["vd", "dv"], Meta(description="vd: one row per token; dv: one column per token")
    ] = "vd"
    norm: Annotated[Literal["layernorm", "rmsnorm", "none"], Meta(description="the final norm")] = (
        "none"
    )


def load(location: str, options: NpzOptions) -> Readout:
    """Load the readout of a local ``.npz`` or ``.npy`` file; nothing in it is ever unpickled.

    Raises InputError if the file is missing, damaged or pickled, or if an array is missing.
    """
    if not location:
        raise InputError("model npz: names no file; write npz:FILE.npz")
    with _opened(local_path(location)) as arrays:
        W = _array(arrays, options.W, location)
        bias = "b" if options.b is None and "b" in arrays else options.b
        b, gamma, beta = (
            None if name is None else _array(arrays, name, location)
            for name in (bias, options.gamma, options.beta)
        )
    return Readout.fold(
        W.T if options.layout == "dv" else W,
        b,
        norm=None if options.norm == "none" else options.norm,
        gamma=gamma,
        beta=beta,
    )


@contextmanager
def _opened(path: Path) -> Iterator[Arrays]:
    """Open the arrays of the file, which are read when asked for; every error is one line."""
    try:
        with open_regular(path, "give a .npz or .npy file") as file:
            check_memory(os.fstat(file.fileno()).st_size, f"{path}")
            refuse_crowded(file, str(path))
            loaded = np.load(file, allow_pickle=False)
            yield {"W": loaded} if isinstance(loaded, np.ndarray) else loaded
    except InputError:
        raise
    except _UNREADABLE as error:
        reason = str(error) or "it is empty"
        if "pickle" in reason.lower():
            reason = "it is not a NumPy file, or holds pickled objects"
        raise InputError(
            f"{path} cannot be read: {reason}; save plain arrays with numpy.savez"
        ) from error


def _array(arrays: Arrays, name: str, location: str) -> NDArray[Any]:
    if name not in arrays:
        near = get_close_matches(name, list(arrays), n=1) or list(arrays)
        raise InputError(f"{location} has no array {name!r}; it has {', '.join(near) or 'none'}")
    if isinstance(arrays, NpzFile) and arrays.zip is not None:
        for entry in arrays.zip.infolist():  # a small archive may claim, and hold, anything
            if entry.filename in (name, f"{name}.npy"):
                check_memory(entry.file_size, f"array {name!r} of {location}")
    return arrays[name]


@hookimpl
def geom_sources() -> Iterator[ModelSource[NpzOptions]]:
    yield ModelSource("npz", "arrays in a NumPy .npz or .npy file", load, NpzOptions, reads="file")
