"""What the rows of a model are like: the statistics that ``synthetic:real-like`` is drawn by.

    python benchmarks/calibration.py hf:checkpoint gguf:FILE 'synthetic:real-like?V=49152&d=576'

One column per model. The rows are seen from their mean; the spread is their root mean square
distance from it. What compares
rows is measured on ``--sample`` tokens against all rows, in float32, and proves nothing. A token
*loses* if it is not the argmax along its own direction. The *shared step* is
``Cov(W)^-1 (w_t - mean)``. A *screen* of k principal columns leaves the rivals whose score it
cannot bound below a threshold: the token's own score, or the best score of the 2,048 longest rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import geom

Singles = NDArray[np.float32]
Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

BLOCK = 512
LONGEST = 2048
NEAR = 0.1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--sample", type=int, default=4000, help="tokens compared with all rows")
    arguments = parser.parse_args()
    columns = [dict(statistics(geom.load(name), arguments.sample)) for name in arguments.models]
    print("| | " + " | ".join(arguments.models) + " |")
    print("|---|" + "---|" * len(columns))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |", flush=True)


@dataclass(frozen=True)
class Cloud:
    """The rows as seen from their mean (V, d), and what is known of them as a whole.

    ``variances`` (d,) are along the columns of ``axes`` (d, d), the largest first; ``radius`` is
    the length of x in the domain, whose sum is zero if ``zero_sum``.
    """

    rows: Singles
    mean: Floats
    lengths: Singles
    variances: Floats
    axes: Floats
    biases: Singles
    radius: float
    zero_sum: bool

    @property
    def median(self) -> float:
        """The median distance from the mean."""
        return float(np.median(self.lengths))

    @property
    def spread(self) -> float:
        """The root mean square distance from the mean."""
        return float(np.sqrt(self.variances.sum()))


def cloud(readout: geom.Readout) -> Cloud:
    """Read the rows a block at a time."""
    V, d = readout.V, readout.d
    rows = np.empty((V, d), dtype=np.float32)
    for start in range(0, V, BLOCK):
        rows[start : start + BLOCK] = readout.rows[start : start + BLOCK]
    mean = rows.mean(axis=0, dtype=np.float64)
    rows -= mean.astype(np.float32)
    covariance = np.zeros((d, d))
    for start in range(0, V, BLOCK):
        block = rows[start : start + BLOCK].astype(np.float64)
        covariance += block.T @ block / V
    variances, axes = np.linalg.eigh(covariance)
    return Cloud(
        rows=rows,
        mean=mean,
        lengths=np.linalg.norm(rows, axis=1),
        variances=np.maximum(variances[::-1], 0.0),
        axes=np.ascontiguousarray(axes[:, ::-1]),
        biases=(readout.b - readout.b.mean()).astype(np.float32),
        radius=readout.domain.radius if readout.domain.bounded else 1.0,
        zero_sum=readout.domain.zero_sum,
    )


def statistics(readout: geom.Readout, sample: int) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each statistic."""
    seen = cloud(readout)
    V, d = seen.rows.shape
    yield "V x d", f"{V} x {d}"
    yield "length of the mean, in spreads", f"{np.linalg.norm(seen.mean) / seen.spread:.2f}"
    yield from spectrum(seen)
    at = np.quantile(seen.lengths, [0.01, 0.25, 0.75, 0.99, 1.0]) / seen.median
    yield "lengths at 1, 25, 75, 99, 100 %, of the median", ", ".join(f"{q:.2f}" for q in at)
    tokens = np.sort(np.random.default_rng(V).permutation(V)[:sample])
    yield from neighbours(seen, tokens)
    _, counts = np.unique(seen.rows, axis=0, return_counts=True)
    yield "exact twins", str(counts[counts > 1].sum())
    own, best = own_directions(seen, tokens)
    lost = best != tokens
    yield "tokens that lose", percent(lost)
    beaten = np.sort(np.unique(best[lost], return_counts=True)[1])[::-1]
    yield "of these, beaten by the ten that beat most", percent(beaten[:10].sum(), lost.sum())
    won = shared_step(seen, tokens[lost])
    yield "of these, the shared step wins for", percent(won)
    for share in (6, 3):
        k = max(1, d // share)
        left = [screened(seen, tokens, own, k), screened(seen, tokens, threshold(seen, tokens), k)]
        yield (
            f"rivals left by d/{share} columns: median winner; mean loser; second threshold",
            f"{np.median(left[0][~lost]):.0f}; {left[0][lost].mean():.0f}; "
            f"{left[1][lost].mean():.0f}",
        )


def spectrum(seen: Cloud) -> Iterator[tuple[str, str]]:
    """Yield what the principal directions are like."""
    d = seen.mean.size
    first = seen.axes[:, 0]
    share = seen.variances / seen.variances.sum()
    yield "share of the variance along the first direction", f"{share[0]:.3f}"
    yield "along the next 7, the next 56", f"{share[1:8].sum():.3f}, {share[8:64].sum():.3f}"
    rank = [1, 7, 63, d // 4, 7 * d // 8]
    spreads = np.sqrt(seen.variances[[r for r in rank if r < d]] / seen.variances[d // 2])
    yield (
        "spread at ranks 2, 8, 64, d/4, 7d/8, of that at d/2",
        ", ".join(f"{spread:.2f}" for spread in spreads),
    )
    cosine = abs(first @ seen.mean) / np.linalg.norm(seen.mean)
    yield "cosine of the mean and the first direction", f"{cosine:.2f}"
    along = seen.rows @ first.astype(np.float32) / np.sqrt(seen.variances[0])
    yield "along the first: kurtosis", f"{(along**4).mean():.1f}"
    yield "along the first: furthest row, in its spreads", f"{abs(along).max():.1f}"


def neighbours(seen: Cloud, tokens: Ids) -> Iterator[tuple[str, str]]:
    """Yield how near the rows are to each other."""
    cosines = np.empty((tokens.size, 16))
    near = np.empty(tokens.size, dtype=bool)
    for block in blocks(tokens):
        ids = tokens[block]
        scores = seen.rows[ids] @ seen.rows.T
        square = seen.lengths**2 - 2.0 * scores + seen.lengths[ids, None] ** 2
        square[np.arange(ids.size), ids] = np.inf
        near[block] = square.min(axis=1) < (NEAR * seen.median) ** 2
        scores /= np.outer(seen.lengths[ids], seen.lengths)
        scores[np.arange(ids.size), ids] = -1.0
        scores.partition(scores.shape[1] - 16, axis=1)
        cosines[block] = -np.sort(-scores[:, -16:], axis=1)
    at = np.quantile(cosines[:, 0], [0.05, 0.5, 0.95])
    yield "nearest row's cosine at 5, 50, 95 %", ", ".join(f"{q:.2f}" for q in at)
    yield (
        "median cosine of the 4th, 16th",
        ", ".join(f"{np.median(cosines[:, rank]):.2f}" for rank in (3, 15)),
    )
    yield f"rows with another within {NEAR} of the median length", percent(near)


def own_directions(seen: Cloud, tokens: Ids) -> tuple[Singles, Ids]:
    """Return each token's own score (n,) and the winner along its direction (n,)."""
    best = np.empty(tokens.size, dtype=np.int64)
    for block in blocks(tokens):
        best[block] = (seen.rows[tokens[block]] @ seen.rows.T).argmax(axis=1)
    return seen.lengths[tokens] ** 2, best


def shared_step(seen: Cloud, tokens: Ids) -> NDArray[np.bool_]:
    """Return for which tokens (n,) the shared step is a point where they win."""
    onto = np.eye(seen.variances.size) - (1.0 / seen.variances.size if seen.zero_sum else 0.0)
    half = onto @ (seen.axes * np.sqrt(seen.variances))
    inverse = np.linalg.pinv(half @ half.T, rcond=1e-9, hermitian=True).astype(np.float32)
    won = np.empty(tokens.size, dtype=bool)
    for block in blocks(tokens):
        ids = tokens[block]
        x = seen.rows[ids] @ inverse
        x *= seen.radius / np.linalg.norm(x, axis=1, keepdims=True)
        won[block] = (x @ seen.rows.T + seen.biases).argmax(axis=1) == ids
    return won


def threshold(seen: Cloud, tokens: Ids) -> Singles:
    """Return each token's best score among the longest rows and itself (n,)."""
    longest = np.argsort(-seen.lengths)[:LONGEST]
    best = (seen.rows[tokens] @ seen.rows[longest].T).max(axis=1)
    least: Singles = np.maximum(best, seen.lengths[tokens] ** 2)
    return least


def screened(seen: Cloud, tokens: Ids, least: Singles, k: int) -> Ids:
    """Return how many rivals (n,) a screen of k columns cannot bound below ``least`` (n,)."""
    columns = seen.rows @ seen.axes[:, :k].astype(np.float32)
    rest = np.sqrt(np.maximum(seen.lengths**2 - (columns**2).sum(axis=1), 0.0))
    screen = np.hstack([columns, rest[:, None]])
    left = np.empty(tokens.size, dtype=np.int64)
    for block in blocks(tokens):
        ids = tokens[block]
        left[block] = (screen[ids] @ screen.T >= least[block, None]).sum(axis=1) - 1
    return left


def blocks(tokens: Ids) -> Iterator[slice]:
    """Yield slices of the tokens."""
    for start in range(0, tokens.size, BLOCK):
        yield slice(start, min(start + BLOCK, tokens.size))


def percent(of: NDArray[np.bool_] | np.integer | int, all_: int | np.integer | None = None) -> str:
    """Return a share in per cent, or a dash if there is nothing to share."""
    part, whole = (int(np.sum(of)), np.size(of)) if all_ is None else (int(np.sum(of)), int(all_))
    return f"{100 * part / whole:.2f} %" if whole else "-"


if __name__ == "__main__":
    main()
