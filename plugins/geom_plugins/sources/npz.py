"""``npz:FILE``: a readout from NumPy's own files, ``.npz`` or ``.npy``."""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from msgspec import Meta
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from geom import (
    Filed,
    InputError,
    ModelSource,
    Noun,
    Readout,
    check_memory,
    hookimpl,
    is_small,
    open_regular,
)
from geom_plugins.checkpoints.archives import refuse_crowded
from geom_plugins.checkpoints.locations import local_path
from geom_plugins.checkpoints.numpy_files import filed_array, filed_member, member_shape
from geom_plugins.checkpoints.row_texts import texts_of_array, texts_of_file
from geom_plugins.checkpoints.scales import PLUS_ONE, YesNo, scale_of

Arrays = Mapping[str, NDArray[Any] | Filed]

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
    """The names of the arrays, and what the rows stand for. A ``.npy`` file has one array, W."""

    W: Annotated[
        str | None, Meta(description="name of the matrix; 'W', or 'items' if W is not there")
    ] = None
    b: Annotated[str | None, Meta(description="name of the bias; 'b' if there is one")] = None
    gamma: Annotated[str | None, Meta(description="name of the final norm's scale")] = None
    beta: Annotated[str | None, Meta(description="name of the final norm's shift")] = None
    layout: Annotated[
        Literal["vd", "dv"] | None,
        Meta(description="vd: one row per token, as without it; dv: one column per token"),
    ] = None
    norm: Annotated[Literal["layernorm", "rmsnorm", "none"], Meta(description="the final norm")] = (
        "none"
    )
    gamma_plus_one: Annotated[YesNo, Meta(description=PLUS_ONE)] = "no"
    texts: Annotated[
        str | None,
        Meta(
            description="file of the rows' texts: lines, or a .json list; 'texts' in the .npz else"
        ),
    ] = None
    noun: Annotated[
        Literal["token", "class", "item"] | None,
        Meta(description="what a row stands for; 'item' for the matrix 'items', else 'token'"),
    ] = None


def load(location: str, options: NpzOptions) -> Readout:
    """Load the readout of a local ``.npz`` or ``.npy`` file; nothing in it is ever unpickled.

    Raises InputError if the file is missing, damaged or pickled, or if an array is missing.
    """
    if not location:
        raise InputError("model npz: names no file; write npz:FILE.npz")
    with _opened(local_path(location)) as arrays:
        name = options.W or ("items" if "W" not in arrays and "items" in arrays else "W")
        W = _array(arrays, name, location)
        noun = options.noun or (Noun.ITEM if name == "items" else Noun.TOKEN)
        doubtful = (
            options.layout is None
            and noun == Noun.ITEM
            and _maybe_by_columns(arrays, name, W, location)
        )
        bias = "b" if options.b is None and "b" in arrays else options.b
        b, gamma, beta = (
            None if part is None else _array(arrays, part, location)
            for part in (bias, options.gamma, options.beta)
        )
        W = W[:].T if options.layout == "dv" else W
        texts = _texts(arrays, options.texts, W.shape[0] if W.shape else 0, location)
    readout = Readout.fold(
        W,
        b,
        norm=None if options.norm == "none" else options.norm,
        gamma=scale_of(gamma, options.gamma_plus_one == "yes"),
        beta=beta,
        tokens=texts,
        noun=noun,
    )
    if not doubtful:
        return readout
    note = (
        f"{readout.V} items of {readout.d} numbers, more than there are items; if {name!r} has one "
        "column per item, give layout=dv"
    )
    return readout.described(readout.source, (*readout.notes, note))


def places(location: str, options: NpzOptions) -> Iterable[str]:
    """Yield the further file that is read: that of the texts."""
    if options.texts is not None:
        yield options.texts


def _texts(
    arrays: Arrays, file: str | None, V: int, location: str
) -> tuple[str | None, ...] | None:
    """Return the texts of the rows, of the file or the array ``texts``, or None without either."""
    if file is not None:
        return texts_of_file(local_path(file), V)
    if "texts" not in arrays:
        return None
    return texts_of_array(np.asarray(arrays["texts"][:]), V, f"the array 'texts' of {location}")


