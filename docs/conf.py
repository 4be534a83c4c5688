"""Sphinx configuration."""

import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import import_diagram
import pictures
import reference
from sphinx.util import logging

from geom.store.file_format import SCHEMA

project = "geom"
author = "the geom authors"
copyright = "2026, the geom authors"
release = metadata.version("geom-unembed")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
default_role = "literal"
html_theme = "furo"
html_title = "geom"


def as_html(draw: Callable[[], str]) -> str:
    """A picture as a block of HTML."""
    return f"```{{raw}} html\n{draw()}\n```"


def architectures() -> str:
    """The table of architectures, from the code, each row with the test that covers it."""
    from geom_plugins.checkpoints.architectures import ARCHITECTURES

    lines = [
        "| family | test | final norm, then unembedding | what is special |",
        "|---|---|---|---|",
    ]
    for kind, entry in ARCHITECTURES.items():
        norm = entry.final_norm if isinstance(entry.final_norm, str) else "as configured"
        head, embed = (name.removesuffix(".weight") for name in (entry.heads[0], entry.embed))
        lines.append(
            f"| {entry.family} | `[{kind}]` | {entry.norm} `{norm}`, `{head}` or `{embed}` "
            f"| {entry.quirk} |"
        )
    return "\n".join(lines)


MADE = {
    "models": {"ARCHITECTURES-FROM-THE-CODE": architectures},
    "architecture": {"IMPORTS-FROM-THE-CODE": lambda: as_html(import_diagram.svg)},
    "commands": {"COMMANDS-FROM-THE-CODE": reference.commands},
    "run-file": {"SCHEMA-FROM-THE-CODE": lambda: f"```sql\n{SCHEMA.strip()}\n```"},
    "plugins": {"PLUGINS-FROM-THE-CODE": reference.plugins},
    "questions": {
        f"PICTURE-OF-{name}": partial(as_html, draw) for name, draw in pictures.PICTURES.items()
    },
}
"""Page -> what stands in its text -> what makes what stands there on the site."""


def undocumented(app, env):
    """Warn of public names that no page explains."""
    import geom

    known = {name.rpartition(".")[2] for name in env.get_domain("py").objects}
    for name in sorted(set(geom.__all__) - known):
        logging.getLogger(__name__).warning("geom.%s is on no page", name)


def setup(app):
    """Put what is made from the code where the pages ask for it."""

    def insert(app, name, source):
        for mark, made in MADE.get(name, {}).items():
            source[0] = source[0].replace(mark, made())

    app.connect("source-read", insert)
    app.connect("env-check-consistency", undocumented)
