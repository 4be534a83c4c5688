"""Files on servers: the bytes that are needed are fetched once and kept on disk."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geom import InputError, track_progress
from geom_plugins.checkpoints.spans import Span
from geom_plugins.checkpoints.transport import BrokenError, Transport

_WAITS = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each retry; any byte that arrives starts the series over."""

_SHOWN = 1 << 20
"""The length in bytes from which fetching is shown as progress."""


class RemoteFile:
    """A file on a server, whose spans are fetched to the local disk when they are asked for.

    A span that is cut off, by the network or by the end of this process, resumes where it stopped.
    ``identity`` names this version of the file, so that later processes find its bytes again; if it
    is None, the bytes may be out of date later, and are removed with this object.
    """

    def __init__(self, transport: Transport, name: str, size: int, identity: str | None) -> None:
        self._transport = transport
        self._name = name
        self._size = size
        self._folder = _folder(name, identity)
        if identity is None:
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def name(self) -> str:
        """Its address, in a form that is safe to show."""
        return self._name

    @property
    def size(self) -> int:
        """Its length in bytes, as the server gives it."""
        return self._size

    def span(self, begin: int, end: int) -> Span:
        """Fetch the bytes from ``begin`` up to ``end`` to the local disk.

        Raises InputError if they cannot be fetched or stored.
        """
        import huggingface_hub.utils

        utils: Any = huggingface_hub.utils
        if not 0 <= begin <= end <= self._size:
            raise InputError(
                f"{self._name} has {self._size} bytes, and none at {begin}-{end}; fetch it again"
            )
        path = self._folder / f"{begin}-{end}"
        try:
            if not _has(path, end - begin):
                with utils.WeakFileLock(f"{path}.lock"):  # another process may be fetching it
                    if not _has(path, end - begin):
                        self._fetch(path, begin, end)
        except OSError as error:
            raise _unwritable(self._folder, error) from error
        return Span(path, 0, end - begin, self._name)

    def _fetch(self, path: Path, begin: int, end: int) -> None:
        """Complete the part file, from where it ends, and rename it to ``path``."""
        part = path.with_name(f"{path.name}.part")
        if part.exists() and part.stat().st_size > end - begin:
            part.unlink()
        arriving = self._append(part, begin, end)
        if end - begin >= _SHOWN:
            arriving = track_progress(arriving, "fetch", end - begin, "bytes", int)
        for _ in arriving:
            pass
        part.replace(path)

    def _append(self, part: Path, begin: int, end: int) -> Iterator[int]:
        """Write the bytes that are missing; yields how many were added each time."""
        failures = 0
        with part.open("ab", buffering=0) as out:
            at = begin + out.tell()
            yield at - begin
            while at < end:
                try:
                    for piece in self._transport.pieces(at, end):
                        _write(out.fileno(), piece)
                        at += len(piece)
                        failures = 0
                        yield len(piece)
                except BrokenError as error:
                    if failures == len(_WAITS):
                        where = f"byte {at} of {self._size}; run again, the bytes so far are kept"
                        raise InputError(f"{error}, at {where}") from error
                    time.sleep(_WAITS[failures])
                    failures += 1
            os.fsync(out.fileno())


def cache_folder(kind: str, key: str) -> Path:
    """Return geom's own folder for ``key`` in the cache of huggingface_hub.

    HF_HOME and HF_ASSETS_CACHE move the cache. Raises InputError if the folder cannot be made.
    """
    from huggingface_hub import cached_assets_path

    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    try:
        return cached_assets_path("geom", kind, name)
    except (OSError, ValueError) as error:
        raise InputError(
            f"the cache cannot be written: {error}; set HF_HOME to a folder that can be written"
        ) from error


def _folder(name: str, identity: str | None) -> Path:
    """Return the folder where the spans of a file are kept."""
    if identity is not None:
        return cache_folder("ranges", identity)
    try:
        return Path(tempfile.mkdtemp(prefix="geom-"))
    except OSError as error:
        raise InputError(f"{name} has no place to be stored: {error}; set TMPDIR") from error


def _has(path: Path, length: int) -> bool:
    return path.is_file() and path.stat().st_size == length


def _write(descriptor: int, piece: bytes) -> None:
    """Write the whole piece: a single write may store less."""
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"fetched bytes cannot be stored in {folder}: {error.strerror or error}; make room, or set "
        "HF_HOME to a folder with more space"
    )
