"""Reprs that fit on one line: a record shows its fields, an array its type and shape."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from types import FunctionType, ModuleType
from typing import Any

LINE = 120
"""The most characters of a repr."""

_NESTED = 50
"""The most characters of a record within another."""

_FEW = 4
"""The most items of a collection that are shown."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 40


def short_repr(record: Any) -> str:
    """Return the repr of a dataclass: its fields in order, as many as fit into `LINE`.

    Fields that are None or the default are left out, and ``...`` stands for fields that do not fit.
    A class that shows other attributes names them in a tuple called ``_shown``.
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
    """Yield the attributes that the repr shows, with their values."""
    defaults = {field.name: field.default for field in fields(record)}
    for name in getattr(record, "_shown", defaults):
        value = getattr(record, name)
        if value is not None and value is not defaults.get(name):
            yield name, value


def _value(value: Any) -> str:
    """Return a value in few characters."""
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
    """Return a collection as its items if they are few, else as their number."""
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
