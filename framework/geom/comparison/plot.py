"""The plot of a comparison, drawn with matplotlib (the extra ``report``) without a display."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from geom.comparison.records import ComparedPoint, ComparisonRow
from geom.distribution import install_command
from geom.errors import InputError
from geom.files.replacing import refuse_irreplaceable, replacing
from geom.nouns import Noun
from geom.numbers.printing import rounded
from geom.text import visible


class Comparison(Protocol):
    """The parts of a `geom.Comparison` that the plot shows."""

    @property
    def points(self) -> tuple[ComparedPoint, ...]:
        """The tokens, each at a point."""

    @property
    def precisions(self) -> dict[str, float]:
        """The precisions by name, with their unit roundoffs."""

    @property
    def noun(self) -> Noun:
        """What the tokens are called."""

    def __iter__(self) -> Iterator[ComparisonRow]: ...

    def cell(self, token: int, precision: str, /) -> ComparisonRow:
        """The margin of a token in a precision."""


SUFFIXES = (".png", ".svg")

MOST = 10
"""The most tokens in one plot: as many as there are colours that can be told apart."""

_BEYOND = 1.5
"""The factor by which exact arithmetics stand right of the finest other: 0 has no logarithm."""


def check_plot(path: Path) -> None:
    """Refuse early a plot that cannot be drawn: an ending not in `SUFFIXES`, or no matplotlib.

    It also refuses the paths that `refuse_irreplaceable` refuses.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: plots are written as {' or '.join(SUFFIXES)}; change the ending")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: its folder does not exist; make it first")
    refuse_irreplaceable(path)
    try:
        import matplotlib  # noqa: F401 - only whether it is there
    except ImportError:
        raise InputError(f"matplotlib is not installed: {install_command('report')}") from None


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """Draw margin against unit roundoff, one line per token, coarse arithmetics on the left.

    The horizontal axis shows the bits of the unit roundoff on a logarithmic scale, because a fine
    arithmetic has a hundred times the bits of a coarse one; exact arithmetics stand at its right
    end. The vertical axis is logarithmic on both sides of a linear strip around zero. A bar is the
    error radius that a precision claims, a cross is a margin of the wrong sign, and a dashed line
    is the exact margin. If there are more than `MOST` tokens, those nearest the border are drawn.
    Raises InputError as `check_plot` does, and if there is nothing to draw or writing fails.
    """
    check_plot(path)
    import matplotlib.style
    from matplotlib.figure import Figure

    places = _places(comparison)
    points = sorted(comparison.points, key=lambda point: abs(point.relative))[:MOST]
    if not places or not points:
        raise InputError("there is nothing to plot: compare a token in a precision first")
    buffer = io.BytesIO()
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(11.0, 6.2), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        _scale(axes, comparison, points)
        axes.axhline(0.0, color="0.25", linewidth=0.8)
        step = 0.0045 * math.log(max(places.values()) / min(places.values()) + 1.0)
        for i, point in enumerate(points):
            aside = math.exp((i - (len(points) - 1) / 2) * step)
            _draw(axes, comparison, point, f"C{i}", places, aside)
        _label(axes, comparison, places, len(points))
        figure.savefig(
            buffer,
            format=path.suffix.lower()[1:],
            dpi=150,
            metadata={"Date": None} if path.suffix.lower() == ".svg" else None,
        )
    with replacing(path) as file:
        file.write(buffer.getbuffer())


def _places(comparison: Comparison) -> dict[str, float]:
    """Place each precision at the bits of its unit roundoff, and the exact ones further right."""
    known = {name: u for name, u in comparison.precisions.items() if not math.isnan(u)}
    bits = {name: max(0.5, -math.log2(u)) for name, u in known.items() if u > 0.0}
    beyond = _BEYOND * max(bits.values(), default=53.0)
    return {name: bits.get(name, beyond) for name in known}


def _scale(axes: Any, comparison: Comparison, points: Sequence[ComparedPoint]) -> None:
    """Set up the vertical axis: a linear strip below every margin shown, ticks with room."""
    shown = {point.token_id for point in points}
    margins = [row.margin for row in comparison if row.token_id in shown]
    values = [margin for margin in margins if margin is not None and math.isfinite(margin)]
    values += [point.rounded for point in points if math.isfinite(point.rounded)]
    least = min((abs(value) for value in values if value != 0.0), default=1.0)
    for row in comparison:
        if row.token_id in shown and row.margin is not None and _radius(row) > 0.0:
            values += [row.margin - _radius(row), row.margin + _radius(row)]
    finite = [value for value in values if math.isfinite(value)]
    low, high = max(min(finite, default=0.0), -1e300), min(max(finite, default=0.0), 1e300)
    least = min(max(least, 1e-280), 1e300)
    most = max(-low, high, least)
    last = math.ceil(math.log10(most))
    first = max(math.floor(math.log10(least / 2.0)), last - 40)
    step = math.ceil((last - first + 1) / 5)
    ticks = [10.0**k for k in range(last, first - 2 + step, -step)]
    names = [f"10^{{{k}}}" for k in range(last, first - 2 + step, -step)]
    axes.set_yscale("symlog", linthresh=10.0**first)
    axes.set_yticks(
        [-tick for tick in ticks] + [0.0] + ticks,
        [f"$-{name}$" for name in names] + ["0"] + [f"${name}$" for name in names],
        minor=False,
    )
    axes.set_yticks([], minor=True)
    strip, room = 10.0**first, 10.0**0.4
    axes.set_ylim(min(room * low, -strip), max(room * high, strip))


