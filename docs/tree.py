"""The picture of the layers and the tables of the tree, made when the documentation is built.

The layers are those of the import contracts in ``pyproject.toml``, which name every file and
folder of a package. The first line of a file's docstring says what the file holds.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "geom_plugins": ROOT / "plugins" / "geom_plugins",
    "geom": ROOT / "framework" / "geom",
}
"""Package -> its folder; a package comes before those that it imports."""

STYLE = """
.layers{border:1px solid var(--color-background-border);border-radius:6px;padding:.6rem .8rem;
 margin:.8rem 0}
.layers>p{margin:0 0 .5rem}
.layers>div{display:flex;flex-wrap:wrap;gap:.4rem;justify-content:center;padding:.35rem 0;
 border-top:1px dotted var(--color-background-border)}
.layers span{border:1px solid currentColor;border-radius:4px;padding:.1rem .6rem;font-size:.85em}
.layers span.file{border-style:dashed}
"""


def layers(package: str) -> list[list[str]]:
    """Return the names in each layer of a package's import contract, the highest layer first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (found,) = [
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and contract["containers"] == [package]
    ]
    return [re.split(r"\s*[:|]\s*", layer) for layer in found]


def picture() -> str:
    """Return the layers of both packages as HTML: a row per layer, a box per folder or file."""
    return f"<style>{STYLE}</style>" + "".join(_layered(package) for package in PACKAGES)


def _layered(package: str) -> str:
    rows = "".join(
        f"<div>{''.join(_box(package, name) for name in layer)}</div>" for layer in layers(package)
    )
    return f'<div class="layers"><p><code>{package}</code></p>{rows}</div>'


def _box(package: str, name: str) -> str:
    if _is_folder(package, name):
        return f'<span class="folder">{escape(name)}/</span>'
    return f'<span class="file">{escape(name)}.py</span>'


def _is_folder(package: str, name: str) -> bool:
    return (PACKAGES[package] / name).is_dir()


def tables(package: str) -> str:
    """Return a table of the package's own files, then one per folder, in the order of layers."""
    names = [name for layer in layers(package) for name in layer]
    folders = [name for name in names if _is_folder(package, name)]
    files = [PACKAGES[package] / f"{name}.py" for name in names if name not in folders]
    parts = [_table(PACKAGES[package], files)] if files else []
    for name in folders:
        folder = PACKAGES[package] / name
        inside = [path for path in sorted(folder.rglob("*.py")) if path != folder / "__init__.py"]
        parts.append(f"### {name}/\n\n{said(folder / '__init__.py')}\n\n{_table(folder, inside)}")
    return "\n".join(parts)


def _table(folder: Path, files: list[Path]) -> str:
    rows = (f"| `{name}` | {said(path)} |" for name, path in _named(folder, files))
    return "\n".join(["| file | what |", "|---|---|", *rows, ""])


def _named(folder: Path, files: list[Path]) -> Iterator[tuple[str, Path]]:
    """Yield files with their paths in the folder; a package inside it is named as a folder."""
    for path in files:
        name = path.relative_to(folder).as_posix()
        yield name.removesuffix("__init__.py"), path


def said(path: Path) -> str:
    """Return the first line of a file's docstring as a table cell, empty if there is none."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].replace("``", "`").replace("|", "\\|")
