"""Settings that change logits are seen in architectures that the table does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

import geom
from geom import InputError
from geom_plugins.agreement.model_logits import model_logits
from geom_plugins.agreement.toy_model import build, save
from geom_plugins.agreement.toy_sizes import TEXT_IDS
from geom_plugins.agreement.verdict import agreement
from geom_plugins.architectures.table import ARCHITECTURES


@pytest.fixture(autouse=True)
def unknown(no_toys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the architecture out of the table, as if it were new."""
    monkeypatch.delitem(ARCHITECTURES, "inkling_text", raising=False)


def test_a_vocabulary_that_the_model_cuts_is_refused(tmp_path: Path) -> None:
    model = build({"model_type": "inkling_text", "vocab_size": 500, "unpadded_vocab_size": 450})
    assert model_logits(model, TEXT_IDS).shape[1] == 330  # of 331 rows
    with pytest.raises(InputError, match="the model drops the logits of its last 1 rows"):
        geom.load(f"hf:{save(model, tmp_path)}")


def test_an_unknown_models_scale_is_noted(tmp_path: Path) -> None:
    given = {"model_type": "inkling_text", "vocab_size": 500, "unpadded_vocab_size": 500}
    model = build(given | {"logits_mup_width_multiplier": 12.0})
    readout = geom.load(f"hf:{save(model, tmp_path)}")
    assert any("scales its logits" in note for note in readout.notes)
    found = agreement("it", readout, model_logits(model, TEXT_IDS))
    assert found.agrees
    assert "its logits are 0.08333 times W x + b" in (found.note or "")
