"""The time of each arithmetic for a margin, next to float64's, in one run.

    tox -e bench
    python benchmarks/comparing.py --shape 50257x768

First, ten tokens of a readout drawn at random, along their own directions, in every precision; then
all logits at one point in double-double against float64.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
from numpy.typing import NDArray
from yardstick import once

import geom
from geom.plugins.registry import installed
from geom_plugins.precisions.double_double import logits


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="50257x768", help="V x d")
    parser.add_argument("--tokens", type=int, default=10, help="the number of tokens")
    arguments = parser.parse_args()
    V, d = map(int, arguments.shape.split("x"))
    rng = np.random.default_rng(0)
    readout = geom.Readout.fold(rng.normal(size=(V, d)) * 0.14, norm="layernorm")
    tokens = rng.choice(V, arguments.tokens, replace=False)
    compared(readout, tokens.tolist())
    vectors(readout, rng.normal(size=d))


def compared(readout: geom.Readout, tokens: list[int]) -> None:
    """Time every precision on the tokens, and all of them together."""
    names = [item.record.name for item in installed().listed() if item.kind == "precision"]
    geom.compare(readout, tokens, ["float64"])  # what all precisions share: the lengths of the rows
    base = once(lambda: geom.compare(readout, tokens, ["float64"]))
    for name in [*names, "float16?accumulate=same"]:
        taken = once(lambda: geom.compare(readout, tokens, [name]))  # noqa: B023 - called at once
        print(f"{name}: {taken:.2f} s, {taken / base:.1f} of float64's {base:.2f} s")
    taken = once(lambda: geom.compare(readout, tokens, names))
    print(f"{len(names)} precisions on {len(tokens)} tokens: {taken:.2f} s")


def vectors(readout: geom.Readout, x: NDArray[np.float64]) -> None:
    """Time all logits at a point, in turns, because other programs may use the processor too."""
    ours, base = [], []
    for _ in range(15):
        base.append(once(lambda: readout.logits(x)))
        ours.append(once(lambda: logits(readout.W, x, readout.b)))
    ratio = statistics.median(ours) / statistics.median(base)
    print(
        f"a vector of logits: double-double {statistics.median(ours):.3f} s, float64 "
        f"{statistics.median(base):.4f} s, ratio {ratio:.1f}"
    )


if __name__ == "__main__":
    main()
