"""The pictures and the tables of docs/behaviour.md, from `benchmarks/behaviour.py`'s findings."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import AutoLocator
from numpy.typing import NDArray
from pictures import LINE, SOFT, SPEAKABLE, UNSPEAKABLE, sheet, svg

STRATA = {
    "unspeakable": ("unspeakable", UNSPEAKABLE),
    "hardest": ("the hardest", "#7a5906"),
    "hard": ("other hard tokens", "#d9a520"),
    "others": ("win along their own direction", SPEAKABLE),
}
"""The strata of the sample in the order of the file, their names and their colours."""

NAMES = {
    "self-argmax": "own direction wins, or not",
    "witness-margin": "margin of the audit's witness",
    "row-norm": "`row-norm`",
    "centroid-distance": "`centroid-distance`",
    "unused-cosine": "`unused-cosine`",
    "logit-bias": "`logit-bias`: minus the largest margin",
    "surprise": "`surprise`",
}
"""The measures as the tables call them."""


@cache
def found() -> dict[str, Any]:
    """Return what the study found."""
    text = (Path(__file__).parent / "behaviour.json").read_text(encoding="utf-8")
    study: dict[str, Any] = json.loads(text)
    return study


def tenths() -> str:
    """Draw, for each tenth of the vocabulary by a measure, how many tokens come next, are said."""
    figure, panels = sheet(4, 3.1)
    names = list(NAMES)[1:5]
    for axes, name in zip(panels, names, strict=True):
        shares = found()["tenths"][name]
        for what, label, shade in (
            ("occurs", "come next in the text", SOFT),
            ("emitted", "are emitted", SPEAKABLE),
        ):
            percents = 100 * np.array(shares[what])
            axes.plot(range(1, 11), percents, "o-", color=shade, label=label, ms=4, lw=1.4)
        _plain(axes)
        axes.set_xticks([1, 10], ["least", "most"])
        axes.set_title(NAMES[name].strip("`"), color=SOFT, fontsize=9)
    top = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(0, top)
    panels[0].set_ylabel("% of the tokens of a tenth", color=SOFT, fontsize=9)
    lines, words = panels[0].get_legend_handles_labels()
    figure.legend(lines, words, ncols=2, loc="outside upper center", frameon=False, labelcolor=SOFT)
    return svg(figure, "tenths")


def scatter() -> str:
    """Draw three measures of a token against what the network does with it."""
    sample = {
        name: _floats(values) for name, values in found()["sample"].items() if name != "token"
    }
    sample["largest"] = -sample["logit-bias"]
    chance = np.max([sample[f"chance_{name}"] for name in ("chat", "examples", "repeats")], axis=0)
    figure, panels = sheet(3, 4.0)
    for axes, x, y, across, up in (
        (
            panels[0],
            sample["witness-margin"],
            chance,
            "margin of the witness, logits",
            "when asked",
        ),
        (
            panels[1],
            sample["largest"],
            sample["probability"],
            "largest margin, logits",
            "in the text",
        ),
        (panels[2], sample["surprise"], sample["probability"], "surprise, sigma", "in the text"),
    ):
        for i, (label, shade) in enumerate(STRATA.values()):
            mine = sample["stratum"] == i
            axes.plot(x[mine], y[mine], ".", color=shade, label=label, ms=4, alpha=0.75)
        _plain(axes)
        axes.set_yscale("log")
        axes.set_xlabel(across, color=SOFT, fontsize=9)
        axes.set_title(f"probability {up}", color=SOFT, fontsize=9)
    dots, words = panels[0].get_legend_handles_labels()
    figure.legend(dots, words, ncols=4, loc="outside upper center", frameon=False, labelcolor=SOFT)
    return svg(figure, "scatter")


def _floats(values: list[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values])


def _plain(axes: Axes) -> None:
    """Let axes have the range and the ticks of their data."""
    axes.set_aspect("auto")
    axes.autoscale()
    axes.xaxis.set_major_locator(AutoLocator())
    axes.yaxis.set_major_locator(AutoLocator())
    axes.tick_params(labelsize=8, colors=SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=LINE, lw=0.6)


def groups() -> str:
    """Return what text and network do with the tokens of each verdict, as a table."""
    rows = found()["groups"]
    columns = list(next(iter(rows.values())))
    lines = [f"| | {' | '.join(rows)} |", "|---" * (len(rows) + 1) + "|"]
    for column in columns:
        cells = [row[column] for row in rows.values()]
        total = sum(cells)
        share = column == "probability"
        said = [f"{100 * cell:.2g} %" if share else f"{cell:,}" for cell in cells]
        if column.startswith("places"):
            said = [
                f"{word} ({100 * cell / total:.2g} %)"
                for word, cell in zip(said, cells, strict=True)
            ]
        lines.append(f"| {column} | {' | '.join(said)} |")
    return "\n".join(lines)


def strata() -> str:
    """Return how many tokens of each stratum are repeated when asked, as a table."""
    lines = [
        "| stratum | tokens | chat | examples | repeats | any of them | below 1 % in all |",
        "|---" * 7 + "|",
    ]
    for name, row in found()["strata"].items():
        lines.append(f"| {STRATA[name][0]} | {' | '.join(map(str, row.values()))} |")
    return "\n".join(lines)


def predictions(*parts: str) -> str:
    """Return how well each measure predicts the behaviours of parts of the tokens, as a table."""
    rows = [row for row in found()["predictions"] if row["tokens"] in parts]
    behaviours = list(dict.fromkeys(row["behaviour"] for row in rows))
    heads = [_head(next(row for row in rows if row["behaviour"] == name)) for name in behaviours]
    lines = [f"| measure | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name in dict.fromkeys(row["measure"] for row in rows):
        mine = {row["behaviour"]: row for row in rows if row["measure"] == name}
        cells = [number(mine[behaviour]) for behaviour in behaviours]
        lines.append(f"| {NAMES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _head(row: dict[str, Any]) -> str:
    """Return a behaviour, the coefficient, and of how many tokens it is."""
    count = "" if row["positives"] is None else f"{row['positives']:,} of "
    kind = "correlation" if row["positives"] is None else "area"
    return f"{row['behaviour']}: {kind}, {count}{row['n']:,}"


def number(row: dict[str, Any]) -> str:
    """Return a coefficient with its standard error."""
    return "-" if row["value"] is None else f"{row['value']:.2f} ± {row['error']:.2f}"
