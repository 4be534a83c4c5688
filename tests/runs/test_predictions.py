"""Leads that rounding loses: what a model predicts at the witness of a class that should win."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import Readout

LOST = 2.0**-60
"""What float64 loses beside 1."""

KEPT = 2.0**-40
"""What float64 keeps beside 1, and float32 loses."""


class Nearest:
    """A linear classifier of three classes: in a box, the middle one leads by at most ``lead``."""

    def __init__(self, lead: float) -> None:
        self.coef_ = np.array([[-1.0, 0.0], [0.0, lead], [1.0, 0.0]])
        self.intercept_ = np.ones(3)
        self.classes_ = np.array(["low", "mid", "high"])

    def fit(self) -> Nearest:
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classes_[(x @ self.coef_.T + self.intercept_).argmax(axis=1)]


def exact_lead(model: Nearest, x: np.ndarray) -> Fraction:
    """Return the lead of the middle class at a point in rational arithmetic."""
    low, mid, high = (
        sum((Fraction(w) * Fraction(v) for w, v in zip(row, x, strict=True)), Fraction(1))
        for row in model.coef_.tolist()
    )
    return mid - max(low, high)


def test_a_class_that_is_never_predicted_at_its_witness_is_told() -> None:
    model = Nearest(LOST)
    run = geom.run(model, domain="box", tokens="all")
    row, x = run.row("mid"), run.certificate("mid").x
    assert row.verdict == "speakable"
    assert 0 < exact_lead(model, x) <= Fraction(LOST)
    (answer,) = model.predict(x[None])
    assert answer != "mid"
    assert row.note is not None
    assert row.note.endswith(f'the model itself answers class 0 "{answer}"')
    (warning,) = run.warnings
    assert warning.startswith("1 class wins only in exact arithmetic: rounding loses a lead of 8.6")
    assert repr(run).endswith("; 1 warning>")
    assert "warning: 1 class wins" in run._repr_html_()
    for other in ("low", "high"):
        assert run.row(other).note is None


def test_a_class_that_is_predicted_at_its_witness_has_no_note() -> None:
    model = Nearest(KEPT)
    run = geom.run(model, domain="box", tokens="all")
    x = run.certificate("mid").x
    assert model.predict(x[None]).tolist() == ["mid"]
    assert (run.warnings, [row.note for row in run]) == ([], [None] * 3)


@pytest.mark.parametrize(
    ("kind", "lead", "lost"),
    [(np.float64, KEPT, False), (np.float64, LOST, True), (np.float32, KEPT, True)],
)
def test_arrays_of_classes_are_scored_in_their_own_type(
    kind: type[np.floating], lead: float, lost: bool
) -> None:
    model = Nearest(lead)
    W, b = model.coef_.astype(kind), model.intercept_.astype(kind)
    run = geom.run(Readout.fold(W, b, noun="class"), domain="box", tokens="all")
    x = run.certificate(1).x.astype(kind)
    scores = [float(row[0] * x[0] + row[1] * x[1] + kind(1)) for row in W]
    assert (max(scores) == scores[0]) == lost  # an argmax takes the first of equals
    name = np.dtype(kind).name
    said = f"rounding loses its lead: at the witness a product in {name} answers class 0"
    assert run.row(1).note == (said if lost else None)


def test_heads_of_tokens_are_not_scored() -> None:
    model = Nearest(LOST)
    run = geom.run(Readout.fold(model.coef_, model.intercept_), domain="box", tokens="all")
    assert (run.row(1).verdict, run.row(1).note, run.warnings) == ("speakable", None, [])


def test_a_run_that_goes_on_says_it_once(tmp_path: Path) -> None:
    out = tmp_path / "run.db"
    for _ in range(2):
        with geom.run(Nearest(LOST), domain="box", tokens="all", out=out) as run:
            assert str(run.row("mid").note).count("rounding loses") == 1
            assert len(run.warnings) == 1
