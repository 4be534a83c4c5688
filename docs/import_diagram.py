"""The picture of what imports what, drawn from the source when the documentation is built.

A box is a module of `geom` or a folder of plugins. It stands above all that it imports; of the
arrows those are left out that others imply.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).parent.parent
HOST, PLUGINS = ROOT / "framework" / "geom", ROOT / "plugins" / "geom_plugins"
FACE = "geom (public)"
"""What plugins import: the names that geom exports."""

WIDTH, ROW, HEIGHT, LETTER, GAP = 860, 62, 26, 7.0, 14

Graph = dict[str, set[str]]


def graph() -> Graph:
    """Module -> what it imports, of the host by file or package, of the plugins by folder."""
    found: Graph = {}
    for path in sorted(HOST.rglob("*.py")):
        name = _top(path.relative_to(HOST))
        if name != "__init__":
            found.setdefault(name, set()).update(_imported(path, "geom", _host_modules()))
    for path in sorted(PLUGINS.rglob("*.py")):
        name = "plugins: " + _top(path.relative_to(PLUGINS))
        if name != "plugins: __init__":
            inside = {f"plugins: {top}" for top in _imported(path, "geom_plugins", None)}
            found.setdefault(name, set()).update(inside, {FACE})
    exported = ast.parse((HOST / "__init__.py").read_text(encoding="utf-8"))
    found[FACE] = {
        node.module.split(".")[1]
        for node in ast.walk(exported)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("geom.")
    }
    return {name: {other for other in others if other != name} for name, others in found.items()}


def _host_modules() -> set[str]:
    return {_top(path.relative_to(HOST)) for path in HOST.rglob("*.py")}


def _top(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def _imported(path: Path, package: str, known: set[str] | None) -> Iterator[str]:
    """The modules of a package that a file imports when it runs, by their first part."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and _for_types(node)]
    skipped = {id(inner) for node in typing for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or id(node) in skipped:
            continue
        first, _, rest = (node.module or "").partition(".")
        if first != package:
            continue
        for top in [rest.partition(".")[0]] if rest else [alias.name for alias in node.names]:
            if known is None or top in known:
                yield top


def _for_types(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def reduced(links: Graph) -> Graph:
    """The links that no path of others implies."""
    below: Graph = {}

    def reach(name: str) -> set[str]:
        if name not in below:
            below[name] = set()
            below[name] = links[name] | {far for near in links[name] for far in reach(near)}
        return below[name]

    return {
        name: {o for o in others if not any(o in reach(near) for near in others - {o})}
        for name, others in links.items()
    }


def rows(links: Graph) -> list[list[str]]:
    """The modules in rows, each above all that it imports, those of a row near what they import."""
    depth: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in depth:
            depth[name] = 0
            depth[name] = 1 + max((level(other) for other in links[name]), default=-1)
        return depth[name]

    out: list[list[str]] = [[] for _ in range(1 + max(map(level, links)))]
    for name in links:
        out[depth[name]].append(name)
    place: dict[str, float] = {}
    for row in out:
        row.sort(key=lambda name: (_mean([place[o] for o in links[name]]), name))
        place.update({name: (i + 0.5) / len(row) for i, name in enumerate(row)})
    return out[::-1]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.5


def svg() -> str:
    """The picture as SVG, in the colours of the text around it."""
    links = graph()
    lines = [line for row in rows(links) for line in _wrapped(row)]
    spots: dict[str, tuple[float, float, float]] = {}
    for i, line in enumerate(lines):
        total = sum(map(_width, line)) + GAP * (len(line) - 1)
        x = (WIDTH - total) / 2
        for name in line:
            spots[name] = (x, 10 + i * ROW, _width(name))
            x += _width(name) + GAP
    arrows = [
        _arrow(spots[name], spots[other])
        for name, others in reduced(links).items()
        for other in sorted(others)
    ]
    boxes = [
        f'<g><rect x="{x:.0f}" y="{y}" width="{w:.0f}" height="{HEIGHT}" rx="5" '
        f'class="{"plugin" if name.startswith("plugins: ") else "host"}"/>'
        f'<text x="{x + w / 2:.0f}" y="{y + 17}">{escape(name)}</text></g>'
        for name, (x, y, w) in spots.items()
    ]
    height = 10 + len(lines) * ROW
    style = (
        ".imports text{font:12px sans-serif;text-anchor:middle;fill:currentColor}"
        ".imports rect{stroke:currentColor;stroke-width:1;fill:var(--color-background-primary)}"
        ".imports rect.plugin{stroke-dasharray:4 3}"
        ".imports path{stroke:currentColor;stroke-opacity:.35;fill:none}"
    )
    return (
        f'<svg class="imports" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="What imports what"><style>{style}</style>{"".join(arrows + boxes)}</svg>'
    )


def _width(name: str) -> float:
    return LETTER * len(name) + 16


def _wrapped(row: list[str]) -> Iterator[list[str]]:
    """A row in lines that fit."""
    line: list[str] = []
    for name in row:
        if line and sum(map(_width, [*line, name])) + GAP * len(line) > WIDTH - 20:
            yield line
            line = []
        line.append(name)
    yield line


def _arrow(start: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    x, y, w = start
    u, v, z = end
    x, y, u = x + w / 2, y + HEIGHT, u + z / 2
    bend = max(20.0, (v - y) / 2)
    return f'<path d="M{x:.0f} {y}C{x:.0f} {y + bend:.0f} {u:.0f} {v - bend:.0f} {u:.0f} {v}"/>'
