r"""Which measure predicts the share of directions in which a token wins? A study.

    python benchmarks/predicting.py --tokens-out tokens.txt
    geom run --out demo.db --tokens all
    geom measure demo.db --tokens @tokens.txt --measure solid-angle --measure angular-margin \
        --measure perturbation --measure row-norm --measure centroid-distance \
        --measure unused-cosine --format jsonl > measured.jsonl
    python benchmarks/predicting.py measured.jsonl --out docs/predicting.json

The tokens are those of the demo model that training never met, and 250 others. From the output of
`geom measure` the program takes the rank correlation of each measure with solid-angle, over all
tokens, over those met and over those never met. `docs/measures.md` shows them, and draws the
tokens.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr  # type: ignore[import-untyped]  # it ships no types

Floats = NDArray[np.float64]

NAMES = ["angular-margin", "perturbation", "row-norm", "centroid-distance", "unused-cosine"]

OTHERS = 250
"""The number of tokens in the study that training met."""


def main() -> None:
    """Write what the study found, or the tokens that it is about."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "measured", type=Path, nargs="?", help="the output of geom measure, as jsonl"
    )
    parser.add_argument("--out", type=Path, help="the file to write what was found to")
    parser.add_argument("--tokens-out", type=Path, help="the file to write the study's tokens to")
    arguments = parser.parse_args()
    never = counts() == 0
    if arguments.tokens_out is not None:
        arguments.tokens_out.write_text("\n".join(map(str, chosen(never))) + "\n")
    if arguments.measured is not None:
        study = json.dumps(found(read(arguments.measured), never)).replace("}, ", "},\n")
        if arguments.out is None:
            print(study)
        else:
            arguments.out.write_text(study + "\n")


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


def found(values: dict[str, dict[int, float]], never: NDArray[np.bool_]) -> dict[str, Any]:
    """Return, for each measure, the rank correlations and the points, of four digits each."""
    out = {}
    for name in NAMES:
        ids, both = pairs(values, name)
        parts = {"all": ids >= 0, "met": ~never[ids], "never": never[ids]}
        out[name] = {
            part: {
                "rank": round(float(spearmanr(*both[keep].T).statistic), 4),
                "points": [[float(f"{value:.4g}") for value in pair] for pair in both[keep]],
            }
            for part, keep in parts.items()
        }
        del out[name]["all"]["points"]
    return out


if __name__ == "__main__":
    main()
