r"""Which measure predicts the share of directions in which a token wins? A study, with its figure.

    python benchmarks/predicting.py --tokens-out tokens.txt
    geom run --out demo.db --tokens all
    geom measure demo.db --tokens @tokens.txt --measure solid-angle --measure angular-margin \
        --measure perturbation --measure row-norm --measure centroid-distance \
        --measure unused-cosine --format jsonl > measured.jsonl
    python benchmarks/predicting.py measured.jsonl --out predicting.png

The tokens are those of the demo model that training never met, and 250 others. From the output of
`geom measure` the program prints the rank correlation of each measure with solid-angle, over all
tokens, over those met and over those never met, and draws them.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr  # type: ignore[import-untyped]  # it ships no types

Floats = NDArray[np.float64]

NAMES = ["angular-margin", "perturbation", "row-norm", "centroid-distance", "unused-cosine"]

OTHERS = 250
"""The number of tokens in the study that training met."""


def main() -> None:
    """Print the table and draw the figure, or write the tokens."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "measured", type=Path, nargs="?", help="the output of geom measure, as jsonl"
    )
    parser.add_argument("--out", type=Path, help="the file to draw the figure in")
    parser.add_argument("--tokens-out", type=Path, help="the file to write the study's tokens to")
    arguments = parser.parse_args()
    never = counts() == 0
    if arguments.tokens_out is not None:
        arguments.tokens_out.write_text("\n".join(map(str, chosen(never))) + "\n")
    if arguments.measured is not None:
        values = read(arguments.measured)
        table(values, never)
        if arguments.out is not None:
            draw(values, never, arguments.out)


def counts() -> NDArray[np.int64]:
    """Return how often training met each token of the demo model (V,)."""
    folder = files("geom_plugins.sources").joinpath("demo_checkpoint")
    data = BytesIO(folder.joinpath("training_counts.npy").read_bytes())
    found: NDArray[np.int64] = np.load(data, allow_pickle=False)
    return found


def chosen(never: NDArray[np.bool_]) -> list[int]:
    """Return all tokens never met, and `OTHERS` of the rest."""
    rest = np.random.default_rng(0).choice(np.flatnonzero(~never), OTHERS, replace=False)
    return sorted([*np.flatnonzero(never).tolist(), *rest.tolist()])


def read(path: Path) -> dict[str, dict[int, float]]:
    """Return value by token, by measure; only of tokens that can win, and only numbers."""
    out: dict[str, dict[int, float]] = defaultdict(dict)
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if isinstance(row["value"], int | float) and np.isfinite(row["value"]):
            out[row["measure"]][row["token_id"]] = row["value"]
    return out


def pairs(values: dict[str, dict[int, float]], name: str) -> tuple[NDArray[np.int64], Floats]:
    """Return the tokens (n,) that have both numbers, and the numbers (n, 2), solid-angle last."""
    share = values["solid-angle"]
    ids = sorted(values[name].keys() & share.keys())
    return np.array(ids), np.array([(values[name][token], share[token]) for token in ids])


def table(values: dict[str, dict[int, float]], never: NDArray[np.bool_]) -> None:
    """Print the rank correlations."""
    print("| measure | all | met in training | never met | tokens |")
    print("|---|---|---|---|---|")
    for name in NAMES:
        ids, both = pairs(values, name)
        cells = [spearmanr(*both[keep].T).statistic for keep in (ids >= 0, ~never[ids], never[ids])]
        print(f"| `{name}` | {' | '.join(f'{cell:.2f}' for cell in cells)} | {len(ids)} |")


def draw(values: dict[str, dict[int, float]], never: NDArray[np.bool_], path: Path) -> None:
    """Draw one panel per measure, with solid-angle upwards."""
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context("default"):
        figure = Figure(figsize=(11.0, 6.4), layout="constrained")
        for axes, name in zip(figure.subplots(2, 3, sharey=True).flat, NAMES, strict=False):
            ids, both = pairs(values, name)
            for keep, label, colour in (
                (~never[ids], "met in training", "#4477aa"),
                (never[ids], "never met", "#cc6677"),
            ):
                axes.plot(*both[keep].T, ".", label=label, color=colour, alpha=0.7, markersize=5)
            axes.set_xlabel(name)
            axes.grid(alpha=0.3)
            if name == "perturbation":
                axes.set_xscale("log")
        panels = figure.axes
        for axes in panels[::3]:
            axes.set_ylabel("solid-angle, log10 fraction")
        panels[-1].axis("off")
        panels[-1].legend(*panels[0].get_legend_handles_labels(), loc="center", frameon=False)
        figure.savefig(path)


if __name__ == "__main__":
    main()
