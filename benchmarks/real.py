"""What whole audits of real models take, as a user runs them, beside one product ``W W^T``.

    tox -e real
    python benchmarks/real.py --model smollm2 --part audit

Each command runs as the user's own does, in a new process: its time includes Python's start, the
imports, the weights, the detector, the proofs and the file of the run. The yardstick, one blocked
float32 product with its row maxima, is measured before and after each command; the ratios are to
the mean of the two, by the clock and by the CPU seconds of all cores, which other programs on the
machine change less. ``self-argmax`` alone runs in one process with its products, in turns. Peak
memory is that of the process. A command that takes longer than ``--limit`` seconds is ended and
reported as "over".

The models are the two real ones, and readouts drawn for shapes that no weights here have; of the
largest one's product, one block of rows in eight is computed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import real_weights
from limited import command, limited
from yardstick import Spent, product, spent

import geom

GEOM = (sys.executable, "-m", "geom.cli")

RUNS = {
    "audit": (),
    "highs": ("--detector", "self-argmax", "--certifier", "highs"),
    "all": ("--tokens", "all"),
}
"""The arguments of ``geom run`` in each part that is a run."""

PARTS = ("self-argmax", *RUNS, "verify")

PATIENCE = 7200.0
"""The seconds that a product may take, with the reading of the weights."""


@dataclass(frozen=True)
class Subject:
    """A model, and which parts are measured on it.

    Without a location it is one of the real models. ``one_in`` is for the product.
    """

    title: str
    location: str | None = None
    parts: tuple[str, ...] = PARTS
    one_in: int = 1


SUBJECTS = {
    "smollm2": Subject("SmolLM2-135M, 49,152 x 576"),
    "whisper": Subject("Whisper base, 51,865 x 512"),
    "real-like": Subject(
        "drawn like these, 262,144 x 640",
        "synthetic:real-like?V=262144&d=640",
        ("self-argmax", "audit", "verify"),
        one_in=8,
    ),
    "gpt2-like": Subject(
        "drawn like GPT-2's, 50,257 x 768",
        "synthetic:gpt2-like?V=50257&d=768&untrained=0.0008&untrained_spread=0.05",
        ("self-argmax", "audit", "verify"),
    ),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", choices=SUBJECTS, help="repeatable")
    parser.add_argument("--part", action="append", choices=PARTS, help="repeatable")
    parser.add_argument("--repeats", type=int, default=2, help="calls of self-argmax alone")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds for one command")
    arguments = parser.parse_args()
    wanted = arguments.part or PARTS
    print("| model | what | seconds | CPU | of one product | in CPU | peak, GiB | outcome |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in arguments.model or SUBJECTS:
        subject = SUBJECTS[name]
        parts = [part for part in subject.parts if part in wanted]
        location = subject.location or real_weights.fetch(name)
        bench = Bench(subject.title, location, subject.one_in, arguments.limit)
        try:
            if "self-argmax" in parts:
                bench.detector(arguments.repeats)
            bench.commands([part for part in parts if part in RUNS], "verify" in parts)
        except RuntimeError as error:
            bench.line("the rest", None, None, f"not measured: {error}")


@dataclass(frozen=True)
class Bench:
    """The measurements on one model, each printed as a row of the table."""

    title: str
    location: str
    one_in: int
    limit: float

    def detector(self, repeats: int) -> None:
        """Measure self-argmax alone, in turns with the product."""
        answer = limited(Turns(self.location, self.one_in, repeats), self.limit)
        if answer is None:
            self.line("self-argmax", None, None, f"over {self.limit:g} s")
            return
        products, calls, flagged = answer
        yardstick = mean(products)
        self.line("one product", yardstick, yardstick, f"{len(products)} times: {span(products)}")
        said = f"{flagged} flagged; {len(calls)} times: {span(calls)}"
        self.line("self-argmax", mean(calls), yardstick, said)

    def commands(self, parts: Sequence[str], verify: bool) -> None:
        """Measure runs, each with its verification."""
        before = self.product()
        with tempfile.TemporaryDirectory() as folder:
            for part in parts:
                out = Path(folder) / f"{part}.db"
                words = ["run", "--model", self.location, "--out", str(out), *RUNS[part]]
                said = " ".join(["geom run", *RUNS[part]])
                before, done = self.command(f"`{said}`", words, out, before)
                if verify and done:
                    words = ["verify", str(out), "--model", self.location]
                    before, _ = self.command(f"`geom verify` of `{said}`", words, out, before)

    def command(
        self, what: str, words: Sequence[str], out: Path, before: Spent
    ) -> tuple[Spent, bool]:
        """Measure a command that makes or checks a run.

        ``before`` is the product just before; return the one after, and whether the command is
        done.
        """
        ended = command([*GEOM, *words], self.limit)
        after = self.product()
        yardstick = mean([before, after])
        if ended is None:
            self.line(what, None, yardstick, f"over {self.limit:g} s")
            return after, False
        said = counted(out) if ended.code == 0 else f"exit code {ended.code}: {last(ended.err)}"
        self.line(what, Spent(ended.wall, ended.cpu), yardstick, said, ended.peak)
        return after, ended.code == 0

    def product(self) -> Spent:
        """Measure one product in its own process."""
        answer = limited(Turns(self.location, self.one_in, 0), PATIENCE)
        if answer is None:
            raise RuntimeError(f"one product takes longer than {PATIENCE:g} s")
        found = mean(answer[0])
        self.line("one product", found, found, "")
        return found

    def line(
        self,
        what: str,
        found: Spent | None,
        yardstick: Spent | None,
        outcome: str,
        peak: float | None = None,
    ) -> None:
        """Print one row of the table."""
        numbers = [""] * 4
        if found is not None and yardstick is not None:
            ratios = found.wall / yardstick.wall, found.cpu / yardstick.cpu
            numbers = [f"{x:.1f}" for x in (found.wall, found.cpu)] + [f"{x:.2f}" for x in ratios]
        cells = [self.title, what, *numbers, "" if peak is None else f"{peak:.2f}", outcome]
        print(f"| {' | '.join(cells)} |", flush=True)


@dataclass(frozen=True)
class Turns:
    """Products and calls of self-argmax in turns, a product first and last."""

    location: str
    one_in: int
    repeats: int

    def __call__(self) -> tuple[list[Spent], list[Spent], int]:
        """Return what the products took, what the calls took, and the number of flagged tokens."""
        readout = geom.load(self.location)
        products, calls, flagged = [product(readout, self.one_in)], [], 0
        for _ in range(self.repeats):
            winners = np.arange(readout.V)

            def call() -> None:
                winners[:] = geom.own_winners(readout)  # noqa: B023 - called at once

            calls.append(spent(call))
            flagged = int(np.count_nonzero(winners != np.arange(readout.V)))
            products.append(product(readout, self.one_in))
        return products, calls, flagged


def mean(times: Sequence[Spent]) -> Spent:
    """Return the mean of several times."""
    return Spent(
        statistics.mean(time.wall for time in times), statistics.mean(time.cpu for time in times)
    )


def span(times: Sequence[Spent]) -> str:
    """Return the shortest and the longest time by the clock."""
    walls = [time.wall for time in times]
    return f"{min(walls):.1f} to {max(walls):.1f} s"


def counted(out: Path) -> str:
    """Return how many tokens of a run have each verdict."""
    with geom.open_run(out) as run:
        return ", ".join(f"{n} {name}" for name, n in run.counts().items() if n)


def last(text: str) -> str:
    """Return the last line of a text, as a cell of the table."""
    return (text.strip().splitlines() or [""])[-1].replace("|", "/")


if __name__ == "__main__":
    main()
