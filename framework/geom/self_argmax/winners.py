"""The winners along the own directions of many tokens, a block of like tokens at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from itertools import chain
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from geom.exact.bulk import proven_winners
from geom.exact.single import block_rows, slices
from geom.machine.devices import CPU, Device, current_device
from geom.machine.threads import limited_threads, pool_threads
from geom.model.readout import Readout
from geom.numbers.arrays import Ids
from geom.numbers.rounding import refuse_flushing
from geom.progress import track_progress
from geom.self_argmax.contest import PAIRS, Contest, Loser
from geom.self_argmax.distinct import DistinctRows
from geom.self_argmax.screen import BLOCK, SHARES, choose_screens, screen_choice_memory
from geom.self_argmax.stages import ScreenStage, WholeStage, screen_stages

DEFAULT_MEMORY_MIB = 256

SCREEN_ROWS = 8192
"""With fewer rows or tokens than this, whole rows are compared: screens cost more."""

SCREEN_ON = ("cpu", "torch")
"""The devices that use screens. A GPU holds whole rows and computes the whole half product: that
takes less than to make, on the processor, the rows that screens ask for."""

STRIP = 1024
"""The most rivals that are compared at once on a processor, so that their scores stay in cache."""

TALL = 2048
"""The most tokens in a block if there are no screens. Each block makes the whole rows again."""

MOST_THREADS = 16
"""The most blocks that are compared at once. Each takes memory, and Python's own steps in turn."""

STRATUM = 4096
"""How many tokens of similar length are sorted into blocks of similar direction."""

PER_TOKEN = 200
"""The bytes per token that the arrays of lengths, places and winners take, apart from rows."""


def own_winners(
    readout: Readout,
    tokens: Sequence[int] | None = None,
    *,
    centre: bool = True,
    memory_mib: int = DEFAULT_MEMORY_MIB,
) -> NDArray[np.int64]:
    """Find the winner along each token's own direction, as exact arithmetic would.

    A token wins its own direction only strictly: if others tie with it, or several others win
    together, the answer is the one with the lowest id. A token that has been proven to win there in
    this process is not compared again (`geom.exact.bulk.proven_winners`).

    Parameters
    ----------
    readout : Readout
        The weights.
    tokens : sequence of int, optional
        The tokens, all V of them if None.
    centre : bool, optional
        Whether the mean row is subtracted first (in float64; the rounded rows are then taken as
        exact).
    memory_mib : int, optional
        The most MiB for blocks of scores. What it takes besides is in `own_winners_memory`.

    Returns
    -------
    ndarray of shape (n,), int64
        The winner of each token.

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.
    InputError
        If the sum of all rows is past the range of float64.
    """
    refuse_flushing()
    device = current_device()
    threads = _threads(device)
    ids = np.arange(readout.V) if tokens is None else np.asarray(tokens, dtype=np.int64)
    winners = ids.copy()
    left = np.flatnonzero(~proven_winners(readout)[ids]) if centre else np.arange(ids.size)
    if left.size:
        with limited_threads(1) if threads > 1 else nullcontext():
            winners[left] = _own_winners(readout, ids[left], centre, memory_mib, device, threads)
    return winners


def _own_winners(
    readout: Readout,
    ids: Ids,
    centre: bool,
    memory_mib: int,
    device: Device,
    threads: int,
) -> NDArray[np.int64]:
    """Find what `own_winners` returns, with so many threads of our own."""
    rows = DistinctRows(readout, centre)
    asked = np.unique(rows.place[ids])
    rival, sign = np.full(rows.size, -1), np.full(rows.size, -1)
    zero = rows.is_zero(asked)
    if rows.size > 1:
        for place in asked[zero]:  # all scores along a zero row are zero
            rival[place], sign[place] = np.delete(rows.heads, place).min(), 0
    asked = asked[~zero]
    screens = _screens(device, rows, asked)
    whole = WholeStage(device, rows, held=device.name not in SCREEN_ON)
    height, strip = _tile(device, bool(screens), memory_mib, threads)
    contest = Contest(rows, [*screens, whole], strip)
    blocks = _blocks(asked, screens[0] if screens else None, height)
    with closing(_contested(contest, blocks, threads)) as results:
        progress = track_progress(results, "self-argmax", asked.size, amount=itemgetter(0))
        for loser in chain.from_iterable(losers for _, losers in progress):
            rival[loser.place], sign[loser.place] = loser.rival, loser.sign
    return rows.named(ids, rival, sign)


