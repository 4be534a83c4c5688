"""Opening files on this machine, if they are regular files and nothing else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from geom.errors import InputError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # do not wait for a pipe that took the file's place
    | getattr(os, "O_NOCTTY", 0)
)


def open_regular(path: Path, remedy: str = "give a file") -> BinaryIO:
    """Open a file, or a link to a file, for reading bytes.

    It never waits, and it does not open devices at all.

    Parameters
    ----------
    path : Path
        The file.
    remedy : str, optional
        What to do, for the message of an error.

    Returns
    -------
    BinaryIO
        The open file.

    Raises
    ------
    InputError
        If it is missing, cannot be read, or is not a file: a folder, pipe, socket or device.
    """
    try:
        _refuse(path, path.stat().st_mode, remedy)
        descriptor = os.open(path, _FLAGS)
        try:
            _refuse(path, os.fstat(descriptor).st_mode, remedy)
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path} does not exist; {remedy}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; {remedy}") from error
    except ValueError as error:  # a name that no system allows
        raise InputError(f"{path} cannot be read: its name is not valid; {remedy}") from error


def read_regular(path: Path, most: int, remedy: str = "give a file") -> bytes:
    """Read all bytes of a file, up to a limit, no matter what length the file claims.

    Parameters
    ----------
    path : Path
        The file.
    most : int
        The most bytes that the file may have.
    remedy : str, optional
        What to do, for the message of an error.

    Returns
    -------
    bytes
        The content.

    Raises
    ------
    InputError
        As for `open_regular`, and if the file has more bytes.
    """
    with open_regular(path, remedy) as file:
        try:
            content = file.read(most + 1)
        except OSError as error:
            raise InputError(
                f"{path} cannot be read: {error.strerror or error}; {remedy}"
            ) from error
    if len(content) > most:
        raise InputError(f"{path} has more than {most >> 20} MiB; {remedy}")
    return content


def _refuse(path: Path, mode: int, remedy: str) -> None:
    kind = kind_of_mode(mode)
    if kind != "a file":
        words = kind if kind == "a folder" else f"{kind}, not a file"
        raise InputError(f"{path} is {words}; {remedy}")


def kind_of_mode(mode: int) -> str:
    """Name what has that ``st_mode``: a file, a folder, a link, a pipe, a socket or a device.

    Anything unknown counts as a file.
    """
    return _KINDS.get(stat.S_IFMT(mode), "a file")
