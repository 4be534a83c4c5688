"""What geom says of the real models, against brute force, a conic solver and a stranger's program.

Whisper's hardest tokens are single bytes that no text holds: each can win, but by less than 0.003
logits wherever in the domain one looks, and some by 0.00001.
"""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import Run, Witness
from support import ROOT, conic
from support.real_models import Real

BYTES = [124, 125, 173, 174, *range(178, 220), 221]
"""The bytes C0, C1, F1, F2 and F6 to FF, and the control characters; the byte F5 has a twin."""


def test_as_many_tokens_as_known_are_flagged_and_have_twins(smollm2: Real, whisper: Real) -> None:
    assert (len(smollm2.losers), len(smollm2.twins)) == (8595, 15)
    assert (len(whisper.losers), len(whisper.twins)) == (11414, 2)


def test_self_argmax_flags_what_brute_force_flags(real: Real) -> None:
    V = real.readout.V
    W = real.readout.rows[:]
    W = W - W.mean(axis=0)
    sample = np.random.default_rng(0).choice(V, 1024, replace=False)
    scores = W[sample] @ W.T
    own = scores[np.arange(sample.size), sample]
    scores[np.arange(sample.size), sample] = -np.inf
    lead = own - scores.max(axis=1)
    clear = np.abs(lead) > 1e-10 * np.abs(own)  # far more than float64's rounding
    assert clear.mean() > 0.98
    assert (np.isin(sample, real.losers) == (lead < 0.0))[clear].all()


def test_of_a_sample_the_tokens_with_equal_rows_are_unspeakable(real: Real) -> None:
    alike = real.twins
    sample = np.random.default_rng(1).choice(real.losers, 100, replace=False)
    run = geom.run(real.readout, tokens=np.union1d(sample, alike).tolist())
    assert [row.token_id for row in run.rows(verdict="unspeakable")] == alike
    assert run.counts()["undecided"] == 0
    assert not geom.verify(run, real.readout).faults


def test_a_stranger_proves_verdicts_from_the_files_own_arrays(real: Real, tmp_path: Path) -> None:
    run = geom.run(real.readout, tokens=[real.losers[1000], real.twins[0]])
    verdicts = {row.token_id: row.verdict for row in run.rows()}
    assert set(verdicts.values()) == {"speakable", "unspeakable"}
    geom.export(run, "certificate", tmp_path / "all.jsonl")
    arrays = real.saved(tmp_path)
    for line in (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines():
        (tmp_path / "proof.json").write_text(line, encoding="utf-8")
        token = json.loads(line)["token_id"]
        done = subprocess.run(
            [sys.executable, "-I", "-S", ROOT / "docs/check_certificate.py", "proof.json", *arrays],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.startswith(f"token {token} of {real.readout.V} is {verdicts[token]} on ")
        assert ": proven" in done.stdout, done


@pytest.fixture(scope="module")
def hardest(whisper: Real) -> Run:
    """Run every fourth of the bytes to its largest margin."""
    largest = {"certifier.maxent.largest": True}
    return geom.run(whisper.readout, tokens=BYTES[::4], certifiers=["maxent"], options=largest)


def test_whispers_bytes_can_win(whisper: Real) -> None:
    run = geom.run(whisper.readout, tokens=BYTES)
    assert run.counts()["speakable"] == len(BYTES)
    assert min(won_by(run, whisper, token) for token in BYTES) > 1e-9  # float64's error: 1e-12


def test_whispers_bytes_win_by_little(whisper: Real, hardest: Run) -> None:
    for row in hardest.rows():
        assert row.margin_lower is not None
        assert row.margin_upper is not None
        won = won_by(hardest, whisper, row.token_id)
        assert 1e-5 < row.margin_lower <= won + 1e-12
        assert won <= row.margin_upper < 3e-3


@pytest.mark.parametrize("token", BYTES[::16])
def test_a_conic_solver_finds_no_larger_margin(whisper: Real, hardest: Run, token: int) -> None:
    """Clarabel looks for the largest margin over some rivals, which is at least that over all."""
    readout = whisper.readout
    (row,) = (row for row in hardest.rows() if row.token_id == token)
    found = hardest.certificate(token)
    assert isinstance(found, Witness)
    near = np.argsort(-readout.logits(found.x))[:1500]
    near = near[near != token]
    a = readout.rows[near] - readout.rows[[token]]
    a -= a.mean(axis=1, keepdims=True)  # where sum(x) = 0, this changes nothing
    above = conic.largest_margin(a, readout.b[near] - readout.b[token], "ball", np.sqrt(512.0))
    assert row.margin_lower is not None
    assert row.margin_upper is not None
    assert row.margin_lower < above * (1 + 1e-6)
    assert above < row.margin_upper * (1 + 1e-6)


def won_by(run: Run, real: Real, token: int) -> float:
    """Return by how much a token wins at its witness, which must lie exactly in the domain."""
    found = run.certificate(token)
    assert isinstance(found, Witness)
    x = [Fraction(value) for value in found.x.tolist()]
    assert sum(x) == 0
    assert sum(value * value for value in x) <= real.readout.d
    assert real.beta is not None
    y = found.x * real.gamma.astype(np.float64) + real.beta.astype(np.float64)
    logits = real.W.astype(np.float64) @ y
    own, logits[token] = logits[token], -np.inf
    return float(own - logits.max())
