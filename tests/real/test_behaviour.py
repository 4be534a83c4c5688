"""The pilot of the study of behaviour, which takes the steps of the study with a few tokens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support import ROOT
from support.real_models import Real


def test_the_pilot_of_the_study_of_behaviour_runs(smollm2: Real, tmp_path: Path) -> None:
    out = tmp_path / "pilot.json"
    words = [str(ROOT / "benchmarks/behaviour.py"), "--pilot", "--out", str(out)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    groups = found["groups"]
    assert groups["unspeakable"]["tokens"] == len(smollm2.twins)
    assert groups["hard"]["tokens"] == len(smollm2.losers) - len(smollm2.twins)
    assert groups["unspeakable"]["places where one is emitted"] == 0  # this is what is proven
    for column in ("places where one is emitted", "places where one comes next"):
        assert sum(group[column] for group in groups.values()) == found["text"]["positions"]
    assert abs(sum(group["probability"] for group in groups.values()) - 1) < 1e-4  # of float32
    assert found["replayed"]["float32"] <= found["replayed"]["hard"]
    sample = found["sample"]
    for name in ("chat", "examples", "repeats"):
        pairs = zip(sample["stratum"], sample[f"repeated_{name}"], strict=True)
        assert not any(won for stratum, won in pairs if stratum == 0)