@contextmanager
def _opened(path: Path) -> Iterator[Arrays]:
    """Open the arrays of the file, which are read when asked for; every error is one line."""
    try:
        with open_regular(path, "give a .npz or .npy file") as file:
            refuse_crowded(file, str(path))
            single = filed_array(path, file)
            if single is not None and not is_small(single.nbytes):
                yield {"W": single}
                return
            if not zipfile.is_zipfile(file):
                check_memory(os.fstat(file.fileno()).st_size, f"{path}")
            file.seek(0)
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                yield {"W": _settled(loaded)}
            else:
                yield _Archive(path, file, loaded)
    except InputError:
        raise
    except _UNREADABLE as error:
        reason = str(error) or "it is empty"
        if "pickle" in reason.lower():
            reason = "it is not a NumPy file, or holds pickled objects"
        raise InputError(
            f"{path} cannot be read: {reason}; save plain arrays with numpy.savez"
        ) from error


@dataclass(frozen=True)
class _Archive(Arrays):
    """The arrays of a ``.npz`` file: in memory, or where they lie if they are large."""

    path: Path
    file: BinaryIO
    loaded: NpzFile

    def __getitem__(self, name: str) -> NDArray[Any] | Filed:
        archive = self.loaded.zip
        assert archive is not None  # it is open
        for entry in archive.infolist():
            if entry.filename in (name, f"{name}.npy"):
                if not is_small(entry.file_size):
                    filed = filed_member(self.path, self.file, archive, entry)
                    if filed is not None:
                        return filed
                # a small archive may claim, and hold, anything
                check_memory(entry.file_size, f"array {name!r} of {self.path}")
        array = self.loaded[name]
        if not isinstance(array, np.ndarray):  # NumPy returns the bytes of any other member
            raise InputError(
                f"{name!r} of {self.path} is not an array: it has no shape and no dtype"
            )
        return _settled(array)

    def matrices(self, besides: str) -> dict[str, tuple[int, int]]:
        """Return the shapes of the other arrays with two axes, without reading their numbers."""
        archive = self.loaded.zip
        assert archive is not None  # it is open
        shapes = {name: member_shape(archive, name) for name in self if name != besides}
        return {
            name: (shape[0], shape[1])
            for name, shape in shapes.items()
            if shape is not None and len(shape) == 2
        }

    def __contains__(self, name: object) -> bool:
        return name in self.loaded

    def __iter__(self) -> Iterator[str]:
        return iter(self.loaded)

    def __len__(self) -> int:
        return len(self.loaded)


def _settled(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array that nobody else has, read-only, so that it need not be copied."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner.flags.writeable = False
        owner = owner.base
    return array


def _maybe_by_columns(arrays: Arrays, name: str, W: NDArray[Any] | Filed, location: str) -> bool:
    """Return whether the matrix of items may have one column per item, for all that is known.

    A recommender's users have as many numbers as its items. Raises InputError if no other matrix of
    the file has the width of this one, and one fits its rows: by its width, or by its own rows, as
    users by columns do. A matrix of other things about the items has as many rows too, so that rows
    count only for users, or if there are fewer items than numbers.
    """
    if len(W.shape) != 2:
        return False
    V, d = W.shape
    others = {} if not isinstance(arrays, _Archive) else arrays.matrices(name)
    if any(width == d for _, width in others.values()):
        return False
    for other, shape in others.items():
        by_columns = shape[0] == V and (d > V or "user" in other.lower())
        if shape[1] == V or by_columns:
            raise InputError(
                f"{location}: {name!r} has shape {W.shape} and {other!r} {shape}, so that {name!r} "
                "seems to have one column per item: give layout=dv, or layout=vd if it has one row "
                "per item"
            )
    return bool(d > V)


def _array(arrays: Arrays, name: str, location: str) -> NDArray[Any] | Filed:
    if name in arrays:
        return arrays[name]
    known = list(arrays)
    near = get_close_matches(name, known, n=1) or known
    items = [other for other in known if "item" in other.lower()]
    remedy = f"; for items write npz:{location}?W={items[0]}&noun=item" if items else ""
    raise InputError(
        f"{location} has no array {name!r}; it has {', '.join(near) or 'none'}{remedy}"
    )


@hookimpl
def geom_sources() -> Iterator[ModelSource[NpzOptions]]:
    yield ModelSource(
        "npz",
        "arrays in a NumPy .npz or .npy file",
        load,
        NpzOptions,
        reads="file",
        places=places,
        suffixes=(".npz", ".npy"),
    )
