"""Arrays of numbers in a user's own ``.npy`` files."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom.errors import InputError
from geom.files.opening import open_regular

_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_array(path: Path) -> NDArray[Any]:
    """Read the array of a ``.npy`` file. Nothing is unpickled.

    The header is compared with the file's length before memory is taken for the numbers.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    ndarray
        The array, of the type and shape that the file has.

    Raises
    ------
    InputError
        If the file is missing, or is not one array of plain numbers.
    """
    remedy = "write it with numpy.save"
    try:
        with open_regular(path, "give a .npy file") as file:
            size = file.seek(0, 2)
            file.seek(0)
            if file.read(4) == b"PK\3\4":
                raise InputError(f"{path} holds several arrays; give a .npy file, which holds one")
            file.seek(0)
            shape, _, dtype = _READERS[np.lib.format.read_magic(file)](file)
            if dtype.hasobject:
                raise ValueError("it holds Python objects")
            if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != size - file.tell():
                raise InputError(f"{path} is not as long as its header claims; {remedy}")
            file.seek(0)
            return np.asarray(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError, KeyError, SyntaxError) as error:
        raise InputError(f"{path} is not a .npy file of numbers; {remedy}") from error
