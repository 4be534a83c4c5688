"""The Hub's cache on this machine: ``models--OWNER--NAME``, with the snapshots of a repository.

https://huggingface.co/docs/huggingface_hub/guides/manage-cache: ``refs/BRANCH`` holds the commit of
a branch or tag, ``snapshots/COMMIT`` the files, as links to ``blobs``.
"""

from __future__ import annotations

from pathlib import Path

from geom import InputError, read_regular
from geom_plugins.checkpoints.folders import leads_out

_LONGEST = 100
"""The most bytes of a reference; a commit has 40 characters."""


def is_repository(path: Path) -> bool:
    """Return whether a folder is a model's in the Hub's cache."""
    return path.name.startswith("models--") and (path / "snapshots").is_dir()


def cached_snapshot(repository: Path, revision: str | None) -> Path:
    """Return the folder of a revision in the cache; None is what ``refs/main`` names.

    Raises InputError, naming the snapshots that are there, if it is not among them.
    """
    wanted = "main" if revision is None else revision
    if leads_out(wanted):
        raise InputError(f"{wanted!r} is not a revision of {repository}; give a branch or commit")
    commit = _reference(repository / "refs" / wanted) or wanted
    snapshots = repository / "snapshots"
    found = snapshots / commit
    if not leads_out(commit) and "/" not in commit and found.is_dir():
        if not found.resolve().is_relative_to(repository.resolve()):
            raise InputError(f"{found} is a link that leads out of {repository}; give its target")
        return found
    known = sorted(path.name for path in snapshots.iterdir()) if snapshots.is_dir() else []
    raise InputError(
        f"{repository} has no snapshot of {wanted!r}; give the folder of one: "
        + (", ".join(str(snapshots / name) for name in known[:8]) or "it has none")
    )


def _reference(path: Path) -> str | None:
    """Return the commit that a reference holds, or None without one."""
    try:
        return read_regular(path, _LONGEST).decode().strip()
    except (InputError, UnicodeDecodeError):
        return None
