"""The representation of a record in a notebook or debugger fits a line, and has no array."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom.model.shared import shared
from geom.reprs import LINE, short_repr
from geom.runs.verification import Verification
from geom.store import MeasureRow

V, D = 20_000, 16
NAME = "/home/somebody/" + "a-very-long-folder/" * 20 + "model.safetensors"
LAM = geom.Weights(np.arange(V), np.full(V, 0.5))
READOUT = geom.Readout.fold(
    np.random.default_rng(0).normal(size=(V, D)),
    norm="layernorm",
    beta=np.full(D, 0.25),
    tokens=[f"token {token}" for token in range(V)],
    source=f"hf:{NAME}",
    notes=("a sentence",) * 50,
)
X = READOUT.W[0]
PROBLEM = geom.Problem(READOUT, READOUT.domain)
ROW = MeasureRow(
    7,
    token="a token" * 99,
    token_kind=None,
    measure="angular-margin",
    value=0.1,
    error=0.0,
    unit="radians",
    proven=True,
    note="a note" * 99,
    seconds=0.1,
    options={f"option {i}": NAME for i in range(99)},
    x=X,
    weights=LAM,
)

BIG: list[Any] = [
    READOUT,
    PROBLEM,
    READOUT.domain,
    geom.Domain("vast", D, "ball", Fraction(10) ** 5000),
    READOUT.shift,
    LAM,
    geom.Witness(X),
    geom.WitnessedToken(3, X),
    geom.Finding(X, LAM, "a note" * 99),
    geom.Verdict("unspeakable", "interior", certificate=LAM, note="a note" * 99),
    geom.Measurement(1.0, 0.0, x=X, weights=LAM),
    ROW,
    geom.MeasureTable((ROW,) * 5000),
    geom.Enclosure(Fraction(10) ** 5000, Fraction(10) ** 5001),
    geom.Fault(3, "a reason" * 99),
    Verification({"speakable": V}, (geom.Fault(3, "a reason" * 99),) * 5000, about=NAME),
    geom.Summary((), tuple(geom.SharedToken(f"{i}", None, (0, 1)) for i in range(5000))),
    geom.find_arithmetic("arb?bits=300"),
    geom.current_device(),
]


@pytest.mark.parametrize("record", BIG, ids=lambda record: type(record).__name__)
def test_a_repr_fits_a_line_and_shows_no_array(record: Any) -> None:
    text = repr(record)
    assert text.startswith(f"{type(record).__name__}(")
    assert text.endswith(")")
    assert len(text) <= LINE
    assert "array(" not in text
    assert "\n" not in text


@pytest.mark.parametrize("name", geom.__all__)
def test_every_public_record_has_this_repr(name: str) -> None:
    record = getattr(geom, name)
    if is_dataclass(record) and fields(record) and record is not geom.Source:  # shows its text
        assert record.__repr__ is short_repr


def test_what_a_readout_says_of_itself() -> None:
    small = geom.Readout.fold(np.eye(3), norm="rmsnorm", source="npz:a.npz")
    assert repr(small) == "Readout(V=3, d=3, norm='rmsnorm', source='npz:a.npz')"
    with shared(small) as sent:
        assert repr(sent) == f"Shared{small!r}"
    plain = geom.Problem(small, small.domain)
    assert repr(plain) == (
        "Problem(readout=Readout(V=3, d=3, norm='rmsnorm', ...), "
        "domain=Domain(name='rmsnorm', d=3, shape='ball', ...))"
    )


def test_an_array_is_its_type_and_shape_and_many_records_their_number() -> None:
    assert repr(geom.Witness(np.zeros(3))) == "Witness(x=<float64 (3,)>)"
    weights = geom.Weights(np.arange(2), np.ones(2))
    assert repr(weights) == "Weights(indices=<int64 (2,)>, values=<float64 (2,)>)"
    assert repr(geom.MeasureTable((ROW,) * 3)) == "MeasureTable(rows=<3 MeasureRow>)"
    assert repr(geom.MeasureTable(())) == "MeasureTable(rows=())"


def test_what_is_none_or_as_it_is_unless_told_is_left_out() -> None:
    assert repr(geom.Finding()) == "Finding()"
    assert repr(geom.Verdict("undecided", note="why")) == "Verdict(name='undecided', note='why')"
    assert repr(geom.Measurement(2.0)) == "Measurement(value=2.0)"


def test_a_plugin_names_its_function() -> None:
    def certify(*_: object) -> geom.Finding:
        return geom.Finding()

    record = geom.Certifier("mine", "tries", certify, geom.NoOptions)
    assert repr(record) == (
        "Certifier(name='mine', summary='tries', certify=certify, options=NoOptions)"
    )


def test_a_run_a_table_and_a_comparison_fit_a_line(tmp_path: Path) -> None:
    with geom.run("demo", tokens="0-30", out=tmp_path / "run.db") as run:
        assert len(repr(run)) <= LINE + len(str(tmp_path))
        assert len(repr(run.row(0))) <= LINE
        compared = geom.compare(run, "0-3", ["bfloat16", "exact"])
    assert repr(compared) == (
        "Comparison(points=<4 ComparedPoint>, precisions={'bfloat16': 0.00390625, 'exact': 0.0}, "
        "rows=<8 ComparisonRow>)"
    )
    for record in (*compared.points, *compared.rows):
        assert len(repr(record)) <= LINE


def test_a_notebook_shows_tables() -> None:
    readout = geom.Readout.fold(np.eye(30), tokens=["<b>"] * 30)
    measured = geom.measure(readout, "row-norm", "all")._repr_html_()
    assert measured.count("<tr>") == 21
    assert "<td>row-norm</td><td>1</td><td>row units</td>" in measured
    assert "10 more: <code>to_pandas()</code>" in measured
    compared = geom.compare(readout, "0-3", ["bfloat16", "float64"])._repr_html_()
    assert "<th>exact</th>\n<th>bfloat16</th>\n<th>float64</th>" in compared
    assert compared.count("<td>own direction</td><td>1.01</td><td>1.01</td><td>1.01</td>") == 4
    for html in (measured, compared):
        assert "<b>" not in html
        assert "&lt;b&gt;" in html


def test_a_certificate_is_printed_with_what_it_says() -> None:
    x, one, three = np.zeros(2), np.array([7]), np.array([3, 5, 9])
    assert "a point of the domain at which it has the highest logit" in str(geom.Witness(x))
    assert "the logit of id 7 is at least as high" in str(geom.Weights(one, np.ones(1)))
    assert "the mean of the logits of these ids" in str(geom.Weights(three, np.ones(3)))
    for item in (geom.Witness(x), geom.Weights(three, np.ones(3))):
        assert str(item).startswith(repr(item))
        assert "\n" not in repr(item)
