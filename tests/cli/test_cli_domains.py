"""The domains made of vectors, on the command line: their files, and how bad ones are refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import geom
from support.command import Command

W = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [0.1, 0.1]])
POINTS = np.array([[1.0, 0.5], [0.5, 1.0], [2.0, 2.0]])
HULL = ("run", "-m", "npz:good.npz", "-t", "all", "--domain", "hull", "--out", "run.db")
ELLIPSOID = ("run", "-m", "npz:good.npz", "-t", "all", "--domain", "ellipsoid", "--out", "run.db")


@pytest.fixture(autouse=True)
def files(own_folder: Path) -> None:
    np.savez("good.npz", W=W, b=np.zeros(4))
    np.save("points.npy", POINTS)
    np.save("mean.npy", np.array([1.0, 1.0]))
    np.save("covariance.npy", np.array([[0.25, 0.0], [0.0, 0.0]]))
    np.save("factor.npy", np.array([[0.5, 0.0]]))


def refused(command: Command, *arguments: str) -> str:
    """Return the single line of a command that must fail and write no run."""
    done = command(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("geom: ")
    assert done.err.count("\n") == 1
    assert not Path("run.db").exists()
    return done.err


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_hull_of_the_points_of_a_file_is_audited_and_verified(
    command: Command, dtype: str
) -> None:
    np.save("points.npy", POINTS.astype(dtype))
    done = command(*HULL, "-o", "domain.hull.points=points.npy", "--format", "jsonl")
    assert done.code == 0
    verdicts = {row["token_id"]: row["verdict"] for row in done.rows}
    assert verdicts == {0: "speakable", 1: "speakable", 2: "unspeakable", 3: "unspeakable"}
    os.remove("points.npy")  # the run keeps the points
    assert "holds: 2 speakable, 2 unspeakable" in command("verify", "run.db").out


@pytest.mark.parametrize(
    "given",
    [
        ("mean=mean.npy", "covariance=covariance.npy"),
        ("mean=mean.npy", "factor=factor.npy"),
        ("points=sample.npy",),
    ],
)
def test_an_ellipsoid_is_a_mean_and_a_covariance_or_those_of_a_sample(
    command: Command, given: tuple[str, ...]
) -> None:
    np.save("sample.npy", [[1.0 - 0.5**0.5 / 2, 1.0], [1.0 + 0.5**0.5 / 2, 1.0]])
    options = [part for text in given for part in ("-o", f"domain.ellipsoid.{text}")]
    assert command(*ELLIPSOID, *options, "-o", "domain.ellipsoid.radius=3").code == 0
    with geom.open_run("run.db") as run:
        # along (1 +- 3/2, 1) token 0 leads token 1 by up to 3/2, and token 2 never leads
        found = {row.token_id: row.verdict for row in run.rows()}
        assert found == {0: "speakable", 1: "speakable", 2: "unspeakable", 3: "unspeakable"}
        assert run.row(0).margin_upper == pytest.approx(1.5, rel=2e-3)
    assert command("verify", "run.db").code == 0


def test_options_in_a_configuration_file_do_as_well(command: Command) -> None:
    Path("audit.toml").write_text(
        'model = "npz:good.npz"\ntokens = "all"\n[domain.hull]\npoints = "points.npy"\n'
    )
    assert command("run", "--config", "audit.toml", "--out", "run.db").code == 0
    with geom.open_run("run.db") as run:
        assert run.settings["domain"]["name"] == "hull"


def test_measure_and_compare_take_such_a_domain(command: Command) -> None:
    where = ("-m", "npz:good.npz", "--domain", "hull", "-o", "domain.hull.points=points.npy")
    done = command("measure", *where, "--measure", "logit-bias", "-t", "2", "--format", "jsonl")
    assert done.rows[0]["value"] == pytest.approx(2.25)  # at (3/4, 3/4): -3/2 against 3/4
    done = command("compare", *where, "-t", "0", "-p", "float32", "--format", "jsonl")
    assert done.rows[0]["agrees"]


BAD_ARRAYS = {
    "no points": (np.zeros((0, 2)), "give (n, d), one vector a row"),
    "points of another width": (np.zeros((3, 5)), "the readout asks for (n, 2)"),
    "whole numbers": (np.zeros((3, 2), dtype=int), "give float16, float32 or float64"),
    "NaN": (np.array([[1.0, 2.0], [np.nan, 0.0]]), "holds NaN or infinity, first in row 1"),
    "infinity": (np.array([[1.0, np.inf]]), "holds NaN or infinity, first in row 0"),
    "three axes": (np.zeros((2, 2, 2)), "give (n, d), one vector a row"),
    "a single number": (np.array(1.0), "give (n, d), one vector a row"),
    "objects": (np.array([[{}, {}]]), "is not a NumPy file of numbers"),
}


@pytest.mark.parametrize(("array", "said"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_points_that_cannot_be_used_are_one_line(
    command: Command, array: np.ndarray, said: str
) -> None:
    np.save("bad.npy", array, allow_pickle=True)
    for name, start in (("hull", HULL), ("ellipsoid", ELLIPSOID)):
        line = refused(command, *start, "-o", f"domain.{name}.points=bad.npy")
        assert said in line
        assert "bad.npy" in line


BAD_FILES = {
    "empty": b"",
    "text": b"1.0, 2.0\n",
    "an archive": b"PK\3\4" + bytes(40),
    "cut short": b"\x93NUMPY\x01\x00"
    + (118).to_bytes(2, "little")
    + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 2), }".ljust(117)
    + b"\n"
    + bytes(64),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_files_that_are_no_arrays_are_one_line(command: Command, content: bytes) -> None:
    Path("bad.npy").write_bytes(content)
    assert "bad.npy" in refused(command, *HULL, "-o", "domain.hull.points=bad.npy")


REFUSED = {
    "hull": "the hull of which points? Give -o domain.hull.points=FILE.npy",
    "hull hull.points=absent.npy": "absent.npy",
    "hull hull.points=.": "a folder",
    "hull hull.radius=2": "unknown option of domain hull 'radius': known: points",
    "ellipsoid": "give points, or mean and one of covariance and factor",
    "ellipsoid ellipsoid.mean=mean.npy": "give points, or mean and one of",
    "ellipsoid ellipsoid.points=mean.npy": "one point has no covariance",
    "ellipsoid ellipsoid.points=points.npy ellipsoid.radius=0": "radius 0.0: give a positive",
    "ellipsoid ellipsoid.points=points.npy ellipsoid.radius=x": "radius=x: give a number",
    "ellipsoid ellipsoid.mean=points.npy ellipsoid.factor=factor.npy": "asks for (2,)",
    "ellipsoid ellipsoid.mean=mean.npy ellipsoid.covariance=points.npy": "give a square matrix",
    "box hull.points=points.npy": "domain hull, which has no part in this run",
    "auto hull.points=points.npy": "domain hull, which has no part in this run",
    "auto sphere.radius=2": "unknown domain with options 'sphere'",
}


@pytest.mark.parametrize(("flags", "said"), REFUSED.items())
def test_flags_that_name_no_domain_are_one_line(command: Command, flags: str, said: str) -> None:
    name, *options = flags.split()
    start = ("run", "-m", "npz:good.npz", "-t", "all", "--out", "run.db", "--domain", name)
    given = [part for text in options for part in ("-o", f"domain.{text}")]
    assert said in refused(command, *start, *given)


def test_a_covariance_that_is_none_is_refused(command: Command) -> None:
    for matrix, said in (([[1.0, 2.0], [0.0, 1.0]], "not symmetric"), (-np.eye(2), "eigenvalue")):
        np.save("bad.npy", np.array(matrix))
        options = ("mean=mean.npy", "covariance=bad.npy")
        flags = [part for text in options for part in ("-o", f"domain.ellipsoid.{text}")]
        assert said in refused(command, *ELLIPSOID, *flags)


def test_a_certificate_for_strangers_is_refused_in_one_line(command: Command) -> None:
    assert command(*HULL, "-o", "domain.hull.points=points.npy").code == 0
    done = command("export", "run.db", "--format", "certificate", "--out", "proof.json")
    assert done.code == 2
    assert "is not made for domain hull: check the run with geom verify" in done.err
    assert not Path("proof.json").exists()


def test_a_foreign_run_opens_no_file_for_its_points(command: Command) -> None:
    assert command(*HULL, "-o", "domain.hull.points=points.npy").code == 0
    os.remove("points.npy")
    os.mkfifo("points.npy")  # reading it would wait for ever
    for arguments in (["show", "run.db"], ["verify", "run.db"], ["export", "run.db"]):
        assert command(*arguments).code == 0


def recommender(**arrays: np.ndarray) -> None:
    """Write an archive with the factors of 8 items and 20 users, 3 numbers each."""
    draw = np.random.default_rng(0)
    items, users = draw.normal(size=(8, 3)), draw.normal(size=(20, 3))
    np.savez("f.npz", **({"items": items, "users": users} | arrays))
    np.savez_compressed("small.npz", users=users)
    np.save("users.npy", users)


@pytest.mark.parametrize("points", ["f.npz?array=users", "small.npz", "small.npz?array=users"])
def test_the_points_of_a_hull_may_be_an_array_of_an_archive(
    command: Command, own_folder: Path, points: str
) -> None:
    recommender()
    start = ("run", "-m", "f.npz", "-t", "all", "--domain", "hull", "--format", "jsonl")
    found, known = (
        [
            (row["verdict"], row["margin_lower"], row["margin_upper"])
            for row in command(*start, "-o", f"domain.hull.points={file}", "--out", out).rows
        ]
        for file, out in ((points, "a.db"), ("users.npy", "b.db"))
    )
    assert found == known
    assert len(found) == 8


WRONG_ARRAYS = {
    "f.npz": "f.npz holds 2 arrays, items, users: name one, as in f.npz?array=items",
    "f.npz?array=user": "f.npz has no array 'user'; it has items, users",
    "f.npz?arrays=users": "after the ? write array=NAME",
    "users.npy?array=users": "users.npy is no .npz file: leave ?array=users out",
}


@pytest.mark.parametrize(("points", "said"), WRONG_ARRAYS.items())
def test_an_archive_without_the_array_that_is_meant_is_one_line(
    command: Command, own_folder: Path, points: str, said: str
) -> None:
    recommender()
    asked = ("run", "-m", "f.npz", "--domain", "hull", "-o", f"domain.hull.points={points}")
    assert said in refused(command, *asked)


def test_points_as_wide_as_there_are_items_hint_at_the_layout(
    command: Command, own_folder: Path
) -> None:
    recommender()
    np.save("columns.npy", np.load("f.npz")["items"].T)
    asked = ("run", "-m", "npz:columns.npy?noun=item", "--domain", "hull")
    line = refused(command, *asked, "-o", "domain.hull.points=users.npy")
    assert "has shape (20, 3): the readout asks for (n, 8); they are as wide as there are" in line
    assert "the matrix of items may be transposed: a source with a layout takes ?layout=dv" in line
    done = command(*asked[:2], f"{asked[2]}&layout=dv", *asked[3:], "-o",
                   "domain.hull.points=users.npy", "--format", "jsonl", "-t", "all")  # fmt: skip
    assert (done.code, len(done.rows)) == (0, 8)
