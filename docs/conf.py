"""Sphinx configuration."""

import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pictures
import reference
import tree
from sphinx.addnodes import pending_xref

from geom.store.file_format import SCHEMA

project = "geom"
author = "the geom authors"
copyright = "2026, the geom authors"
release = metadata.version("geom-unembed")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_type_aliases = {"Floats": "ndarray"}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_google_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]  # as a list, like parameters
default_role = "py:obj"
html_theme = "furo"
html_title = "geom"


def as_html(draw: Callable[[], str]) -> str:
    """Return a picture as a block of HTML."""
    return f"```{{raw}} html\n{draw()}\n```"


def architectures() -> str:
    """Return the table of architectures from the code, with the test of each row."""
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
    "architecture": {
        "LAYERS-FROM-THE-CONTRACT": lambda: as_html(tree.picture),
        "HOST-FROM-THE-TREE": lambda: tree.tables("geom"),
        "PLUGINS-FROM-THE-TREE": lambda: tree.tables("geom_plugins"),
    },
    "commands": {"COMMANDS-FROM-THE-CODE": reference.commands},
    "run-file": {"SCHEMA-FROM-THE-CODE": lambda: f"```sql\n{SCHEMA.strip()}\n```"},
    "plugins": {"PLUGINS-FROM-THE-CODE": reference.plugins},
    "questions": {
        f"PICTURE-OF-{name}": partial(as_html, draw) for name, draw in pictures.PICTURES.items()
    },
}
"""Page -> placeholder in its text -> function that makes the text to insert."""


def leave_shapes(app, doctree):
    """Unlink the letters in types such as ``ndarray of shape (n, d)``: they are not names."""
    for link in list(doctree.findall(pending_xref)):
        if link["reftarget"] in ("V", "d", "k", "n"):
            link.replace_self(link.children)


def setup(app):
    """Replace the placeholders in the pages by text made from the code."""

    def insert(app, name, source):
        for mark, made in MADE.get(name, {}).items():
            source[0] = source[0].replace(mark, made())

    app.connect("source-read", insert)
    app.connect("doctree-read", leave_shapes)
