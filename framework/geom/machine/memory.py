"""Memory that a run may take: how much there is, and a clear error if it is not enough.

Linux grants more memory than it has, and kills the process that uses it. So before a large array is
made, its size is compared with the free memory, less a tenth.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from geom.errors import InputError
from geom.machine import cgroups

SHARE = 0.9
"""The share of free memory that geom may take: estimates are inexact, and other programs run."""


def available(proc: Path = cgroups.PROC, root: Path = cgroups.ROOT) -> int:
    """Return how many bytes this process can still take.

    This is the least of the machine's free memory, the room its control groups leave (of both
    versions, and of every group above), and the room that ``ulimit -v`` leaves. Cached files count
    as free, because the system drops them first.
    """
    import psutil  # type: ignore[import-untyped]  # it ships no types

    room = [int(psutil.virtual_memory().available), *_in_groups(proc, root), *_in_address_space()]
    return max(0, min(room))


def usable() -> int:
    """Return how many bytes geom may plan with: `available`, less a margin."""
    return int(available() * SHARE)


def is_small(need: int) -> bool:
    """Return whether an array of a file should be read into memory, rather than mapped.

    What is in memory cannot change and is never read twice. But it stays there, while the pages of
    a mapped file leave memory when something else needs it.

    Parameters
    ----------
    need : int
        The array's bytes.

    Returns
    -------
    bool
        Whether it takes at most a quarter of the memory that geom may plan with.
    """
    return need <= usable() // 4


def check_memory(
    need: int,
    what: str,
    remedy: str = "free some memory, or use a machine with more",
) -> None:
    """Return if ``need`` bytes are available; raise otherwise.

    Parameters
    ----------
    need : int
        Bytes.
    what : str
        The thing that needs them, in words that fit before "takes 6.8 GiB".
    remedy : str, optional
        What to do, for the message of the error.

    Raises
    ------
    InputError
        If fewer are available, less a margin of a tenth.
    """
    room = usable()
    if need > room:
        raise InputError(
            f"{what} takes {describe(need)} of memory and only {describe(room)} is available: "
            f"{remedy}"
        )


def describe(count: int) -> str:
    """Write a number of bytes for people, as ``6.8 GiB``."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1023.95:  # a larger number would print as 1024.0, which is 1.0 of the next unit
            break
        size, unit = size / 1024.0, larger
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def _in_groups(proc: Path, root: Path) -> Iterator[int]:
    """Yield the bytes that each control group with a limit has left."""
    for version, folder in cgroups.folders("memory", proc, root):
        if version == 2:
            names, prefix = ("memory.max", "memory.current"), ""
        else:
            names, prefix = ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_"
        limit, used = (cgroups.numbers(folder / name)[:1] for name in names)
        if limit and used and limit[0] is not None and used[0] is not None:
            yield limit[0] - used[0] + _cached(folder / "memory.stat", prefix)


def _cached(stat: Path, prefix: str) -> int:
    """Return the bytes of files that a control group can drop; shared memory does not count."""
    try:
        lines = stat.read_text(encoding="utf-8").splitlines()
        entries = dict(line.split(maxsplit=1) for line in lines if line.strip())
        return sum(int(entries.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
    except (OSError, ValueError):
        return 0


def _in_address_space() -> Iterator[int]:
    """Yield the bytes that ``ulimit -v`` leaves, if it is set."""
    if sys.platform == "win32":
        return
    import resource

    import psutil

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield limit - psutil.Process().memory_info().vms
