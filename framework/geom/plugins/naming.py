"""Which source reads a model that a user names without one: ``x.gguf``, a folder, ``OWNER/NAME``.

Only what a user writes is completed. A name in a run file is stored with its source and read as it
stands, so that the author of the file cannot make geom look for a path or ask the Hub.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from geom.errors import AbsentError, InputError, demand, near_names, unknown
from geom.files.addresses import Scheme, parse_address, split_query
from geom.model.source import Source, without_user
from geom.plugins.registry import installed

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[^\s@]+)?")

_ALIKE = 0.75
"""How like a source's name a word is that is taken for a slip, not for a model of the Hub."""

_LETTERS = 4
"""The fewest letters of a source's name, or of a part of one, that another word may mean."""


def named_source(text: str) -> Source:
    """Return the source of a model that a user names, with its location and options.

    A name that begins with an installed source and a colon is read as it stands, and so is a
    source's name alone. Any other is, in this order: an existing file, whose suffix some source
    reads; an existing folder with a file by which some source knows it; an address, by the suffix
    of its path; an id of the Hub. Raises InputError if no source is found.
    """
    what = f"model {without_user(text)!r}"
    address, query = split_query(text, what)
    prefix, colon, rest = address.partition(":")
    if colon and rest.startswith("//") and prefix.lower() in get_args(Scheme):
        return Source(_of_address(address), address, query)
    names = {record.name for record in _records()}
    if prefix in names or not address:
        return Source.parse(text)
    path = parse_address(address).path
    if path is not None and os.path.exists(path):
        return Source(_of_path(path, address), address, query)
    if colon:
        raise unknown("source", prefix, names)
    if _is_path(address):
        folder, name = os.path.split(address.rstrip("/"))
        near = [os.path.join(folder, found) for found in _near(name, folder)]
        if near:
            raise InputError(f"{address} does not exist: {_meant(near)}")
        raise InputError(
            f"{address} does not exist; give a file or a folder that does, or "
            f"SOURCE:{address} for a place that is not on this machine"
        )
    _refuse_plugin(address)
    return Source(_of_hub_id(address, names), address, query)


_OPTIONS = {
    "detector": "--detector",
    "certifier": "--certifier",
    "precision": "--precision",
    "measure": "--measure",
    "reporter": "--format",
    "executor": "--executor",
}
"""The options of the command line that take the names of plugins, by kind."""


def _refuse_plugin(name: str) -> None:
    """Raise InputError if the name is that of a plugin of another kind: ``-m`` is ``--model``."""
    kinds = [item.kind for item in installed().listed() if item.record.name == name]
    for kind in kinds:
        raise InputError(
            f"{name} is a {kind}, not a model: give it with {_OPTIONS.get(kind, kind)} {name} "
            "(-m is short for --model)"
        )


@contextmanager
def explained(text: str | Source, asked: Source) -> Iterator[None]:
    """Add, to the error for a name that is nothing and not on the Hub either, what it may mean.

    ``asked`` is what `named_source` made of the text.
    """
    try:
        yield
    except AbsentError as error:
        name = asked.location
        if not isinstance(text, str) or text.startswith(f"{asked.name}:") or error.name != name:
            raise
        sources = [record.name for record in _records() if name in record.name]
        near = _near(name, "", *(sources if len(name) >= _LETTERS else ()))
        remedy = _meant([] if "/" in name else near)
        raise AbsentError(
            f"{name} is no source, and no file or folder here{remedy and f' ({remedy})'}; as an id "
            f"of the Hub: {error}",
            name,
        ) from error


def _meant(near: list[str]) -> str:
    """Ask whether one of the names was meant, or say nothing if there is none."""
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""


