"""Every page of the documentation, followed as its reader would follow it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from walking import DOCS, blocks, shows, typed, walk

README = DOCS.parent / "README.md"

PAGES = [README, *sorted(DOCS.glob("*.md"))]

INSTALLED = ("geom-along-centroid", "geom-perceptron", "geom-small-norm")
"""The packages that the pages install."""


def to_do(page: Path) -> int:
    """Return the number of commands and programs on a page that are not excused."""
    mine = [block for block in blocks(page) if not block.excused and block.caption is None]
    commands = sum(block.body.count("\n$ ") + 1 for block in mine if block.language == "console")
    return commands + sum(block.language == "python" for block in mine)


@pytest.mark.parametrize("page", [*filter(to_do, PAGES)], ids=lambda page: page.stem)
def test_a_page_says_what_happens(page: Path, tmp_path: Path) -> None:
    try:
        assert walk(page, tmp_path) == to_do(page)
    finally:
        pip = [sys.executable, "-m", "pip", "uninstall", "-q", "-y", *INSTALLED]
        subprocess.run(pip, capture_output=True, check=True)


def test_no_line_is_taken_for_a_comment() -> None:
    """MyST leaves out a line that begins with a percent sign."""
    for page in [*PAGES, *DOCS.glob("notebooks/*.md")]:
        prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        assert re.findall(r"^ {0,3}%.*", prose, re.MULTILINE) == [], page


def test_what_is_excused_is_little_and_the_rest_is_much() -> None:
    assert sum(map(to_do, PAGES)) > 70
    excused = [block for page in PAGES for block in blocks(page) if block.excused]
    assert len(excused) < 20


def test_the_readme_names_commands_and_options_that_exist(tmp_path: Path) -> None:
    """The table of questions: what stands between backticks and starts with ``geom``."""
    table = re.findall(r"^\| [^|]+ \| ([^|]+) \| \[", README.read_text("utf-8"), re.MULTILINE)
    named = [words.split() for cell in table for words in re.findall(r"`(geom [^`]+)`", cell)]
    assert len(named) >= 12
    for words in named:
        printed = typed(["geom", words[1], "--help"], tmp_path)
        assert all(word in printed for word in words if word.startswith("--")), words


def test_the_readme_shows_what_its_first_command_prints(tmp_path: Path) -> None:
    command = "geom run --detector self-argmax --certifier highs"
    first, shown = [block for block in blocks(README) if block.language in ("console", "text")][:2]
    assert first.body.strip().endswith(command)
    verdicts, _, rows = shown.body.partition("\n\n")
    printed = typed(["bash", "-c", command], tmp_path)
    shows(command, [*verdicts.splitlines(), rows.splitlines()[0]], printed)
