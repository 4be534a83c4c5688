"""Where a model may be opened: the one gate for every location, no matter who wrote it.

A location comes from the command line, a configuration file, a run file or Python. It is a path on
this machine, or an address of a protocol that is listed here by name. Nothing else reaches a
library: fsspec, which opens addresses, also knows protocols that read local files, chain other
protocols (``simplecache::``, ``reference::``) or fill in templates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import parse_qsl

from geom.errors import InputError
from geom.reprs import short_repr

Scheme = Literal["http", "https", "hf", "s3", "gs", "az"]
"""The web, the Hugging Face Hub, and the object stores of Amazon, Google and Azure."""

_KNOWN = "a local path, or an address with http://, https://, hf://, s3://, gs:// or az://"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_HOST = re.compile(r"://\[[0-9a-fA-F:.]*")
"""An IPv6 host, whose colons do not chain protocols."""


@dataclass(frozen=True)
class Address:
    """A place that may be opened: a local path, or an address of a known protocol.

    Attributes
    ----------
    text : str
        The location as it was given, with its scheme in lower case.
    scheme : {"http", "https", "hf", "s3", "gs", "az"} or None
        The protocol, None for a local path.
    path : Path or None
        The local path, None for an address.
    """

    text: str
    scheme: Scheme | None
    path: Path | None

    __repr__ = short_repr

    def is_within(self, folder: Path) -> bool:
        """Say whether the place is a path in a folder, also after links are followed.

        Parameters
        ----------
        folder : Path
            The folder.

        Returns
        -------
        bool
            False for an address, and for a network path of Windows.
        """
        # resolving a network path of Windows contacts its server
        if self.path is None or self.text.startswith(("//", "\\\\")):
            return False
        try:
            return self.path.resolve().is_relative_to(folder.resolve())
        except (OSError, RuntimeError):  # links in a circle
            return False


def parse_address(location: str) -> Address:
    """Parse a location that may be opened.

    A leading ``~`` of a path is the home folder. No variable, template or pattern is filled in.

    Parameters
    ----------
    location : str
        A path or an address.

    Returns
    -------
    Address
        The place.

    Raises
    ------
    InputError
        For a protocol that geom does not open, for chains of protocols and for control
        characters.
    """
    if _CONTROL.search(location):
        raise InputError(f"a location holds a control character; give {_KNOWN}")
    if "::" in _HOST.sub("://", location):
        raise InputError(f"a location chains protocols with ::; give {_KNOWN}")
    scheme, colon, rest = location.partition("://")
    if not colon:
        try:
            return Address(location, None, Path(location).expanduser())
        except RuntimeError as error:  # ~USER without such a user
            raise InputError(f"{location}: {error}; give the whole path") from error
    for known in get_args(Scheme):
        if scheme.lower() == known:
            return Address(f"{known}://{rest}", known, None)
    if scheme.lower() == "file":
        raise InputError("file:// is not a protocol geom opens; give the path alone")
    raise InputError(f"{scheme[:40]!r} is not a protocol geom opens; give {_KNOWN}")


def split_query(text: str, what: str) -> tuple[str, dict[str, str]]:
    """Split ``NAME?key=value&key=value`` into the name and its options, empty without a ``?``.

    Raises InputError if the query has another form; its message calls the text ``what``.
    """
    name, _, query = text.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    if query and len(pairs) != query.count("&") + 1:
        raise InputError(f"{what}: after the ? write key=value&key=value")
    return name, dict(pairs)