def _draw(
    axes: Any,
    comparison: Comparison,
    point: ComparedPoint,
    colour: str,
    places: dict[str, float],
    aside: float,
) -> None:
    """Draw one token: its line, its enclosures, its wrong signs and its exact margin."""
    cells = [comparison.cell(point.token_id, name) for name in places]
    cells = [cell for cell in cells if _drawable(cell)]
    xs = [places[cell.precision] * aside for cell in cells]
    ys = [cell.margin for cell in cells]
    label = _spelled(f"{point.token_id} {visible(point.token, point.token_kind)}")
    axes.plot(xs, ys, color=colour, linewidth=1.2, alpha=0.7, label=label, zorder=3)
    radii = [_radius(cell) for cell in cells]
    axes.errorbar(
        xs, ys, yerr=radii, fmt="none", ecolor=colour, elinewidth=1.0, capsize=3, alpha=0.6
    )
    for right, mark, size in ((True, "o", 28), (False, "X", 70)):
        chosen = [k for k, cell in enumerate(cells) if cell.agrees is right]
        axes.scatter(
            [xs[k] for k in chosen],
            [ys[k] for k in chosen],
            marker=mark,
            s=size,
            color=colour,
            edgecolors="white" if right else "black",
            linewidths=0.6,
            zorder=4,
        )
    if math.isfinite(point.rounded):
        axes.axhline(point.rounded, color=colour, linewidth=0.9, linestyle=(0, (4, 4)), alpha=0.7)


def _drawable(cell: ComparisonRow) -> bool:
    return cell.margin is not None and math.isfinite(cell.margin)


def _radius(cell: ComparisonRow) -> float:
    return cell.error if cell.error is not None and 0.0 <= cell.error < math.inf else 0.0


def _label(axes: Any, comparison: Comparison, places: dict[str, float], drawn: int) -> None:
    """Label the axes, the precisions above them, and the legend at the side."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import NullLocator

    low, high = math.log10(min(places.values())), math.log10(max(places.values()))
    edge = 0.05 * (high - low) + 0.05
    width = high - low + 2 * edge
    axes.set_xlim(10.0 ** (low - edge), 10.0 ** (high + edge))
    axes.set_xlabel("unit roundoff")
    axes.set_ylabel("margin in logits")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(*_roundoffs(comparison, places, 0.045 * width))
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    transform = axes.get_xaxis_transform()
    for name, place, shown in _spread(places, 0.034 * width):
        axes.axvline(place, color="0.88", linewidth=0.8, zorder=0)
        axes.annotate(
            _spelled(name),
            xy=(place, 1.0),
            xycoords=transform,
            xytext=(shown, 1.05),
            textcoords=transform,
            rotation=55,
            ha="left",
            va="bottom",
            rotation_mode="anchor",
            fontsize=9,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 0},
        )
    handles, labels = axes.get_legend_handles_labels()
    handles += [
        Line2D([], [], color="0.3", linestyle=(0, (4, 4)), linewidth=0.9),
        Line2D([], [], color="0.3", marker="X", linestyle="none", markeredgecolor="black"),
        Line2D([], [], color="0.3", marker="|", markersize=10, linestyle="none"),
    ]
    labels += ["exact margin", "wrong sign", "error it claims"]
    total = len(comparison.points)
    noun = comparison.noun
    title = noun if drawn == total else f"{drawn} of {noun.counted(total)},\nnearest the border"
    legend = axes.legend(
        handles,
        labels,
        title=title,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        fontsize=9,
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar in a token does not begin a formula


def _roundoffs(
    comparison: Comparison, places: dict[str, float], apart: float
) -> tuple[list[float], list[str]]:
    """Return ticks at the unit roundoffs, leaving out those closer than ``apart`` decades."""
    ticks: list[float] = []
    names: list[str] = []
    for name, place in sorted(places.items(), key=lambda item: item[1]):
        if not ticks or math.log10(place / ticks[-1]) >= apart:
            ticks.append(place)
            names.append(_power(comparison.precisions[name]))
    return ticks, names


def _power(roundoff: float) -> str:
    """Write a unit roundoff, as a power of two or of ten if it is one."""
    if roundoff == 0.0:
        return "0"
    for base in (2, 10):
        exponent = round(math.log(roundoff, base))
        if math.isclose(float(base) ** exponent, roundoff, rel_tol=1e-9):
            return f"${base}^{{{exponent}}}$"
    return rounded(roundoff, 1)


def _spread(places: dict[str, float], apart: float) -> list[tuple[str, float, float]]:
    """Return each name, its place and its label's place; labels are ``apart`` decades apart."""
    order = sorted(places.items(), key=lambda item: item[1])
    shown: list[float] = []
    for _, place in order:
        at = math.log10(place)
        shown.append(max(at, shown[-1] + apart) if shown else at)
    bound = math.log10(order[-1][1])
    for k in reversed(range(len(shown))):  # push labels beyond the right end back
        shown[k] = min(shown[k], bound)
        bound = shown[k] - apart
    return [(name, place, 10.0**at) for (name, place), at in zip(order, shown, strict=True)]


def _spelled(text: str, most: int = 30) -> str:
    """Return the text, cut; characters missing from the font are escaped as `visible` does it."""
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    known = FT2Font(findfont("DejaVu Sans")).get_charmap()
    cut = text if len(text) <= most else f"{text[: most - 3]}..."
    return "".join(c if ord(c) in known else f"\\u{ord(c):04x}" for c in cut)
