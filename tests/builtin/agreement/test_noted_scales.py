"""A scale of the logits that a note states is the one that transformers' own class applies."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import geom
from geom_plugins.agreement.model_logits import model_logits
from geom_plugins.agreement.toy_sizes import TEXT_IDS
from geom_plugins.agreement.verdict import agreement
from geom_plugins.architectures.table import ARCHITECTURES
from support.toy_models import build, save

SCALED = {
    "cohere": 0.0625,
    "granite": 0.25,
    "granitemoeshared": 0.25,
    "granitemoehybrid": 0.25,
    "hyperclovax": 4.0,
    "inkling_text": 1 / 24,
    "minicpm3": 2.0,
    "falcon_h1": 0.5,
    "t5": 0.125,
}
"""Architectures that multiply or divide their logits, and the factor of their toys."""


@pytest.mark.parametrize("kind", SCALED)
def test_the_stated_scale_is_the_models_and_another_is_refused(kind: str, tmp_path: Path) -> None:
    assert ARCHITECTURES[kind].logit_scale is not None
    model = build(kind)
    readout, logits = geom.load(f"hf:{save(model, tmp_path)}"), model_logits(model, TEXT_IDS)
    (note,) = [note for note in readout.notes if "scales its logits by" in note]
    found = re.search(r"by ([\d.e-]+) \(", note)
    assert found is not None
    assert float(found[1]) == pytest.approx(SCALED[kind], rel=1e-8)
    right = agreement("it", readout, logits)
    assert (right.agrees, right.note) == (True, None)
    for times in (0.5, 1.05, 2.0):  # a norm's epsilon, too, makes x up to 2 % shorter
        other = note.replace(found[1], str(times * SCALED[kind]))
        wrong = agreement("it", replace(readout, notes=(other,)), logits)
        assert wrong.agrees is False
        assert "and not by" in (wrong.note or "")
