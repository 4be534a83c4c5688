"""Where a readout comes from, as a value: the source's name, its location and the query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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

    def edited(self, **values: Any) -> Source:
        """Name a readout whose head was changed, as these options of a name change it.

        Parameters
        ----------
        **values : object
            The options, as in ``cast="q8_0"``.

        Returns
        -------
        Source
            This source with the options; `PYTHON` if no name says what was done, because options
            are applied in the order of `EDITS` and one of those that follow was applied already.
        """
        first = min((EDITS.index(name) for name in values if name in EDITS), default=len(EDITS))
        if self == PYTHON or any(name in self.query for name in EDITS[first:]):
            return PYTHON
        return replace(self, query={**self.query, **values})

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


EDITS = ("new", "rows", "cast")
"""The options that change the head of any source, in the order in which they are applied."""

PYTHON = Source("python")
"""The source of arrays given in Python."""


def without_user(location: str) -> str:
    """Return the location without the user and password of a URL, which no run file should keep."""
    return re.sub(r"(?<=://)[^/?#]*@", "***@", location)
