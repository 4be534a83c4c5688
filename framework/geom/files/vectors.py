"""Arrays of numbers in a user's own ``.npy`` and ``.npz`` files."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from geom.errors import InputError
from geom.files.addresses import split_query
from geom.files.opening import open_regular
from geom.machine import memory

_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_array(place: str | Path) -> NDArray[Any]:
    """Read an array of a ``.npy`` or ``.npz`` file. Nothing is unpickled.

    The header is compared with the file's length before memory is taken for the numbers.

    Parameters
    ----------
    place : str or Path
        The file; of a ``.npz`` file with several arrays, ``FILE.npz?array=NAME``.

    Returns
    -------
    ndarray
        The array, of the type and shape that the file has.

    Raises
    ------
    InputError
        If the file is missing, has no array of that name, or is not an array of plain numbers.
    """
    remedy = "write it with numpy.save, or several with numpy.savez"
    path, name = _named(place)
    try:
        with open_regular(path, "give a .npy file") as file:
            size = file.seek(0, 2)
            file.seek(0)
            several = file.read(4) == b"PK\3\4"
            file.seek(0)
            if several:
                return _member(path, file, name, remedy)
            if name is not None:
                raise InputError(f"{path} is no .npz file: leave ?array={name} out")
            return _read(path, file, size, remedy)
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        SyntaxError,
        RuntimeError,  # a member that is encrypted, or compressed by an unknown method
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
    ) as error:
        raise InputError(f"{path} is not a NumPy file of numbers; {remedy}") from error


def _named(place: str | Path) -> tuple[Path, str | None]:
    """Return the file, and the name of its array if one follows. Raises InputError."""
    text, query = split_query(str(place), str(place))
    if not query or Path(place).exists():
        return Path(place), None
    if query.keys() != {"array"}:
        raise InputError(f"{place}: after the ? write array=NAME")
    return Path(text), query["array"]


def _member(path: Path, file: BinaryIO, name: str | None, remedy: str) -> NDArray[Any]:
    """Read an array of a ``.npz`` file; its only one if none is named. Raises InputError."""
    with zipfile.ZipFile(file) as archive:
        names = [entry.removesuffix(".npy") for entry in archive.namelist()]
        if name is None and len(names) != 1:
            raise InputError(
                f"{path} holds {len(names)} arrays, {', '.join(names)}: name one, as in "
                f"{path}?array={(names or ['users'])[0]}"
            )
        wanted = names[0] if name is None else name
        if wanted not in names:
            raise InputError(f"{path} has no array {wanted!r}; it has {', '.join(names)}")
        entry = archive.getinfo(f"{wanted}.npy")
        memory.check_memory(entry.file_size, f"array {wanted!r} of {path}")
        with archive.open(entry) as member:
            return _read(path, BytesIO(member.read()), entry.file_size, remedy)


def _read(path: Path, file: IO[bytes], size: int, remedy: str) -> NDArray[Any]:
    """Read the array of an open file of so many bytes. Raises InputError, and NumPy's errors."""
    shape, _, dtype = _READERS[np.lib.format.read_magic(file)](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != size - file.tell():
        raise InputError(f"{path} is not as long as its header claims; {remedy}")
    file.seek(0)
    return np.asarray(np.load(file, allow_pickle=False))
