"""The study of behaviour without its weights: its parts on the demo, its file, and its page."""

from __future__ import annotations

import json
from typing import Any

import behaviour
import numpy as np
import pytest
from scipy.stats import mannwhitneyu, spearmanr

import geom
from geom_plugins.sources.demo import CHECKPOINT
from support import ROOT

FOUND: dict[str, Any] = json.loads((ROOT / "docs/behaviour.json").read_text(encoding="utf-8"))

MEASURED = [*behaviour.CHEAP, "logit-bias", "angular-margin", "surprise"]
"""The measures of the page's first table."""

SAID = "The margin of a token is the least difference between its logit and another. " * 4


@pytest.fixture(scope="module")
def readout() -> geom.Readout:
    return geom.load("demo")


@pytest.fixture(scope="module")
def network() -> tuple[Any, Any]:
    """Load the demo as the study loads its model: what runs it, and its tokenizer."""
    pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    from geom_plugins.networks.texts import read_tokenizer
    from geom_plugins.networks.transformers_networks import model_stage

    make: Any = AutoModelForCausalLM
    model = make.from_pretrained(str(CHECKPOINT), dtype="float32")
    return model_stage(model, model.config.to_dict(), "demo"), read_tokenizer(str(CHECKPOINT))


def softmax(logits: behaviour.Floats) -> behaviour.Floats:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def test_the_network_is_read_as_its_readout_answers(
    network: tuple[Any, Any], readout: geom.Readout, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, tokenizer = network
    monkeypatch.setattr(behaviour, "WINDOW", 16)
    ids = tokenizer(SAID)["input_ids"]
    ids = ids[: len(ids) // 16 * 16 + 1]
    found = behaviour.read_text(stage, tokenizer, tokenizer.decode(ids), readout.V)
    states = [stage.vectors(ids[at : at + 16], range(16)) for at in range(0, len(ids) - 1, 16)]
    logits = readout.logits(np.concatenate(states).astype(np.float64))
    won, true = logits.argmax(axis=1), np.array(ids[1:])
    counts = {"emitted": won, "occurs": true, "right": true[won == true]}
    for name, tokens in counts.items():
        assert np.array_equal(found[name], np.bincount(tokens, minlength=readout.V))
    assert found["probability"] == pytest.approx(softmax(logits).mean(axis=0), rel=1e-3, abs=1e-9)


def test_the_habit_is_the_models_own_mean_probability(
    network: tuple[Any, Any], readout: geom.Readout
) -> None:
    import torch

    stage, tokenizer = network
    ids = tokenizer(SAID)["input_ids"][:40]
    with torch.no_grad():
        expected = softmax(stage.run(torch.tensor([ids]))[0].double().numpy()).mean(axis=0)
    found = behaviour.habit(readout, stage.vectors(ids, range(len(ids))))
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_a_token_is_asked_for_at_the_end_of_each_prompt(
    network: tuple[Any, Any], readout: geom.Readout
) -> None:
    stage, tokenizer = network
    sample = np.array([5, 9, 300, 1200, 2000])
    found = behaviour.asked(stage, tokenizer, sample, batch=2)
    for name, (before, after, times) in behaviour.prompts(tokenizer).items():
        for i, token in enumerate(sample.tolist()):
            ids = [*before, *[token] * times, *after]
            logits = readout.logits(stage.vectors(ids, [len(ids) - 1]).astype(np.float64))[0]
            assert found[f"chance_{name}"][i] == pytest.approx(softmax(logits)[token], rel=1e-3)
            assert found[f"repeated_{name}"][i] == (logits.argmax() == token)


def test_the_model_says_a_token_at_its_own_witness_only(
    network: tuple[Any, Any], readout: geom.Readout
) -> None:
    run = geom.run(readout, tokens=[5, 9, 300, 1200])
    points = behaviour.witnesses(run, np.array([5, 9, 300, 1200]))
    stage, _ = network
    assert behaviour.replayed(stage, points, np.array([5, 9, 300, 1200])).all()
    assert not behaviour.replayed(stage, points, np.array([9, 5, 1200, 300])).any()


def test_the_indicators_of_all_tokens_are_geoms(readout: geom.Readout) -> None:
    run = geom.run(readout, tokens="all")
    rows = list(run.rows())
    known, found = behaviour.unspeakable(rows), behaviour.cheap(readout, rows)
    assert (*found, "habit") == behaviour.CHEAP
    behaviour.check_indicators(readout, np.arange(0, readout.V, 7), known, found)
    assert {len(values) for values in found.values()} == {readout.V}
    found["row-norm"][7] *= 1.001
    with pytest.raises(RuntimeError, match="row-norm of 7"):
        behaviour.check_indicators(readout, np.array([7]), known, found)


def test_the_two_texts_share_no_page_and_no_module() -> None:
    assert behaviour.MODULES["habits"] != behaviour.MODULES["held out"]
    habits, held_out = (behaviour.text(part, 2000, 500) for part in behaviour.MODULES)
    lines = [{line for line in text.splitlines() if len(line) > 60} for text in (habits, held_out)]
    assert all(lines)
    assert not lines[0] & lines[1]


def column(name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a column of the sample, NaN for null."""
    return np.array([np.nan if one is None else one for one in FOUND["sample"][name]], dtype=float)


@pytest.mark.parametrize("part", ["sample", *behaviour.COMPARED])
def test_the_files_coefficients_are_those_of_its_sample(part: str) -> None:
    names = behaviour.PROMPTS
    values = {
        "is repeated": np.max([column(f"repeated_{name}") for name in names], axis=0),
        "probability when asked": np.max([column(f"chance_{name}") for name in names], axis=0),
        "mean probability": column("probability"),
    }
    known = {"sample": "token_id", "dear": "surprise", "angles": "solid-angle"}[part]
    few = np.isfinite(column(known))
    rows = [row for row in FOUND["predictions"] if row["tokens"] == part]
    assert len(rows) > 9
    for row in rows:
        x, y = column(row["measure"]), values[row["behaviour"]]
        keep = few & np.isfinite(x)
        assert row["n"] == keep.sum()
        if row["value"] is None:
            continue
        if row["positives"] is None:
            expected = spearmanr(x[keep], y[keep]).statistic
        else:
            yes, no = x[keep & (y == 1)], x[keep & (y == 0)]
            expected = mannwhitneyu(yes, no).statistic / (len(yes) * len(no))
        assert row["value"] == pytest.approx(expected, abs=2e-3)  # of numbers of five digits


def test_the_best_measure_of_a_column_is_behind_none() -> None:
    rows = [row for row in FOUND["predictions"] if row["tokens"] in behaviour.COMPARED]
    columns: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        columns.setdefault((row["behaviour"], row["tokens"]), []).append(row)
    assert len(columns) == 6
    for column_ in columns.values():
        strengths = [
            abs(row["value"] - (0.0 if row["positives"] is None else 0.5)) for row in column_
        ]
        for row, strength in zip(column_, strengths, strict=True):
            assert row["behind"] == pytest.approx(max(strengths) - strength, abs=2e-5)
            assert row["behind_error"] > 0 or strength == max(strengths)


def test_the_file_is_small_and_its_counts_agree() -> None:
    assert (ROOT / "docs/behaviour.json").stat().st_size < 300_000
    groups = FOUND["groups"].values()
    assert sum(group["tokens"] for group in groups) == FOUND["V"]
    for name in ("places where one is emitted", "places where one comes next"):
        assert sum(group[name] for group in groups) == FOUND["text"]["positions"]
    assert sum(group["probability"] for group in groups) == pytest.approx(1.0, abs=1e-4)
    assert FOUND["groups"]["unspeakable"]["tokens emitted"] == 0


def is_best(happened: str, measure: str) -> bool:
    """Return whether no measure of the 120 tokens is surely stronger than this one."""
    (row,) = (
        row
        for row in FOUND["predictions"]
        if (row["behaviour"], row["tokens"], row["measure"]) == (happened, "dear", measure)
    )
    return bool(row["behind"] <= 2 * row["behind_error"])


def test_the_pages_numbers_are_the_files() -> None:
    page = " ".join((ROOT / "docs/behaviour.md").read_text(encoding="utf-8").split())
    groups, strata, places = FOUND["groups"], FOUND["strata"], FOUND["text"]["positions"]
    predicted = {
        (row["behaviour"], row["tokens"], row["measure"]): row["value"]
        for row in FOUND["predictions"]
    }
    hard, said = groups["hard"], groups["hard"]["places where one is emitted"]
    strength = {name: predicted["mean probability", "dear", name] for name in MEASURED}
    told = sorted(strength, key=lambda name: -abs(strength[name]))
    own = predicted["is emitted, if it comes next", "occurring", "self-argmax"]
    replayed = FOUND["replayed"]
    angles = column("solid-angle")
    known = np.isfinite(angles)
    dead = known & (-column("logit-bias") < 15)
    alike = spearmanr(angles[known], column("angular-margin")[known]).statistic
    measured = [value for value in FOUND["sample"]["logit-bias"] if value is not None]
    assert told[:3] == ["habit", "surprise", "unused-cosine"]
    assert np.isfinite(column("angular-margin")).sum() == 3 * 40 == len(measured)
    assert known.sum() == 3 * 6
    assert angles[dead].max() < -20.5
    assert angles[known & ~dead].min() > -7.5
    assert [name for name in MEASURED if is_best("probability when asked", name)] == [
        "unused-cosine"
    ]
    assert [name for name in MEASURED if not is_best("is repeated", name)] == ["habit"]
    hardest = np.sort(-np.array(measured))[:10]  # whose margins the audit computes
    assert hardest[-1] == pytest.approx(12, abs=0.5)
    beyond = column("witness-margin")[column("logit-bias") < -hardest[-1] - 1e-3]
    assert np.median(beyond) > hardest[-1] - 1e-3 <= beyond.min()
    assert replayed["float32"] == replayed["bfloat16"] == replayed["hard"]
    assert sum(row["repeats"] for row in strata.values()) == 0
    assert strata["unspeakable"]["any"] == 0
    for words in (
        f"of {places:,} places",
        f"audits all {FOUND['V']:,} tokens",
        f"Hard tokens are {100 * hard['tokens'] / FOUND['V']:.1f} % of the vocabulary",
        f"and {100 * said / places:.1f} % of what is emitted",
        f"rank correlation is {strength['unused-cosine']:.2f}, that of `angular-margin` "
        f"{strength['angular-margin']:.2f}.",
        f"best of geom's measures: {strength['surprise']:.2f}.",
        f"says more, {strength['habit']:.2f}, and",
        f"known of {known.sum()} tokens only, {dead.sum()} of them dead",
        f"as `angular-margin` does (correlation {alike:.2f})",
        f"1e{angles[dead].max():.0f} to 1e{angles[dead].min():.0f} of all directions",
        f"1e{angles[known].max():.0f} to 1e{angles[known & ~dead].min():.0f}.",
        f"nothing of being emitted (area {own:.2f})",
        f"the hardest tokens {strata['hardest']['any']} of 120 are repeated, and of those that win "
        f"along their own direction {strata['others']['any']} of 120.",
        f"All {replayed['float32']:,} hard tokens",
        f"all {replayed['bfloat16']:,} in bfloat16",
        f"the smallest largest margin is {-max(measured):.1f} logits",
    ):
        assert words in page


def test_the_tokens_that_the_page_calls_dead_are_never_said() -> None:
    page = " ".join((ROOT / "docs/behaviour.md").read_text(encoding="utf-8").split())
    names = behaviour.PROMPTS
    repeated = np.max([column(f"repeated_{name}") for name in names], axis=0) == 1
    chance = np.max([column(f"chance_{name}") for name in names], axis=0)
    low, high = -column("logit-bias") < 15, -column("logit-bias") >= 15
    assert not repeated[low].any()
    assert not column("emitted")[low].any()
    assert chance[low].max() < 3e-5
    assert {"swigfaiss", "kinesisfirehose"} < {
        FOUND["sample"]["token"][i] for i in np.flatnonzero(low)
    }
    assert f"The {low.sum()} tokens of the sample with less than 15 logits" in page
    assert f"of the {low.sum()} below, none is repeated" in page
    assert (
        f"Of the {high.sum()} tokens with a largest margin of 15 logits or more, "
        f"{repeated[high].sum()} are repeated and {(chance[high] < 0.01).sum()} have less than 1 %"
    ) in page
