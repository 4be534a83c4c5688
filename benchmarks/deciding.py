"""Seconds to decide a token, proof included, by certifier and side of the border, in one run.

    tox -e bench

For each shape a readout like GPT-2's is drawn, with a clump of rows that no point lets win. The
yardstick is one blocked float32 product ``W W^T`` with its row maxima. ``linprog-post`` is the
program of the post, whole, with SciPy; it is left out of large shapes unless ``--linprog`` is
given, as one token takes minutes there.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import numpy as np

import geom
import geom_plugins.certifiers.highs as highs
import geom_plugins.certifiers.linprog_post as linprog_post
import geom_plugins.certifiers.maxent as maxent

SHAPES = ("4000x64", "50257x256", "50257x768")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", action="append", help="V x d; may be given again")
    parser.add_argument("--tokens", type=int, default=3, help="tokens on each side")
    parser.add_argument("--linprog", action="store_true", help="the post's program everywhere")
    arguments = parser.parse_args()
    print("| shape | certifier | side | seconds a token | of one product | verdicts |")
    print("|---|---|---|---|---|---|")
    for shape in arguments.shape or SHAPES:
        V, d = map(int, shape.split("x"))
        readout = geom.load(
            f"synthetic:gpt2-like?V={V}&d={d}&untrained=0.005&untrained_spread=0.05"
        )
        yardstick = product(readout.W.astype(np.float32))
        chosen = {"maxent": maxent, "highs": highs}
        if arguments.linprog or V * d < 1_000_000:
            chosen["linprog-post"] = linprog_post
        for name, module in chosen.items():
            for side, tokens in sides(readout, arguments.tokens).items():
                seconds, verdicts = decide(readout, module, tokens)
                print(
                    f"| {shape} | {name} | {side} | {seconds:.3f} | {seconds / yardstick:.4f} "
                    f"| {', '.join(sorted(verdicts))} |",
                    flush=True,
                )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory: {peak:.2f} GiB")


def sides(readout: geom.Readout, count: int) -> dict[str, list[int]]:
    """Tokens far out, tokens just outside the clump, and tokens in it."""
    V = readout.V
    order = np.argsort(np.linalg.norm(readout.W - readout.W.mean(axis=0), axis=1))
    clump = round(0.005 * V)
    return {
        "far out": order[V // 2 : V // 2 + count].tolist(),
        "nearest outside": order[clump : clump + count].tolist(),
        "in the clump": order[:count].tolist(),
    }


def decide(readout: geom.Readout, module: object, tokens: list[int]) -> tuple[float, set[str]]:
    """The median time of finding and proof, after what all tokens share, and the verdicts."""
    (certifier,) = module.geom_certifiers()  # type: ignore[attr-defined]
    problem = geom.Problem(readout, readout.domain)
    options = certifier.options()
    certifier.certify(problem, int(tokens[0]) or 1, geom.Finding(), options)
    taken, verdicts = [], set[str]()
    for token in tokens:
        started = time.perf_counter()
        found = certifier.certify(problem, token, geom.Finding(), options)
        verdicts.add(geom.judge(problem, token, found).name)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken), verdicts


def product(W: np.ndarray) -> float:
    """The time of the whole float32 product, 1,024 rows at a time."""
    started = time.perf_counter()
    for i in range(0, len(W), 1024):
        (W[i : i + 1024] @ W.T).argmax(axis=1)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
