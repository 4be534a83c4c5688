"""The gallery's figures of the real models, measured again."""

from __future__ import annotations

import json
from typing import Any

import pytest

import geom
from support import ROOT
from support.real_models import Real

FOUND: dict[str, dict[str, Any]] = json.loads(
    (ROOT / "docs" / "gallery.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("model", ["smollm2", "whisper"])
def test_a_real_model_is_what_the_gallery_says(model: str, request: pytest.FixtureRequest) -> None:
    real: Real = request.getfixturevalue(model)
    kept = FOUND[model]
    assert real.readout.digest == kept["digest"]
    assert (real.readout.V, real.readout.d) == (kept["V"], kept["d"])
    assert len(real.losers) == kept["hard"] + kept["unspeakable"]
    assert real.twins == [row["id"] for row in kept["lost"]]
    hardest = {row["id"]: row for row in kept["hardest"][::4]}
    largest = {"certifier.maxent.largest": True}
    run = geom.run(
        real.readout, tokens=[*hardest], certifiers=["maxent"], options=largest, opening=False
    )
    for row in run.rows():
        assert row.margin_lower is not None
        assert row.margin_upper is not None
        low, high = hardest[row.token_id]["low"], hardest[row.token_id]["high"]
        assert max(low, row.margin_lower) <= min(high, row.margin_upper)


@pytest.mark.parametrize("model", ["smollm2", "whisper"])
def test_the_crowd_is_as_close_as_the_gallery_says(
    model: str, request: pytest.FixtureRequest
) -> None:
    """The rows are those of another library, scaled here as the norm scales."""
    real: Real = request.getfixturevalue(model)
    kept = FOUND[model]
    tokens = [row["id"] for row in kept["lost"] + kept["hardest"][: kept["near"]]]
    rows = (real.W[tokens].astype("f8")) * real.gamma.astype("f8")
    rows -= rows.mean(axis=0)
    assert len(tokens) == kept["crowd"]["tokens"]
    farthest = float((rows**2).sum(axis=1).max() ** 0.5)
    assert farthest == pytest.approx(kept["crowd"]["farthest"])
