"""Rows of a run's tables as records, each value checked: a stranger may have written them."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, Literal

import msgspec
from numpy.typing import NDArray

from geom.certificates import Finding, Weights
from geom.store.arrays import HEADER, ITEM, array
from geom.store.rows import MeasureRow, TokenRow
from geom.store.run_file import RunFile
from geom.text import is_plain

TOKEN_COLUMNS = tuple(field.name for field in fields(TokenRow))
MEASURE_COLUMNS = (*(field.name for field in fields(MeasureRow)), "indices")

_NESTED = 10_000
"""Lists and objects in a JSON text: more would take far more memory than their text."""

_ARRAYS: dict[tuple[str, str], Literal["f8", "i8"]] = {
    ("witness", "x"): "f8",
    ("weights", "indices"): "i8",
    ("weights", "values"): "f8",
}
"""What a run keeps of a token, and the numbers that it is of."""


def token_row(file: RunFile, values: tuple[Any, ...]) -> TokenRow:
    """The row of `TOKEN_COLUMNS`. Raises StoreError where a value is none of its column."""
    columns = dict(zip(TOKEN_COLUMNS, values, strict=True))
    try:
        columns["flagged_by"] = parsed(columns["flagged_by"])
        if columns["self_argmax"] is not None:
            columns["self_argmax"] = _truth(columns["self_argmax"])
        return msgspec.convert(columns, TokenRow)
    except (ValueError, TypeError, RecursionError) as error:
        raise file.damaged(f"token {columns['token_id']}: {error}") from error


def measure_row(file: RunFile, values: tuple[Any, ...], V: int, d: int) -> MeasureRow:
    """The row of `MEASURE_COLUMNS`. Raises StoreError where a value is none of its column."""
    columns = dict(zip(MEASURE_COLUMNS, values, strict=True))
    x = _kept(columns.pop("x"), "f8", d, d)
    ids = _kept(columns.pop("indices"), "i8", 1, V)
    lam = _kept(columns.pop("weights"), "f8", 1, V)
    try:
        columns["options"] = parsed(columns["options"])
        columns["proven"] = _truth(columns["proven"])
        item = msgspec.convert(columns, MeasureRow)
        for name in (item.measure, item.unit):
            if not is_plain(name):
                raise ValueError(f"{name!r} is no name")
        if item.error is not None and not item.error >= 0.0:
            raise ValueError(f"the error is {item.error}")
    except (ValueError, TypeError, RecursionError) as error:
        raise file.damaged(f"measures of token {columns['token_id']}: {error}") from error
    if ids is None and lam is None:
        return replace(item, x=x)
    if ids is None or lam is None or ids.size != lam.size:
        raise file.damaged(
            f"measures of token {item.token_id}: its weights are not one value an index"
        )
    return replace(item, x=x, weights=Weights(ids, lam))


def evidence(file: RunFile, token: int, V: int, d: int) -> Finding:
    """The point and the weights that a run keeps for a token, whatever they prove."""
    arrays = _arrays(file, token, V, d)
    weights = None
    if ("weights", "indices") in arrays or ("weights", "values") in arrays:
        indices, values = arrays.get(("weights", "indices")), arrays.get(("weights", "values"))
        if indices is None or values is None or indices.size != values.size:
            raise file.damaged(f"token {token} has weights that are not one value an index")
        weights = Weights(indices, values)
    return Finding(x=arrays.get(("witness", "x")), weights=weights)


def _arrays(file: RunFile, token: int, V: int, d: int) -> dict[tuple[str, str], NDArray[Any]]:
    """What is kept of a token; lengths are looked at before any bytes are read."""
    where = "FROM evidence WHERE token_id = ?"
    arrays: dict[tuple[str, str], NDArray[Any]] = {}
    for kind, name, size in file.select(
        f"SELECT kind, name, length(CAST(data AS BLOB)) {where}", (token,)
    ):
        numbers = _ARRAYS.get((kind, name))
        least, most = (d, d) if name == "x" else (1, V)
        if numbers is None or (kind, name) in arrays or size > HEADER + ITEM * most:
            raise file.damaged(f"token {token} has a {kind} {name} of {size} bytes")
        found = file.select(
            f"SELECT data {where} AND kind = ? AND name = ?", (token, kind, name), size
        )
        if len(found) != 1:  # an index that does not lead to its row
            raise file.damaged(f"token {token} has {len(found)} of its {kind} {name}")
        arrays[kind, name] = array(found[0][0], numbers, least, most)
    return arrays


def parsed(text: str) -> Any:
    """The value of a JSON text. Raises ValueError, TypeError or RecursionError where it is none."""
    if text.count("[") + text.count("{") > _NESTED:
        raise ValueError(f"it is JSON of more than {_NESTED} lists and objects")
    return json.loads(text)


def _truth(value: object) -> bool:
    """A truth value as SQLite keeps it. Raises ValueError for any other number or type."""
    if not (isinstance(value, int) and value in (0, 1)):
        raise ValueError(f"{value!r} is neither 0 nor 1")
    return value == 1


def _kept(data: object, kind: Literal["f8", "i8"], least: int, most: int) -> NDArray[Any] | None:
    return None if data is None else array(data, kind, least, most)
