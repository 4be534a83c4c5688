"""The pictures of the questions page, drawn from geom's results when the documentation is built.

The vocabulary is invented, in two dimensions, so that all of it can be seen; the verdicts,
witnesses, weights and measures of its tokens are geom's. The last picture shows the demo model.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

import geom
from geom.model.domains import named
from geom.plugins.registry import installed

Floats = NDArray[np.float64]

INK, SOFT, LINE, CARD = "#1c1e21", "#5b6068", "#dcdcd6", "#f1f1ec"
SPEAKABLE, HARD, UNSPEAKABLE = "#4477aa", "#b8860b", "#c8372d"
NEAREST, NEAR = "#7a5906", "#e3c67c"
FANS = [
    (red / 255, green / 255, blue / 255, 0.3)
    for red, green, blue in (
        *((68, 119, 170), (214, 160, 20), (90, 160, 60), (170, 80, 160), (222, 110, 70)),
        *((60, 160, 160), (170, 160, 40), (120, 105, 200), (205, 85, 115)),
    )
]
"""Colours of regions, clear enough for a light and for a dark page to shine through."""

VARIABLES = {
    INK: "--color-foreground-primary",
    SOFT: "--color-foreground-secondary",
    LINE: "--color-background-border",
    CARD: "--color-background-secondary",
    SPEAKABLE: "--geom-speakable",
    HARD: "--geom-hard",
    UNSPEAKABLE: "--geom-unspeakable",
    NEAREST: "--geom-nearest",
    NEAR: "--geom-near",
}
"""The colours of the drawings, and the variables of the page that stand for them."""

LIGHT = {
    "geom-speakable": SPEAKABLE,
    "geom-hard": HARD,
    "geom-unspeakable": UNSPEAKABLE,
    "geom-nearest": NEAREST,
    "geom-near": NEAR,
}
DARK = {
    "geom-speakable": "#7fb0e6",
    "geom-hard": "#e0bd54",
    "geom-unspeakable": "#f0837a",
    "geom-nearest": "#a37d1c",
    "geom-near": "#f5e6b8",
}
"""The variables that are geom's own, on a light and on a dark page."""

matplotlib.rcParams.update(
    {
        "axes.edgecolor": LINE,
        "legend.labelcolor": SOFT,
        "savefig.transparent": True,
        "text.color": INK,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
    }
)

ROWS = np.array(
    [
        *((1.05, 0.25), (0.55, 0.95), (-0.35, 1.15), (-1.1, 0.35), (-0.95, -0.6), (-0.1, -1.1)),
        *((0.85, -0.75), (1.0, 0.62), (-0.72, 0.83)),
        *((0.2, 0.3), (-0.4, -0.2), (0.35, -0.45), (-0.05, 0.65)),
    ]
)
"""The vocabulary: nine rows on the hull and four inside."""

NAMES = list("abcdefghijklm")
BIASES = np.array([0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, -0.9, 0.6, 0.0, 0.0, 0.0])
"""The biases of the picture of domains: j, inside, is lifted; i, on the hull, is pushed down."""

LEAST = 0.75
"""How far a drawing shrinks to fit a page; a narrower page scrolls it, so that it can be read."""

BORDERLINE = 2334
"""A token of the demo that can win by some hundredths of a logit."""

HARDEST, SAID, INSIDE = 0, 2, 10
"""A token that loses along its own direction, a token that wins, and a token inside the hull."""


def problem(domain: str, b: Floats | None = None) -> geom.Problem:
    """Return the question about the invented vocabulary."""
    return geom.Problem(geom.Readout.fold(ROWS, b), named(domain, 2, None))


def judged(asked: geom.Problem, token: int) -> tuple[geom.Verdict, geom.Finding]:
    """Return geom's verdict on a token, and the evidence."""
    maxent = installed().get("certifier", "maxent")
    found = maxent.certify(asked, token, geom.Finding(), maxent.options())
    return geom.judge(asked, token, found), found


def colour(asked: geom.Problem, token: int) -> str:
    """Return the colour of the token's class."""
    if judged(asked, token)[0].name == "unspeakable":
        return UNSPEAKABLE
    own = geom.own_winners(asked.readout, [token], centre=False)[0]
    return SPEAKABLE if own == token else HARD


def hull() -> str:
    """Draw the rows as points, and their hull."""
    from scipy.spatial import ConvexHull

    asked = problem("unbounded")
    figure, (axes,) = sheet(1, 4.6)
    corners = ROWS[ConvexHull(ROWS).vertices]
    axes.fill(*corners.T, facecolor=CARD, edgecolor=LINE, lw=1.5)
    points(axes, asked)
    axes.set_title("rows of W", color=SOFT, fontsize=10)
    return svg(figure, "hull")


