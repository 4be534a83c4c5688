"""``npz:`` with texts and items: the words of rows that no tokenizer has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import geom
from geom import InputError, Witness

RNG = np.random.default_rng(0)
TEXTS = ("one", "", "three\u2028", 'f"our"')
W = RNG.normal(size=(4, 3))


@pytest.fixture(autouse=True)
def _alone(own_folder: Path) -> None:
    """Work in a folder of its own."""


def test_an_array_of_strings_is_the_texts() -> None:
    np.savez("model.npz", W=W, texts=np.array(TEXTS))
    readout = geom.load("npz:model.npz")
    assert (readout.tokens, readout.noun) == (TEXTS, "token")


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_of_lines_is_the_texts(end: str, newline: str) -> None:
    Path("names.txt").write_bytes((newline.join(TEXTS) + end).encode())
    np.savez("model.npz", W=W, texts=np.array(["array"] * 4))
    assert geom.load("npz:model.npz?texts=names.txt&noun=class").tokens == TEXTS


def test_a_json_list_is_the_texts_and_may_have_gaps() -> None:
    Path("names.json").write_text(json.dumps([*TEXTS[:3], None]), "utf-8")
    np.save("rows.npy", W)
    assert geom.load("npz:rows.npy?texts=names.json").tokens == (*TEXTS[:3], None)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (np.array(["a", "b"]), r"the array 'texts' of model\.npz has 2 texts for 4 rows: give one"),
        (np.arange(4), r"has shape \(4,\) and type int64: save a list of strings, as in names"),
        (np.array([["a"] * 4]), r"has shape \(1, 4\) and type <U1: save a list"),
        (np.array(list("abcd"), dtype=object), "holds pickled objects"),
    ],
)
def test_an_array_of_anything_else_is_refused(texts: NDArray[Any], said: str) -> None:
    np.savez("model.npz", W=W, texts=texts)
    with pytest.raises(InputError, match=said):
        geom.load("npz:model.npz")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("names.txt", b"a\nb\nc", r"names\.txt has 3 texts for 4 rows"),
        ("names.txt", b"\xff\na\nb\nc", r"names\.txt does not hold texts \('utf-8' codec can't"),
        ("names.json", b'["a", "b", "c", 4]', r"names\.json does not hold texts \(Expected `str"),
        ("names.json", b"a", "give one per line in UTF-8, or a .json file with a list of strings"),
        ("absent.txt", None, "absent.txt"),
    ],
)
def test_a_file_of_anything_else_is_refused(name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    np.save("rows.npy", W)
    with pytest.raises(InputError, match=said):
        geom.load(f"npz:rows.npy?texts={name}")


def test_a_run_file_does_not_open_texts_outside_its_own_folder(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "names.txt").write_text("\n".join(TEXTS), "utf-8")
    np.save("rows.npy", W)
    geom.run(f"npz:rows.npy?texts={other}/names.txt", tokens="all", out="run.db").close()
    Path("run").mkdir()
    moved = Path("run.db").rename("run/run.db")
    np.save("run/rows.npy", W)
    with (
        geom.open_run(moved) as run,
        pytest.raises(InputError, match="outside the run's own folder"),
    ):
        geom.verify(run)


def test_items_are_rows_whose_users_are_points() -> None:
    items, users, biases = RNG.normal(size=(30, 2)), RNG.normal(size=(5000, 2)), np.zeros(30)
    np.savez("factors.npz", items=items, users=users, b=biases)
    readout = geom.load("npz:factors.npz")
    assert readout.noun == "item"
    run = geom.run(readout, tokens="all")
    assert run.counts()["undecided"] == 0
    best = (users @ items.T + biases).argmax(axis=1)
    for row in run.rows():
        proof = run.certificate(row.token_id)
        if isinstance(proof, Witness):
            assert (items @ proof.x + biases).argmax() == row.token_id
        else:
            assert row.token_id not in best
    # in a plane 5,000 users try every direction but the narrowest
    assert len(set(best)) >= run.counts()["speakable"] - 1


def test_a_matrix_called_w_comes_before_items() -> None:
    np.savez("both.npz", W=W, items=W[:2])
    assert geom.load("npz:both.npz").noun == "token"
    assert geom.load("npz:both.npz?W=items").noun == "item"
    assert geom.load("npz:both.npz?W=items&noun=class").noun == "class"


def test_no_mixture_of_users_is_recommended_what_is_unspeakable_on_their_hull() -> None:
    items, users = RNG.normal(size=(20, 3)), RNG.normal(size=(9, 3)) + 1.0
    np.savez("factors.npz", items=items)
    np.save("users.npy", users)
    options = {"domain.hull.points": "users.npy"}
    run = geom.run("npz:factors.npz", domain="hull", options=options, tokens="all")
    assert run.counts()["undecided"] == 0
    for row in run.rows(verdict="speakable"):
        proof = run.certificate(row.token_id)
        assert isinstance(proof, Witness)
        assert (items @ (proof.x @ users)).argmax() == row.token_id
    dead = [row.token_id for row in run.rows(verdict="unspeakable")]
    assert dead
    mixtures = np.concatenate([users, RNG.dirichlet(np.full(9, 0.1), 50_000) @ users])
    assert not np.isin((mixtures @ items.T).argmax(axis=1), dead).any()
