"""Ratios for start-up and the demo run, taken in one run.

    tox -e bench

Start-up compares ``geom --help`` with ``python -c pass``; a run of the demo is compared with its
own verification.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from yardstick import once


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="calls of each, in turn")
    arguments = parser.parse_args()
    start_up(arguments.repeats)
    demo(arguments.repeats)


def start_up(repeats: int) -> None:
    """Compare ``geom --help`` with an empty Python."""
    geom_help = seconds(lambda: call("-m", "geom.cli", "--help"), repeats)
    empty = seconds(lambda: call("-c", "pass"), repeats)
    report("geom --help", geom_help, "python -c pass", empty)


def demo(repeats: int) -> None:
    """Compare the README's first command, from a cold start, with the run's own verification."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run.db"

        def run() -> None:
            out.unlink(missing_ok=True)
            call("-m", "geom.cli", "run", "-d", "self-argmax", "-c", "highs", "--out", str(out))

        made = seconds(run, repeats)
        checked = seconds(lambda: call("-m", "geom.cli", "verify", str(out)), repeats)
    report("geom run on the demo", made, "geom verify", checked)


def call(*arguments: str) -> None:
    """Run Python with these arguments and discard its output."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of some calls, after one that warms the caches."""
    work()
    return statistics.median(once(work) for _ in range(repeats))


def report(name: str, value: float, yardstick: str, base: float) -> None:
    """Print one line: the time, the yardstick's time, and their ratio."""
    print(f"{name}: {value:.2f} s; {yardstick}: {base:.2f} s; ratio {value / base:.2f}")


if __name__ == "__main__":
    main()
