"""Sphinx configuration."""

from importlib import metadata

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
autodoc_member_order = "bysource"
autodoc_typehints = "description"
default_role = "literal"
html_theme = "furo"
html_title = "geom"
