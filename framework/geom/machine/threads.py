"""Threads of the linear algebra libraries: as many as there are cores, and never two pools at once.

NumPy's and SciPy's wheels each bring an OpenBLAS with a pool of its own. A pool's idle threads go
on spinning for a while, so that the two, used in turn, take each other's cores: on two cores a
Cholesky factorisation of 768 x 768 by SciPy takes 12 ms on one thread, and 20 to 400 ms on two
after a product by NumPy. Products are what gains by threads, and they are NumPy's.

Threads also spin while they wait for each other. Where other programs want the cores too, steps of
many small products and factorisations go several times faster on one thread than on two; large
products, a block of rows at a time, gain by all threads that there are.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np  # noqa: F401 - its pool must be there to be limited

from geom.machine import cgroups


def cores(proc: Path = cgroups.PROC, root: Path = cgroups.ROOT) -> int:
    """Count the cores that this process may use: its affinity, within a container's quota of time.

    Parameters
    ----------
    proc : Path, optional
        Where Linux shows the process.
    root : Path, optional
        Where Linux shows control groups.

    Returns
    -------
    int
        At least 1.
    """
    if sys.platform == "linux":
        most = len(os.sched_getaffinity(0))
    else:
        most = os.cpu_count() or 1
    shares = [most]
    for version, folder in cgroups.folders("cpu", proc, root):
        if version == 2:
            quota = cgroups.numbers(folder / "cpu.max")
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota = [number for name in names for number in cgroups.numbers(folder / name)]
        match quota:
            case [int(time), int(period)] if time > 0 and period > 0:
                shares.append(math.ceil(time / period))
    return max(1, min(shares))


@contextmanager
def limited_threads(most: int | None = None) -> Iterator[None]:
    """Limit the threads of every linear algebra library within the block.

    SciPy's own OpenBLAS gets one. No library gets more than it has, so that what the user set by
    OMP_NUM_THREADS, OPENBLAS_NUM_THREADS or threadpoolctl stands. A library that is loaded within
    the block is not limited: import it before.

    Parameters
    ----------
    most : int, optional
        The most threads, all `cores` if None.

    Yields
    ------
    None
        The block runs with the limit.
    """
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # has no types

    most = cores() if most is None else most
    pools = ThreadpoolController()
    files = [library.filepath for library in pools.lib_controllers]
    with ExitStack() as stack:
        for library in pools.lib_controllers:
            wanted = 1 if _spare(library.filepath, files) else min(most, library.num_threads)
            if library.num_threads > wanted:
                chosen = pools.select(filepath=library.filepath)
                stack.enter_context(chosen.limit(limits=wanted))
        stack.enter_context(_torch(most))
        yield


def _spare(file: str, files: list[str]) -> bool:
    """Whether this is SciPy's pool, and NumPy has another."""
    return _owner(file) == "scipy" and any(_owner(other) == "numpy" for other in files)


def _owner(file: str) -> str | None:
    """The package whose wheel brought the library: its folder is ``scipy.libs`` or inside it."""
    for part in Path(file).parts:
        if part in ("numpy", "scipy", "numpy.libs", "scipy.libs"):
            return part.partition(".")[0]
    return None


@contextmanager
def _torch(most: int) -> Iterator[None]:
    """Torch has a count of its own, which threadpoolctl does not see."""
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    if torch is None or before is None or before <= most:
        yield
        return
    torch.set_num_threads(most)
    try:
        yield
    finally:
        torch.set_num_threads(before)
