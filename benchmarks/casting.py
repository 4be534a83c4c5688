"""What rounding the head does to a vocabulary: the figures and the picture of docs/casting.md.

    python benchmarks/casting.py --out docs/casting.json

audits SmolLM2-135M, Whisper base and the demo as their files have them and in each format of
``?cast=F``. It prints the figures and writes them, and the documentation draws its picture of them.
The weights come from ``benchmarks/real_weights.py``; the runs, which another call goes on from, are
kept in the folder that ``--runs`` names.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from real_weights import MODELS, fetch

import geom

NAMES = [*MODELS, "demo"]

FORMATS = {
    "float16": 16.0,
    "bfloat16": 16.0,
    "float8-e4m3-row": 8.0,
    "float8-e4m3": 8.0,
    "int8-row": 8.0,
    "q8_0": 8.5,
    "q5_1": 6.0,
    "q5_0": 5.5,
    "q4_1": 5.0,
    "q4_0": 4.5,
}
"""The bits of a number in each format, scales per block included and scales per row not."""

NEAR = (1e-3, 1e-2, 1e-1)
"""The largest margins, in logits, below which tokens are counted, of those that do not win along
their own direction."""

HARDEST = (10, 60)
"""The tokens whose order is proven: the second number if all of the first are near the border."""


def main() -> None:
    """Audit every model in every format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=NAMES, action="append", help="default: all")
    parser.add_argument("--format", choices=["", *FORMATS], action="append", help="default: all")
    parser.add_argument("--runs", type=Path, help="the folder of the runs")
    parser.add_argument("--out", type=Path, help="the file to write the figures to, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = arguments.runs or Path(folder)
        runs.mkdir(parents=True, exist_ok=True)
        found = [
            audited(model, cast, runs)
            for model in arguments.model or NAMES
            for cast in arguments.format or ["", *FORMATS]
        ]
    if arguments.out is not None:
        lines = ",\n".join(json.dumps(figures) for figures in found)
        arguments.out.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def audited(model: str, cast: str, folder: Path) -> dict[str, Any]:
    """Return the figures of one model in one format, and print them."""
    start = time.perf_counter()
    stored = geom.load("demo" if model == "demo" else fetch(model))
    readout = stored.cast(cast) if cast else stored
    for hardest in HARDEST:
        path = folder / f"{model}-{cast or 'as-stored'}-{hardest}.db"
        with geom.run(readout, hardest=hardest, out=path) as run:
            rows = list(run.rows())
        near = [_below(limit, rows) for limit in NEAR]
        if near[-1][0] < hardest:
            break
    counts = Counter(row.verdict for row in rows)
    twins = sum(row.certifier == "twin" for row in rows)
    figures = {
        "model": model,
        "cast": cast or None,
        "bits": FORMATS.get(cast),
        "V": readout.V,
        "d": readout.d,
        "unspeakable": counts["unspeakable"],
        "undecided": counts["undecided"],
        "twins": twins,
        "hard": counts["speakable"],
        "near": near,
        "unspeakable_kinds": dict(
            Counter(str(readout.kind(row.token_id)) for row in rows if row.verdict == "unspeakable")
        ),
        "note": readout.notes[-1] if cast else None,
    }
    print(json.dumps(figures), f"{time.perf_counter() - start:.0f} s", flush=True)
    return figures


def _below(limit: float, rows: list[geom.TokenRow]) -> tuple[int, int]:
    """Count the largest margins proven to be at most the limit, and those not proven above it."""
    found = [row for row in rows if row.verdict == "speakable"]
    sure = sum(row.margin_upper is not None and row.margin_upper <= limit for row in found)
    most = sum(row.margin_lower is None or row.margin_lower <= limit for row in found)
    return sure, most


if __name__ == "__main__":
    main()
