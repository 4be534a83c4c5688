"""The shared program of the campaigns: how many cases, from which seed, in how many processes.

A campaign draws random or hostile cases by the thousand, and asks of each one question whose answer
comes from outside geom. Each campaign is a program, started in the folder `tests`::

    python -m campaigns.judge --cases 100000 --seed 1

It prints how many cases it drew and how many failed, names the failures so that ``--case N`` draws
one of them again, and exits with 1 if there are any. ``tox -e campaigns`` runs all campaigns.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """The outcome of one case: its kind, for the counts, and its failure, if any."""

    kind: str
    failure: str | None = None


Draw = Callable[[np.random.Generator, int], Case]
"""The function that draws the case of a number from the generator, and answers its question."""


def main(name: str, draw: Draw, cases: int) -> None:
    """Run a campaign; ``cases`` is the number of cases it draws by default."""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--cases", type=int, default=cases, help="the number of cases to draw")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same cases")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="the number of processes"
    )
    parser.add_argument("--case", type=int, help="draw only this case")
    asked = parser.parse_args()
    begun = time.monotonic()
    numbers = range(asked.cases) if asked.case is None else [asked.case]
    kinds: Counter[str] = Counter()
    failures = 0
    for number, case in _drawn(draw, numbers, asked.seed, asked.workers):
        kinds[case.kind] += 1
        if case.failure is not None:
            failures += 1
            print(f"{name} --seed {asked.seed} --case {number}: {case.failure}", flush=True)
    for kind, count in sorted(kinds.items()):
        print(f"{count:>9} {kind}")
    seconds = time.monotonic() - begun
    total = kinds.total()
    print(f"{name}: {total} cases, {failures} failures, seed {asked.seed}, {seconds:.0f} s")
    sys.exit(1 if failures else 0)


def _drawn(
    draw: Draw, numbers: range | list[int], seed: int, workers: int
) -> Iterator[tuple[int, Case]]:
    """Yield every case with its number, in order, each from its own generator."""
    global _draw, _seed
    _draw, _seed = draw, seed
    if workers == 1 or len(numbers) == 1:
        yield from map(_answer, numbers)
        return
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        yield from pool.imap(_answer, numbers, chunksize=32)


_draw: Draw
_seed: int


def _answer(number: int) -> tuple[int, Case]:
    return number, _draw(np.random.default_rng([_seed, number]), number)
