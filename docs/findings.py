"""The tables and charts of the gallery, and the sentences that hold its numbers.

    python docs/findings.py docs

draws the chart of the README anew. All numbers are those of `gallery.json` and `casting.json`,
which `benchmarks/gallery.py` and `benchmarks/casting.py` write.
"""

from __future__ import annotations

import json
import math
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pictures import INK, LINE, SOFT, SPEAKABLE, UNSPEAKABLE, svg

from geom import markdown_code, markdown_table, rounded_up

TITLES = {
    "whisper": "Whisper base",
    "smollm2": "SmolLM2-135M",
    "demo": "the demo",
}

COUNTS = {
    "V": "tokens",
    "own": "win along their own direction",
    "hard": "hard",
    "unspeakable": "unspeakable",
}
"""What is counted of each model, and its heading."""

GROUPS = {
    "impossible": ("byte that no UTF-8 text holds", "#a558c0"),
    "unused": ("byte of unassigned characters", "#d3a0e4"),
    "part": ("piece of a character", "#8a8f98"),
    "control": ("control character", "#c98a1b"),
    "special": ("special token", "#2e8b6f"),
    "empty": ("token without a text", INK),
    "text": ("piece of text", SPEAKABLE),
}
"""What a token's text is: in words, and the colour of its mark."""

STEPS = {"bfloat16": 2.0**-3, "float16": 2.0**-6, "float32": 2.0**-19}
"""The distances of neighbouring numbers from 16 to 32, where logits often are."""

HEAD, AROUND = 15, (2, 12)
"""The rows of a table of the hardest: the first, and those before and after the gap."""


def found() -> dict[str, dict[str, Any]]:
    """Return what was found, a model each."""
    text = (Path(__file__).parent / "gallery.json").read_text(encoding="utf-8")
    models: dict[str, dict[str, Any]] = json.loads(text)
    return models


def models() -> str:
    """Return the table of models."""
    heads = ["model", *COUNTS.values(), "the hardest token that can win, and by how much at most"]
    rows = []
    for model, title in TITLES.items():
        row = found()[model]
        first = row["hardest"][0]
        hardest = f"{markdown_code(first['token'])}: {lead(first)} logits"
        rows.append(
            [f"[{title}](gallery-{model}.md)", *(f"{row[key]:,}" for key in COUNTS), hardest]
        )
    return "\n".join(markdown_table(heads, rows))


def hardest(model: str) -> str:
    """Return the table of the hardest tokens that can win: the first, and those around the gap."""
    tokens, gap = found()[model]["hardest"], found()[model]["near"]
    later = max(HEAD, gap - AROUND[0])
    cut = later > HEAD
    rows = []
    for place, row in enumerate(tokens[: later + sum(AROUND)], 1):
        if cut and place == HEAD + 1:
            rows.append(["…"] * 5)
        if cut and HEAD < place <= later:
            continue
        what = GROUPS[row["group"]][0]
        if row["within"]:
            what += f", as in {markdown_code(row['within'])}"
        rows.append([str(place), str(row["id"]), markdown_code(row["token"]), what, lead(row)])
    heads = ["place", "id", "token", "what it is", "ahead by at most, logits"]
    return "\n".join(markdown_table(heads, rows))


def lead(row: dict[str, Any]) -> str:
    """Say how far a token can be ahead at most: three digits, rounded up."""
    return f"{Decimal(rounded_up(row['high'], 3)):f}"


def lost(model: str) -> str:
    """Return the table of unspeakable tokens."""
    tokens = {row["id"]: markdown_code(row["token"]) for row in found()[model]["lost"]}
    rows = []
    for row in found()[model]["lost"]:
        twins = ", ".join(f"{twin} {tokens[twin]}" for twin in row["twins"]) or "none"
        most = rounded_up(row["probability_upper"], 3)
        rows.append([str(row["id"]), tokens[row["id"]], twins, most])
    heads = ["id", "token", "has the same row as", "probability, at most"]
    return "\n".join(markdown_table(heads, rows))


