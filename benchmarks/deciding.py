"""The seconds to decide tokens, proof included, by method and side of the border, in one run.

    tox -e bench

For each shape a readout like GPT-2's is drawn, with a clump of rows that win at no point. The
yardstick is one blocked float32 product ``W W^T`` with its row maxima, taken before and after the
measurements at a shape. Sides: a token ``far out`` wins along its own direction, ``border`` tokens
are just outside the clump, ``clump`` tokens inside it. ``linprog`` is the post's program as SciPy
solves it, without its own row's slip and with the bias, so that it answers the same question; it
proves nothing. Each measurement runs in its own process, which is ended after ``--limit`` seconds
and then reported as "over". Whole audits follow: the detector, 40 unspeakable tokens, and every
token of the vocabulary, with the peak memory of a process that does nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from limited import limited
from yardstick import once, product

import geom
import geom_plugins.certifiers.highs as highs
import geom_plugins.certifiers.linprog_post as linprog_post
import geom_plugins.certifiers.maxent as maxent

SHAPES = ("4000x64", "50257x256", "50257x768")
GROWTH = ("8000x256", "16000x256", "32000x256", "64000x256", "16000x128", "16000x512", "16000x1024")
CLUMP = 0.005
CLUMPED = f"untrained={CLUMP}&untrained_spread=0.05"
AUDIT = "untrained=0.0008&untrained_spread=0.05"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", action="append", help="V x d; repeatable")
    parser.add_argument("--tokens", type=int, default=3, help="tokens on each side")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for one measurement")
    parser.add_argument(
        "--part",
        action="append",
        choices=("tokens", "audits", "growth"),
        help="run only this part; repeatable",
    )
    arguments = parser.parse_args()
    parts = arguments.part or ["tokens", "audits", "growth"]
    print("| shape | what | seconds | of one product | outcome |")
    print("|---|---|---|---|---|", flush=True)
    if "tokens" in parts:
        for shape in arguments.shape or SHAPES:
            tokens_at(shape, arguments.tokens, arguments.limit)
    if "audits" in parts:
        for shape in arguments.shape or SHAPES[-1:]:
            audits_at(shape)
    if "growth" in parts:
        for shape in GROWTH:
            growth_at(shape)


def tokens_at(shape: str, count: int, limit: float) -> None:
    """Time one token at a time, by certifier and side."""
    readout = drawn(shape, CLUMPED)
    yardstick = product(readout).wall
    problem = geom.Problem(readout, readout.domain)
    for name, module, options in (
        ("maxent", maxent, {}),
        ("highs", highs, {}),
        ("linprog", linprog_post, {"own_row": False, "bias": True}),
    ):
        for side, tokens in sides(readout, count).items():
            (certifier,) = module.geom_certifiers()
            work = Decide(problem, certifier, certifier.options(**options), tokens)
            seconds, outcome = limited(work, limit) or (limit, "over")
            line(shape, f"{name}, {side}", seconds, yardstick, outcome)
    line(shape, "the product again", product(readout).wall, yardstick, "")


def audits_at(shape: str) -> None:
    """Time whole runs, each in its own process."""
    readout = drawn(shape, AUDIT)
    products, detector = [], []
    for _ in range(3):
        products.append(product(readout).wall)
        detector.append(once(lambda: geom.own_winners(readout)))
    yardstick = statistics.median(products)
    line(shape, "self-argmax", statistics.median(detector), yardstick, "")
    V, d = shape.split("x")
    model = f"synthetic:gpt2-like?V={V}&d={d}&{AUDIT}"
    for what, asked in (
        ("self-argmax, then maxent on what it flags", {"certifiers": ["maxent"]}),
        ("every token, maxent", {"certifiers": ["maxent"], "tokens": "all"}),
        ("hull-vertex, then maxent", {"certifiers": ["maxent"], "detectors": ["hull-vertex"]}),
    ):
        program = (
            "import geom, resource, time\n"
            f"readout = geom.load({model!r})\n"
            "started = time.perf_counter()\n"
            f"counts = geom.run(readout, **{asked!r}).counts()\n"
            "seconds = time.perf_counter() - started\n"
            "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20\n"
            "said = ', '.join(f'{n} {name}' for name, n in counts.items() if n)\n"
            "print(f'{seconds}|{said}; peak {peak:.2f} GiB')"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        )
        seconds, outcome = done.stdout.strip().split("|")
        line(shape, what, float(seconds), yardstick, outcome)
    line(shape, "the product again", product(readout).wall, yardstick, "")


def growth_at(shape: str) -> None:
    """Time the detector and one unspeakable token as V and d grow."""
    readout = drawn(shape, CLUMPED)
    yardstick = product(readout).wall
    problem = geom.Problem(readout, readout.domain)
    (certifier,) = maxent.geom_certifiers()
    line(shape, "self-argmax", once(lambda: geom.own_winners(readout)), yardstick, "")
    for side, tokens in sides(readout, 3).items():
        decide = Decide(problem, certifier, certifier.options(), tokens)
        seconds, outcome = limited(decide, 900.0) or (900.0, "over")
        line(shape, f"maxent, {side}", seconds, yardstick, outcome)


@dataclass(frozen=True)
class Decide:
    """The median time to find and prove, without work that all tokens share, and the verdicts."""

    problem: geom.Problem
    certifier: geom.Certifier[Any]
    options: object
    tokens: list[int]

    def __call__(self) -> tuple[float, str]:
        """Return the seconds per token, and the verdicts."""
        certify = self.certifier.certify
        if self.certifier.certify_many is not None:
            certify(self.problem, self.tokens[0], geom.Finding(), self.options)
        taken, verdicts = [], set[str]()
        for token in self.tokens:
            started = time.perf_counter()
            found = certify(self.problem, token, geom.Finding(), self.options)
            verdicts.add(geom.judge(self.problem, token, found).name)
            taken.append(time.perf_counter() - started)
        return statistics.median(taken), ", ".join(sorted(verdicts))


def sides(readout: geom.Readout, count: int) -> dict[str, list[int]]:
    """Return tokens far out, tokens just outside the clump, and tokens in it."""
    order = np.argsort(np.linalg.norm(readout.W - readout.W.mean(axis=0), axis=1))
    clump = round(CLUMP * readout.V)
    return {
        "far out": order[readout.V // 2 : readout.V // 2 + count].tolist(),
        "border": order[clump : clump + count].tolist(),
        "clump": order[:count].tolist(),
    }


def drawn(shape: str, more: str) -> geom.Readout:
    """Return the synthetic readout of a shape."""
    V, d = shape.split("x")
    return geom.load(f"synthetic:gpt2-like?V={V}&d={d}&{more}")


def line(shape: str, what: str, seconds: float, yardstick: float, outcome: str) -> None:
    """Print one row of the table."""
    over = "over " if outcome == "over" else ""
    print(
        f"| {shape} | {what} | {over}{seconds:.3f} | {over}{seconds / yardstick:.4f} | {outcome} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
