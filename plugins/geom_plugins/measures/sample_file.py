"""The file of a sample of vectors: a ``.npy`` array (n, d), such as `geom activations` writes."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from geom import Array, Domain, InputError, check_memory, open_regular, parse_address
from geom.proofs import Scatter

_REMEDY = "give the .npy file of a sample, as geom activations writes it"


def sample_path(location: str | None, what: str) -> Path:
    """Return the local path of a sample. Raises InputError if none is given, or an address."""
    if not location:
        raise InputError(
            f"{what} needs a sample of the network's vectors: give "
            f"-o measure.{what}.activations=FILE.npy, as geom activations writes it"
        )
    path = parse_address(location).path
    if path is None:
        raise InputError(f"{location} is not a file on this machine; {_REMEDY}")
    return path


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal. Raises InputError if it cannot be read."""
    return _digest(path, *_stamp(path))


def scatter(path: Path, sha256: str | None, domain: Domain, shrinkage: float | None) -> Scatter:
    """Return the mean and covariance of a file's sample, kept for the next token.

    Raises InputError if the file cannot be read, is not that of the digest, or holds no sample of
    the domain's vectors.
    """
    stamp = _stamp(path)
    if sha256 is not None and _digest(path, *stamp) != sha256:
        raise InputError(
            f"{path} is not the sample that was used: its SHA-256 is not {sha256[:12]}...; give "
            "that file"
        )
    return _scatter(path, stamp, domain, shrinkage)


@lru_cache(maxsize=2)
def _scatter(
    path: Path, stamp: tuple[int, int], domain: Domain, shrinkage: float | None
) -> Scatter:
    try:
        return Scatter.of(_points(path), domain, shrinkage)
    except InputError as error:
        named = str(path) in str(error)
        raise error if named else InputError(f"{path}: {error}") from error


def _points(path: Path) -> Array:
    """Read the array of a file. Raises InputError if it holds anything else."""
    with open_regular(path, _REMEDY) as file:
        size = os.fstat(file.fileno()).st_size
        check_memory(size, str(path), "take a smaller sample")
        try:
            return np.lib.format.read_array(_bounded(file, size), allow_pickle=False)
        except (ValueError, EOFError, SyntaxError, OverflowError, MemoryError) as error:
            raise InputError(f"{path} is not a plain NumPy array; {_REMEDY}") from error


def _bounded(file: BinaryIO, size: int) -> BinaryIO:
    """Return the file, unless its header claims more numbers than it has bytes."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    read = readers.get(np.lib.format.read_magic(file))
    if read is None:
        raise ValueError("its format is newer than these")
    shape, _, dtype = read(file)
    if dtype.hasobject or file.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize > size:
        raise ValueError("it is shorter than it claims")
    file.seek(0)
    return file


def _stamp(path: Path) -> tuple[int, int]:
    with open_regular(path, _REMEDY) as file:
        found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=4)
def _digest(path: Path, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with open_regular(path, _REMEDY) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
