"""Sphinx configuration."""

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import behaviours
import casts
import findings
import indicators
import pictures
import reference
import tree
from docutils import nodes
from plotly.offline import get_plotlyjs
from sphinx.addnodes import pending_xref

from geom.store.file_format import FRAME_SCHEMA, SCHEMA

project = "geom"
author = "the geom authors"
copyright = "2026, the geom authors"
release = metadata.version("geom-unembed")
extensions = [
    "myst_nb",
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
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
html_theme = "furo"
html_title = "geom"
html_theme_options = {
    "light_css_variables": pictures.LIGHT,
    "dark_css_variables": pictures.DARK,
}
html_static_path = ["static"]
html_css_files = ["site.css"]

# what the kernel of the notebooks inherits
os.environ["PYTHONSTARTUP"] = str(Path(__file__).with_name("kernel.py"))
os.environ["HF_HUB_OFFLINE"] = "1"


def as_html(draw: Callable[[], str]) -> str:
    """Return a picture as a block of HTML."""
    return f"```{{raw}} html\n{draw()}\n```"


def architectures() -> str:
    """Return the table of architectures from the code."""
    from geom_plugins.architectures.table import ARCHITECTURES

    lines = [
        "| family | `model_type` | final norm, then unembedding | what is special |",
        "|---|---|---|---|",
    ]
    for kind, entry in ARCHITECTURES.items():
        norm = entry.final_norm if isinstance(entry.final_norm, str) else "as configured"
        head, embed = entry.heads[0], entry.embed[0]
        lines.append(
            f"| {entry.family} | `{kind}` | {entry.norm} `{norm}`, `{head}` or `{embed}` "
            f"| {entry.quirk} |"
        )
    return "\n".join(lines)


def swept_classes() -> str:
    """Return the table of transformers' classes, as the sweep over them wrote it."""
    lines = ["| type | class | result | how |", "|---|---|---|---|"]
    written = Path(__file__).with_name("transformers-classes.tsv").read_text("utf-8")
    for line in written.replace("|", "\\|").splitlines():
        kind, name, result, how = line.split("\t")
        lines.append(f"| `{kind}` | `{name}` | {result} | `{how}` |")
    return "\n".join(lines)


def larger_models() -> str:
    """Return the larger models that hold a language model of the table, with whose flag ties it."""
    from geom_plugins.architectures.multimodal import WRAPPERS

    lines = [
        "| family | `model_type` | language model, if none is named | tied by its flag |",
        "|---|---|---|---|",
    ]
    for kind, wrapper in WRAPPERS.items():
        default = "yes" if wrapper.tied else "no"
        owner = wrapper.flag if wrapper.flag == "inner" else f"{wrapper.flag}; {default} if absent"
        lines.append(f"| {wrapper.family} | `{kind}` | `{wrapper.text}` | {owner} |")
    return "\n".join(lines)


def without_a_readout() -> str:
    """Return the types that are refused by name, with the reason."""
    from geom_plugins.architectures.without_a_readout import WITHOUT_A_READOUT

    lines = ["| `model_type` | why |", "|---|---|"]
    return "\n".join(
        [*lines, *(f"| `{kind}` | {why} |" for kind, why in WITHOUT_A_READOUT.items())]
    )


MADE = {
    "models": {
        "ARCHITECTURES-FROM-THE-CODE": architectures,
        "LARGER-MODELS-FROM-THE-CODE": larger_models,
        "WITHOUT-A-READOUT-FROM-THE-CODE": without_a_readout,
    },
    "transformers": {"CLASSES-FROM-THE-SWEEP": swept_classes},
    "architecture": {
        "LAYERS-FROM-THE-CONTRACT": lambda: as_html(tree.picture),
        "HOST-FROM-THE-TREE": lambda: tree.tables("geom"),
        "PLUGINS-FROM-THE-TREE": lambda: tree.tables("geom_plugins"),
    },
    "commands": {"COMMANDS-FROM-THE-CODE": reference.commands},
    "run-file": {
        "SCHEMA-FROM-THE-CODE": lambda: f"```sql\n{SCHEMA.strip()}\n{FRAME_SCHEMA.strip()}\n```"
    },
    "plugins": {"PLUGINS-FROM-THE-CODE": reference.plugins},
    "index": {"PICTURE-OF-HULL": lambda: as_html(pictures.hull)},
    "questions": {
        f"PICTURE-OF-{name}": partial(as_html, draw) for name, draw in pictures.PICTURES.items()
    },
    "behaviour": {
        "PICTURE-OF-TENTHS": lambda: as_html(behaviours.tenths),
        "PICTURE-OF-TOKENS": lambda: as_html(behaviours.scatter),
        "TABLE-OF-GROUPS": behaviours.groups,
        "TABLE-OF-STRATA": behaviours.strata,
        "TABLE-OF-ALL": lambda: behaviours.predictions("all", "occurring"),
        "TABLE-OF-SAMPLE": lambda: behaviours.predictions("sample"),
        "TABLE-OF-FEW": lambda: behaviours.predictions("dear"),
        "TABLE-OF-ANGLES": lambda: behaviours.predictions("angles"),
    },
    "measures": {
        "TABLE-OF-RANKS": indicators.ranks,
        "PICTURE-OF-INDICATORS": lambda: as_html(indicators.picture),
    },
    "rounding": {
        "PICTURE-OF-CASTS": lambda: as_html(casts.picture),
        "TABLE-OF-CASTS": casts.table,
    },
    "gallery": {"TABLE-OF-MODELS": findings.models},
    **{
        f"gallery-{model}": {
            "CHART-OF-THE-HARDEST": partial(as_html, partial(findings.chart, model)),
            "TABLE-OF-THE-HARDEST": partial(findings.hardest, model),
            "TABLE-OF-THE-LOST": partial(findings.lost, model),
            "TABLE-OF-SAMPLING": partial(findings.sampling, model),
        }
        for model in findings.TITLES
    },
}
"""Page -> placeholder in its text -> function that makes the text to insert."""


def leave_shapes(app, doctree):
    """Unlink the words in types such as ``ndarray of shape (n, d)``: they are not names."""
    for link in list(doctree.findall(pending_xref)):
        if link["reftarget"] in ("V", "d", "k", "n", "shape"):
            link.replace_self(link.children)


def both_themes(app, doctree):
    """Show a picture on light pages, and on dark ones that whose name ends in ``-dark``, if any.

    Each leads to the picture in full size, which a width makes Sphinx do.
    """
    for picture in list(doctree.findall(nodes.image)):
        file = Path(app.env.doc2path(app.env.docname)).parent / picture["uri"]
        dark = file.with_name(f"{file.stem}-dark{file.suffix}")
        if dark.is_file():
            picture["width"] = "100%"
            other = picture.deepcopy()
            other["uri"] = picture["uri"].replace(file.name, dark.name)
            picture["classes"].append("only-light")
            other["classes"].append("only-dark")
            picture.parent.insert(picture.parent.index(picture) + 1, other)


def write_plotly(app):
    """Put plotly.js, which the figures of notebooks need, into the site."""
    if app.builder.format == "html":
        folder = Path(app.outdir, "_static")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plotly.js").write_text(get_plotlyjs(), encoding="utf-8")


def load_plotly(app, name, template, context, doctree):
    """Load plotly.js on the pages that have a figure, before it: the theme's scripts come last."""
    if "Plotly.newPlot" in context.get("body", ""):
        script = context["pathto"]("_static/plotly.js", resource=True)
        context["body"] = f'<script src="{script}"></script>\n{context["body"]}'


def setup(app):
    """Replace the placeholders in the pages by text made from the code."""

    def insert(app, name, source):
        for mark, made in MADE.get(name, {}).items():
            source[0] = source[0].replace(mark, made())

    app.connect("source-read", insert)
    app.connect("doctree-read", leave_shapes)
    app.connect("doctree-read", both_themes, priority=400)  # before Sphinx collects the pictures
    app.connect("builder-inited", write_plotly)
    app.connect("html-page-context", load_plotly)
