"""What a row is called, everywhere that a user reads of it: classes, items, tokens."""

from __future__ import annotations

import re
import sqlite3
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import geom
from geom import InputError, Noun, Readout, StoreError
from geom.plugins.registry import installed
from support.command import Command

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.5, 0.25], [0.5, 0.25]])
"""Four corners, and two equal points inside them."""

TEXTS = np.array(["ne", "se", "nw", "sw", "in", "too"])


def save(name: str, W: NDArray[np.float64] = SQUARE) -> str:
    """Save the rows, and return the name of the model of classes."""
    np.savez(name, W=W, texts=TEXTS)
    return f"npz:{name}?noun=class"


@pytest.fixture(autouse=True)
def _alone(own_folder: Path) -> None:
    """Work in a folder of its own."""


def test_every_command_speaks_of_classes(command: Command) -> None:
    one, other = save("one.npz"), save("other.npz", SQUARE[::-1].copy())
    out = command("run", "--model", one, "--tokens", "0-4", "--out", "one.db").out
    assert "6 classes, d = 2" in out
    assert re.search("1 +unspeakable +cannot be predicted: no point of the domain makes it", out)
    assert "not in the list of classes" in out
    assert re.search(r"id +class +verdict", out)
    assert "the speakable classes are in proven order" in out
    shown = command("show", "one.db", "--token", "in").out
    assert "same row and bias as class 5" in shown
    assert re.search(r"weights on +1 class *\n", shown)
    absent = command("show", "one.db", "--token", "out")
    assert (absent.code, "no class examined in one.db has the text 'out'" in absent.err) == (
        2,
        True,
    )
    assert "domain unbounded, classes 0-4" in command("verify", "one.db").out
    command("run", "--model", other, "--tokens", "all", "--out", "other.db")
    assert "6 classes, d = 2" in command("diff", "one.db", "other.db").out
    markdown = command("diff", "one.db", "other.db", "--format", "markdown").out
    assert "| run | classes | domain |" in markdown
    assert re.search(r"model +classes +d", command("show", "one.db", "other.db").out)
    gate = command("run", "--model", one, "--tokens", "all", "--fail-on", "unspeakable")
    assert gate.code == 1
    assert '2 classes are unspeakable: 4 "in", 5 "too"' in gate.err
    measured = command("measure", "--model", one, "--measure", "row-norm", "--tokens", "0").out
    assert re.search("id +class +row-norm", measured)
    compared = command("compare", "--model", one, "--precision", "float32", "--tokens", "0").out
    assert re.search("id +class +exactly", compared)


