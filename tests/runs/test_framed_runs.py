"""Runs on the hull of points and on an ellipsoid: stored whole, checked again, edits found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import Certifier, Domain, Finding, NoOptions, Problem, Readout, StoreError
from geom.store.arrays import blob
from support.plugins import Use, installed_and
from support.problems import cloud
from support.square_runs import Given
from support.stored_runs import edit

W = cloud(12, 3, seed=3)
W[7] = (W[0] + W[1]) / 2
W[9] = W[8]
READOUT = Readout.fold(W, cloud(12, 1, seed=4)[:, 0] / 4 * (np.arange(12) < 7), source="npz:w.npz")
POINTS = cloud(6, 3, seed=5) * 2
DOMAINS = {
    "hull": geom.hull(POINTS),
    "ellipsoid": geom.ellipsoid(POINTS[0], POINTS[1:3], 1.25),
}


@pytest.fixture(params=DOMAINS.values(), ids=DOMAINS)
def domain(request: pytest.FixtureRequest) -> Domain:
    found: Domain = request.param
    return found


def made(path: Path, domain: Domain, **more: object) -> Path:
    geom.run(READOUT, tokens="all", domain=domain, out=path, **more).close()  # type: ignore[arg-type]
    return path


def faults(path: Path) -> list[str]:
    with geom.open_run(path) as run:
        return [str(fault) for fault in geom.verify(run, READOUT).faults]


def table(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_a_run_decides_every_token_and_holds(domain: Domain, tmp_path: Path) -> None:
    for opening in (True, False):
        path = made(tmp_path / f"{opening}.db", domain, opening=opening)
        with geom.open_run(path) as run:
            assert run.counts()["undecided"] == 0
            assert run.counts()["speakable"] > 0
            assert run.counts()["unspeakable"] > 0
        assert faults(path) == []


def test_the_opening_decides_as_the_chain_does(domain: Domain, tmp_path: Path) -> None:
    found = []
    for name, opening, chain in (("a", True, ["maxent"]), ("b", False, ["highs"])):
        with geom.open_run(
            made(tmp_path / f"{name}.db", domain, opening=opening, certifiers=chain)
        ) as run:
            found.append([(row.token_id, row.verdict) for row in run.rows()])
    assert found[0] == found[1]


def test_the_opening_of_a_hull_tries_its_corners(tmp_path: Path) -> None:
    with geom.open_run(made(tmp_path / "run.db", DOMAINS["hull"], hardest=0)) as run:
        rows = {row.token_id: row for row in run.rows()}
        at_corners = set(READOUT.logits(POINTS).argmax(axis=1).tolist())
        assert {t for t, row in rows.items() if row.certifier == "corner"} == at_corners
        for token in at_corners:
            x = run.certificate(token).x  # type: ignore[union-attr]
            assert np.count_nonzero(x) == 1
        assert {rows[8].certifier, rows[9].certifier} == {"twin"}


def test_a_witness_gives_a_mixture_at_which_the_token_wins(domain: Domain, tmp_path: Path) -> None:
    with geom.open_run(made(tmp_path / "run.db", domain)) as run:
        for row in run.rows("speakable"):
            witness = run.certificate(row.token_id)
            assert isinstance(witness, geom.Witness)
            assert domain.contains(witness.x)
            assert READOUT.logits(domain.vector(witness.x)).argmax() == row.token_id


def test_the_file_keeps_the_vectors_and_needs_no_other(domain: Domain, tmp_path: Path) -> None:
    path = made(tmp_path / "run.db", domain)
    with geom.open_run(path) as run:
        assert run.domain == domain
        settings = run.settings["domain"]
        assert settings["frame"] == domain.frame.digest  # type: ignore[union-attr]
    names = {name for (name,) in table(path, "SELECT name FROM frame")}
    assert names == ({"axes"} if domain.name == "hull" else {"axes", "centre"})


def test_only_shares_that_are_not_zero_are_stored(tmp_path: Path) -> None:
    path = made(tmp_path / "run.db", geom.hull(np.vstack([POINTS, POINTS / 1000])), hardest=0)
    assert table(path, "SELECT count(*) FROM evidence WHERE name = 'x'") == [(0,)]
    sizes = "SELECT max(length(data)) FROM evidence JOIN tokens USING (token_id) WHERE kind = "
    ((most,),) = table(path, f"{sizes} 'witness' AND certifier = 'corner'")
    assert most == 128 + 8
    assert faults(path) == []


def test_an_interrupted_run_goes_on(domain: Domain, tmp_path: Path) -> None:
    path, whole = tmp_path / "run.db", made(tmp_path / "whole.db", domain)

    def stop(stage: str, done: int, total: int, unit: str) -> None:
        if stage == "certify" and done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(path, domain, opening=False, hardest=0, progress=stop)
    with geom.open_run(path) as run:
        assert run.counts()["pending"] > 0
    made(path, domain, opening=False, hardest=0)
    verdicts = "SELECT token_id, verdict FROM tokens ORDER BY token_id"
    assert table(path, verdicts) == table(whole, verdicts)
    other = geom.hull(POINTS * 2) if domain.name == "hull" else geom.ellipsoid(POINTS[0], POINTS)
    with pytest.raises(StoreError, match="made with other settings"):
        made(path, other, opening=False, hardest=0)


# Edits


def other_points(path: Path) -> None:
    edit(path, "UPDATE frame SET data = ? WHERE name = 'axes'", blob(np.arange(18.0)))


def fewer_points(path: Path) -> None:
    edit(path, "UPDATE frame SET data = ? WHERE name = 'axes'", blob(POINTS[:5].ravel()))


def no_numbers(path: Path) -> None:
    edit(path, "UPDATE frame SET data = ? WHERE name = 'axes'", blob(np.full(18, np.nan)))


def no_points(path: Path) -> None:
    edit(path, "DELETE FROM frame")


def no_table(path: Path) -> None:
    edit(path, "DROP TABLE frame")


def no_blob(path: Path) -> None:
    edit(path, "UPDATE frame SET data = 'points.npy'")


@pytest.mark.parametrize(
    "change", [other_points, fewer_points, no_numbers, no_points, no_table, no_blob]
)
def test_vectors_that_are_not_those_of_the_run_are_refused(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    path = made(tmp_path / "run.db", DOMAINS["hull"])
    change(path)
    with geom.open_run(path) as run, pytest.raises(StoreError, match="damaged"):
        geom.verify(run, READOUT)


def test_another_hull_under_its_own_digest_does_not_hold(tmp_path: Path) -> None:
    path = made(tmp_path / "run.db", DOMAINS["hull"])
    other = geom.hull(-POINTS)
    text = table(path, "SELECT value FROM meta WHERE key = 'settings'")[0][0]
    old, new = (found.frame.digest for found in (DOMAINS["hull"], other))  # type: ignore[union-attr]
    edit(path, "UPDATE frame SET data = ?", blob(-POINTS.ravel()))
    edit(path, "UPDATE meta SET value = ? WHERE key = 'settings'", str(text).replace(old, new))
    assert faults(path)


@pytest.mark.parametrize(
    "shares", [[1.5, -0.5], [0.5, 0.25], [0.5, 0.5 + 2.0**-53], [np.nan, 1.0], [0.0, 0.0]]
)
def test_a_forged_mixture_is_found(shares: list[float], tmp_path: Path) -> None:
    path = made(tmp_path / "run.db", DOMAINS["hull"])
    token = table(path, "SELECT token_id FROM tokens WHERE verdict = 'speakable'")[0][0]
    for name, array in (("indices", np.array([0, 1])), ("values", np.array(shares))):
        edit(
            path,
            f"UPDATE evidence SET data = ? WHERE token_id = {token} AND kind = 'witness' "
            f"AND name = '{name}'",
            blob(array),
        )
    assert any("the point is not in the domain" in fault for fault in faults(path))


@pytest.mark.parametrize("places", [[0, 6], [-1, 0], [1, 1]])
def test_a_mixture_of_points_that_are_not_there_is_found(places: list[int], tmp_path: Path) -> None:
    path = made(tmp_path / "run.db", DOMAINS["hull"])
    token = table(path, "SELECT token_id FROM tokens WHERE verdict = 'speakable'")[0][0]
    for name, array in (("indices", np.array(places)), ("values", np.array([0.5, 0.5]))):
        edit(
            path,
            f"UPDATE evidence SET data = ? WHERE token_id = {token} AND kind = 'witness' "
            f"AND name = '{name}'",
            blob(array),
        )
    assert any("points that the domain lacks" in fault for fault in faults(path))


def test_a_recipe_is_no_proof_here(domain: Domain, tmp_path: Path) -> None:
    path = made(tmp_path / "run.db", domain)
    token = table(path, "SELECT token_id FROM tokens WHERE verdict = 'unspeakable'")[0][0]
    edit(
        path,
        "UPDATE tokens SET verdict = 'speakable', proof = 'witness', margin_lower = 0.1, "
        f"margin_upper = NULL, recipe = 'own-direction' WHERE token_id = {token}",
    )
    assert any(fault.startswith(f"token {token}: ") for fault in faults(path))


def test_a_table_of_vectors_in_any_other_run_is_ignored_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    geom.run(READOUT, tokens="all", out=path).close()
    edit(path, "CREATE TABLE frame (name TEXT, data BLOB)")
    with pytest.raises(StoreError, match="not as geom makes it"):
        geom.open_run(path)


# What else reads such a run


def test_measures_are_proven_again(domain: Domain, tmp_path: Path) -> None:
    path = made(tmp_path / "run.db", domain)
    with geom.open_run(path) as run:
        run.find_readout = lambda run: READOUT
        table = geom.measure(run, "logit-bias", "all")
        assert all(row.proven for row in table.rows)
        for row in table.rows:
            known = run.row(row.token_id)
            assert row.value is not None
            assert row.error is not None
            if known.verdict == "speakable":
                assert row.value - row.error < 0.0
            else:
                assert row.value + row.error >= 0.0
    assert faults(path) == []


def test_mpmath_encloses_the_exact_margin(domain: Domain) -> None:
    chain = ["maxent", "mpmath"]
    with geom.run(READOUT, tokens="all", domain=domain, certifiers=chain, opening=False) as run:
        for row in run.rows():
            note = str(row.note)
            assert "nothing to verify" not in note
            assert "mpmath: " in note
            if row.verdict == "speakable":
                assert "positive, the token wins there" in note
            else:
                assert "the token wins nowhere" in note


def test_precisions_are_asked_about_the_rounded_vector(domain: Domain) -> None:
    with geom.run(READOUT, tokens="all", domain=domain) as run:
        compared = geom.compare(run, precisions=["float64", "exact"], tokens="all")
    for point in compared.points:
        assert point.x.shape == (3,)
    assert all(row.agrees for row in compared.rows if row.precision == "exact")


def test_no_certificate_is_written_that_a_stranger_cannot_check(domain: Domain) -> None:
    refused = pytest.raises(geom.InputError, match="certificate for strangers is not made for")
    with geom.run(READOUT, tokens="all", domain=domain) as run, refused:
        geom.export(run, "certificate", BytesIO())


def test_runs_of_two_hulls_differ_in_their_domains(tmp_path: Path) -> None:
    one = made(tmp_path / "one.db", DOMAINS["hull"])
    two = made(tmp_path / "two.db", geom.hull(POINTS[:3]))
    with geom.open_run(one) as first, geom.open_run(two) as second:
        assert any("domains differ" in note for note in geom.diff(first, second).notes)


@pytest.mark.parametrize("detector", ["hull-vertex", "reflections"])
def test_detectors_that_walk_the_models_own_domain_refuse(detector: str, domain: Domain) -> None:
    with pytest.raises(geom.InputError, match=f"{detector} is not made for domain {domain.name}"):
        geom.run(READOUT, detectors=[detector], domain=domain)


def test_random_directions_are_points_of_the_domain(domain: Domain) -> None:
    with geom.run(
        READOUT, detectors=["random-directions"], certifiers=["maxent"], domain=domain
    ) as run:
        missed = {row.token_id for row in run.rows()}
    with geom.run(READOUT, tokens="all", domain=domain) as run:
        never = {row.token_id for row in run.rows("unspeakable")}
    assert never - {8, 9} <= missed  # of twins the first counts as the winner


def test_the_posts_program_and_repair_refuse(domain: Domain) -> None:
    with pytest.raises(geom.InputError, match="linprog-post is not made for domain"):
        geom.run(READOUT, tokens="all", certifiers=["linprog-post"], domain=domain)
    with pytest.raises(geom.InputError, match="geom repair is not made for domain"):
        geom.repair(READOUT, domain=domain)


def test_a_certifier_that_knows_vectors_only_is_refused_on_a_hull(use: Use) -> None:
    """On an ellipsoid it is asked in coordinates, about a ball, which it cannot tell."""

    def centred(problem: Problem, token: int, prior: Finding, options: NoOptions) -> Finding:
        rows = problem.readout.rows
        return Finding(x=problem.domain.fit(rows[token] - rows.mean))

    use(installed_and(Given(certifiers=(Certifier("centred", "", centred, NoOptions),))))
    chosen = {"tokens": "all", "certifiers": ["centred"], "opening": False}
    with pytest.raises(geom.InputError, match="certifier centred is not made for domain hull"):
        geom.run(READOUT, domain=DOMAINS["hull"], **chosen)
    with geom.run(READOUT, domain=DOMAINS["ellipsoid"], **chosen) as run:
        assert run.counts()["speakable"] > 0


def test_a_lower_bound_beyond_the_margin_at_the_point_is_found_whatever_the_verdict(
    domain: Domain, tmp_path: Path
) -> None:
    path = made(tmp_path / "run.db", domain, opening=False, hardest=0)
    for token, verdict, low in table(path, "SELECT token_id, verdict, margin_lower FROM tokens"):
        if not isinstance(low, float):
            continue
        with geom.open_run(path) as run:
            x = run.evidence(int(str(token))).x
        frame = domain.frame
        assert x is not None
        assert frame is not None
        parts = [*zip(x.tolist(), frame.axes.tolist(), strict=True)]
        if frame.centre is not None:
            parts.append((1.0, frame.centre.tolist()))
        vector = [sum(Fraction(y) * Fraction(axis[i]) for y, axis in parts) for i in range(3)]
        logits = [
            sum((Fraction(w) * v for w, v in zip(row, vector, strict=True)), Fraction(bias))
            for row, bias in zip(READOUT.W.tolist(), READOUT.b.tolist(), strict=True)
        ]
        own = logits.pop(int(str(token)))
        margin = own - max(logits)
        assert Fraction(low) <= margin
        near = np.nextafter(float(margin), np.inf)
        wrong = near if Fraction(float(near)) > margin else np.nextafter(near, np.inf)
        edit(path, "UPDATE tokens SET margin_lower = ? WHERE token_id = ?", float(wrong), token)
        assert any("does not prove margin_lower" in fault for fault in faults(path)), verdict
        edit(path, "UPDATE tokens SET margin_lower = ? WHERE token_id = ?", low, token)
    assert faults(path) == []
