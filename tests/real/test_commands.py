"""The commands that a user types first, on a real model, and the opening of every run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import geom
from support.command import separately
from support.real_models import Real

LIMIT = 3600.0
"""Seconds for a command; it takes a minute or two on an idle machine."""


def test_the_first_command_ends_and_is_verified(smollm2: Real, tmp_path: Path) -> None:
    out = str(tmp_path / "run.db")
    model = ("--model", smollm2.location)
    words = ("--detector", "self-argmax", "--certifier", "highs", "--out", out)
    done = separately("run", *model, *words, limit=LIMIT)
    assert done.code == 0, done.err
    with geom.open_run(out) as run:
        counts = run.counts()
    assert counts["undecided"] == 0
    assert counts["unspeakable"] == len(smollm2.twins)
    assert sum(counts.values()) == len(smollm2.losers)
    verified = separately("verify", out, *model, limit=LIMIT)
    assert verified.code == 0, verified.out + verified.err


def test_verdicts_are_the_same_without_the_opening(real: Real) -> None:
    rng = np.random.default_rng(2)
    ids = np.union1d(rng.choice(real.readout.V, 30), rng.choice(real.losers, 70))
    tokens = np.union1d(ids, real.twins).tolist()
    runs = [
        geom.run(real.readout, tokens=tokens, certifiers=["maxent"], opening=opening)
        for opening in (True, False)
    ]
    with_it, without = ({row.token_id: row.verdict for row in run.rows()} for run in runs)
    assert with_it == without
    assert "undecided" not in with_it.values()
    certifiers = [{row.certifier for row in run.rows()} for run in runs]
    assert "shared-step" in certifiers[0]
    assert certifiers[1] == {"maxent"}