ASKED = """
run --model {x} --tokens all --out all.db
run --model {y} --tokens 0-4 --out few.db
run --model {x} --out flagged.db
run --model {x} --tokens all --domain box --out box.db
run --model {x} --tokens all --domain hull -o domain.hull.points=points.npy --out hull.db
run --model {x} --model {y} --tokens 0,4
run --model {x} --tokens all --opening no --certifier mpmath
run --model {x} --detector hull-vertex --detector reflections --detector random-directions
run --model {x} --detector hull-vertex --domain hull -o domain.hull.points=points.npy
run --model {x} --detector reflections --domain hull -o domain.hull.points=points.npy
run --model {x} --tokens all --certifier linprog-post --opening no
run --model {x}&new=2 --tokens all
run --model {x}&new=2&init=copy:99 --tokens all
run --model {x} --tokens 99
run --model {x} --tokens 5-2
run --model {x} --tokens ,
run --model {x} --tokens no
run --model {x} --hardest -1
run --model {x} --tokens all --fail-on unspeakable,undecided,speakable-padding
run --model {x} --tokens all --fail-on unspeakable --baseline few.db
run --model {x} --tokens all --fail-on unspeakable --ignore byt
run --model {x} --tokens all --fail-on unspeakable --ignore byte
show all.db
show all.db --token in
show all.db --token 1
show all.db --token 99
show all.db --token NE
show flagged.db --token in
show flagged.db --token ins
show all.db --sampling top-k=1
show all.db --sampling temperature=1
show all.db --sampling min-p=0.5,temperature=0
show all.db few.db
verify all.db
verify hull.db
verify few.db --model {x}
diff all.db few.db
diff few.db all.db --format markdown --fail-on newly-unspeakable,new-twins
measure all.db --tokens all
measure --model {x} --tokens 4
measure few.db --tokens 99 --measure row-norm
measure all.db --tokens 0,1,4 {measures}
measure box.db --tokens 0,1,4 {measures}
measure hull.db --tokens 0,1,4 {measures}
measure all.db --tokens all --measure surprise -o measure.surprise.activations=points.npy
measure all.db --tokens all --measure unused-cosine -o measure.unused-cosine.unused=99
show all.db --token in
compare all.db
compare all.db --plot plot.svg
compare --model {x}
compare --model {x} --tokens candidates
compare --model {x} --tokens borderline
compare --model {x} --tokens borderline=3
compare --model {x} --tokens 0,0 --at points.npy
compare --model {x} --tokens 0 --at points.npy
compare all.db --at points.npy
compare all.db --multiple 3
compare all.db --tokens all --solver linprog-post
compare few.db --tokens 5
compare --model {one} --tokens all
repair all.db --out rows.safetensors
repair all.db --tokens 4 --at-most 1% --out rows.safetensors
repair all.db --tokens 99 --out rows.safetensors
repair hull.db --out rows.safetensors
check {x}
activations {x} --text x.npz --out acts.npy
export all.db --format markdown
export all.db --format certificate --token 99
export all.db --format certificate --token xx
export few.db --format tokens
export all.db --format llama-cpp
report all.db --out all.html
"""
"""What users ask of a head, right and wrong: one command a line."""

FREE_OF_RUNS = ("surprise", "unused-cosine")
"""The measures that need files or ids of their own."""

NAMES = r"--tokens?\b|--no-tokens|suppress-tokens|bad-words-ids|token_id"
"""The names with the word in them: of options, reporters and fields."""


@pytest.mark.parametrize("noun", ["class", "item"])
def test_no_command_speaks_of_tokens(command: Command, noun: str) -> None:
    measures = [
        f"--measure {plugin.record.name}"
        for plugin in installed().listed()
        if plugin.kind == "measure" and plugin.record.name not in FREE_OF_RUNS
    ]
    np.savez("x.npz", W=SQUARE, texts=TEXTS)
    np.savez("y.npz", W=SQUARE[::-1].copy(), texts=TEXTS)
    np.savez("one.npz", W=SQUARE[:1], texts=TEXTS[:1])
    np.save("points.npy", np.array([[0.5, 2.0], [3.0, -1.0], [-1.0, -2.0], [0.1, 0.1]]))
    models = {name: f"npz:{name}.npz?noun={noun}" for name in ("x", "y", "one")}
    for line in ASKED.format(**models, measures=" ".join(measures)).strip().splitlines():
        done = command(*line.split())
        for text in (done.out, done.err):
            assert "Traceback" not in text, line
            assert "token" not in re.sub(NAMES, "", text), line
            assert "vocabulary" not in text, line
    with geom.open_run("all.db") as run:
        assert noun in run._repr_html_()
        assert "token" not in run._repr_html_()


@pytest.mark.parametrize(("noun", "every"), [("class", "the classes"), ("item", "the items")])
def test_ids_that_do_not_exist_are_outside_the_classes_or_items(
    command: Command, noun: str, every: str
) -> None:
    np.savez("x.npz", W=SQUARE)
    done = command("run", "--model", f"npz:x.npz?noun={noun}", "--tokens", "99")
    assert (done.code, f"99 is outside {every}: 0 to 5" in done.err) == (2, True)
    with pytest.raises(InputError, match=f"id 99 is outside {every}: ids are 0 to 5"):
        geom.run(f"npz:x.npz?noun={noun}", tokens=[99])


