"""Checkpoints on the Hugging Face Hub, through huggingface_hub.

The settings of huggingface_hub apply: HF_TOKEN, HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE. Small files
go through its cache; of large files only the ranges that are needed are fetched, from the commit
that the revision names.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from geom import AbsentError, InputError, read_regular
from geom_plugins.checkpoints.folders import LARGEST, inner, leads_out
from geom_plugins.checkpoints.hub_cache import cached_snapshot
from geom_plugins.checkpoints.remote import RemoteFile, cache_folder
from geom_plugins.checkpoints.spans import ByteFile, LocalFile
from geom_plugins.checkpoints.transport import TIMEOUT, Web


class _Listing(msgspec.Struct):
    """The state of a repository when it was last queried: its commit, and its files' sizes."""

    commit: str
    files: dict[str, int | None]


@dataclass(frozen=True)
class _State:
    """The files of a revision, and why the Hub is unreachable (None if it is reachable)."""

    listing: _Listing
    unreachable: str | None


@dataclass(frozen=True)
class HubFolder:
    """A model repository on the Hub, at a branch, tag or commit; None means its main branch.

    ``inside`` is a folder of the repository, the repository's own folder if it is empty.
    """

    repo_id: str
    revision: str | None = None
    inside: str = ""

    def __post_init__(self) -> None:
        if self.revision is not None and leads_out(self.revision):  # it names cached files
            raise InputError(
                f"{self.revision!r} is not a revision of {self.repo_id}; give one of its branches, "
                "tags or commits"
            )
        if self.inside and leads_out(self.inside):
            raise InputError(f"{self.inside!r} is not a folder of {self.repo_id}; check its name")

    @property
    def name(self) -> str:
        """The id, the revision if one was given, and the folder inside."""
        own = self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"
        return f"{own}/{self.inside}" if self.inside else own

    @property
    def entries(self) -> Collection[str]:
        """The names of all that lies in the folder; those of folders end in a slash.

        Raises InputError if the files of the revision are not known.
        """
        start = f"{self.inside}/" if self.inside else ""
        found = (
            path.removeprefix(start).partition("/")
            for path in self._state.listing.files
            if path.startswith(start)
        )
        return sorted({name + slash for name, slash, _ in found})

    def has(self, file: str) -> bool:
        """Return whether there is a file of that name.

        Raises InputError if the files of the revision are not known.
        """
        return self._place(file) in self._state.listing.files

    def _place(self, file: str) -> str:
        """Return the file's path in the repository."""
        return f"{self.inside}/{inner(file, self.name)}" if self.inside else inner(file, self.name)

    def read(self, file: str) -> bytes:
        """Read all of a small file. Raises InputError if it is not available, or not small."""
        size = self._state.listing.files.get(self._place(file))
        if size is not None and size > LARGEST:
            raise InputError(
                f"{file} of {self.name} has {size} bytes, and geom reads up to {LARGEST}; give a "
                "checkpoint as transformers saves it"
            )
        return read_regular(self.path(file), LARGEST)

    def path(self, file: str) -> Path:
        """Return the path of a whole file in the cache of huggingface_hub.

        Raises InputError if the file is not available.
        """
        import huggingface_hub

        cached = self._cached(file)
        if cached is not None:
            return cached
        if self._state.unreachable is not None:
            raise InputError(self._out_of_reach(file, self._state.unreachable))
        try:
            with _quiet():
                return Path(
                    huggingface_hub.hf_hub_download(
                        self.repo_id, self._place(file), revision=self._state.listing.commit
                    )
                )
        except Exception as error:  # as in _ask
            try:
                self._refuse(error)
            except _UnreachableError as lost:
                raise InputError(self._out_of_reach(file, str(lost))) from error

    def open(self, file: str) -> ByteFile:
        """Open a large file, to be read in part; the local copy if huggingface_hub has it whole.

        Raises InputError if the file is not available.
        """
        import huggingface_hub.utils
        from huggingface_hub import constants, hf_hub_url

        cached = self._cached(file)
        if cached is not None:
            return LocalFile(cached)
        if not self.has(file):
            raise InputError(f"{self.name} has no file {file}; check its name")
        utils: Any = huggingface_hub.utils
        commit, place = self._state.listing.commit, self._place(file)
        size = self._state.listing.files[place]
        name = f"{file} of {self.name}"
        identity = f"{constants.ENDPOINT} {self.repo_id} {commit} {place}"
        if self._state.unreachable is not None:
            lost = _Unreachable(self._out_of_reach(file, self._state.unreachable))
            return RemoteFile(lost, name, size or 0, identity)
        web = Web(
            hf_hub_url(self.repo_id, place, revision=commit),
            utils.build_hf_headers(library_name="geom"),
            size,
            name=name,
            remedy=self._access(),
        )
        return RemoteFile(web, name, web.look().size if size is None else size, identity)

    @cached_property
    def _state(self) -> _State:
        """The files, from one request, or from the last request that was answered."""
        try:
            listing = self._ask()
        except _UnreachableError as error:
            known = self._remembered() or self._in_cache()
            if known is None:
                raise AbsentError(self._out_of_reach(None, str(error)), self.name) from error
            return _State(known, str(error))
        self._remember(listing)
        return _State(listing, None)

    def _ask(self) -> _Listing:
        """Query the Hub once. Raises _UnreachableError without an answer, InputError if refused."""
        from huggingface_hub import HfApi

        try:
            with _quiet():
                info = HfApi().model_info(
                    self.repo_id, revision=self.revision, files_metadata=True, timeout=TIMEOUT
                )
        except Exception as error:  # its own errors, and those of the HTTP client it uses
            self._refuse(error)
        if info.sha is None:
            raise InputError(f"{self.name}: the Hub names no commit; check HF_ENDPOINT")
        files = {item.rfilename: item.size for item in info.siblings or ()}
        return _Listing(info.sha, files)

    def _refuse(self, error: Exception) -> NoReturn:
        """Raise InputError with one line for an error, or _UnreachableError for a network error."""
        from huggingface_hub import constants, errors

        if isinstance(error, errors.HFValidationError):
            line = (
                f"{self.repo_id} is neither a local directory nor an id of the Hub; write "
                "hf:DIRECTORY or hf:OWNER/NAME"
            )
        elif isinstance(error, errors.GatedRepoError):
            line = f"{self.name} is gated; {self._access()}"
        elif isinstance(error, errors.RevisionNotFoundError):
            line = (
                f"{self.repo_id} has no revision {self.revision!r}; give one of its branches, tags "
                "or commits"
            )
        elif isinstance(error, errors.RepositoryNotFoundError):
            raise AbsentError(
                f"{self.repo_id} is not a local directory, and not on the Hub at "
                f"{constants.ENDPOINT}; check the id, and if it is private log in with "
                "`hf auth login` or set HF_TOKEN",
                self.name,
            ) from error
        elif isinstance(error, errors.EntryNotFoundError) and not isinstance(
            error, errors.LocalEntryNotFoundError
        ):
            line = f"{self.name} lacks a file that it lists; run again"
        elif isinstance(error, errors.HfHubHTTPError) and error.response.status_code < 500:
            status = error.response.status_code
            line = f"{self.name}: the Hub answers {status}"
            line += f"; {self._access()}" if status in (401, 403) else "; try again later"
        elif isinstance(error, OSError) and error.errno is not None and error.filename:
            line = (
                f"{error.filename}: {error.strerror}; make room, or set HF_HOME to another folder"
            )
        elif isinstance(error, errors.OfflineModeIsEnabled):
            raise _UnreachableError("HF_HUB_OFFLINE is set") from error
        else:
            raise _UnreachableError(
                f"{constants.ENDPOINT} cannot be reached ({type(error).__name__})"
            ) from error
        raise InputError(line) from error

    def _access(self) -> str:
        from huggingface_hub import constants

        return (
            f"ask for access at {constants.ENDPOINT}/{self.repo_id}, then log in with "
            "`hf auth login` or set HF_TOKEN"
        )

    def _out_of_reach(self, file: str | None, why: str) -> str:
        what = self.name if file is None else f"{file} of {self.name}"
        remedy = "unset it" if "OFFLINE" in why else "check the network"
        return f"{what} is not in the cache, and {why}; {remedy}, or give a local directory"

    def _cached(self, file: str) -> Path | None:
        """Return the file in huggingface_hub's own cache, or None if it is not there whole."""
        from huggingface_hub import try_to_load_from_cache

        place = self._place(file)  # older versions of the library join it to the cache's path
        found = try_to_load_from_cache(self.repo_id, place, revision=self._state.listing.commit)
        return Path(found) if isinstance(found, str) else None

    @property
    def _memory(self) -> Path:
        from huggingface_hub import constants

        key = f"{constants.ENDPOINT} {self.repo_id} {self.revision or ''}"
        return cache_folder("listings", key) / "listing.json"

    def _remember(self, listing: _Listing) -> None:
        """Store the listing, whole or not at all, for when the Hub cannot be reached."""
        path = self._memory
        part = path.with_name(f"{os.getpid()}.part")
        try:
            part.write_bytes(msgspec.json.encode(listing))
            part.replace(path)
        except OSError as error:
            raise InputError(
                f"{path} cannot be written: {error.strerror or error}; set HF_HOME to another "
                "folder"
            ) from error

    def _remembered(self) -> _Listing | None:
        try:
            return msgspec.json.decode(self._memory.read_bytes(), type=_Listing)
        except (OSError, msgspec.DecodeError):
            return None

    def _in_cache(self) -> _Listing | None:
        """List the files of the revision in huggingface_hub's cache, from any program."""
        import huggingface_hub.utils
        from huggingface_hub import constants

        utils: Any = huggingface_hub.utils
        try:
            utils.validate_repo_id(self.repo_id)
        except ValueError:  # not an id of the Hub
            return None
        repository = Path(constants.HF_HUB_CACHE) / f"models--{self.repo_id.replace('/', '--')}"
        try:
            snapshot = cached_snapshot(repository, self.revision)
        except InputError:
            return None
        files = (path for path in snapshot.rglob("*") if path.is_file())
        return _Listing(
            snapshot.name,
            {path.relative_to(snapshot).as_posix(): path.stat().st_size for path in files},
        )


class _UnreachableError(Exception):
    """The Hub did not answer; the message says why."""


@dataclass(frozen=True)
class _Unreachable:
    """The transport of a file on a Hub out of reach; its ranges in the cache can still be read."""

    line: str

    def pieces(self, begin: int, end: int) -> Iterator[bytes]:
        """Raise InputError, since no byte can be fetched."""
        raise InputError(self.line)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars and log lines of huggingface_hub."""
    import huggingface_hub.utils

    utils: Any = huggingface_hub.utils
    level, shown = utils.logging.get_verbosity(), not utils.are_progress_bars_disabled()
    utils.logging.set_verbosity(utils.logging.CRITICAL)
    if shown:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.logging.set_verbosity(level)
        if shown:
            utils.enable_progress_bars()
