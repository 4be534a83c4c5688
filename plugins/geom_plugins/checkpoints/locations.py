"""Opens a location: a path, or an address on the web, in an object store or on the Hub."""

from __future__ import annotations

from pathlib import Path

from geom import InputError, parse_address
from geom_plugins.checkpoints.folders import Folder, LocalFolder
from geom_plugins.checkpoints.hub import HubFolder
from geom_plugins.checkpoints.hub_addresses import (
    HubPlace,
    pasted_file,
    pasted_place,
    written_place,
)
from geom_plugins.checkpoints.hub_cache import cached_snapshot, is_repository
from geom_plugins.checkpoints.remote import RemoteFile
from geom_plugins.checkpoints.spans import ByteFile, LocalFile
from geom_plugins.checkpoints.transport import Store, Web, hidden

_OTHER_REPOSITORIES = ("datasets", "spaces", "buckets", "kernels")


def local_path(location: str) -> Path:
    """Return a location as a path. Raises InputError for an address on another machine."""
    path = parse_address(location).path
    if path is None:
        raise InputError(f"{location.partition('://')[0]}:// is not read here; give a local file")
    return path


def open_file(location: str) -> ByteFile:
    """Open the file at a path, or at an address that `geom.parse_address` accepts.

    The address of a page of the Hub that shows a file is the file's. Raises InputError if there is
    no such file, or if the server cannot be reached.
    """
    place = parse_address(location)
    if place.path is not None:
        return LocalFile(place.path)
    if place.scheme == "hf":
        return open_address(place.text)
    web = place.scheme in ("http", "https")
    pasted = pasted_file(place.text) if web else None
    if pasted is not None:
        return _open_on_hub(pasted, location)
    transport = Web(place.text) if web else Store(place.text)
    facts = transport.look()
    version = facts.validator and f"{hidden_user(place.text)} {facts.size} {facts.validator}"
    return RemoteFile(transport, transport.name, facts.size, version)


def open_address(location: str) -> ByteFile:
    """Open ``hf://OWNER/NAME[@REVISION]/FILE``; data sets and buckets go through fsspec."""
    rest = location.removeprefix("hf://")
    if rest.partition("/")[0] in _OTHER_REPOSITORIES:
        store = Store(location)
        facts = store.look()
        return RemoteFile(store, store.name, facts.size, None)
    return _open_on_hub(written_place(rest), location)


def open_folder(location: str, revision: str | None) -> Folder:
    """Open the checkpoint's folder: a directory if there is one at that path, else the Hub.

    A model's folder in the Hub's cache stands for the snapshot of the revision in it.
    """
    if not location:
        raise InputError("model hf: names no checkpoint; write hf:DIRECTORY or hf:OWNER/NAME")
    address = parse_address(location)
    path = address.path
    if path is not None and path.is_dir():
        return _local_folder(path, revision)
    if path is not None and path.is_file():
        raise InputError(f"{path} is a file; give its directory, or safetensors:{path}")
    place = _place_on_hub(location)
    if revision is not None and place.revision not in (None, revision):
        raise InputError(
            f"{location} names the revision {place.revision!r}, and ?revision= another, "
            f"{revision!r}; give one of them"
        )
    chosen = place.revision if revision is None else revision
    return HubFolder(place.repo_id, chosen, place.inside)


def loadable(location: str, revision: str | None) -> tuple[str, str | None]:
    """Return what transformers loads for a location: a directory or a Hub id, and a revision.

    Raises InputError for a folder inside a repository.
    """
    folder = open_folder(location, revision)
    if isinstance(folder, LocalFolder):
        return str(folder.root), None
    assert isinstance(folder, HubFolder)
    if folder.inside:
        raise InputError(
            f"{folder.name} is a folder of a repository, which is not loaded whole; fetch it, and "
            "give the directory"
        )
    return folder.repo_id, folder.revision


def hidden_user(location: str) -> str:
    """Return an address without its user and password, to name its bytes in the cache."""
    address, question, query = location.partition("?")
    return hidden(address) + question + query


def _local_folder(path: Path, revision: str | None) -> LocalFolder:
    if is_repository(path):
        return LocalFolder(cached_snapshot(path, revision))
    if revision is not None:
        raise InputError(f"{path} is a directory, and has no revision {revision!r}")
    return LocalFolder(path)


def _place_on_hub(location: str) -> HubPlace:
    """Return the folder on the Hub that a location names, if it names no directory here."""
    pasted = pasted_place(location)
    if pasted is not None:
        if pasted.is_file:
            raise InputError(
                f"{location} is the address of a file; write "
                f"hf:{pasted.repo_id}@{pasted.revision}, or {_kind(pasted.inside)}:{location}"
            )
        return pasted
    scheme, colon, rest = location.partition("://")
    if colon and scheme.lower() != "hf":
        raise InputError(
            f"model hf: does not take a {scheme}:// address; write hf:DIRECTORY or hf:OWNER/NAME"
        )
    written = written_place(rest if colon else location)
    if written is not None and written.revision is not None:
        return written
    return HubPlace(rest if colon else location)  # refused by the Hub's own rules, if it is no id


def _open_on_hub(place: HubPlace | None, location: str) -> ByteFile:
    if place is None or not place.inside:
        raise InputError(f"{location} names no file; write hf://OWNER/NAME/FILE")
    return HubFolder(place.repo_id, place.revision).open(place.inside)


def _kind(file: str) -> str:
    return "gguf" if file.endswith(".gguf") else "safetensors"
