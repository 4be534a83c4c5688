"""``geom repair``: the file, the table, JSON lines, exit codes, and rows that a model takes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import geom
from support import toy_models
from support.command import Command

SQUARE = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
REPAIR = ("repair", "a.db", "--out", "rows.safetensors")


@pytest.fixture
def run(own_folder: Path) -> None:
    """Write a run in which the tokens 4 and 5 are inside a square."""
    W = np.array([*SQUARE, [0.5, 0.0], [0.0, 0.875]], dtype=np.float16)
    np.savez("W.npz", W=W)
    geom.run("npz:W.npz?W=W&norm=rmsnorm", tokens="all", out="a.db").close()


@pytest.mark.usefixtures("run")
def test_the_file_makes_every_token_speakable(command: Command) -> None:
    done = command(*REPAIR)
    assert done.code == 0
    found = re.search(r"^ *4 +- +(\S+) +(\S+)% +(\S+) +(\S+) +(\S+)", done.out, re.M)
    assert found is not None
    moved, of_median, of_nearest, alone, margin = map(float, found.groups())
    # the side is 1/2 away, x is sqrt(2) long, the median row as long, and two corners are next
    assert moved == pytest.approx(0.5 + 1 / np.sqrt(2), rel=0.02)
    assert of_median == pytest.approx(100 * moved / np.sqrt(2), rel=0.01)
    assert of_nearest == pytest.approx(moved / np.hypot(0.5, 0.875), rel=0.01)
    assert 0.5 / np.sqrt(2) <= alone <= moved
    assert margin >= 1.0
    assert "2 repaired, 0 left as they are; of the others 4 are speakable still" in done.out
    assert "ties its head to its embedding" in done.out
    file = load_file("rows.safetensors")
    assert file["rows"].dtype == np.float16
    assert file["ids"].tolist() == [4, 5]
    model = re.search(r"geom run --model '(.*)' --tokens all", done.out)
    assert model is not None
    again = command("run", "--model", model[1], "--tokens", "all", "--fail-on", "unspeakable")
    assert again.code == 0


@pytest.mark.usefixtures("run")
def test_jsonl_says_the_same_as_python(command: Command) -> None:
    done = command(*REPAIR, "--format", "jsonl", "--margin", "0.25")
    with geom.open_run("a.db") as run:
        assert done.rows == list(geom.repair(run, margin=0.25).as_dicts())
    assert [row["result"] for row in done.rows] == ["summary", "repaired", "repaired"]
    assert all(row["margin"] >= 0.25 for row in done.rows[1:])


@pytest.mark.usefixtures("run")
def test_a_token_that_is_left_is_a_failure(command: Command) -> None:
    done = command(*REPAIR, "--margin", "0.01", "--at-most", "20%")
    assert done.code == 1
    assert "1 repaired, 1 left as they are" in done.out
    assert re.search(r"its row would move +further", done.out)
    assert "than allowed" in done.out
    assert load_file("rows.safetensors")["ids"].tolist() == [5]
    none = command("repair", "a.db", "--out", "none.safetensors", "--at-most", "1e-9")
    assert none.code == 1
    assert "no row changed, so none.safetensors was not written" in none.err
    assert not Path("none.safetensors").exists()


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("repair", "a.db", "--out", "a.db"), "is a run, or another database"),
        ((*REPAIR, "--margin", "-1"), "margin -1.0: give a positive number of logits"),
        ((*REPAIR, "--at-most", "x"), "at-most 'x': give a positive length"),
        ((*REPAIR, "--tokens", "9"), "is outside the vocabulary"),
        (("repair", "none.db", "--out", "rows.safetensors"), "none.db"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    arguments: tuple[str, ...], message: str, command: Command
) -> None:
    done = command(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert message in done.err
    assert not Path("rows.safetensors").exists()


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_printed_lines_make_a_model_say_the_token(
    kind: str, command: Command, own_folder: Path
) -> None:
    model = toy_models.build(kind, tie_word_embeddings=False).eval()
    head, norm = model.get_output_embeddings(), {"gpt2": "transformer.ln_f", "llama": "model.norm"}
    with torch.no_grad():
        head.weight[7] = head.weight.mean(dim=0)
        head.weight[9] = head.weight[8]
    toy_models.save(model, own_folder / "toy")
    assert command("run", "--model", "hf:toy", "--tokens", "all", "--out", "toy.db").code == 0
    with geom.open_run("toy.db", geom.load("hf:toy")) as run:
        dead = [row.token_id for row in run.rows("unspeakable")]
        assert {7, 8, 9} <= set(dead)
        repair = geom.repair(run)
    done = command("repair", "toy.db", "--out", "new.safetensors")
    assert done.code == 0
    lines = done.out[done.out.index("from safetensors.torch") :].splitlines()[:3]
    exec("\n".join(lines), {"model": model})
    final = model.get_submodule(norm[kind])
    for row in repair:
        with torch.no_grad():
            x = torch.tensor(row.x, dtype=torch.float32)
            logits = head(final(x * 1e3))  # the norm makes it the witness again
        assert int(logits.argmax()) == row.token_id
        top = logits.topk(2).values
        assert float(top[0] - top[1]) >= 0.99
