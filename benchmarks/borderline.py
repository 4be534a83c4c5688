"""Whisper's tokens nearest the border, in one arithmetic after another.

    python benchmarks/borderline.py --out docs/notebooks/whisper.json

audits Whisper base, takes every token that is speakable by at most 0.01 logits, each at the best
point found for it, and compares the precisions there. It prints how many signs each precision has
right and writes a line per token, which a notebook of the documentation shows. The weights come
from ``benchmarks/real_weights.py``; the run, which another call goes on from, is the file that
``--run`` names.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from real_weights import fetch

import geom

PRECISIONS = ["bfloat16", "float16", "float32", "float64", "exact"]

NEAR = 0.01
"""The largest margin, in logits, of the tokens that are compared."""

HARDEST = 60
"""The tokens whose largest margin the audit finds: more than are that near the border."""


def main() -> None:
    """Audit the model, compare the precisions, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="the file of the run")
    parser.add_argument("--out", type=Path, help="the file to write the lines to, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.run or Path(folder) / "whisper.db"
        with geom.run(geom.load(fetch("whisper")), hardest=HARDEST, out=path) as run:
            lines = compared(run)
    for precision in PRECISIONS:
        right = sum(line["margins"][precision] > 0 for line in lines)
        print(f"{precision:9} {right} of {len(lines)} signs are right")
    if arguments.out is not None:
        text = ",\n".join(json.dumps(line) for line in lines)
        arguments.out.write_text(f"[\n{text}\n]\n", encoding="utf-8")


def compared(run: geom.Run) -> list[dict[str, Any]]:
    """Return the tokens near the border, the hardest first, with their margin in each precision."""
    found = [(row.margin_lower, row) for row in run.rows("speakable")]
    near = {row.token_id: row for lower, row in found if lower is not None and lower <= NEAR}
    tokens = sorted(near, key=lambda token: near[token].margin_lower or 0.0)
    margins: dict[int, dict[str, float | None]] = {token: {} for token in tokens}
    for row in geom.compare(run, ",".join(map(str, tokens)), PRECISIONS):
        margins[row.token_id][row.precision] = row.margin
    return [
        {
            "token_id": token,
            "token": near[token].token,
            "token_kind": near[token].token_kind,
            "margin_lower": near[token].margin_lower,
            "margin_upper": near[token].margin_upper,
            "margins": margins[token],
        }
        for token in tokens
    ]


if __name__ == "__main__":
    main()
