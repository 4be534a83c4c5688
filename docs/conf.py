"""Sphinx configuration."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "geom"
author = "the geom authors"
copyright = "2026, the geom authors"
release = metadata.version("geom-unembed")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
default_role = "literal"
html_theme = "furo"
html_title = "geom"


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


def picture() -> str:
    """What imports what, as a block of HTML."""
    from import_diagram import svg

    return f"```{{raw}} html\n{svg()}\n```"


MADE = {
    "models": {"ARCHITECTURES-FROM-THE-CODE": architectures},
    "architecture": {"IMPORTS-FROM-THE-CODE": picture},
}
"""Page -> what stands in its text -> what makes what stands there on the site."""


def setup(app):
    """Put what is made from the code where the pages ask for it."""

    def insert(app, name, source):
        for mark, made in MADE.get(name, {}).items():
            source[0] = source[0].replace(mark, made())

    app.connect("source-read", insert)
