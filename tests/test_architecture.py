"""The architecture page shows the tree as it is."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
TREE = runpy.run_path(str(ROOT / "docs" / "tree.py"))

PLACES = sorted(set(re.findall(r"`((?:framework|plugins)/[^`]+)`", PAGE)))


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_the_page_names_is_there(place: str) -> None:
    assert (ROOT / place).is_dir() if place.endswith("/") else (ROOT / place).exists()


@pytest.mark.parametrize("package", TREE["PACKAGES"])
def test_the_layers_and_the_tables_hold_every_file(package: str) -> None:
    folder = TREE["PACKAGES"][package]
    drawn = {name for layer in TREE["layers"](package) for name in layer}
    there = {path.stem for path in folder.iterdir() if path.suffix == ".py"}
    there |= {path.parent.name for path in folder.glob("*/__init__.py")}
    assert drawn == there - {"__init__"}

    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", TREE["tables"](package), re.MULTILINE)
    assert all(what.endswith(".") for _, what in rows)
    assert len(rows) == len(list(folder.rglob("*.py"))) - len(
        [*folder.glob("__init__.py"), *folder.glob("*/__init__.py")]
    )
