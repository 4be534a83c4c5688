"""One copy of the weights for all processes, in files that each process maps into its memory.

The system keeps the pages of a mapped file once, no matter how many processes read them, and drops
them first if memory is short. The files hold only numbers, in NumPy's own format.
"""

from __future__ import annotations

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
from numpy.typing import NDArray

from geom.errors import InputError
from geom.files.filed import Filed, OpenArray, Stamp, Unpack
from geom.machine import memory
from geom.model.readout import NormName, Readout
from geom.model.rows import Rows
from geom.model.shift import Shift
from geom.model.source import Source
from geom.model.stored import Stored
from geom.nouns import Noun
from geom.numbers.arrays import Floats

PREFIX = "geom-weights-"
LOCK = "lock"

SHM = Path("/dev/shm")
"""A folder whose files live in memory: the second choice if the usual folder has no room."""

_YOUNG = 60.0
"""A folder without a lock that is younger than this (seconds) may still be being made."""


@dataclass(frozen=True, eq=False, repr=False, init=False)
class SharedReadout(Readout):
    """A readout that is sent to another process as the places of its arrays in files.

    The texts and kinds of tokens stay behind: certifiers do not need them, and they can be larger
    than everything else that is sent.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        rows, stored = self.rows, self.rows.stored
        lines: _Sent = _sent(stored.lines)
        if stored.source is not None:
            lines = stored.source.filed, stored.source.stamp
        return _arrive, (
            (lines, stored.d, stored.unpack),
            (rows.scale, rows.exponent, rows.largest),
            _sent(self.b),
            _sent(self.row_norms),  # saves each worker a pass over the rows
            self.norm,
            self.source,
            self.shift,
            self.noun,
        )


@contextmanager
def shared(readout: Readout, folder: Path | None = None) -> Iterator[SharedReadout]:
    """Put the readout's arrays in read-only files for as long as the block lasts.

    The rows are shared in the type of their checkpoint, or in float64 if each process would
    otherwise make the same float64 of them (`Rows.to_share`). The files lie in a private folder
    within ``folder``. If ``folder`` is None, they lie within the folder for temporary files, or in
    memory (`SHM`) if only that has room. An array that is in a file already stays there. The folder
    is removed however the block ends; if its process is killed, the next process to share a readout
    removes it. Raises InputError if there is no room.
    """
    rows = readout.rows.to_share()
    found = {"b": readout.b, "row_norms": readout.row_norms}
    source = rows.stored.source
    if source is None or not source.is_named():
        found["W"] = rows.stored.lines
    loose = {name: array for name, array in found.items() if Filed.under(array) is None}
    with _private_folder(sum(array.nbytes for array in loose.values()), folder) as home:
        found |= {name: _filed(home / f"{name}.npy", array) for name, array in loose.items()}
        if "W" in found:
            rows = rows.moved_to(found.pop("W"))
            if source is not None:
                source.check()  # what was written is what it held
        out = object.__new__(SharedReadout)
        # its numbers were checked, and values computed by the original hold for the copy
        out.__dict__.update(readout.__dict__, rows=rows, **found)
        yield out


_Sent = Filed | NDArray[Any] | tuple[Filed, Stamp]
"""An array as it is sent: its place, itself, or its place in a file that must not have changed."""


def _arrive(
    stored: tuple[_Sent, int, Unpack | None],
    rows: tuple[Floats | None, int, float],
    b: _Sent,
    row_norms: _Sent,
    norm: NormName | None,
    source: Source,
    shift: Shift | None,
    noun: Noun,
) -> SharedReadout:
    """Rebuild the readout in the process that it was sent to."""
    lines, d, unpack = stored
    opened = OpenArray(*lines) if isinstance(lines, tuple) else None
    held = _arrived(lines) if opened is None else opened.lines
    out = object.__new__(SharedReadout)  # checked when it was built: no pass over the rows here
    out.__dict__.update(rows=Rows(Stored(held, d, unpack, opened), *rows))
    out.__dict__.update(b=_arrived(b), row_norms=_arrived(row_norms))
    out.__dict__.update(norm=norm, source=source, shift=shift, tokens=None, kinds=None, notes=())
    out.__dict__.update(noun=noun)
    return out


def _sent(array: NDArray[Any]) -> Filed | NDArray[Any]:
    """Return the array's place in a file, or the array itself if it is in memory."""
    return Filed.under(array) or array


def _arrived(sent: Any) -> NDArray[Any]:
    """Return an array that was sent, read-only: pickling loses the flag."""
    array: NDArray[Any] = sent.mapped() if isinstance(sent, Filed) else sent
    array.flags.writeable = False
    return array


def _filed(file: Path, array: NDArray[Any]) -> NDArray[Any]:
    """Write the array to the file and map it from there."""
    foreign = array.dtype.isbuiltin == 2  # a type of ml_dtypes, which NumPy's files cannot name
    words = array.view(f"u{array.dtype.itemsize}") if foreign else array
    try:
        with file.open("xb") as out:
            np.lib.format.write_array(out, words, allow_pickle=False)
    except OSError as error:
        raise _no_room(file.parent.parent, array.nbytes) from error  # whichever error it is
    mapped = np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    return mapped.view(array.dtype) if foreign else mapped


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
