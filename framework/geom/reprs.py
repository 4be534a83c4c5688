"""Reprs that fit a line: of a record its fields, of an array its type and shape."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from types import FunctionType, ModuleType
from typing import Any

LINE = 120
"""Characters that a repr has at most."""

_NESTED = 50
"""Characters of a record within another."""

_FEW = 4
"""Items of a collection that are shown."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 40


def short_repr(record: Any) -> str:
    """The ``__repr__`` of a dataclass: its fields in their order, as many as fit `LINE`.

    Left out is what is None or the field's default, and ``...`` stands for what has no room. A
    class whose repr is to show something else names it: ``_shown``, a tuple of attributes.
    """
    return _line(record, LINE)


def _line(record: Any, room: int) -> str:
    name = type(record).__name__
    parts = [f"{field}={_value(value)}" for field, value in _shown(record)]
    text = f"{name}({', '.join(parts)})"
    while len(text) > room:
        parts.pop()
        text = f"{name}({', '.join([*parts, '...'])})"
    return text


def _shown(record: Any) -> Iterator[tuple[str, Any]]:
    """The attributes that the repr shows, with their values."""
    defaults = {field.name: field.default for field in fields(record)}
    for name in getattr(record, "_shown", defaults):
        value = getattr(record, name)
        if value is not None and value is not defaults.get(name):
            yield name, value


def _value(value: Any) -> str:
    """A value in few characters."""
    if isinstance(value, type | FunctionType | ModuleType):
        return value.__name__
    if getattr(value, "shape", ()) and hasattr(value, "dtype"):
        return f"<{value.dtype} {tuple(value.shape)}>"
    if _is_record(value):
        return _line(value, _NESTED)
    if isinstance(value, Mapping | tuple | list) and value:
        return _items(value)
    return _SHORT.repr(value)


def _items(values: Mapping[Any, Any] | tuple[Any, ...] | list[Any]) -> str:
    """A collection: its items where they are few, else their number."""
    first = next(iter(values))
    if _is_record(first):
        return f"<{len(values)} {type(first).__name__}>"
    if len(values) > _FEW:
        return f"<{len(values)} items>"
    if isinstance(values, Mapping):
        pairs = (f"{_value(key)}: {_value(value)}" for key, value in values.items())
        return f"{{{', '.join(pairs)}}}"
    inner = ", ".join(map(_value, values))
    if isinstance(values, list):
        return f"[{inner}]"
    return f"({inner},)" if len(values) == 1 else f"({inner})"


def _is_record(value: Any) -> bool:
    writes: object = type(value).__repr__
    return writes is short_repr
