"""Runs with hostile token texts, their reports, and an HTML parser's view of a page."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

import geom
from geom import NoOptions, Readout, Run
from geom_plugins.reporters import html_page

HOSTILE = [
    "</script><script>document.title = 'taken'</script>",
    "<img src=x onerror=\"document.title = 'taken'\">",
    "a\u202eb",
    "\x00\x1b[2J",
    "{{ 7 * 7 }}",
    "<b>bold</b> & 'quoted' \"twice\"",
    "\ud800 alone",
    "\u2028<!--",
]

SHOWN = [
    *(geom.visible(text) for text in HOSTILE[:-2]),
    r'"\\ud800 alone"',
    r'"\u2028<!--"',
]
"""The hostile texts as a page shows them."""


def hostile() -> Run:
    """Run a cube whose corners have the texts in `HOSTILE`, and a point inside it."""
    corners = [[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)]
    readout = Readout.fold([*corners, [0.1, 0.2, 0.3]], tokens=[*HOSTILE, "inside"])
    return geom.run(readout, detectors=["self-argmax"], tokens="all")


def page_of(run: Run) -> str:
    """Return the report of a run."""
    file = BytesIO()
    html_page.write(run, file, NoOptions())
    return file.getvalue().decode("utf-8")


class Page(HTMLParser):
    """The contents of a page: its elements, the texts of its scripts, and its data."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(page)
        self.close()
        self.data: dict[str, Any] = json.loads(self.scripts[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record an element."""
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._in_script = True
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a script."""
        if tag == "script":
            self._in_script = False

    def handle_data(self, data: str) -> None:
        """Keep text that is inside a script."""
        if self._in_script:
            self.scripts[-1] += data


def numbers(text: str, kind: str) -> NDArray[Any]:
    """Decode a column of the page."""
    return np.frombuffer(base64.b64decode(text), dtype=kind)
