"""Places on the Hub, as people write them and as they copy them from its pages.

``OWNER/NAME``, ``OWNER/NAME@REVISION`` and ``OWNER/NAME@REVISION/FILE``, with or without ``hf://``,
and the addresses of its pages: ``https://huggingface.co/OWNER/NAME/tree/REVISION/FOLDER``, and with
``blob``, ``resolve`` or ``raw`` instead of ``tree`` those of a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from geom import InputError

_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_OTHERS = ("datasets", "spaces", "buckets", "kernels", "collections", "papers", "docs", "models")
"""The first parts of addresses that are not those of a model."""

_PAGES = ("tree", "blob", "resolve", "raw")
_NESTED = ("refs/pr/", "refs/convert/")
"""The beginnings of revisions of three parts: pull requests, and conversions by the Hub."""

_PLACE = re.compile(r"([\w.-]+/[\w.-]+)(?:@(refs/[\w-]+/[^/]+|[^/]+))?(?:/(.+))?")


@dataclass(frozen=True)
class HubPlace:
    """A model repository on the Hub, a revision or None, and a path inside, empty if none.

    ``is_file`` says that the path is a file's; if not, that is not known.
    """

    repo_id: str
    revision: str | None = None
    inside: str = ""
    is_file: bool = False


def written_place(location: str) -> HubPlace | None:
    """Read ``OWNER/NAME[@REVISION][/PATH]``; None if it has another form."""
    found = _PLACE.fullmatch(location)
    return None if found is None else HubPlace(found[1], found[2], found[3] or "")


def pasted_place(location: str) -> HubPlace | None:
    """Read the address of a page of the Hub; None if it is not an address of the Hub.

    Besides the Hub's own hosts, the host of HF_ENDPOINT counts. Raises InputError for a page that
    is not a model's.
    """
    text = location if "://" in location else f"https://{location}"
    try:
        parts = urlsplit(text.strip())
    except ValueError:  # no address at all, which whoever opens it says
        return None
    if parts.scheme not in ("http", "https") or parts.netloc.lower() not in _hosts():
        return None
    steps = [unquote(step) for step in parts.path.strip("/").split("/")]
    if not all(steps) or steps[0] in _OTHERS:
        raise InputError(
            f"{location} is not the address of a model on the Hub; write hf:OWNER/NAME"
        )
    if "://" not in location and len(steps) < 2:
        return None
    name = 1 if len(steps) == 1 or steps[1] in _PAGES else 2  # the oldest models have no owner
    repo_id, rest = "/".join(steps[:name]), steps[name:]
    if not rest:
        return HubPlace(repo_id)
    if rest[0] not in _PAGES or len(rest) < 2:
        raise InputError(
            f"{location} is a page of {repo_id} that names no files; write hf:{repo_id}"
        )
    length = 3 if "/".join(rest[1:3]) + "/" in _NESTED and len(rest) > 3 else 1
    inside = "/".join(rest[1 + length :])
    if rest[0] != "tree" and not inside:
        raise InputError(f"{location} names no file; copy the whole address")
    return HubPlace(repo_id, "/".join(rest[1 : 1 + length]), inside, rest[0] != "tree")


def pasted_file(location: str) -> HubPlace | None:
    """Read the address of a page of the Hub that shows a model's file; None for any other."""
    try:
        place = pasted_place(location)
    except InputError:
        return None
    return place if place is not None and place.is_file else None


def _hosts() -> set[str]:
    from huggingface_hub import constants

    return {*_HOSTS, urlsplit(constants.ENDPOINT).netloc.lower()}
