"""``html``: a run as one page for a person to read, with nothing fetched from a network.

The page is `page/report.html.jinja` with its style, its script, plotly.js and the data of the run,
in one file. Token texts are hostile: they reach the page as JSON that no markup can end, the script
writes them as text and never as markup, and a content security policy allows only the two scripts
whose hashes it names, and no requests.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, BinaryIO

from geom import InputError, NoOptions, Reporter, Run, hookimpl, install_command
from geom_plugins.reporters.page_data import page_data


def write(run: Run, file: BinaryIO, options: NoOptions) -> None:
    """Write the page, in UTF-8. Raises InputError if plotly or Jinja2 is not installed."""
    try:
        from jinja2 import Environment, StrictUndefined
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise InputError(
            f"format html needs plotly and Jinja2: {install_command('report')}"
        ) from error
    here = files("geom_plugins.reporters").joinpath("page")
    text = {name: here.joinpath(name).read_text("utf-8") for name in ("report.css", "report.js")}
    # a script's text ends at the first </script, and plotly.js has one in a string
    plotly, script = (
        code.replace("</script", "<\\/script") for code in (get_plotlyjs(), text["report.js"])
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}
    template = environment.from_string(here.joinpath("report.html.jinja").read_text("utf-8"))
    parts: dict[str, Any] = {
        "data": page_data(run),
        "style": text["report.css"],
        "plotly": plotly,
        "script": script,
        "hashes": [_hash(plotly), _hash(script)],
    }
    for part in template.generate(parts):
        file.write(part.encode("utf-8", "backslashreplace"))


def _hash(script: str) -> str:
    """Return a script's name in a content security policy, with the line ends of HTML."""
    plain = script.replace("\r\n", "\n").replace("\r", "\n")
    digest = hashlib.sha256(plain.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@hookimpl
def geom_reporters() -> Iterator[Reporter[NoOptions]]:
    yield Reporter(
        "html", "a page to read, in one file", write, NoOptions, suffix=".html", text=False
    )