def _near(name: str, folder: str, *others: str) -> list[str]:
    """Return what is nearly called so: of the files and folders that some source reads, or others.

    A file may be meant without its suffix.
    """
    entries = _readable(folder)
    exact = [entry for entry in entries if os.path.splitext(entry)[0] == name]
    if exact:
        return exact[:3]
    by_stem = {os.path.splitext(entry)[0]: entry for entry in entries}
    meant = by_stem | {known: known for known in (*others, *entries)}
    return list(dict.fromkeys(meant[found] for found in near_names(name, list(meant))))


def _readable(folder: str) -> list[str]:
    """Return the names of the files and folders in a folder that some source reads."""
    try:
        entries = sorted(os.scandir(os.path.expanduser(folder) or "."), key=lambda item: item.name)
    except OSError:
        return []
    return [entry.name for entry in entries if any(map(_reads(Path(entry.path)), _records()))]


def _of_path(path: Path, shown: str) -> str:
    """Return the name of the source that reads an existing file or folder."""
    found = _first(lambda record: _claims(record, path)) or _first(_reads(path))
    if found is None:
        if path.is_file():
            known = f"files it knows by their names: {', '.join(_all('suffixes'))}"
        else:
            known = f"a folder is a checkpoint if it has one of {', '.join(_all('folders'))}"
        raise InputError(
            f"{shown}: geom does not know which source reads it; write SOURCE:{shown} ({known})"
        )
    return found


def _claims(record: Any, path: Path) -> bool:
    """Return whether a source says that it alone reads an existing folder."""
    if record.claims is None or not path.is_dir():
        return False
    return bool(demand(f"source {record.name}", lambda: record.claims(path)))


def _reads(path: Path) -> Callable[[Any], bool]:
    """Return whether a source, by its record, reads an existing file or folder."""
    if path.is_file():
        return lambda record: path.name.lower().endswith(record.suffixes)
    return lambda record: any((path / name).exists() for name in record.folders)


def _of_address(address: str) -> str:
    """Return the name of the source that reads an address, by its suffix, else as a page."""
    end = urlsplit(address).path.lower()
    found = _first(lambda record: end.endswith(record.suffixes)) or _first(_takes_ids)
    if found is None:
        raise InputError(f"{without_user(address)} names no source; write SOURCE:ADDRESS")
    return found


def _of_hub_id(name: str, sources: set[str]) -> str:
    """Return the name of the source that reads ids of the Hub, for a name that may be one."""
    likely = [source for source in sources if len(source) >= _LETTERS]
    slip = get_close_matches(name, likely, n=1, cutoff=_ALIKE)
    found = _first(_takes_ids)
    if slip or found is None or not _HUB_ID.fullmatch(name):
        if not slip:
            raise unknown("source", name, sources)
        raise InputError(
            f"unknown source {name!r}: did you mean {slip[0]!r}? a model of that name on the Hub "
            f"is {found}:{name}"
        )
    return found


def _is_path(name: str) -> bool:
    """Return whether a name can only be meant as a path, or is in a folder that exists."""
    if name.startswith((".", "~", "/")) or "\\" in name or name.endswith("/"):
        return True
    if name.count("/") > 1 and "@" not in name:
        return True
    owner, slash, _ = name.partition("/")
    if slash and os.path.isdir(owner):
        return True
    return _first(lambda record: name.lower().endswith(record.suffixes)) is not None


def _takes_ids(record: Any) -> bool:
    return bool(record.hub_ids)


def _first(fits: Callable[[Any], bool]) -> str | None:
    """Return the name of the source that fits, None if there is none.

    Raises InputError if several do, because only the user can tell them apart.
    """
    found = [record.name for record in _records() if fits(record)]
    if len(found) > 1:
        raise InputError(
            f"the sources {', '.join(found)} all read such a model: write SOURCE:LOCATION"
        )
    return found[0] if found else None


def _all(field: str) -> list[str]:
    """Return what the sources declare in a field, in the order of their names."""
    return [value for record in _records() for value in getattr(record, field)]


def _records() -> list[Any]:
    """Return the records of the installed sources."""
    return [item.record for item in installed().listed() if item.kind == "source"]
