"""Zip archives, as NumPy and torch write them, checked before they are opened.

https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.14 to 4.3.16. Python's zipfile
makes an object for every entry that an archive lists, a million for a file of 60 MB.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from geom import InputError

_LONGEST_LIST = 16 << 20
"""The most bytes that an archive's list of entries may have: some 200,000 entries."""

_END, _LOCATOR, _END_64 = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
_END_SIZE, _LOCATOR_SIZE, _END_64_SIZE = 22, 20, 56
_COMMENT = 0xFFFF


def refuse_crowded(file: BinaryIO, name: str) -> None:
    """Raise InputError for an archive whose list of entries is larger than any model's.

    A file that is not an archive passes. The file is left at its beginning.
    """
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _COMMENT - _END_SIZE - _LOCATOR_SIZE)
    file.seek(start)
    tail = file.read()
    end = tail.rfind(_END, 0, max(0, len(tail) - _END_SIZE + len(_END)))
    listed = 0
    if end >= 0:
        (listed,) = struct.unpack_from("<12xI", tail, end)
        locator = end - _LOCATOR_SIZE
        if locator >= 0 and tail[locator:].startswith(_LOCATOR):
            file.seek(max(0, start + locator - _END_64_SIZE))
            record = file.read(_END_64_SIZE)
            if record.startswith(_END_64):
                (listed,) = struct.unpack_from("<40xQ", record)
    file.seek(0)
    if _LONGEST_LIST < listed <= size:
        raise InputError(
            f"{name} is an archive with {listed >> 20} MiB of names; save fewer arrays"
        )
