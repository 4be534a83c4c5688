"""Several models at once, and what they have in common, counted by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import Readout
from support.command import Command

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5], [0.0, 0.1]])
CORNERS = ["a", "b", "c", "d"]


def keep(path: Path, within: list[str | None] | None, rows: int = 6) -> Path:
    """Store a run of a square's corners, which win, and of points inside, which cannot."""
    texts = None if within is None else [*CORNERS, *within]
    geom.run(Readout.fold(SQUARE[:rows], tokens=texts), tokens="all", out=path).close()
    return path


def test_runs_are_counted_and_their_shared_tokens_named(tmp_path: Path) -> None:
    paths = [
        keep(tmp_path / "1.db", ["x", "y"]),
        keep(tmp_path / "2.db", ["y", "z"]),
        keep(tmp_path / "3.db", ["y", "a"], rows=6),
        keep(tmp_path / "4.db", None),
        keep(tmp_path / "5.db", ["x"], rows=5),
    ]
    found = geom.summarise(paths)
    assert [(m.V, m.d, m.unspeakable, m.own, m.hard, m.rest) for m in found.models] == [
        *[(6, 2, 2, 4, 0, 0)] * 4,
        (5, 2, 1, 4, 0, 0),
    ]
    assert [m.path for m in found.models] == [str(path) for path in paths]
    assert {m.domain for m in found.models} == {"unbounded"}
    assert [(s.token, s.places) for s in found.shared] == [("y", (0, 1, 2)), ("x", (0, 4))]
    assert json.loads(json.dumps(found.as_dict()))["shared"][0]["token"] == "y"


def test_open_runs_stay_open() -> None:
    with geom.run("demo", tokens="100,5") as run:
        found = geom.summarise([run, run])
        assert len(list(run.rows())) == 2
    assert (found.models[0].hard, found.models[0].own, found.models[0].rest) == (1, 1, 3070)
    assert found.models[0].path is None


def test_the_command_takes_several_models_and_keeps_a_run_of_each(command: Command) -> None:
    models = ["demo", "synthetic:gpt2-like?V=60&d=3&seed=1", "demo?bias=no"]
    words = [word for model in [*models, "demo"] for word in ("--model", model)]
    done = command("run", *words, "--out", "runs", "--tokens", "5,59")
    assert done.code == 0, done.err
    kept = sorted(Path("runs").glob("*.db"))
    assert [re.sub("[0-9a-f]{8}", "#", path.name) for path in kept] == [
        *("geom-demo-#.db", "geom-demo-#.db", "geom-synthetic-gpt2-like-#.db"),
    ]
    assert "geom: demo?bias=no (3 of 3)" in done.err
    for model in ("demo", "demo?bias=no"):
        assert model in done.out
    found = geom.summarise(kept)
    assert sorted(m.model for m in found.models) == sorted(models)
    shown = command("show", *map(str, kept))
    assert (shown.code, shown.err) == (0, "")
    again = command("run", *words, "--out", "runs", "--tokens", "5,59")
    assert (again.code, again.out) == (0, done.out)


def test_rows_of_several_models_say_whose_they_are(command: Command) -> None:
    models = ["--model", "demo", "--model", "demo?bias=no"]
    done = command("run", *models, "--tokens", "5,9", "--format", "jsonl")
    assert [(row["model"], row["token_id"]) for row in done.rows] == [
        *(("demo", 5), ("demo", 9), ("demo?bias=no", 5), ("demo?bias=no", 9)),
    ]
    assert {path.suffix for path in Path().iterdir()} == {".db"}


def test_a_configuration_lists_models(command: Command) -> None:
    Path("audit.toml").write_text(
        'models = ["demo", "npz:W.npy?norm=rmsnorm"]\ntokens = "0-3"\nout = "here"\n'
        '[source.npz]\nbias = "no"\n'
    )
    np.save("W.npy", SQUARE)
    done = command("run", "--config", "audit.toml")
    assert done.code == 0, done.err
    assert len(list(Path("here").iterdir())) == 2


def test_a_model_that_cannot_be_done_is_named_and_the_others_are_done(command: Command) -> None:
    done = command("run", "-m", "npz:absent.npz", "-m", "demo", "-t", "5")
    assert done.code == 2
    assert "absent.npz" in done.err
    assert done.err.splitlines()[-1] == "geom: 1 of 2 models failed; see above"
    assert len(list(Path().glob("geom-demo-*.db"))) == 1
    assert "demo" in done.out


@pytest.mark.parametrize(("tokens", "code"), [("2262", 1), ("5", 0)])
def test_fail_on_watches_all_of_them(tokens: str, code: int, command: Command) -> None:
    words = ["-m", "demo?bias=no", "-m", "demo", "-t", tokens]
    assert command("run", *words, "--fail-on", "unspeakable").code == code


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["run", "-m", "demo", "-m", "demo?bias=no", "--out", "file"], "give a folder as --out"),
        (["run", "--config", "both.toml"], "give model or models, not both"),
        (["show", "a.db", "b.db", "--token", "5"], "are for one run"),
        (["show", "a.db", "absent.db"], "absent.db does not exist"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    words: list[str], why: str, command: Command, tmp_path: Path
) -> None:
    Path("file").write_text("")
    Path("both.toml").write_text('model = "demo"\nmodels = ["demo"]\n')
    keep(tmp_path / "a.db", None)
    keep(tmp_path / "b.db", None)
    done = command(*words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert why in done.err
