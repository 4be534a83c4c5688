"""The picture and the table of docs/rounding.md, from what `benchmarks/casting.py` found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pictures import HARD, INK, NEAR, NEAREST, SOFT, UNSPEAKABLE, svg

MODELS = {"smollm2": "SmolLM2-135M", "whisper": "Whisper base", "demo": "the demo"}

BELOW = {"≤ 0.001": NEAREST, "≤ 0.01": HARD, "≤ 0.1": NEAR}
"""The largest margins, in logits, that are counted, and their colours."""


def found(model: str) -> list[dict[str, Any]]:
    """Return what was found of a model, a format each."""
    text = (Path(__file__).parent / "casting.json").read_text(encoding="utf-8")
    return [row for row in json.loads(text) if row["model"] == model]


def picture() -> str:
    """Draw how many tokens each format leaves unspeakable or near the border."""
    figure = Figure(figsize=(7.2, 8.4), layout="constrained")
    panels = figure.subplots(3)
    for axes, (model, title) in zip(panels, MODELS.items(), strict=True):
        _bars(axes, found(model))
        axes.set_title(title, color=SOFT, fontsize=10)
    bars, words = panels[0].get_legend_handles_labels()
    figure.legend(
        bars, words, ncols=2, loc="outside upper center", frameon=False, fontsize=9, labelcolor=SOFT
    )
    return svg(figure, "casts")


def _bars(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw a bar for each format: the unspeakable tokens, and on top those near the border."""
    places = np.arange(len(rows))
    top = np.array([row["unspeakable"] for row in rows])
    axes.bar(places, top, 0.75, color=UNSPEAKABLE, label="unspeakable")
    before = np.zeros_like(top)
    for i, (words, shade) in enumerate(BELOW.items()):
        near = np.array([row["near"][i][0] for row in rows])
        label = f"largest margin {words} logits"
        axes.bar(places, near - before, 0.75, top, color=shade, label=label)
        top, before = top + near - before, near
    for place, row, height in zip(places, rows, top, strict=True):
        said = f"{row['unspeakable']}" + (f" + {row['near'][-1][0]}" if row["near"][-1][0] else "")
        axes.annotate(said, (place, height), (0, 4), textcoords="offset points", **_COUNT)
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_ylim(0, 1.15 * top.max())
    axes.set_xticks(places, [name(row) for row in rows], rotation=30, ha="right", fontsize=9)
    axes.set_yticks([0, top.max()])
    axes.tick_params(labelsize=9, colors=SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("tokens", color=SOFT, fontsize=9)


_COUNT: dict[str, Any] = {
    "ha": "center",
    "va": "bottom",
    "fontsize": 8,
    "color": INK,
}


def name(row: dict[str, Any]) -> str:
    """Return the name of a format, with its bits."""
    return "as stored" if row["cast"] is None else f"{row['cast']}, {row['bits']:g} bits"


def table() -> str:
    """Return what was found in each format as a table."""
    lines = [
        f"| model | format | unspeakable | with a twin | {' | '.join(BELOW)} | undecided |",
        "|---" * (5 + len(BELOW)) + "|",
    ]
    for model, title in MODELS.items():
        for row in found(model):
            near = [str(low) if low == high else f"{low} to {high}" for low, high in row["near"]]
            cells = [title, name(row), row["unspeakable"], row["twins"], *near, row["undecided"]]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
