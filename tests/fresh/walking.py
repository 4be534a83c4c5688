"""A documentation page, followed as a reader would: files written, commands typed.

A block of the language ``console`` holds commands after ``$``, each followed by what it prints;
``...`` stands for anything, within a line or for several lines, and table rules are not compared. A
code block with a caption is a file of that name; any other Python block is run. A comment ``<!--
not run: WHY -->`` before a block excuses it. If machines differ in what a solver returns, ``<!--
numbers vary -->`` excuses those lines of the block that hold a digit.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs"

_BLOCK = re.compile(
    r"(?P<excuse><!-- not run: [^>]+ -->\n+)?"
    r"(?P<varies><!-- numbers vary -->\n+)?"
    r"^```(?P<language>[^\n]*)\n(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    caption: str | None
    body: str
    excused: bool
    varies: bool


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page, in order."""
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        language, body = match["language"].strip(), match["body"]
        caption = None
        if language.startswith("{code-block}"):
            language = language.split()[1]
            options, _, rest = body.partition("\n\n")
            if options.startswith(":"):
                body = rest
                found = re.search(r"^:caption: (\S+)$", options, re.MULTILINE)
                caption = found and found[1]
        yield Block(
            language, caption, body, match["excuse"] is not None, match["varies"] is not None
        )


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands of a console block, each with the output lines that the page claims."""
    for part in re.split(r"^\$ ", block.body, flags=re.MULTILINE)[1:]:
        lines = part.replace("\\\n", " ").splitlines()
        said = [line for line in lines[1:] if line.strip()]
        yield lines[0], [line for line in said if not (block.varies and re.search(r"\d", line))]


def walk(page: Path, folder: Path) -> int:
    """Do all that a page says, in that folder, and return how many commands and programs ran.

    Raises AssertionError if a command fails or prints something else.
    """
    count = 0
    for program in DOCS.glob("check_*.py"):
        (folder / program.name).write_bytes(program.read_bytes())
    for block in blocks(page):
        if block.excused:
            continue
        if block.caption is not None:
            path = folder / block.caption
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")
        elif block.language == "python":
            typed([sys.executable, "-W", "error", "-c", block.body], folder)
            count += 1
        elif block.language == "console":
            for command, said in commands(block):
                shows(command, said, typed(["bash", "-c", command], folder))
                count += 1
    return count


def typed(words: list[str], folder: Path) -> str:
    """Return the output of a command, with this environment's programs first on the path."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        words,
        cwd=folder,
        env=os.environ | {"PATH": programs, "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{words[-1]}\n{done.stdout}"
    return done.stdout


def shows(command: str, said: list[str], printed: str) -> None:
    """Assert that the lines shown on the page were printed, in that order."""
    lines = iter(printed.splitlines())
    for line in said:
        if line.strip() == "..." or not line.strip(" ─"):
            continue
        parts = map(re.escape, " ".join(line.split()).split("..."))
        pattern = re.compile(".*".join(part.replace("\\ ", r"\s+") for part in parts))
        assert any(pattern.search(shown.strip()) for shown in lines), (
            f"$ {command}\nis said to print\n{line}\nand prints\n{printed}"
        )