def fans() -> str:
    """Draw who wins in which direction, and a token's own direction in another token's fan."""
    asked = problem("rmsnorm")
    figure, (axes,) = sheet(1, 4.6)
    winners(axes, asked)
    w, x = ROWS[HARDEST], direction(measured(asked, HARDEST, "angular-margin"))
    name = NAMES[HARDEST]
    arrow(axes, 0.85 * w / np.linalg.norm(w), f"{name}'s own direction", HARD, (-92, 8))
    arrow(axes, 0.85 * x, f"{name} wins here", INK, (-68, -14))
    axes.set_title("directions of x, by the token that wins", color=SOFT, fontsize=10)
    return svg(figure, "fans")


def domains() -> str:
    """Draw the same biases on all of space and on the ball."""
    figure, pair = sheet(2, 4.3)
    for axes, domain, title in zip(
        pair,
        ("unbounded", "rmsnorm"),
        ("all of space", "the ball that RMSNorm emits, |x| ≤ √d"),
        strict=True,
    ):
        asked = problem(domain, BIASES)
        winners(axes, asked, 2.6)
        if domain == "rmsnorm":
            circle = math.sqrt(2) * around(np.linspace(0, 2 * math.pi, 200))
            axes.plot(*circle, color=INK, lw=1.4)
        lost = [NAMES[t] for t in range(len(ROWS)) if colour(asked, t) == UNSPEAKABLE]
        axes.set_title(f"{title}\nunspeakable: {', '.join(lost)}", color=SOFT, fontsize=10)
    return svg(figure, "domains")


def certificates() -> str:
    """Draw a point where one token wins, and the weights that hold another down."""
    asked = problem("unbounded")
    figure, (left, right) = sheet(2, 4.3)
    u = direction(measured(asked, SAID, "angular-margin"))
    points(left, asked)
    for height, style in zip(np.sort(ROWS @ u)[-2:], (":", "-"), strict=True):
        ends = np.outer([-1.2, 1.2], [-u[1], u[0]]) + height * u
        left.plot(*ends.T, color=SPEAKABLE, ls=style, lw=1.2)
    arrow(left, 0.5 * u, "x", INK, (4, -4))
    left.set_title(f"along x nothing is as high as {NAMES[SAID]}", color=SOFT, fontsize=10)
    weights = judged(asked, INSIDE)[1].weights
    assert weights is not None
    points(right, asked)
    share = weights.values / weights.values.sum()
    for j, s in zip(weights.indices, share, strict=True):
        ends = np.array([ROWS[INSIDE], ROWS[j]])
        right.plot(*ends.T, color=UNSPEAKABLE, lw=0.6 + 9 * s, alpha=0.5)
    title = f"{NAMES[INSIDE]} is a weighted mean of others"
    right.set_title(title, color=SOFT, fontsize=10)
    return svg(figure, "certificates")


def measured(asked: geom.Problem, token: int, name: str) -> geom.Measurement:
    """Return a measure of a token."""
    measure = installed().get("measure", name)
    found: geom.Measurement = measure.measure(asked, token, geom.Finding(), measure.options())
    return found


def direction(found: geom.Measurement) -> Floats:
    """Return the unit vector along a measurement's point."""
    assert found.x is not None
    return np.asarray(found.x / np.linalg.norm(found.x))


def measures() -> str:
    """Draw a token's region in the ball, with its angle and its largest ball."""
    asked = problem("rmsnorm")
    R, circle = math.sqrt(2), around(np.linspace(0, 2 * math.pi, 300))
    figure, (axes,) = sheet(1, 4.6)
    grid, won = grid_of(asked, 1.6)
    region = np.where((won == SAID) & (np.hypot(*grid) <= R), 1.0, np.nan)
    axes.pcolormesh(*grid, region, cmap=ListedColormap(FANS[:1]), rasterized=True)
    axes.plot(*(R * circle), color=INK, lw=1.2)
    ball = measured(asked, SAID, "chebyshev-radius")
    assert ball.x is not None
    axes.plot(*(ball.x[:, None] + ball.value * circle), color=SPEAKABLE, lw=1.5)
    label(axes, "chebyshev-radius", ball.x, SPEAKABLE)
    turn = measured(asked, SAID, "angular-margin")
    u = direction(turn)
    arrow(axes, R * u, "", INK)
    middle = math.atan2(u[1], u[0])
    for side in (-turn.value, turn.value):
        axes.plot(*(R * np.outer(around(middle + side), [0, 1])), color=HARD, lw=1.2)
    swept = np.linspace(middle, middle + turn.value, 60)
    axes.plot(*(0.45 * around(swept)), color=HARD, lw=1.5)
    label(axes, "angular-margin", np.array([-0.72, 0.3]), HARD)
    title = f"where {NAMES[SAID]} wins: {share(asked, SAID):.0%} of directions"
    axes.set_title(title, color=SOFT, fontsize=10)
    limits(axes, 1.6)
    return svg(figure, "measures")


