"""``parquet``: a typed column file for data frames, through pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from geom import InputError, MeasureRow, Reporter, Run, TokenRow, hookimpl, install_command
from geom_plugins.reporters.row_options import RowOptions


def write(run: Run, file: BinaryIO, options: RowOptions) -> None:
    """Write every row, with the types of `geom.TokenRow`.

    The verdict of a token that is hard to speak is ``hard``. A measure has two columns, its value
    and its error.

    Raises InputError if pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(f"format parquet needs pyarrow: {install_command('report')}") from error
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
            ("probability_upper", real),
            *((column, real) for name in names for column in (name, f"{name} error")),
        ]
    )
    rows = [_fields(row, measured.get(row.token_id, {})) for row in run.rows(options.verdict)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), file)


def _fields(row: TokenRow, found: dict[str, MeasureRow]) -> dict[str, Any]:
    values = {name: item.value for name, item in found.items()}
    errors = {f"{name} error": item.error for name, item in found.items()}
    return row.as_dict() | {"verdict": row.label} | values | errors


@hookimpl
def geom_reporters() -> Iterator[Reporter[RowOptions]]:
    yield Reporter(
        "parquet", "a column file for data frames", write, RowOptions, suffix=".parquet", text=False
    )
