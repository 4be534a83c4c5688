"""Where a readout comes from, as a value: the source's name, its location and the query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from geom.errors import InputError
from geom.files.addresses import split_query


@dataclass(frozen=True)
class Source:
    """Where a readout comes from; as text ``NAME:LOCATION?key=value``, which `geom.load` takes.

    Attributes
    ----------
    name : str
        The name of the model source.
    location : str
        What the source loads: a path, an address or a name; empty if it needs none.
    query : dict of str to object
        The options of the source, and ``bias``.
    """

    name: str
    location: str = ""
    query: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        address = f"{self.name}:{self.location}" if self.location else self.name
        return f"{address}?{urlencode(self.query, safe='/:,')}" if self.query else address

    def __repr__(self) -> str:
        return repr(str(self))

    @classmethod
    def parse(cls, text: str) -> Source:
        """Parse the text of a source.

        Parameters
        ----------
        text : str
            ``NAME:LOCATION?key=value``.

        Returns
        -------
        Source
            The source that the text names.

        Raises
        ------
        InputError
            If the text has a different form.
        """
        what = f"model {without_user(text)!r}"
        address, query = split_query(text, what)
        name, _, location = address.partition(":")
        if not name:
            raise InputError(f"{what}: write SOURCE:LOCATION?key=value, as in npz:FILE.npz")
        return cls(name, location, query)


PYTHON = Source("python")
"""The source of arrays given in Python."""


def without_user(location: str) -> str:
    """Return the location without the user and password of a URL, which no run file should keep."""
    return re.sub(r"(?<=://)[^/?#]*@", "***@", location)
