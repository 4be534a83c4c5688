"""Ratios for the self-argmax detector, the demo run and start-up, all taken in one run.

    tox -e bench

The yardstick for self-argmax is one blocked float32 product ``W W^T`` with its row maxima, on the
same matrix and threads, in turn with it. Start-up is ``geom --help`` against ``python -c pass``.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import geom


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="50257x768", help="V x d of the synthetic readout")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, in turn")
    arguments = parser.parse_args()
    V, d = map(int, arguments.shape.split("x"))
    repeats = arguments.repeats
    start_up(repeats)
    demo(repeats)
    self_argmax(V, d, repeats)


def start_up(repeats: int) -> None:
    """``geom --help`` against an empty Python."""
    geom_help = seconds(lambda: call("-m", "geom.cli", "--help"), repeats)
    empty = seconds(lambda: call("-c", "pass"), repeats)
    report("geom --help", geom_help, "python -c pass", empty)


def demo(repeats: int) -> None:
    """The README's first command from a cold start, against its own verification."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run.db"

        def run() -> None:
            out.unlink(missing_ok=True)
            call("-m", "geom.cli", "run", "-d", "self-argmax", "-c", "highs", "--out", str(out))

        made = seconds(run, repeats)
        checked = seconds(lambda: call("-m", "geom.cli", "verify", str(out)), repeats)
    report("geom run on the demo", made, "geom verify", checked)


def self_argmax(V: int, d: int, repeats: int) -> None:
    """The detector against the brute-force product, and the peak memory of the detector."""
    model = f"synthetic:gpt2-like?V={V}&d={d}"
    readout = geom.load(model)
    before = peak_gib()
    geom.own_winners(readout)
    print(f"peak memory with W and the detector: {peak_gib():.2f} GiB ({before:.2f} before)")
    single = readout.W.astype(np.float32)
    single -= single.mean(axis=0)
    ours, brute = [], []
    for _ in range(repeats):
        ours.append(once(lambda: geom.own_winners(readout)))
        brute.append(once(lambda: product(single)))
    report(f"self-argmax {V} x {d}", statistics.median(ours), "product", statistics.median(brute))


def product(W: np.ndarray) -> np.ndarray:
    """The winners by the whole float32 product, 1,024 rows at a time."""
    return np.concatenate([(W[i : i + 1024] @ W.T).argmax(axis=1) for i in range(0, len(W), 1024)])


def call(*arguments: str) -> None:
    """Run Python with these arguments, its output thrown away."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The median time of some runs, after one that warms the caches."""
    work()
    return statistics.median(once(work) for _ in range(repeats))


def once(work: Callable[[], object]) -> float:
    """The time of one run."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_gib() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def report(name: str, value: float, yardstick: str, base: float) -> None:
    """One line: the time, the yardstick's, and their ratio."""
    print(f"{name}: {value:.2f} s; {yardstick}: {base:.2f} s; ratio {value / base:.2f}")


if __name__ == "__main__":
    main()
