"""One copy of the weights for all processes, in files that each process maps into its memory.

The system keeps the pages of a mapped file once, no matter how many processes read them, and drops
them first if memory is short. The files hold only numbers, in NumPy's own format.
"""

from __future__ import annotations

import mmap
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geom.errors import InputError
from geom.machine import memory
from geom.model.readout import NormName, Readout
from geom.model.shift import Shift
from geom.model.source import Source
from geom.numbers.arrays import Floats

PREFIX = "geom-weights-"
LOCK = "lock"

SHM = Path("/dev/shm")
"""A folder whose files live in memory: the second choice if the usual folder has no room."""

_YOUNG = 60.0
"""A folder without a lock that is younger than this (seconds) may still be being made."""


@dataclass(frozen=True, eq=False, repr=False)
class SharedReadout(Readout):
    """A readout that is sent to another process as the places of its arrays in files.

    The texts and kinds of tokens stay behind: certifiers do not need them, and they can be larger
    than everything else that is sent.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        norms = self.row_norms  # saves each worker a pass over W
        arrays = (self.W, self.b, norms)
        places = (_place(array) or array for array in arrays)
        return _arrive, (*places, self.norm, self.source, self.shift)


@contextmanager
def shared(readout: Readout, folder: Path | None = None) -> Iterator[SharedReadout]:
    """Put the readout's arrays in read-only files for as long as the block lasts.

    The files lie in a private folder within ``folder``. If ``folder`` is None, they lie within the
    folder for temporary files, or in memory (`SHM`) if only that has room. An array that is in a
    file already stays there. The folder is removed however the block ends; if its process is
    killed, the next process to share a readout removes it. Raises InputError if there is no room.
    """
    found = {"W": readout.W, "b": readout.b, "row_norms": readout.row_norms}
    loose = {name: array for name, array in found.items() if _place(array) is None}
    with _private_folder(sum(array.nbytes for array in loose.values()), folder) as home:
        found |= {name: _filed(home / f"{name}.npy", array) for name, array in loose.items()}
        out = object.__new__(SharedReadout)
        # its numbers were checked, and values computed by the original hold for the copy
        out.__dict__.update(readout.__dict__, **found)
        yield out


@dataclass(frozen=True)
class _Place:
    """The file, the offset in it, and the shape of a C-contiguous array of float64."""

    file: str
    offset: int
    shape: tuple[int, ...]

    def mapped(self) -> Floats:
        """Map the array as a plain one over the map: slices of `numpy.memmap` cost more."""
        return np.asarray(
            np.memmap(self.file, dtype=np.float64, mode="r", offset=self.offset, shape=self.shape)
        )


def _arrive(
    W: _Place | Floats,
    b: _Place | Floats,
    row_norms: _Place | Floats,
    norm: NormName | None,
    source: Source,
    shift: Shift | None,
) -> SharedReadout:
    """Rebuild the readout in the process that it was sent to."""
    arrays = [place.mapped() if isinstance(place, _Place) else place for place in (W, b, row_norms)]
    for array in arrays:
        array.flags.writeable = False  # pickling loses the flag
    out = object.__new__(SharedReadout)  # checked when it was built: no pass over W here
    out.__dict__.update(W=arrays[0], b=arrays[1], row_norms=arrays[2], norm=norm, source=source)
    out.__dict__.update(shift=shift, tokens=None, kinds=None, notes=())
    return out


def _place(array: Floats) -> _Place | None:
    """Return the array's place in a file, or None if it is in memory or can be written to.

    Only a read-only map shares the pages of its file: a writable map may be private to this
    process.
    """
    owner: Any = array
    while isinstance(owner, np.ndarray) and not isinstance(owner.base, mmap.mmap):
        owner = owner.base
    if not isinstance(owner, np.memmap) or owner.mode != "r" or owner.filename is None:
        return None
    if array.dtype != np.float64 or not array.flags.c_contiguous or array.size == 0:
        return None
    offset = owner.offset + array.ctypes.data - owner.ctypes.data
    return _Place(str(owner.filename), offset, array.shape)


def _filed(file: Path, array: Floats) -> Floats:
    """Write the array to the file and map it from there."""
    try:
        with file.open("xb") as out:
            np.lib.format.write_array(out, array, allow_pickle=False)
    except OSError as error:
        raise _no_room(file.parent.parent, array.nbytes) from error  # whichever error it is
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))


@contextmanager
def _private_folder(need: int, parent: Path | None) -> Iterator[Path]:
    """Make a folder for this user alone, with room for ``need`` bytes, until the block ends."""
    home = _roomy(need) if parent is None else parent
    _sweep(home)
    try:
        here = Path(tempfile.mkdtemp(prefix=PREFIX, dir=home))
    except OSError as error:
        raise InputError(
            f"{home}: {error.strerror}; the workers share the weights through a file there: set "
            "TMPDIR to a folder that can be written to"
        ) from error
    lock = None
    try:
        lock = os.open(here / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        _lock(lock)
        yield here
    finally:
        shutil.rmtree(here, ignore_errors=True)  # Windows keeps what is still mapped
        if lock is not None:
            os.close(lock)


def _roomy(need: int) -> Path:
    """Return the folder for temporary files, or the one in memory if only that has room."""
    usual = Path(tempfile.gettempdir())
    if shutil.disk_usage(usual).free > need:
        return usual
    if SHM.is_dir() and min(shutil.disk_usage(SHM).free, memory.usable()) > need:
        return SHM
    raise _no_room(usual, need)


def _no_room(folder: Path, need: int) -> InputError:
    return InputError(
        f"{folder} has no room for the {memory.describe(need)} of weights that the workers share: "
        "set TMPDIR to a folder with room, or use executor serial"
    )


def _sweep(home: Path) -> None:
    """Remove the folders that killed processes left: those of ours that no process locks."""
    if sys.platform == "win32":
        return
    for old in home.glob(f"{PREFIX}*"):
        with suppress(OSError):
            about = old.lstat()
            if about.st_uid != os.getuid() or time.time() - about.st_mtime < _YOUNG:
                continue
            lock = os.open(old / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                _lock(lock)
                shutil.rmtree(old, ignore_errors=True)
            finally:
                os.close(lock)


def _lock(descriptor: int) -> None:
    """Take the lock. Raises BlockingIOError if another process holds it."""
    if sys.platform == "win32":
        return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
