"""The pictures and the tables of docs/behaviour.md, from `benchmarks/behaviour.py`'s findings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pictures import HARD, LINE, NEAREST, SOFT, SPEAKABLE, UNSPEAKABLE, in_page_colours, svg

STRATA = {
    "unspeakable": ("unspeakable", UNSPEAKABLE, "x", "✕"),
    "hardest": ("the hardest", NEAREST, "^", "▲"),
    "hard": ("other hard tokens", HARD, "s", "■"),
    "others": ("win along their own direction", SPEAKABLE, "o", "●"),
}
"""The strata of the sample in the order of the file: names, colours, marks, and marks in text."""

TENTHS = {
    "occurs": ("come next in the text", SOFT, "s", "■"),
    "emitted": ("are emitted", SPEAKABLE, "o", "●"),
}
"""What is counted of each tenth of the tokens, likewise."""

PROMPTS = ("chat", "examples", "repeats")

NAMES = {
    "self-argmax": "own direction wins, or not",
    "witness-margin": "margin of the audit's witness",
    "row-norm": "`row-norm`",
    "centroid-distance": "`centroid-distance`",
    "unused-cosine": "`unused-cosine`",
    "logit-bias": "`logit-bias`: minus the largest margin",
    "angular-margin": "`angular-margin`",
    "solid-angle": "`solid-angle`",
    "surprise": "`surprise`",
    "habit": "mean probability at the states of `surprise`",
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
    names = list(NAMES)[1:5]
    shares = {name: found()["tenths"][name] for name in names}
    top = 105 * max(max(map(max, part.values())) for part in shares.values())
    drawn = []
    for name in names:
        figure, axes = _panel(f"% of the tokens of a tenth, by {NAMES[name].strip('`')}")
        for what, (_, shade, mark, _) in TENTHS.items():
            percents = 100 * np.array(shares[name][what])
            axes.plot(range(1, 11), percents, f"{mark}-", color=shade, ms=4, lw=1.4)
        axes.set_xticks([1, 10], ["least", "most"])
        axes.set_ylim(0, top)
        drawn.append(svg(figure, f"tenths-{name}"))
    return _side_by_side(TENTHS.values(), drawn)


def scatter() -> str:
    """Draw four measures of a token against what the network does with it."""
    sample = {
        name: _floats(values) for name, values in found()["sample"].items() if name != "token"
    }
    sample["largest"] = -sample["logit-bias"]
    sample["asked"] = np.max([sample[f"chance_{name}"] for name in PROMPTS], axis=0)
    drawn = []
    for x, y, across, up in (
        ("witness-margin", "asked", "margin of the audit's witness, logits", "when asked"),
        ("largest", "probability", "largest margin, logits", "in the text"),
        ("angular-margin", "probability", "angular margin, radians", "in the text"),
        ("surprise", "probability", "surprise, sigma", "in the text"),
    ):
        figure, axes = _panel(f"probability {up}")
        for i, (_, shade, mark, _) in enumerate(STRATA.values()):
            mine = sample["stratum"] == i
            axes.plot(
                sample[x][mine], sample[y][mine], mark, color=shade, ms=3.5, mew=0.8, alpha=0.75
            )
        axes.set_yscale("log")
        axes.set_xlabel(across, color=SOFT, fontsize=9)
        drawn.append(svg(figure, f"scatter-{x}"))
    return _side_by_side(STRATA.values(), drawn)


def _floats(values: list[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values])


def _panel(title: str) -> tuple[Figure, Axes]:
    """Return a figure of one panel, small enough for a phone."""
    figure = Figure(figsize=(4.4, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.tick_params(labelsize=8, colors=SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=LINE, lw=0.6)
    axes.set_title(title, color=SOFT, fontsize=9)
    return figure, axes


def _side_by_side(legend: Iterable[tuple[str, str, str, str]], drawn: Sequence[str]) -> str:
    """Return panels as HTML: as many side by side as the page has room for, below a legend."""
    marks = " ".join(
        f'<span style="white-space: nowrap; margin: 0 .6em"><span style="color: '
        f'{in_page_colours(shade)}">{mark}</span> {words}</span>'
        for words, shade, _, mark in legend
    )
    panels = "\n".join(f'<div style="flex: 1 1 18rem">{panel}</div>' for panel in drawn)
    return (
        f'<p style="text-align: center; font-size: var(--font-size--small)">{marks}</p>\n'
        f'<div style="display: flex; flex-wrap: wrap; gap: .8em 0">\n{panels}\n</div>'
    )


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
    """Return a coefficient with its standard error; bold if none of its column is surely better."""
    if row["value"] is None:
        return "-"
    said = f"{round(row['value'], 2) + 0.0:.2f} ± {row['error']:.2f}"  # + 0.0: no minus zero
    return f"**{said}**" if "behind" in row and not _is_behind(row) else said


def _is_behind(row: dict[str, Any]) -> bool:
    """Return whether a measure is weaker than the best one by two standard errors or more."""
    return bool(row["behind"] > 2 * row["behind_error"])
