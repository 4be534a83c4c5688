"""What ``config.json`` says of the quantisation, taken for what it is: text of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geom import InputError

_KEYS = ("quantization_config", "quantization", "compression_config")


@dataclass(frozen=True)
class Settings:
    """Entries of ``config.json``; ``where`` names the checkpoint for messages.

    ``entries`` is None if there is no config.json, and empty if it says nothing of a quantisation.
    """

    entries: Mapping[str, Any] | None
    where: str

    @classmethod
    def of(cls, config: Mapping[str, Any] | None, where: str) -> Settings:
        """Find the entries on quantisation, in the configuration or in that of its text model."""
        if config is None:
            return cls(None, where)
        text = config.get("text_config")
        for holder in (config, text if isinstance(text, Mapping) else {}):
            for key in _KEYS:
                if isinstance(holder.get(key), Mapping):
                    return cls(holder[key], where)
        return cls({}, where)

    @property
    def method(self) -> str | None:
        """The name of the quantisation, in small letters, if it is given."""
        found = (self.entries or {}).get("quant_method")
        return found.lower() if isinstance(found, str) else None

    def inner(self, key: str) -> Settings | None:
        """Return the entries under a key, if there are any."""
        found = (self.entries or {}).get(key)
        return Settings(found, self.where) if isinstance(found, Mapping) else None

    def each(self, key: str) -> list[Settings]:
        """Return the entries under each key of a table."""
        found = (self.entries or {}).get(key)
        values = found.values() if isinstance(found, Mapping) else ()
        return [Settings(value, self.where) for value in values if isinstance(value, Mapping)]

    def text(self, key: str, default: str | None = None) -> str | None:
        """Return a text. Raises InputError for anything else."""
        found = (self.entries or {}).get(key)
        if found is not None and not isinstance(found, str):
            raise self._wrong(key, found, "a text")
        return default if found is None else found

    def number(self, key: str, default: int | None = None) -> int | None:
        """Return an integer. Raises InputError for anything else."""
        found = (self.entries or {}).get(key)
        if found is not None and (isinstance(found, bool) or not isinstance(found, int)):
            raise self._wrong(key, found, "an integer")
        return default if found is None else found

    def flag(self, key: str, default: bool) -> bool:
        """Return a truth value. Raises InputError for anything else."""
        found = (self.entries or {}).get(key)
        if found is not None and not isinstance(found, bool):
            raise self._wrong(key, found, "true or false")
        return default if found is None else found

    def pair(self, key: str) -> tuple[int, int] | None:
        """Return two positive integers. Raises InputError for anything else."""
        found = (self.entries or {}).get(key)
        if found is None:
            return None
        if (
            isinstance(found, list | tuple)
            and len(found) == 2
            and all(type(part) is int and part > 0 for part in found)
        ):
            return found[0], found[1]
        raise self._wrong(key, found, "two positive integers")

    def _wrong(self, key: str, found: object, wanted: str) -> InputError:
        return InputError(
            f"config.json of {self.where} has {key} {repr(found)[:60]}: its quantisation needs "
            f"{wanted}; fetch the checkpoint again"
        )