def around(angle: float | Floats) -> Floats:
    """Return the unit vectors (2, ...) of angles."""
    return np.array([np.cos(angle), np.sin(angle)])


def share(asked: geom.Problem, token: int) -> float:
    """Return the share of directions in which the token wins."""
    turn = np.linspace(0, 2 * math.pi, 36000, endpoint=False)
    logits = asked.readout.logits(around(turn).T)
    return float(np.mean(logits.argmax(axis=1) == token))


def precisions() -> str:
    """Draw the margin of a token of the demo across its border, in three precisions."""
    readout = geom.load("demo")
    asked = geom.Problem(readout, readout.domain)
    x = judged(asked, BORDERLINE)[1].x
    assert x is not None
    margins = asked.margins(BORDERLINE, x)
    down = readout.W[margins.argmin()] - readout.W[BORDERLINE]
    across = down * (2.0 * margins.min() / float(down @ down))
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    steps = np.linspace(0.0, 1.0, 241)
    for name, shade in (("bfloat16", UNSPEAKABLE), ("float16", HARD), ("exact", INK)):
        one = installed().get("precision", name)
        seen = [
            one.margin(readout, BORDERLINE, x + s * across, one.options()).margin for s in steps
        ]
        axes.plot(steps, seen, color=shade, lw=1.3, label=name)
    axes.axhline(0.0, color=SOFT, lw=0.8)
    axes.set_xticks([])
    axes.set_xlabel("x, from a witness across the border", color=SOFT)
    axes.set_ylabel("margin in logits", color=SOFT)
    axes.legend(frameon=False, ncols=3, loc="lower left")
    return svg(figure, "precisions")


def sheet(panels: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of square panels without ticks."""
    figure = Figure(figsize=(panels * height, height), layout="constrained")
    drawn = list(np.ravel(figure.subplots(1, panels)))
    for axes in drawn:
        limits(axes, 1.45)
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color(LINE)
    return figure, drawn


def limits(axes: Axes, reach: float) -> None:
    """Set how far the axes reach."""
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)


def grid_of(asked: geom.Problem, reach: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return points (2, n, n) and who wins there (n, n)."""
    ticks = np.linspace(-reach, reach, 701)
    grid = np.array(np.meshgrid(ticks, ticks))
    logits = asked.readout.logits(grid.reshape(2, -1).T)
    return grid, logits.argmax(axis=1).reshape(grid.shape[1:])


def winners(axes: Axes, asked: geom.Problem, reach: float = 1.45) -> None:
    """Colour the plane by the token that wins, with the tokens' names."""
    grid, won = grid_of(asked, reach)
    ids = np.unique(won)
    axes.pcolormesh(
        *grid, np.searchsorted(ids, won), cmap=ListedColormap(FANS), vmin=0, vmax=8, rasterized=True
    )
    for token in ids:
        where = grid[:, won == token].mean(axis=1)
        label(axes, NAMES[token], where, SOFT)
    limits(axes, reach)


def points(axes: Axes, asked: geom.Problem) -> None:
    """Draw the rows in the colours of their classes."""
    for token, w in enumerate(ROWS):
        shade = colour(asked, token)
        axes.plot(*w, "o", color=shade, ms=6)
        axes.annotate(NAMES[token], w, (5, 4), textcoords="offset points", color=shade)


def arrow(axes: Axes, end: Floats, said: str, shade: str, off: tuple[int, int] = (3, 3)) -> None:
    """Draw an arrow from the origin, with a text near its end."""
    style = {"arrowstyle": "-|>", "color": shade, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, (0, 0), arrowprops=style)
    axes.annotate(said, end, off, textcoords="offset points", color=shade, fontsize=9)


def label(axes: Axes, said: str, where: Floats, shade: str) -> None:
    """Write a word at a place."""
    axes.annotate(said, where, color=shade, ha="center", va="center", fontsize=9)


def svg(figure: Figure, name: str) -> str:
    """Return the figure as SVG for a page, in the page's colours, light or dark.

    The ids inside it are unique to the figure.
    """
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = in_page_colours(out.getvalue())
    least = round(LEAST * 96 * figure.get_figwidth())
    text = text[text.index("<svg") :].replace("<svg", f'<svg style="min-width: {least}px"', 1)
    return f'<div class="drawing">{text}</div>'


def in_page_colours(text: str) -> str:
    """Return a text with the page's variables in place of the colours that they stand for."""
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text


PICTURES: dict[str, Callable[[], str]] = {
    "HULL": hull,
    "FANS": fans,
    "DOMAINS": domains,
    "CERTIFICATES": certificates,
    "MEASURES": measures,
    "PRECISIONS": precisions,
}
