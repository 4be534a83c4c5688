"""Reporters: every row comes back unchanged, read by json, csv and pyarrow."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import geom
from geom import Readout, Run, TokenRow
from geom_plugins.reporters import csv_file, jsonl, parquet
from geom_plugins.reporters.row_options import RowOptions

texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]))
Write = Callable[[Run, Any, RowOptions], None]


def written(write: Write, run: Run) -> bytes:
    file = io.BytesIO()
    write(run, file, RowOptions())
    return file.getvalue()


def listing(tokens: list[str | None]) -> Run:
    """Make a run in memory that lists tokens of these texts and decides none."""
    W = np.random.default_rng(0).normal(size=(len(tokens), 2))
    return geom.run(Readout.fold(W, tokens=tokens), tokens="all", certifiers=[])


@given(st.lists(texts, min_size=1, max_size=5))
def test_any_text_comes_back_from_jsonl(tokens: list[str | None]) -> None:
    with listing(tokens) as run:
        lines = written(jsonl.write, run).decode("utf-8").split("\n")[:-1]
    assert [json.loads(line)["token"] for line in lines] == tokens


@given(st.lists(texts, min_size=1, max_size=5))
def test_any_text_comes_back_from_csv(tokens: list[str | None]) -> None:
    with listing(tokens) as run:
        text = io.StringIO(written(csv_file.write, run).decode("utf-8"), newline="")
    assert [row["token"] for row in csv.DictReader(text)] == [token or "" for token in tokens]


@given(st.lists(texts, min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_text_comes_back_from_parquet(tokens: list[str | None]) -> None:
    with listing(tokens) as run:
        table = pyarrow.parquet.read_table(io.BytesIO(written(parquet.write, run)))
    assert table["token"].to_pylist() == tokens


@pytest.mark.parametrize("write", [jsonl.write, csv_file.write, parquet.write])
def test_a_run_of_no_tokens_is_written(write: Write) -> None:
    with geom.run(Readout.fold([[1.0, 0.0], [-1.0, 0.0]])) as run:
        data = written(write, run)
    if write is parquet.write:
        data = " ".join(pyarrow.parquet.read_schema(io.BytesIO(data)).names).encode()
    names = [field.name for field in fields(TokenRow)]
    expected = {csv_file.write: ",".join(names) + "\n", parquet.write: " ".join(names)}
    assert data.decode() == expected.get(write, "")


@pytest.mark.parametrize("write", [jsonl.write, csv_file.write])
def test_a_reporter_leaves_the_file_open(write: Write) -> None:
    file = io.BytesIO()
    with listing(["a"]) as run:
        write(run, file, RowOptions())
        write(run, file, RowOptions())
    first, second = file.getvalue()[: file.tell() // 2], file.getvalue()[file.tell() // 2 :]
    assert first == second


def test_numbers_keep_every_bit_in_every_format() -> None:
    W = np.random.default_rng(0).normal(size=(30, 3)) / 3
    with geom.run(Readout.fold(W), tokens="all") as run:
        margins = [row.margin_lower for row in run.rows()]
        lines = [json.loads(line) for line in written(jsonl.write, run).splitlines()]
        text = io.StringIO(written(csv_file.write, run).decode(), newline="")
        table = pyarrow.parquet.read_table(io.BytesIO(written(parquet.write, run)))
    assert [line["margin_lower"] for line in lines] == margins
    cells = [row["margin_lower"] for row in csv.DictReader(text)]
    assert [float(cell) if cell else None for cell in cells] == margins
    assert table["margin_lower"].to_pylist() == margins
