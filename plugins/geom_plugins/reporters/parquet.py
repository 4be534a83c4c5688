"""``parquet``: a typed column file for data frames, through pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from geom import InputError, MeasureRow, NoOptions, Reporter, Run, hookimpl


def write(run: Run, file: BinaryIO, options: NoOptions) -> None:
    """Write every row, with the types of `geom.TokenRow`.

    A measure has two columns, its value and its error.

    Raises InputError if pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            "format parquet needs pyarrow: python -m pip install 'geom-unembed[report]'"
        ) from error
    measured = run.measured()
    names = sorted({name for found in measured.values() for name in found})
    text, real, whole = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
    schema = pyarrow.schema(
        [
            ("token_id", whole),
            ("token", text),
            ("self_argmax", pyarrow.bool_()),
            ("argmax_id", whole),
            ("argmax", text),
            ("flagged_by", pyarrow.list_(text)),
            ("verdict", text),
            ("proof", text),
            ("certifier", text),
            ("margin_lower", real),
            ("margin_upper", real),
            ("seconds", real),
            ("note", text),
            ("token_kind", text),
            *((column, real) for name in names for column in (name, f"{name} error")),
        ]
    )
    rows = [row.as_dict() | _numbers(measured.get(row.token_id, {})) for row in run.rows()]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), file)


def _numbers(found: dict[str, MeasureRow]) -> dict[str, Any]:
    values = {name: item.value for name, item in found.items()}
    return values | {f"{name} error": item.error for name, item in found.items()}


@hookimpl
def geom_reporters() -> Iterator[Reporter[NoOptions]]:
    yield Reporter(
        "parquet", "a column file for data frames", write, NoOptions, suffix=".parquet", text=False
    )
