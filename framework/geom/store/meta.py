"""The facts that a run stores about itself: its settings and the rest of the table ``meta``."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar, cast

import msgspec

from geom.errors import InputError, StoreError
from geom.model import domains
from geom.store.decoding import parsed
from geom.store.run_file import RunFile

M = TypeVar("M", bound=dict[str, Any] | list[str] | dict[str, str] | str | bool)

_LONGEST = 2**23
"""The most characters of a value in ``meta``: the settings list the tokens asked for."""
_LARGEST = 2**40
"""The largest V or d."""


class _Settings(msgspec.Struct):
    """The settings that readers rely on; any others are not checked."""

    V: Annotated[int, msgspec.Meta(ge=1, le=_LARGEST)]
    d: Annotated[int, msgspec.Meta(ge=1, le=_LARGEST)]
    domain: dict[str, Any]
    tokens: str = ""
    detectors: dict[str, dict[str, Any]] = {}
    certifiers: dict[str, dict[str, Any]] = {}
    hardest: Annotated[int, msgspec.Meta(ge=0)] = 0


def settings(file: RunFile) -> dict[str, Any]:
    """Return the settings. Raises StoreError if V, d or the domain is missing or invalid."""
    stored = meta(file, "settings", dict[str, Any], {})
    try:
        found = msgspec.convert(stored, _Settings)
        domains.check_settings(found.domain, found.d)
    except (msgspec.ValidationError, InputError) as error:
        reason = str(error).replace("`", "")
        raise StoreError(f"{file.path} is not a run of geom: its settings: {reason}") from error
    return stored


def meta(file: RunFile, key: str, kind: type[M], default: M) -> M:
    """Return the value of a key, or ``default``. Raises StoreError if it is of another type."""
    query = "SELECT value FROM meta WHERE key = ?"
    for (text,) in file.select(query, (key,), longest=_LONGEST):
        try:
            return cast(M, msgspec.convert(parsed(text), kind))
        except (ValueError, TypeError, RecursionError) as error:
            shown = repr(text[:80] if isinstance(text, str | bytes) else text)
            raise file.damaged(f"its {key} are {shown}") from error
    return default
