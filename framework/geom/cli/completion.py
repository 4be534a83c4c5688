"""The values that a shell completes: plugins by name, models, verdicts and domains.

Each function takes what is typed so far. A completion that fails offers nothing and says nothing:
the user is in the middle of a line.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

Completion = Callable[[str], list[str]]


def one_of(values: Callable[[], Iterable[str]]) -> Completion:
    """Complete one of some values, which are asked for only when the shell asks."""

    def complete(incomplete: str) -> list[str]:
        return _quietly(lambda: [value for value in values() if value.startswith(incomplete)])

    return complete


def plugins(kind: str, *more: str) -> Completion:
    """Complete the name of an installed plugin of a kind, or one of ``more`` words."""
    return one_of(lambda: [*_names(kind), *more])


def verdicts() -> list[str]:
    """Return what ``--verdict`` takes."""
    from geom.store import LABELS

    return list(LABELS)


def domains() -> list[str]:
    """Return what ``--domain`` takes."""
    from geom.model.domains import NAMES
    from geom.plugins.domain_options import OPTIONS

    return list(dict.fromkeys((*NAMES, *OPTIONS)))


def kinds() -> list[str]:
    """Return the kinds of plugins."""
    from geom.plugins.registry import HOOKS

    return list(HOOKS)


def every_plugin() -> list[str]:
    """Return the names of the installed plugins of any kind."""
    from geom.plugins.registry import installed

    return sorted({item.record.name for item in installed().listed()})


def model(incomplete: str) -> list[str]:
    """Complete a model: a source and its colon, a folder, or a file that some source reads."""
    return _quietly(lambda: _models(incomplete))


def _models(incomplete: str) -> list[str]:
    from geom.plugins.registry import installed

    sources = {
        item.record.name: item.record for item in installed().listed() if item.kind == "source"
    }
    source, colon, typed = incomplete.rpartition(":")
    before = f"{source}{colon}"
    suffixes = tuple(suffix for record in sources.values() for suffix in record.suffixes)
    if not colon:
        named = [f"{name}:" for name in sources if name.startswith(incomplete)]
        return named + _places(typed, suffixes)
    own = sources[source].suffixes or suffixes
    return [f"{before}{place}" for place in _places(typed, own)]


def _places(typed: str, suffixes: tuple[str, ...]) -> list[str]:
    """Return the folders, with a slash, and the files of these suffixes that begin so."""
    folder, start = os.path.split(typed)
    found = []
    for path in sorted(Path(folder or ".").expanduser().iterdir()):
        if path.name.startswith(start) and (start or not path.name.startswith(".")):
            if path.is_dir():
                found.append(f"{os.path.join(folder, path.name)}/")
            elif path.name.lower().endswith(suffixes):
                found.append(os.path.join(folder, path.name))
    return found


def _names(kind: str) -> list[str]:
    from geom.plugins.registry import installed

    return [item.record.name for item in installed().listed() if item.kind == kind]


def _quietly(values: Callable[[], list[str]]) -> list[str]:
    """Return the values; none if anything is raised. What a plugin prints is lost."""
    from geom.errors import Raised, attempt

    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        found = attempt(values)
    return [] if isinstance(found, Raised) else found
