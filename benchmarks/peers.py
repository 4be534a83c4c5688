"""Verdicts and times of the post's program, the paper's method and geom on the same matrices.

    tox -e bench
    python benchmarks/peers.py --matrix demo

*post*: SciPy's linear program as the post published it (its own row among the rows, margin 1e-7).
*mended*: the same without that row, and with a margin of 1e-6, above the solver's tolerance.
*paper*: 100 reflections, then, for the tokens that these leave, the linear program of the Chebyshev
centre, in which a radius of zero or no feasible point means unargmaxable; the paper solved it with
Gurobi, here HiGHS does. *geom*: a run with its default certifiers, proofs included. All look in the
box ``|x_i| <= 1``, and no matrix has a bias, so that all answer the same question. ``wrong`` counts
answers that differ from what geom proved.

A matrix is ``gaussian`` (300 x 8, all tokens), ``lattice`` (300 x 4, small integers with many ties,
all tokens), ``demo`` (3072 x 64, the tokens that self-argmax flags), or ``large`` (50257 x 768: a
token far out, one near the border, one inside a clump). ``--limit`` ends work that takes longer.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from deciding import CLUMPED, drawn, sides
from limited import limited
from numpy.typing import NDArray
from scipy.optimize import linprog  # type: ignore[import-untyped]  # it ships no types

import geom
from geom.model.domains import box
from geom_plugins.certifiers import linprog_post
from geom_plugins.certifiers.linprog_post import INFEASIBLE, OPTIMAL, PostOptions
from geom_plugins.detectors.reflections import unreached

Answers = list[str | None]

MENDED = PostOptions(margin=1e-6, own_row=False)
STEPS = 100


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matrix", action="append", choices=MATRICES)
    parser.add_argument("--limit", type=float, default=1200.0, help="seconds for one line")
    arguments = parser.parse_args()
    print(
        "| matrix | way | tokens | speakable | unspeakable | no answer | wrong | seconds a token |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in arguments.matrix or MATRICES:
        readout, groups = MATRICES[name]()
        for side, tokens in groups.items():
            truth, seconds = ours(readout, tokens)
            line(name + side, "geom", truth, truth, seconds)
            for way in (paper, mended, post):
                timed = partial(once, way, readout, tokens)
                nothing: Answers = [None] * tokens.size
                said, seconds = limited(timed, arguments.limit) or (nothing, arguments.limit)
                line(name + side, way.__name__, said, truth, seconds)


def line(matrix: str, way: str, said: Answers, truth: Answers, seconds: float) -> None:
    """Print one line of the table."""
    wrong = sum(s is not None and s != t for s, t in zip(said, truth, strict=True))
    counts = [said.count(word) for word in ("speakable", "unspeakable", None)]
    cells = [matrix, way, len(truth), *counts, wrong, f"{seconds / len(truth):.4f}"]
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def ours(readout: geom.Readout, tokens: NDArray[np.int64]) -> tuple[Answers, float]:
    """Return geom's proven verdicts on the tokens, and the seconds they took."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        out = Path(folder) / "run.db"
        with geom.run(readout, tokens=tokens.tolist(), domain="box", out=out) as run:
            verdicts = {row.token_id: row.verdict for row in run.rows()}
        seconds = time.perf_counter() - started
    said = [verdicts[token] for token in tokens.tolist()]
    return [word if word != "undecided" else None for word in said], seconds


def once(
    way: Callable[[geom.Readout, NDArray[np.int64]], Answers],
    readout: geom.Readout,
    tokens: NDArray[np.int64],
) -> tuple[Answers, float]:
    """Return a method's answers, and its seconds."""
    started = time.perf_counter()
    return way(readout, tokens), time.perf_counter() - started


def paper(readout: geom.Readout, tokens: NDArray[np.int64]) -> Answers:
    """Apply reflections, then the Chebyshev centre to the tokens they leave."""
    domain = boxed(readout).domain
    left = set(unreached(readout, domain, tokens, STEPS).tolist())
    return [chebyshev(readout, t) if t in left else "speakable" for t in tokens.tolist()]


def chebyshev(readout: geom.Readout, token: int) -> str | None:
    """Decide by one linear program whether the largest ball in the token's region has a radius."""
    d = readout.d
    a = np.delete(readout.W, token, axis=0) - readout.W[token]
    rows = np.column_stack([a, np.linalg.norm(a, axis=1)])
    bounds = [(-1.0, 1.0)] * d + [(0.0, None)]
    cost = np.append(np.zeros(d), -1.0)
    found = linprog(cost, rows, np.zeros(len(rows)), bounds=bounds, method="highs")
    if found.status == INFEASIBLE:
        return "unspeakable"
    if found.status != OPTIMAL:
        return None
    return "speakable" if found.x[-1] > 0.0 else "unspeakable"


def mended(readout: geom.Readout, tokens: NDArray[np.int64]) -> Answers:
    """Ask the post's program, mended."""
    return [asked(readout, token, MENDED) for token in tokens.tolist()]


def post(readout: geom.Readout, tokens: NDArray[np.int64]) -> Answers:
    """Ask the post's program, as published."""
    return [asked(readout, token, PostOptions()) for token in tokens.tolist()]


def asked(readout: geom.Readout, token: int, options: PostOptions) -> str | None:
    """Return the answer of the post's program about a token."""
    status = linprog_post.solve(boxed(readout), token, options).status
    return {OPTIMAL: "speakable", INFEASIBLE: "unspeakable"}.get(status)


def boxed(readout: geom.Readout) -> geom.Problem:
    """Return the problem in the box."""
    return geom.Problem(readout, box(readout.d))


def every(readout: geom.Readout) -> dict[str, NDArray[np.int64]]:
    """Return all tokens."""
    return {"": np.arange(readout.V)}


def gaussian() -> tuple[geom.Readout, dict[str, NDArray[np.int64]]]:
    """Return the paper's random layer."""
    W = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    readout = geom.Readout.fold(W, None)
    return readout, every(readout)


def lattice() -> tuple[geom.Readout, dict[str, NDArray[np.int64]]]:
    """Return rows of small integers, with twins, and tokens on faces of the hull."""
    W = np.random.default_rng(1).integers(-2, 3, (300, 4)).astype(np.float32)
    readout = geom.Readout.fold(W, None)
    return readout, every(readout)


def demo() -> tuple[geom.Readout, dict[str, NDArray[np.int64]]]:
    """Return the demo's flagged tokens."""
    readout = geom.load("demo?bias=no")
    flagged = np.flatnonzero(geom.own_winners(readout) != np.arange(readout.V))
    return readout, {"": flagged}


def large() -> tuple[geom.Readout, dict[str, NDArray[np.int64]]]:
    """Return a readout like GPT-2's, with a token on each side."""
    readout = drawn("50257x768", f"{CLUMPED}&bias=no")
    return readout, {f", {side}": np.array(ids) for side, ids in sides(readout, 1).items()}


MATRICES = {
    "gaussian": gaussian,
    "lattice": lattice,
    "demo": demo,
    "large": large,
}

if __name__ == "__main__":
    main()
