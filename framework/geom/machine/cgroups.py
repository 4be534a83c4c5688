"""The Linux control groups that this process is in; they set a container's limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


def folders(controller: str, proc: Path = PROC, root: Path = ROOT) -> Iterator[tuple[int, Path]]:
    """Yield version (1 or 2) and folder of each group that limits this process, innermost first.

    Yields nothing if the system has no such groups. Within a container, the path that ``proc``
    names may lie outside the tree mounted at ``root``; the limits are then those of the root.
    """
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if not names:
            for top in (root, root / "unified"):
                yield from ((2, folder) for folder in _upwards(top, path))
        elif controller in names.split(","):
            yield from ((1, folder) for folder in _upwards(root / controller, path))


def numbers(file: Path) -> list[int | None]:
    """Read the numbers in a one-line file; the word ``max`` is None, a missing file gives []."""
    try:
        words = file.read_text(encoding="utf-8").split()
        return [None if word == "max" else int(word) for word in words]
    except (OSError, ValueError):
        return []


def _upwards(top: Path, path: str) -> Iterator[Path]:
    inner = PurePosixPath(path.lstrip("/"))
    if ".." in inner.parts:  # the group is outside this container's view
        inner = PurePosixPath()
    for part in (inner, *inner.parents):
        folder = top / part
        if folder.is_dir():
            yield folder
        if not part.parts:
            return
