"""What the notebooks' kernel runs first: figures leave plotly.js to the page, and suit its colours.

A figure would otherwise bring plotly.js, 4 MB, into every page, or fetch it from a network.
"""

from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from plotly.io.base_renderers import MimetypeRenderer


class PageRenderer(MimetypeRenderer):
    """Shows a figure as HTML for a page that has plotly.js already."""

    def to_mimebundle(self, fig_dict: dict[str, Any]) -> dict[str, str]:
        """Return the figure as a block of HTML."""
        html = pio.to_html(
            fig_dict,
            full_html=False,
            include_plotlyjs=False,
            include_mathjax=False,
            config={"displayModeBar": False},
            default_height=440,
            validate=False,
        )
        return {"text/html": html}


CLEAR, GREY, FAINT = "rgba(0, 0, 0, 0)", "#808790", "rgba(128, 135, 144, 0.25)"
AXIS = {"gridcolor": FAINT, "zerolinecolor": FAINT, "linecolor": FAINT}

pio.renderers["page"] = PageRenderer()
pio.renderers.default = "page"
pio.templates["page"] = go.layout.Template(
    layout={
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"color": GREY},
        "margin": {"t": 40, "r": 20},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "title": {"text": ""}},
        "colorway": ["#4477aa", "#b8860b", "#c8372d", "#228833", "#aa3377"],
        "xaxis": AXIS,
        "yaxis": AXIS,
    }
)
pio.templates.default = "page"
