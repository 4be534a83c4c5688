"""Settings of sampling, and the tokens of a run that no state can sample under them."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import geom
from geom import InputError, Readout, Truncation, unsampleable
from support.problems import cloud
from support.stored_runs import edit

Floats = NDArray[np.float64]

TWINS = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5], [1.0, 1.0]])


def few() -> tuple[Floats, Floats]:
    """Return 24 rows in four dimensions: some low, one at the mean, one midway, one twin."""
    W, b = cloud(24, 4, 1), 0.3 * cloud(24, 1, 2)[:, 0]
    b[:6] -= [30.0, 9.0, 7.0, 5.0, 4.0, 3.0]
    W[6], b[6] = W[8:].mean(axis=0), b[8:].mean()
    W[7], b[7] = (W[9] + W[10]) / 2, (b[9] + b[10]) / 2 - 1.0
    W[23], b[23] = W[22], b[22]
    return W, b


@pytest.fixture(scope="module")
def measured() -> geom.Run:
    """Return a run of these rows with all that tells of sampling."""
    W, b = few()
    run = geom.run(Readout.fold(W, b, norm="rmsnorm"), tokens="all", certifiers=["maxent"])
    geom.measure(run, ["logit-bias"], "all")
    geom.measure(run, ["best-rank"], "all", {"measure.best-rank.ties": "below"})
    return run


SETTINGS = [
    "top-k=1",
    "top-k=3",
    "top-p=0.5,temperature=0.5",
    "top-p=0.9,temperature=0.2",
    "min-p=0.05",
    "min-p=0.2,temperature=0.7",
    "top-k=4,top-p=0.95,min-p=0.1,temperature=1.5",
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_transformers_samples_no_listed_token_at_any_state_in_any_order(
    measured: geom.Run, settings: str
) -> None:
    torch = pytest.importorskip("torch")
    warpers = pytest.importorskip("transformers.generation.logits_process")
    found = unsampleable(measured, settings)
    listed = [token.token_id for token in found if not token.but_for_ties]
    assert listed
    W, b = few()
    states = measured.problem.domain.sample(np.random.default_rng(3), 20_000)
    states = np.vstack(
        [states, 2.0 * states[:5000] / np.linalg.norm(states[:5000], axis=1)[:, None]]
    )
    scores = torch.tensor(states @ W.T + b)
    given = found.truncation
    filters = [
        *([warpers.TopKLogitsWarper(given.top_k)] if given.top_k else []),
        *([warpers.TopPLogitsWarper(given.top_p)] if given.top_p else []),
        *([warpers.MinPLogitsWarper(given.min_p)] if given.min_p else []),
    ]
    for order in permutations(filters):
        left = warpers.TemperatureLogitsWarper(given.temperature)(None, scores)
        for warper in order:
            left = warper(None, left)
        assert not torch.isfinite(left[:, listed]).any()


def test_the_counts_add_up_to_the_vocabulary(measured: geom.Run) -> None:
    for settings in SETTINGS:
        found = unsampleable(measured, settings)
        assert len(found) + found.kept + found.unknown + found.not_examined == 24
        assert found.not_examined == 0


def test_tokens_that_win_are_kept_by_all_filters(measured: geom.Run) -> None:
    speakable = {row.token_id for row in measured.rows("speakable")}
    found = unsampleable(measured, SETTINGS[-1])
    assert not speakable & {token.token_id for token in found}
    assert found.kept == len(speakable)


def test_of_one_filter_it_is_known_which_tokens_it_keeps(measured: geom.Run) -> None:
    assert unsampleable(measured, "min-p=0.05").unknown == 0
    assert unsampleable(measured, "min-p=0.05,top-k=24").unknown > 0


def twins(out: Path | None = None) -> geom.Run:
    return geom.run(Readout.fold(TWINS), tokens="0-5", domain="rmsnorm", out=out)


def test_twins_are_dropped_by_top_1_but_for_their_tie() -> None:
    with twins() as run:
        found = unsampleable(run, Truncation(top_k=1))
    assert [(token.token_id, token.dropped_by, token.but_for_ties) for token in found] == [
        (0, ("top-k",), True),
        (4, ("top-k",), True),
        (5, ("top-k",), True),
    ]
    assert (found.kept, found.unknown, found.not_examined) == (3, 0, 0)


def test_a_best_rank_that_is_stored_tells_of_larger_k() -> None:
    with twins() as run:
        assert (len(unsampleable(run, "top-k=2")), unsampleable(run, "top-k=2").unknown) == (0, 3)
        geom.measure(run, "best-rank", "0-5")
        found = unsampleable(run, "top-k=2")
    assert (len(found), found.kept, found.unknown) == (0, 6, 0)


def test_tokens_that_were_not_examined_are_counted() -> None:
    with geom.run(Readout.fold(TWINS), tokens="1-4", domain="rmsnorm") as run:
        assert unsampleable(run, "top-k=1").not_examined == 2


def test_thresholds_measured_at_one_temperature_tell_of_another() -> None:
    readout = Readout.fold([[1.0], [1.0]], [0.0, 1.0], norm="rmsnorm")
    with geom.run(readout, tokens="0", certifiers=[]) as run:
        assert len(unsampleable(run, "min-p=0.9")) == 0
        geom.measure(run, "min-p", [0], {"measure.min-p.temperature": 2.0})
        assert len(unsampleable(run, "min-p=0.37")) == 1
        assert unsampleable(run, "min-p=0.36").kept == 1


def test_numbers_that_are_not_proven_or_not_of_the_unit_tell_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with twins(path) as run:
        geom.measure(run, "best-rank", [4])
    edit(path, "UPDATE measures SET value = 99.0")
    assert len(unsampleable(geom.open_run(path), "top-k=5")) == 1
    for change in ("proven = 0", "unit = 'logits'", "error = NULL", "value = 9e999"):
        edit(path, f"UPDATE measures SET {change}")
        with geom.open_run(path) as run:
            assert len(unsampleable(run, "top-k=5")) == 0
        edit(path, "UPDATE measures SET value = 99.0, error = 0.0, proven = 1, unit = 'rank'")


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        ('{"temperature": 1.0}', 1),
        ('{"temperature": "hot"}', 0),
        ('{"temperature": -1}', 0),
        ("{}", 1),
    ],
)
def test_a_probability_tells_something_if_its_temperature_is_known(
    tmp_path: Path, options: str, listed: int
) -> None:
    path = tmp_path / "run.db"
    with twins(path) as run:
        geom.measure(run, "best-rank", [4])
    edit(
        path,
        "UPDATE measures SET measure = 'max-probability', unit = 'log10 probability', "
        "value = -9.0, error = 0.5, options = ?",
        options,
    )
    with geom.open_run(path) as run:
        assert len(unsampleable(run, "top-p=0.9,temperature=0.5")) == listed


def test_the_probability_that_a_certificate_allows_tells_of_top_p(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    twins(path).close()
    edit(path, "UPDATE tokens SET probability_upper = NULL")
    with geom.open_run(path) as run:
        assert len(unsampleable(run, "top-p=0.9,temperature=0.5")) == 0
    edit(path, "UPDATE tokens SET probability_upper = 1e-9 WHERE token_id = 4")
    with geom.open_run(path) as run:
        (found,) = unsampleable(run, "top-p=0.9,temperature=0.5")
    assert (found.token_id, found.dropped_by, found.but_for_ties) == (4, ("top-p",), False)


def kept_by_top_p(logits: Floats, token: int, p: float) -> bool:
    """Return whether top-p keeps a token even if all that tie with it come before it."""
    shares = np.exp(logits - logits.max())
    before = shares[(logits >= logits[token]) & (np.arange(len(logits)) != token)].sum()
    return bool(before / shares.sum() < p)


def test_a_token_that_is_likely_somewhere_is_kept_by_top_p() -> None:
    corner = TWINS @ [1.0, 1.0]
    with twins() as run:
        assert unsampleable(run, "top-p=0.9").unknown == 3
        geom.measure(run, "max-probability", [0, 5])
        found = unsampleable(run, "top-p=0.9")
        assert (len(found), found.kept, found.unknown_ids) == (0, 5, (4,))
        assert kept_by_top_p(corner, 0, 0.9)
        found = unsampleable(run, "top-p=0.6")  # the probability is 0.39, less than 1 - 0.6
        assert 0 in found.unknown_ids
        assert not kept_by_top_p(corner, 0, 0.38)


@pytest.mark.parametrize("domain", ["rmsnorm", "box", "unbounded"])
def test_without_biases_min_p_drops_no_token_everywhere(domain: str) -> None:
    """At x = 0 all probabilities are equal, so a share of the highest up to 1 keeps all."""
    readout = Readout.fold(TWINS)
    with geom.run(readout, tokens="all", domain=domain) as run:
        found = unsampleable(run, "min-p=1")
        assert (len(found), found.kept, found.unknown) == (0, 6, 0)
        assert geom.verify(run, readout).ok


def test_with_biases_or_away_from_the_origin_nothing_is_taken_for_granted(
    own_folder: Path,
) -> None:
    biases = [0.0, 0.0, 0.0, 0.0, -5.0, 0.0]
    with geom.run(Readout.fold(TWINS, biases), tokens="4", domain="rmsnorm") as run:
        (row,) = run.rows()
        assert row.margin_lower is None or row.margin_lower < 0.0
    np.save("points.npy", np.array([[1.0, 0.0], [1.0, 0.5]]))
    options = {"domain.hull.points": "points.npy"}
    with geom.run(Readout.fold(TWINS), tokens="3", domain="hull", options=options) as run:
        (row,) = run.rows()
        assert row.verdict == "unspeakable"  # -1 at the one point, -1.5 at the other; the first 1
        assert row.margin_lower is None or row.margin_lower <= -2.0


# Settings


def test_settings_are_read_in_any_order_and_written_in_one() -> None:
    text = " temperature=0.8, min-p = 0.05,top-k=40"
    given = Truncation.parse(text)
    assert given == Truncation(top_k=40, min_p=0.05, temperature=0.8)
    assert str(given) == "top-k 40, min-p 0.05, temperature 0.8"
    assert Truncation.parse("top-p=0.9").temperature == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    {
        "": "'' is not a setting of sampling: write NAME=VALUE",
        "top-k": "'top-k' is not a setting of sampling: write NAME=VALUE",
        "top_k=3": "unknown setting of sampling 'top_k': did you mean 'top-k'?",
        "top-k=3,top-k=4": "top-k is set twice: give it once",
        "top-k=0": "top-k=0: give a whole number from 1, or leave it out",
        "top-k=-2": "top-k=-2: give a whole number from 1, or leave it out",
        "top-k=2.5": "top-k=2.5: give a whole number",
        "top-p=1.5": "top-p=1.5: give a number above 0, at most 1, or leave it out",
        "min-p=0": "min-p=0.0: give a number above 0, at most 1, or leave it out",
        "min-p=nan": "min-p=nan: give a number above 0, at most 1, or leave it out",
        "min-p=a": "min-p=a: give a number",
        "top-k=1,temperature=0": "temperature=0.0: give a finite number above 0; at 0 only the "
        "argmax is sampled, and the verdicts say which can be that",
        "top-k=1,temperature=inf": "temperature=inf: give a finite number above 0",
        "temperature=0.5": "no filter is set, so everything can be sampled: give top-k, top-p or "
        "min-p",
    }.items(),
)
def test_settings_that_do_not_fit_are_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        Truncation.parse(text)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_a_number_of_another_type_is_refused() -> None:
    with pytest.raises(InputError, match="top-k=True"):
        Truncation(top_k=True)
    with pytest.raises(InputError, match="min-p=x"):
        Truncation(min_p="x")  # type: ignore[arg-type]  # what the test is about
