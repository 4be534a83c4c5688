"""The shards of a checkpoint that has lost its index, found by their own names."""

from __future__ import annotations

import re

from geom import InputError
from geom_plugins.checkpoints.folders import Folder

_MOST = 10_000
"""The most shards of a checkpoint; the largest have some hundreds."""


def shard_names(folder: Folder, stem: str, suffix: str) -> list[str]:
    """Return the names ``STEM-00001-of-00003SUFFIX`` and so on that are in the folder, in order.

    Raises InputError if one is missing, and if there are two sets.
    """
    pattern = re.compile(rf"{re.escape(stem)}-(\d{{5}})-of-(\d{{5}}){re.escape(suffix)}")
    found = [match for match in map(pattern.fullmatch, folder.entries) if match]
    if not found:
        return []
    counts = sorted({match[2] for match in found})
    if len(counts) > 1:
        raise InputError(
            f"{folder.name} has shards of {len(counts)} checkpoints, of {' and of '.join(counts)} "
            f"files, and no {stem}{suffix}.index.json to say which is meant; remove those of one"
        )
    count = int(counts[0])
    names = [f"{stem}-{n:05}-of-{counts[0]}{suffix}" for n in range(1, min(count, _MOST) + 1)]
    missing = sorted(set(names) - {match[0] for match in found})
    if missing or count > _MOST:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{folder.name} has {len(found)} of {count} shards: {missing[0]}{others} is missing; "
            "fetch it"
        )
    return names
