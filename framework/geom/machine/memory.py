"""Memory that a run may take: how much there is, and a polite no where it is not enough.

Linux hands out more than it has, and kills who uses it. So what a large array takes is compared
with what is free before it is made, and a tenth of that is left alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from geom.errors import InputError
from geom.machine import cgroups

SHARE = 0.9
"""Of what is free, what geom takes at most: estimates miss a little, and others live here too."""


def available(proc: Path = cgroups.PROC, root: Path = cgroups.ROOT) -> int:
    """Bytes that this process can still take before something must give.

    The least of what the machine has free, what the limits of its control groups leave (of both
    versions, of every group above too), and what ``ulimit -v`` leaves. Cached files count as free,
    for the system drops them first.
    """
    import psutil  # type: ignore[import-untyped]  # it ships no types

    room = [int(psutil.virtual_memory().available), *_in_groups(proc, root), *_in_address_space()]
    return max(0, min(room))


def usable() -> int:
    """Bytes that geom may plan with: `available`, less a margin."""
    return int(available() * SHARE)


def check_memory(
    need: int,
    what: str,
    remedy: str = "free some memory, or use a machine with more",
) -> None:
    """Return if so many bytes are available, raise otherwise.

    Parameters
    ----------
    need : int
        Bytes.
    what : str
        The thing that takes them, in words that go before "takes 6.8 GiB".
    remedy : str, optional
        What to do, for the message of the error.

    Raises
    ------
    InputError
        If there are fewer, less a margin of a tenth.
    """
    room = usable()
    if need > room:
        raise InputError(
            f"{what} takes {describe(need)} of memory and {describe(room)} can be had: {remedy}"
        )


def describe(count: int) -> str:
    """A number of bytes for people, as ``6.8 GiB``."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1023.95:  # what would be printed as 1024.0 is 1.0 of the next
            break
        size, unit = size / 1024.0, larger
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def _in_groups(proc: Path, root: Path) -> Iterator[int]:
    """What each control group with a limit has left."""
    for version, folder in cgroups.folders("memory", proc, root):
        if version == 2:
            names, prefix = ("memory.max", "memory.current"), ""
        else:
            names, prefix = ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_"
        limit, used = (cgroups.numbers(folder / name)[:1] for name in names)
        if limit and used and limit[0] is not None and used[0] is not None:
            yield limit[0] - used[0] + _cached(folder / "memory.stat", prefix)


def _cached(stat: Path, prefix: str) -> int:
    """Bytes of files that a control group holds and can drop; shared memory is not among them."""
    try:
        lines = stat.read_text(encoding="utf-8").splitlines()
        entries = dict(line.split(maxsplit=1) for line in lines if line.strip())
        return sum(int(entries.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
    except (OSError, ValueError):
        return 0


def _in_address_space() -> Iterator[int]:
    """What ``ulimit -v`` leaves, where it is set."""
    if sys.platform == "win32":
        return
    import resource

    import psutil

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield limit - psutil.Process().memory_info().vms
