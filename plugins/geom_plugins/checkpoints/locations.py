"""Which place is opened by what: a path, an address on the web, in a store, or on the Hub."""

from __future__ import annotations

from pathlib import Path

from geom import InputError, parse_address
from geom_plugins.checkpoints.folders import Folder, LocalFolder
from geom_plugins.checkpoints.hub import HubFolder
from geom_plugins.checkpoints.remote import RemoteFile
from geom_plugins.checkpoints.spans import ByteFile, LocalFile
from geom_plugins.checkpoints.transport import Store, Web, hidden


def local_path(location: str) -> Path:
    """The path that a location is. Raises InputError for the address of another machine."""
    path = parse_address(location).path
    if path is None:
        raise InputError(f"{location.partition('://')[0]}:// is not read here; give a local file")
    return path


def open_file(location: str) -> ByteFile:
    """The file at a path or an address, of those that `geom.parse_address` lets through.

    Raises InputError where there is none, or where the server cannot be asked.
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
    """The file at ``hf://OWNER/NAME[@REVISION]/FILE``; of data sets and buckets through fsspec."""
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
    """Where the checkpoint's files are: a directory where there is one, else the Hub."""
    if not location:
        raise InputError("model hf: names no checkpoint; write hf:DIRECTORY or hf:OWNER/NAME")
    path = parse_address(location).path
    if path is None:
        raise InputError(
            f"model hf: takes no {location.partition('://')[0]}:// address; write hf:DIRECTORY or "
            "hf:OWNER/NAME"
        )
    if path.is_file():
        raise InputError(f"{path} is a file; give its directory, or safetensors:{path}")
    if path.is_dir():
        if revision is not None:
            raise InputError(f"{path} is a directory, and has no revision {revision!r}")
        return LocalFolder(path)
    return HubFolder(location, revision)


def hidden_user(location: str) -> str:
    """An address without its user and password, for the name of its bytes in the cache."""
    address, question, query = location.partition("?")
    return hidden(address) + question + query
