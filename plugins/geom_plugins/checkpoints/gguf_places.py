"""Where a GGUF file lies: on this machine, on the Hub, or on another server."""

from __future__ import annotations

from dataclasses import dataclass

from geom import InputError, parse_address
from geom_plugins.checkpoints.folders import Folder
from geom_plugins.checkpoints.gguf_format import GgufPlace, OnDisk
from geom_plugins.checkpoints.hub import HubFolder
from geom_plugins.checkpoints.hub_addresses import HubPlace, pasted_file, written_place
from geom_plugins.checkpoints.locations import open_file
from geom_plugins.checkpoints.spans import ByteFile


@dataclass(frozen=True)
class _InFolder:
    """A file in a folder of the Hub."""

    folder: Folder
    file: str

    def has(self, file: str) -> bool:
        return self.folder.has(file)

    def open(self, file: str) -> ByteFile:
        return self.folder.open(file)


@dataclass(frozen=True)
class _OnServer:
    """A file at an address, whose last part is its name."""

    address: str

    @property
    def file(self) -> str:
        return self.address.rpartition("/")[2]

    def has(self, file: str) -> bool:
        return True  # a server lists nothing: a part that is missing is named when it is opened

    def open(self, file: str) -> ByteFile:
        return open_file(f"{self.address.rpartition('/')[0]}/{file}")


def gguf_place(location: str) -> GgufPlace:
    """Return where the GGUF file of a location lies: a path here if there is one, else the Hub.

    Raises InputError if the location names no file.
    """
    if not location:
        raise InputError("model gguf: names no file; write gguf:FILE.gguf or gguf:OWNER/NAME/FILE")
    address = parse_address(location)
    if address.path is not None and address.path.exists():
        return OnDisk(address.path)
    place = _on_hub(location)
    if place is not None:
        return _in_repository(place, location)
    if address.path is not None:
        return OnDisk(address.path)  # refused as a file that does not exist
    return _OnServer(address.text)


def _on_hub(location: str) -> HubPlace | None:
    """Return the place on the Hub that a location names; None if it is another server's, or none.

    A path of two parts or more that does not exist here, and that leads nowhere else.
    """
    scheme, colon, rest = location.partition("://")
    if not colon:
        place = written_place(location)
        if place is None or ".." in location.split("/") or location.startswith(("./", "~/")):
            return None
        return place if place.inside or not place.repo_id.endswith(".gguf") else None
    return written_place(rest) if scheme.lower() == "hf" else pasted_file(location)


def _in_repository(place: HubPlace, location: str) -> GgufPlace:
    """Return the place of a file of a repository; the only one if none is named."""
    inside, _, file = place.inside.rpartition("/")
    folder = HubFolder(place.repo_id, place.revision, inside)
    try:
        if not file:
            return _InFolder(folder, _only_file(folder, location))
        folder.entries  # noqa: B018 - so that an unknown repository is refused here
    except InputError as error:
        if "://" in location:
            raise
        raise InputError(f"{location} is not a file on this machine, and {error}") from error
    return _InFolder(folder, file)


def _only_file(folder: HubFolder, location: str) -> str:
    files = [name for name in folder.entries if name.endswith(".gguf")]
    if len(files) == 1:
        return files[0]
    shown = ", ".join(files[:8]) + (f" and {len(files) - 8} more" if len(files) > 8 else "")
    remedy = f"name one, as in gguf:{location}/{files[0]}" if files else "check its name"
    raise InputError(
        f"{folder.name} has {len(files)} GGUF files{', ' * bool(files)}{shown}; {remedy}"
    )
