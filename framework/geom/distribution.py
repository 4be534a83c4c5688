"""The distribution that geom is installed as, and the command that adds one of its extras."""

from __future__ import annotations

import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

DISTRIBUTION = "geom-unembed"
"""Its name in an index of packages."""


def install_command(extra: str) -> str:
    """Return the command that installs an extra of geom the way geom was installed.

    A copy from a folder, such as a checkout, gets its extra from the same folder, and one from an
    address from there; any other gets it from the index.

    Parameters
    ----------
    extra : str
        The extra, such as ``torch``.

    Returns
    -------
    str
        The command, for a shell.
    """
    origin = _origin()
    url = str(origin.get("url", ""))
    folder = origin.get("dir_info")
    if isinstance(folder, dict):
        path = Path(url2pathname(urlsplit(url).path))
        if path.is_dir():
            editable = "-e " if folder.get("editable") else ""
            return f"python -m pip install {editable}{shlex.quote(f'{path}[{extra}]')}"
    version = origin.get("vcs_info")
    if isinstance(version, dict):
        place = f"{version.get('vcs')}+{url}@{version.get('commit_id')}"
        return f"python -m pip install {shlex.quote(f'{DISTRIBUTION}[{extra}] @ {place}')}"
    return f"python -m pip install '{DISTRIBUTION}[{extra}]'"


def _origin() -> dict[str, Any]:
    """Return what the installer wrote of a direct origin (PEP 610), empty for one from an index."""
    try:
        text = distribution(DISTRIBUTION).read_text("direct_url.json")
        found = json.loads(text or "{}")
    except (PackageNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
