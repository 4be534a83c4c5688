"""Threads of the linear algebra libraries: one per core, and never two pools at once.

NumPy's and SciPy's wheels each bring an OpenBLAS with its own pool. The idle threads of a pool keep
spinning for a while, so the two pools, used in turn, take each other's cores: on two cores a
Cholesky factorisation of 768 x 768 by SciPy takes 12 ms on one thread, and 20 to 400 ms on two
after a product by NumPy. Products are what gains from threads, and NumPy computes them.

Threads also spin while they wait for each other. If other programs want the cores too, steps of
many small products and factorisations go several times faster on one thread than on two; large
products, a block of rows at a time, gain from every thread available.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np  # noqa: F401 - its pool must be loaded to be limited

from geom.machine import cgroups


def cores(proc: Path = cgroups.PROC, root: Path = cgroups.ROOT) -> int:
    """Count the cores that this process may use: its affinity, within a container's CPU quota.

    Parameters
    ----------
    proc : Path, optional
        The file in which Linux shows the groups of the process.
    root : Path, optional
        The folder in which Linux shows control groups.

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


def pool_threads() -> int:
    """Count the threads that a product of NumPy may use now: `cores`, within the user's limit.

    Work that starts as many threads of its own, within `limited_threads` of 1, takes no more of the
    machine than such a product.

    Returns
    -------
    int
        At least 1.
    """
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # has no types

    found = ThreadpoolController().lib_controllers
    numpys = [library.num_threads for library in found if _owner(library.filepath) == "numpy"]
    least: int = min([cores(), *(numpys or [library.num_threads for library in found])])
    return max(1, least)


@contextmanager
def limited_threads(most: int | None = None) -> Iterator[None]:
    """Limit the threads of every linear algebra library within the block.

    SciPy's own OpenBLAS gets one thread. No library gets more threads than it has, so a limit that
    the user set with OMP_NUM_THREADS, OPENBLAS_NUM_THREADS or threadpoolctl stands. A library that
    is loaded within the block is not limited: import it first.

    Parameters
    ----------
    most : int, optional
        The most threads; all `cores` if None.

    Yields
    ------
    None
        Nothing; the block runs with the limit.
    """
    from threadpoolctl import ThreadpoolController

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
    """Return whether this is SciPy's pool and NumPy has its own."""
    return _owner(file) == "scipy" and any(_owner(other) == "numpy" for other in files)


def _owner(file: str) -> str | None:
    """Return the package whose wheel brought the library, from a folder such as ``scipy.libs``."""
    for part in Path(file).parts:
        if part in ("numpy", "scipy", "numpy.libs", "scipy.libs"):
            return part.partition(".")[0]
    return None


@contextmanager
def _torch(most: int) -> Iterator[None]:
    """Limit torch's own threads, which threadpoolctl does not see."""
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
