"""The time of each measure on a token, and whether the errors of solid angles are as stated.

    tox -e bench
    python benchmarks/measuring.py --part times --shape 50257x768
    python benchmarks/measuring.py --part errors --runs 200

*Times*: a readout drawn like GPT-2's, with a token far out, two whose rows were pulled towards the
mean of all, so that they are hard to speak, and one in the clump of the untrained. Times are in
units of one float32 product ``W W^T``. *Errors*: shares with closed forms, each estimated from as
many seeds as there are runs, and how often the truth is within two standard errors.
"""

from __future__ import annotations

import argparse
import math
import resource
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc  # type: ignore[import-untyped]  # it ships no types
from yardstick import product

import geom
from geom_plugins.measures.solid_angle import ShareOptions, share
from geom_plugins.sampling.annealing import Estimate, annealed
from geom_plugins.sampling.half_spaces import Cone

Floats = NDArray[np.float64]

NAMES = ["logit-bias", "angular-margin", "chebyshev-radius", "perturbation", "solid-angle"]

PULLED = {"hard": 0.6, "harder": 0.3}
"""The fraction that is left of two tokens' distance to the mean."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["times", "errors"], action="append")
    parser.add_argument("--shape", default="50257x768", help="V x d")
    parser.add_argument("--runs", type=int, default=40, help="seeds for each closed form")
    parser.add_argument(
        "--measure", action="append", choices=NAMES, help="time only this measure; repeatable"
    )
    parser.add_argument("--target", type=float, default=0.2, help="standard error, powers of ten")
    arguments = parser.parse_args()
    parts = arguments.part or ["times", "errors"]
    if "times" in parts:
        V, d = map(int, arguments.shape.split("x"))
        times(V, d, arguments.measure or NAMES)
    if "errors" in parts:
        errors(arguments.runs, arguments.target)


def times(V: int, d: int, names: list[str]) -> None:
    """Time each measure on tokens of one readout."""
    readout, tokens = drawn(V, d)
    unit = product(readout).wall
    print(f"one product W W^T in float32: {unit:.1f} s")
    print("| token | measure | value | error | seconds | of one product |")
    print("|---|---|---|---|---|---|")
    for name, token in tokens.items():
        for row in geom.measure(readout, names, [token]).rows:
            value, error = (math.nan if x is None else x for x in (row.value, row.error))
            print(
                f"| {name} | {row.measure} | {value:.4g} | {geom.rounded_up(error, 2)} | "
                f"{row.seconds:.2f} | {row.seconds / unit:.4f} |",
                flush=True,
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GiB")


def errors(runs: int, target: float) -> None:
    """Count how often closed forms lie within two standard errors."""
    print("| shape | runs | log10 | within 2 errors | rms of errors | largest |")
    print("|---|---|---|---|---|---|")
    for name, truth, estimate in closed_forms(target):
        scores, none = [], 0
        for seed in range(runs):
            found = estimate(seed)
            if math.isnan(found.log):
                none += 1
            else:
                scores.append((found.log - truth) / found.error)
        size = np.abs(scores)
        print(
            f"| {name} | {runs}{f', {none} refused' if none else ''} | {truth / math.log(10):.1f} "
            f"| {np.mean(size < 2.0):.1%} | {np.sqrt(np.mean(size**2)):.2f} | {size.max():.1f} |",
            flush=True,
        )


def closed_forms(target: float) -> Iterator[tuple[str, float, Callable[[int], Estimate]]]:
    """Yield shapes, their true shares, and the function that estimates them from a seed."""
    for d in (4, 10, 40):
        yield (
            f"orthant of {d} dimensions",
            -d * math.log(2.0),
            lambda seed, d=d: in_cone(-np.eye(d), np.ones(d), seed, target),  # type: ignore[misc]
        )
    for d in (2, 7, 60):
        normals, inside = np.zeros((2, d)), np.zeros(d)
        normals[0, 0], normals[1, :2] = -1.0, [math.cos(0.05), -math.sin(0.05)]
        inside[:2] = math.sin(0.025), math.cos(0.025)
        yield (
            f"two half-spaces 0.05 apart, {d} dimensions",
            math.log(0.05 / (2.0 * math.pi)),
            lambda seed, n=normals, x=inside: in_cone(n, x, seed, target),  # type: ignore[misc]
        )
    for d, height in ((10, 0.8), (40, 0.6), (200, 0.4)):
        W = np.zeros((2, d))
        W[1, 0] = -1.0
        readout = geom.Readout.fold(W, np.array([0.0, height * math.sqrt(d)]), norm="rmsnorm")
        problem = geom.Problem(readout, readout.domain)
        yield (
            f"cap of height {height}, {d} dimensions",
            math.log(0.5 * betainc((d - 1) / 2.0, 0.5, 1.0 - height**2)),
            lambda seed, p=problem: share(  # type: ignore[misc]
                p, 0, geom.Finding(), ShareOptions(error=target, seed=seed)
            ),
        )


def in_cone(normals: Floats, inside: Floats, seed: int, target: float) -> Estimate:
    """Return the estimate of a cone's share."""
    d = normals.shape[1]
    cone = Cone(normals, d, False, False, np.zeros(d))
    rng = np.random.default_rng(seed)
    return annealed(cone, inside, rng, target * math.log(10), 10**6, lambda *_: None)


def drawn(V: int, d: int) -> tuple[geom.Readout, dict[str, int]]:
    """Return a readout, and tokens of it, two of them pulled towards the mean."""
    readout = geom.load(f"synthetic:gpt2-like?V={V}&d={d}&untrained=0.0008&untrained_spread=0.05")
    W = readout.W.copy()
    mean = W.mean(axis=0)
    order = np.argsort(np.linalg.norm(W - mean, axis=1))
    near = max(1, round(0.0008 * V))
    tokens = {"far out": int(order[V // 2])}
    for k, (name, left) in enumerate(PULLED.items()):
        token = tokens[name] = int(order[near + 5 + k])
        W[token] = mean + left * (W[token] - mean)
    tokens["unspeakable"] = int(order[0])
    return geom.Readout.fold(W, readout.b, norm="layernorm"), tokens


if __name__ == "__main__":
    main()
