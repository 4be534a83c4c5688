"""Opens a location: a path, or an address on the web, in an object store or on the Hub."""

from __future__ import annotations

from pathlib import Path

from geom import InputError, parse_address
from geom_plugins.checkpoints.folders import Folder, LocalFolder
from geom_plugins.checkpoints.hub import HubFolder
from geom_plugins.checkpoints.remote import RemoteFile
from geom_plugins.checkpoints.spans import ByteFile, LocalFile
from geom_plugins.checkpoints.transport import Store, Web, hidden


def local_path(location: str) -> Path:
    """Return a location as a path. Raises InputError for an address on another machine."""
    path = parse_address(location).path
    if path is None:
        raise InputError(f"{location.partition('://')[0]}:// is not read here; give a local file")
    return path


def open_file(location: str) -> ByteFile:
    """Open the file at a path, or at an address that `geom.parse_address` accepts.

    Raises InputError if there is no such file, or if the server cannot be reached.
    """
    place = parse_address(location)
    if place.path is not None:
        return LocalFile(place.path)
    if place.scheme == "hf":
        return open_address(place.text)
    web = place.scheme in ("http", "https")
    transport = Web(place.text) if web else Store(place.text)
    facts = transport.look()
    version = facts.validator and f"{hidden_user(place.text)} {facts.size} {facts.validator}"
    return RemoteFile(transport, transport.name, facts.size, version)


def open_address(location: str) -> ByteFile:
    """Open ``hf://OWNER/NAME[@REVISION]/FILE``; data sets and buckets go through fsspec."""
    parts = location.removeprefix("hf://").split("/", 2)
    if parts[0] in ("datasets", "spaces", "buckets", "kernels"):
        store = Store(location)
        facts = store.look()
        return RemoteFile(store, store.name, facts.size, None)
    if len(parts) != 3 or not all(parts):
        raise InputError(f"{location} names no file; write hf://OWNER/NAME/FILE")
    owner, name, file = parts
    name, _, revision = name.partition("@")
    return HubFolder(f"{owner}/{name}", revision or None).open(file)


def open_folder(location: str, revision: str | None) -> Folder:
    """Open the checkpoint's folder: a directory if there is one at that path, else the Hub."""
    if not location:
        raise InputError("model hf: names no checkpoint; write hf:DIRECTORY or hf:OWNER/NAME")
    path = parse_address(location).path
    if path is None:
        raise InputError(
            f"model hf: does not take a {location.partition('://')[0]}:// address; write "
            "hf:DIRECTORY or hf:OWNER/NAME"
        )
    if path.is_file():
        raise InputError(f"{path} is a file; give its directory, or safetensors:{path}")
    if path.is_dir():
        if revision is not None:
            raise InputError(f"{path} is a directory, and has no revision {revision!r}")
        return LocalFolder(path)
    return HubFolder(location, revision)


def hidden_user(location: str) -> str:
    """Return an address without its user and password, to name its bytes in the cache."""
    address, question, query = location.partition("?")
    return hidden(address) + question + query