def own_winners_memory(readout: Readout, memory_mib: int = DEFAULT_MEMORY_MIB) -> int:
    """Bound the memory that `own_winners` takes in addition to the readout.

    Parameters
    ----------
    readout : Readout
        The weights.
    memory_mib : int, optional
        As for `own_winners`.

    Returns
    -------
    int
        An upper bound in bytes: screens of at most a third of the rows' width in float32, the
        length, place, order and winner of each token, blocks of rows, and blocks of scores. On a
        GPU, its own memory holds the rows in float32 instead of the screens.
    """
    V, d, threads = readout.V, readout.d, _threads(CPU)
    height, strip = _tile(CPU, False, memory_mib, threads)
    height, strip = min(height, V), min(strip, V)
    rows = 8 * d * (2 * height + 4 * strip + 4 * min(V, BLOCK) + 4 * min(V, block_rows(d)))
    scores = 8 * height * strip + 16 * V
    pairs = 128 * max(PAIRS, V)
    compared = threads * (rows + scores + pairs)
    if V >= SCREEN_ROWS:
        K = max(1, round(d * SHARES[-1]))
        screens = 4 * V * (K + 2 + len(SHARES)) + 8 * d * K
        compared = max(compared + screens, screen_choice_memory(d))
    return int(V * PER_TOKEN + compared)


def _threads(device: Device) -> int:
    """Return how many blocks are compared at once: NumPy's threads, used for all of the work."""
    return min(pool_threads(), MOST_THREADS) if device.name == "cpu" else 1


def _contested(
    contest: Contest, blocks: Iterable[Ids], threads: int
) -> Generator[tuple[int, list[Loser]]]:
    """Yield the size of each block and its losers, in the order of the blocks."""

    def work(block: Ids) -> tuple[int, list[Loser]]:
        return block.size, contest.losers(block)

    if threads == 1:
        yield from map(work, blocks)
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from pool.map(work, blocks)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _screens(device: Device, rows: DistinctRows, asked: Ids) -> list[ScreenStage]:
    """Return the screens that are worth it."""
    if device.name not in SCREEN_ON or min(rows.size, asked.size) < SCREEN_ROWS:
        return []
    screens = choose_screens(rows)
    return screen_stages(device, rows, screens) if screens else []


def _tile(device: Device, screened: bool, memory_mib: int, threads: int) -> tuple[int, int]:
    """Return how many tokens and how many rivals each thread compares at once."""
    scores = max(1, memory_mib * 2**20 // (4 * threads))
    height = max(1, min(BLOCK if screened else TALL, scores // 512))
    strip = max(1, scores // height)
    return height, min(strip, STRIP) if device.name in SCREEN_ON else strip


def _blocks(asked: Ids, screen: ScreenStage | None, height: int) -> Iterator[Ids]:
    """Yield the places in blocks of at most that height.

    Blocks are of similar length, because only longer rows are rivals, and, if there is a screen, of
    similar direction.
    """
    if screen is None:
        yield from (asked[part] for part in slices(asked.size, height))
        return
    for part in slices(asked.size, STRATUM):
        with limited_threads(1):  # on busy cores, two threads take twenty times as long
            alike = _alike(screen.directions(asked[part]), height)
        yield from (asked[part][block] for block in alike)


def _alike(directions: NDArray[np.float32], height: int) -> list[Ids]:
    """Split indices into blocks of similar directions: by halves, along what varies most."""
    waiting, blocks = [np.arange(len(directions))], []
    while waiting:
        block = waiting.pop()
        if block.size <= height:
            blocks.append(block)
            continue
        some = directions[block] - directions[block].mean(axis=0)
        along = some @ np.linalg.eigh(some.T @ some)[1][:, -1]
        block = block[np.argsort(along)]
        half = -(-block.size // (2 * height)) * height
        waiting += [block[half:], block[:half]]
    return blocks
