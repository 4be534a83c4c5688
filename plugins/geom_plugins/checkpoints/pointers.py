"""Pointers of Git LFS, which stand for large files in a clone that was made without them.

https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md: a text of some 130 bytes that begins with
the address of that page.
"""

from __future__ import annotations

from geom import InputError

_BEGINNING = b"version https://git-lfs"


def refuse_pointer(start: bytes, name: str) -> None:
    """Raise InputError if a file that begins with ``start`` is a pointer of Git LFS."""
    if start.startswith(_BEGINNING):
        raise InputError(
            f"{name} is a pointer of Git LFS, not the file itself: run git lfs pull in its folder"
        )
