"""Options of plugins: declared as dataclasses, validated once by msgspec, described for people."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from geom.errors import InputError, PluginError, demand, unknown
from geom.files.opening import read_regular
from geom.model.edits import OPTIONS
from geom.plugins.records import Record

Given = dict[tuple[str, str], dict[str, Any]]
"""Values as a user gave them, by plugin kind and name, before validation."""


_LARGEST_CONFIG = 16 << 20
"""The most bytes a configuration file may have."""

_FORM = "write KIND.NAME.OPTION=VALUE, as in certifier.mpmath.digits=80"


@dataclass(frozen=True)
class OptionInfo:
    """One option as ``geom plugins NAME`` shows it."""

    name: str
    type: str
    default: Any
    summary: str


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """Parse ``KIND.NAME.OPTION=VALUE`` strings. Raises InputError if one has another form."""
    out = {}
    for text in assignments:
        path, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"option {text!r}: {_FORM}")
        out[path] = value
    return out


def by_plugin(values: Mapping[str, Any]) -> Given:
    """Group ``{"KIND.NAME.OPTION": value}`` by plugin. Raises InputError for any other key."""
    given: Given = {}
    for path, value in values.items():
        parts = path.split(".")
        if len(parts) != 3 or not all(parts):
            raise InputError(f"option {path!r}: {_FORM}")
        kind, name, option = parts
        given.setdefault((kind, name), {})[option] = value
    return given


def read_config(path: Path) -> dict[str, Any]:
    """Read a TOML file into a dictionary. Raises InputError if it is missing or malformed."""
    content = read_regular(path, _LARGEST_CONFIG, "give a TOML file")
    try:
        return tomllib.loads(content.decode("utf-8").replace("\r\n", "\n"))
    except (ValueError, RecursionError) as error:
        # the parser's message quotes the file, which may be a file that nobody meant to show
        where = re.search(r"\(at [a-z0-9, ]+\)$", str(error))
        place = f" {where[0]}" if where else ""
        raise InputError(f"{path} is not TOML{place}; give a TOML file") from error


def option_names(record: Record) -> frozenset[str]:
    """Return the names of the options that a plugin declares."""
    return frozenset(getattr(record.options, "__dataclass_fields__", ()))


def validate(kind: str, record: Record, given: Mapping[str, Any]) -> Any:
    """Make the record's options from the given values; convert strings to the declared types.

    Raises InputError that names the option and the remedy, and PluginError if the options type
    raises.
    """
    fields = {field.name for field in dataclasses.fields(record.options)}
    for option in given:
        if option not in fields:
            known = fields | set(OPTIONS) if kind == "source" else fields
            raise unknown(f"option of {kind} {record.name}", option, known)

    def taken() -> Any:
        try:
            return msgspec.convert(dict(given), record.options, strict=False)
        except msgspec.ValidationError as error:
            raise InputError(_explain(kind, record, given, error)) from error

    return demand(f"{kind} {record.name}, asked to take its options,", taken)


def describe(record: Record) -> list[OptionInfo]:
    """List the record's options.

    Raises PluginError if an option has no default or the options type is not a dataclass.
    """
    if not dataclasses.is_dataclass(record.options):
        raise PluginError(f"options of {record.name} are not a dataclass: {record.options!r}")
    hints = get_type_hints(record.options, include_extras=True)
    out = []
    for field in dataclasses.fields(record.options):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is dataclasses.MISSING:
            raise PluginError(f"option {field.name} of {record.name} has no default; give it one")
        name, summary = _type_name(hints[field.name])
        out.append(OptionInfo(field.name, name, default, summary))
    return out


def as_plain(options: Any) -> dict[str, Any]:
    """Return validated options as a dictionary of JSON values, for storing and comparing.

    Raises PluginError if the value of an option is not a JSON value.
    """
    what = f"{type(options).__name__}, made a JSON object,"
    plain = demand(what, lambda: msgspec.to_builtins(options))
    assert isinstance(plain, dict)
    return plain


def _explain(
    kind: str, record: Record, given: Mapping[str, Any], error: msgspec.ValidationError
) -> str:
    """Make one line of msgspec's message, ``Expected `int` >= 1 - at `$.digits```."""
    what, _, where = str(error).replace("\n", " ").partition(" - at `$.")
    option = where.rstrip("`").partition("[")[0]
    if option not in given:
        return f"options of {kind} {record.name}: {what or 'they do not go together'}"
    if what.startswith("Invalid enum value"):
        (declared,) = (info.type for info in describe(record) if info.name == option)
        what = f"give {declared}"
    value = " ".join(str(given[option]).split())
    value = value if len(value) <= 80 else f"{value[:77]}..."
    return (
        f"option {kind}.{record.name}.{option}={value}: "
        f"{what[:1].lower()}{what[1:].replace('`', '')}"
    )


def _type_name(hint: Any) -> tuple[str, str]:
    """Return a readable name for a type hint, and the description that a `msgspec.Meta` gives."""
    if get_origin(hint) is Annotated:
        inner, *metas = get_args(hint)
        name, summary = _type_name(inner)
        for meta in metas:
            if isinstance(meta, msgspec.Meta):
                name += _bounds(meta)
                summary = meta.description or summary
        return name, summary
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint))), ""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(
            "none" if part is type(None) else _type_name(part)[0] for part in get_args(hint)
        ), ""
    return getattr(hint, "__name__", str(hint)), ""


def _bounds(meta: msgspec.Meta) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return "".join(
        f" {sign} {getattr(meta, key)}"
        for key, sign in signs.items()
        if getattr(meta, key) is not None
    )