def sampling(model: str) -> str:
    """Return the table of the largest probabilities of some of the hardest tokens."""
    rows = [
        [str(row["id"]), markdown_code(row["token"]), chance(row)]
        for row in found()[model]["sampling"]
    ]
    return "\n".join(markdown_table(["id", "token", "largest probability at any state"], rows))


def chance(row: dict[str, Any]) -> str:
    """Say a largest probability, rounded so that it is not exceeded."""
    high = row["log10"][1]
    if high > math.log10(0.5):
        return f"at least {math.floor(1e4 * 10.0 ** row['log10'][0]) / 1e4:.2%}"
    return f"1 in {math.floor(10.0**-high):,}"


def chart(model: str) -> str:
    """Draw how far the hardest tokens can be ahead of all others."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    _margins(figure.subplots(), found()[model])
    return svg(figure, f"gallery-{model}")


def _margins(axes: Axes, row: dict[str, Any]) -> None:
    """Draw each of the hardest tokens at its largest margin, in order; the unspeakable at 0."""
    lost, tokens = row["lost"], row["hardest"]
    least = 10.0 ** (math.floor(math.log10(tokens[0]["low"])) - 0.5)
    zero = least * 10.0**-0.5
    for group, (words, shade) in GROUPS.items():
        mine = [
            (token["low"], place) for place, token in enumerate(tokens) if token["group"] == group
        ]
        if mine:
            axes.plot(*zip(*mine, strict=True), "o", ms=5, color=shade, label=words)
    places = range(-len(lost), 0)
    axes.plot([zero] * len(lost), places, "x", ms=5, color=UNSPEAKABLE, label="can never win")
    axes.set_xscale("log")
    powers = [10.0**k for k in range(math.ceil(math.log10(zero)) + 1, 2)]
    top = max(30.0 * tokens[-1]["low"], 2.0)
    axes.set_xlim(zero / 2, top)
    axes.set_ylim(-len(lost) - 0.05 * len(tokens) - 1, 1.13 * len(tokens))
    for name, step in STEPS.items():
        if zero < step < top:
            axes.axvline(step, color=LINE, lw=1)
            axes.annotate(
                f"{name}'s\nstep",
                (step, 1.12 * len(tokens)),
                (3, 0),
                textcoords="offset points",
                va="top",
                fontsize=8,
                color=SOFT,
            )
    for token, place in _named(row):
        axes.annotate(
            token["token"],
            (token["low"], place),
            (7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
            parse_math=False,
        )
    axes.set_xlabel("largest margin over all other tokens, logits", color=SOFT, fontsize=9)
    axes.set_xticks([zero, *powers], ["0", *(f"{power:g}" for power in powers)])
    axes.minorticks_off()
    axes.set_yticks([])
    axes.tick_params(labelsize=8, colors=SOFT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(
        frameon=False, fontsize=8, labelcolor=SOFT, loc="center left", bbox_to_anchor=(1, 0.5)
    )


def _named(row: dict[str, Any]) -> list[tuple[dict[str, Any], int]]:
    """Return the tokens whose texts a chart shows, with their places: those that have room."""
    tokens, near = row["hardest"], row["near"]
    apart = math.ceil((len(tokens) + len(row["lost"])) / 27)
    chosen: list[tuple[dict[str, Any], int]] = []
    for place in [0, *range(max(near, 1), len(tokens))]:
        room = not chosen or place >= chosen[-1][1] + apart
        if room and tokens[place]["token"].isascii():
            chosen.append((tokens[place], place))
    return chosen


def finding(out: Path) -> None:
    """Draw the chart of the README, on paper of its own, so that it suits any background."""
    figure = Figure(figsize=(9, 4.6), layout="constrained", facecolor="#fbfbf9")
    axes = figure.subplots()
    axes.set_facecolor("#fbfbf9")
    row = found()["whisper"]
    _margins(axes, row)
    axes.set_title(
        "Whisper base: the tokens that can never win, and the hardest that can",
        color=INK,
        fontsize=11,
        loc="left",
    )
    figure.savefig(out, dpi=110, metadata={"Software": None}, transparent=False)


if __name__ == "__main__":
    finding(Path(sys.argv[1]) / "whisper.png")
