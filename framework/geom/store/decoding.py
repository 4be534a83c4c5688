"""Read rows of a run's tables as records, every value checked: a stranger may have written them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from geom.certificates import Finding, Weights
from geom.numbers.arrays import Floats, Ids
from geom.store.arrays import HEADER, ITEM, array
from geom.store.rows import MeasureRow, TokenRow
from geom.store.run_file import RunFile
from geom.text import is_plain

TOKEN_COLUMNS = tuple(field.name for field in fields(TokenRow))
MEASURE_COLUMNS = (*(field.name for field in fields(MeasureRow)), "indices")

_NESTED = 10_000
"""The most lists and objects in a JSON text: more would take far more memory than the text."""

_ARRAYS: dict[tuple[str, str], Literal["f8", "i8"]] = {
    ("witness", "x"): "f8",
    ("weights", "indices"): "i8",
    ("weights", "values"): "f8",
}
"""The arrays that a run keeps for a token, and the types of their numbers."""

_OF_A_MIXTURE: dict[tuple[str, str], Literal["f8", "i8"]] = {
    **{key: kind for key, kind in _ARRAYS.items() if key != ("witness", "x")},
    ("witness", "indices"): "i8",
    ("witness", "values"): "f8",
}
"""The same on the hull of points: a point has few coefficients that are not zero."""


@dataclass(frozen=True)
class Lengths:
    """How long the arrays of a run may be: V for weights, k for points, which may be mixtures."""

    V: int
    k: int
    mixtures: bool


def token_row(file: RunFile, values: tuple[Any, ...]) -> TokenRow:
    """Read a row of `TOKEN_COLUMNS`. Raises StoreError if a value does not fit its column."""
    columns = dict(zip(TOKEN_COLUMNS, values, strict=True))
    try:
        columns["flagged_by"] = parsed(columns["flagged_by"])
        if columns["self_argmax"] is not None:
            columns["self_argmax"] = _truth(columns["self_argmax"])
        return msgspec.convert(columns, TokenRow)
    except (ValueError, TypeError, RecursionError) as error:
        raise file.damaged(f"id {columns['token_id']}: {error}") from error


def bounds(file: RunFile, rows: list[Any]) -> tuple[Ids, Floats, Floats]:
    """Read the ids and both bounds of rows, NaN for none. Raises StoreError as `token_row` does."""
    try:
        checked = msgspec.convert(rows, list[tuple[int, float | None, float | None]])
        ids = np.array([token for token, _, _ in checked], dtype=np.int64)
    except (msgspec.ValidationError, OverflowError) as error:
        raise file.damaged(f"margins: {error}") from error
    ends = np.array([ends for _, *ends in checked], dtype=np.float64).reshape(-1, 2)
    return ids, ends[:, 0], ends[:, 1]


def measure_row(file: RunFile, values: tuple[Any, ...], lengths: Lengths) -> MeasureRow:
    """Read a row of `MEASURE_COLUMNS`. Raises StoreError if a value does not fit its column."""
    columns = dict(zip(MEASURE_COLUMNS, values, strict=True))
    x = _kept(columns.pop("x"), "f8", lengths.k, lengths.k)
    ids = _kept(columns.pop("indices"), "i8", 1, lengths.V)
    lam = _kept(columns.pop("weights"), "f8", 1, lengths.V)
    try:
        columns["options"] = parsed(columns["options"])
        columns["proven"] = _truth(columns["proven"])
        item = msgspec.convert(columns, MeasureRow)
        for name in (item.measure, item.unit):
            if not is_plain(name):
                raise ValueError(f"{name!r} is not a name")
        if item.error is not None and not item.error >= 0.0:
            raise ValueError(f"the error is {item.error}")
    except (ValueError, TypeError, RecursionError) as error:
        raise file.damaged(f"measures of id {columns['token_id']}: {error}") from error
    if ids is None and lam is None:
        return replace(item, x=x)
    if ids is None or lam is None or ids.size != lam.size:
        raise file.damaged(
            f"measures of id {item.token_id}: its weights are not one value per index"
        )
    return replace(item, x=x, weights=Weights(ids, lam))


def evidence(file: RunFile, token: int, lengths: Lengths) -> Finding:
    """Return the point and the weights that a run keeps for a token, whatever they prove."""
    arrays = _arrays(file, token, lengths)
    weights, x = _pairs(file, token, arrays, "weights"), arrays.get(("witness", "x"))
    mixture = _pairs(file, token, arrays, "witness")
    if mixture is not None:
        ids = mixture.indices
        if ids.min() < 0 or ids.max() >= lengths.k or np.unique(ids).size != ids.size:
            raise file.damaged(f"id {token} has a witness of points that the domain lacks")
        x = np.zeros(lengths.k)
        x[ids] = mixture.values
    return Finding(x=x, weights=weights)


def _pairs(
    file: RunFile, token: int, arrays: Mapping[tuple[str, str], NDArray[Any]], kind: str
) -> Weights | None:
    """Return the values of a kind with their indices, or None if there are none."""
    indices, values = arrays.get((kind, "indices")), arrays.get((kind, "values"))
    if indices is None and values is None:
        return None
    if indices is None or values is None or indices.size != values.size:
        raise file.damaged(f"id {token} has {kind} that are not one value per index")
    return Weights(indices, values)


def _arrays(file: RunFile, token: int, lengths: Lengths) -> dict[tuple[str, str], NDArray[Any]]:
    """Return the arrays kept for a token; check their lengths before reading any bytes."""
    where = "FROM evidence WHERE token_id = ?"
    arrays: dict[tuple[str, str], NDArray[Any]] = {}
    for kind, name, size in file.select(
        f"SELECT kind, name, length(CAST(data AS BLOB)) {where}", (token,)
    ):
        numbers = (_OF_A_MIXTURE if lengths.mixtures else _ARRAYS).get((kind, name))
        k = lengths.k
        least, most = (k, k) if name == "x" else (1, k if kind == "witness" else lengths.V)
        if numbers is None or (kind, name) in arrays or size > HEADER + ITEM * most:
            raise file.damaged(f"id {token} has a {kind} {name} of {size} bytes")
        found = file.select(
            f"SELECT data {where} AND kind = ? AND name = ?", (token, kind, name), size
        )
        if len(found) != 1:  # an index that does not lead to its row
            raise file.damaged(f"id {token} has {len(found)} copies of its {kind} {name}")
        arrays[kind, name] = array(found[0][0], numbers, least, most)
    return arrays


def parsed(text: str) -> Any:
    """Parse a JSON text. Raises ValueError, TypeError or RecursionError if it is not JSON."""
    if text.count("[") + text.count("{") > _NESTED:
        raise ValueError(f"it is JSON of more than {_NESTED} lists and objects")
    return json.loads(text)


def _truth(value: object) -> bool:
    """Return a truth value that SQLite keeps as 0 or 1. Raises ValueError for anything else."""
    if not (isinstance(value, int) and value in (0, 1)):
        raise ValueError(f"{value!r} is neither 0 nor 1")
    return value == 1


def _kept(data: object, kind: Literal["f8", "i8"], least: int, most: int) -> NDArray[Any] | None:
    return None if data is None else array(data, kind, least, most)