def test_columns_of_machine_formats_are_the_same_for_all(command: Command) -> None:
    lines = []
    for model in (save("x.npz"), "npz:x.npz"):
        command("run", "--model", model, "--tokens", "all", "--out", f"{len(lines)}.db")
        out = command("export", f"{len(lines)}.db", "--format", "csv").out
        lines.append(out.splitlines()[0])
    assert lines[0] == lines[1]
    assert lines[0].startswith("token_id,token,")


def test_the_keys_of_json_lines_are_the_same_for_all(command: Command) -> None:
    lines = []
    for model in (save("x.npz"), "npz:x.npz"):
        done = command("run", "--model", model, "--tokens", "0", "--format", "jsonl")
        lines.append([{**row, "seconds": None} for row in done.rows])
    assert lines[0] == lines[1]


def test_a_report_speaks_of_items() -> None:
    run = geom.run(Readout.fold(SQUARE, tokens=TEXTS.tolist(), noun="item"), tokens="all")
    file = BytesIO()
    geom.export(run, "html", file)
    page = file.getvalue().decode()
    assert "the items that cannot be recommended" in page
    assert "All items" in page
    assert '<h2 id="tokens-title">Items</h2>' in page


def test_a_head_that_is_edited_or_shared_keeps_its_noun() -> None:
    readout = Readout.fold(SQUARE, noun="item")
    assert readout.cast("float16").noun == readout.with_new_rows(1).noun == Noun.ITEM
    assert readout.with_rows([0], SQUARE[:1]).noun == readout.without_bias().noun == Noun.ITEM
    run = geom.run(
        readout,
        tokens="all",
        opening=False,
        executor="local",
        options={"executor.local.workers": 2},
    )
    assert run.row(4).note == "same row and bias as item 5"


def test_verify_sees_another_word_in_the_file() -> None:
    geom.run(save("x.npz"), tokens="all", out="x.db").close()
    with sqlite3.connect("x.db") as file:
        file.execute("UPDATE meta SET value = '\"item\"' WHERE key = 'noun'")
    file.close()
    with geom.open_run("x.db") as run:
        assert [str(fault) for fault in geom.verify(run).faults] == [
            "its rows are items, and the model's classes"
        ]
        named = geom.verify(run, geom.load("npz:x.npz"))
        assert named.ok
        assert "that its rows are items: those of npz:x.npz are tokens" in named.unchecked


def test_a_word_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="unknown noun 'tokens': did you mean 'token'"):
        Readout.fold(SQUARE, noun="tokens")
    geom.run(save("x.npz"), tokens="all", out="x.db").close()
    with sqlite3.connect("x.db") as file:
        file.execute("UPDATE meta SET value = '\"\\u001b[2J\"' WHERE key = 'noun'")
    file.close()
    with pytest.raises(StoreError, match=r"x\.db is a damaged run: unknown noun '.x1b\[2J'"):
        geom.open_run("x.db")


def test_runs_of_older_versions_are_of_tokens() -> None:
    geom.run(save("x.npz"), tokens="all", out="x.db").close()
    with sqlite3.connect("x.db") as file:
        file.execute("DELETE FROM meta WHERE key = 'noun'")
    file.close()
    with geom.open_run("x.db") as run:
        assert run.noun == "token"


@pytest.mark.parametrize(
    ("noun", "one", "many", "chosen"),
    [
        ("token", "1 token", "2 tokens", "said"),
        ("class", "1 class", "2 classes", "predicted"),
        ("item", "1 item", "2 items", "recommended"),
    ],
)
def test_the_words(noun: str, one: str, many: str, chosen: str) -> None:
    word = Noun.named(noun)
    assert (word.counted(1), word.counted(2), word.chosen) == (one, many, chosen)


def test_readouts_of_several_kinds_are_of_tokens_together() -> None:
    assert Noun.shared(Noun.CLASS, Noun.ITEM) == Noun.TOKEN
    assert Noun.shared(Noun.CLASS, Noun.CLASS) == Noun.CLASS
