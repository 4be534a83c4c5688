"""The picture and the table of docs/measures.md, from what `benchmarks/predicting.py` found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from pictures import LINE, SOFT, SPEAKABLE, UNSPEAKABLE, svg

from geom import markdown_table

PARTS = {"met": ("seen in training", SPEAKABLE), "never": ("never seen", UNSPEAKABLE)}
"""The tokens that training met and the others, in words, and the colours of their dots."""


def found() -> dict[str, Any]:
    """Return what was found, by measure."""
    text = (Path(__file__).parent / "predicting.json").read_text(encoding="utf-8")
    study: dict[str, Any] = json.loads(text)
    return study


def ranks() -> str:
    """Return the table of rank correlations with the solid angle."""
    rows = [
        [f"`{name}`", *(f"{row[part]['rank']:.2f}" for part in ("all", *PARTS))]
        for name, row in found().items()
    ]
    heads = ["measure", "all", *(words for words, _ in PARTS.values())]
    return "\n".join(markdown_table(heads, rows))


def picture() -> str:
    """Draw the solid angle of each token against each of the other measures."""
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    panels = list(figure.subplots(2, 3, sharey=True).flat)
    for axes, (name, row) in zip(panels, found().items(), strict=False):
        for part, (words, shade) in PARTS.items():
            x, y = zip(*row[part]["points"], strict=True)
            axes.plot(x, y, ".", color=shade, label=words, ms=4, alpha=0.7)
        axes.set_xlabel(name, color=SOFT, fontsize=9)
        axes.tick_params(labelsize=8, colors=SOFT, which="both")
        axes.grid(color=LINE, lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if name == "perturbation":
            axes.set_xscale("log")
            axes.set_xticks([1e-6, 1e-4, 1e-2, 1.0])
            axes.minorticks_off()
    for axes in panels[::3]:
        axes.set_ylabel("solid-angle, log10", color=SOFT, fontsize=9)
    dots, words = panels[0].get_legend_handles_labels()
    panels[-1].axis("off")
    panels[-1].legend(dots, words, loc="center", frameon=False, labelcolor=SOFT)
    return svg(figure, "indicators")
