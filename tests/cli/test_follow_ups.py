"""Commands that geom prints work when they are typed as printed, wherever the weights lie."""

from __future__ import annotations

import html
import itertools
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

import geom
from support.command import GEOM, Command
from support.terminal import Screen

TEXTS = ["north", "east", "south", "west", "<inside>", "<the middle>"]
ROWS = np.array(
    [[0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [-1.0, 0.0], [0.5, 0.5], [0.0, 0.0]], dtype=np.float32
)
NAMES = "run|show|verify|measure|report|export|repair|compare|diff"
PRINTED = re.compile(rf"(?:^|[`\s>])(geom (?:{NAMES}) [^`<\n#]+)", re.M)
WHERE = {"a folder of its own": "runs", "a folder with a blank": "my runs"}


@pytest.fixture(params=WHERE.values(), ids=WHERE.keys())
def run(request: pytest.FixtureRequest, own_folder: Path) -> str:
    """Write a run of weights that are outside its folder; return its name."""
    Path("models").mkdir()
    Path(request.param).mkdir()
    np.savez("models/w.npz", W=ROWS, texts=np.array(TEXTS))
    return f"{request.param}/r.db"


def model(folder: Path) -> str:
    return f"npz:{folder}/models/w.npz?norm=rmsnorm"


def printed(text: str) -> list[list[str]]:
    """Return the commands in a text, as a shell splits them."""
    return [shlex.split(found) for found in PRINTED.findall(html.unescape(text))]


ASKED = {
    "show": ["show", "RUN"],
    "show some": ["show", "RUN", "--limit", "1", "--sort", "-id", "--verdict", "speakable"],
    "what sampling cannot": ["show", "RUN", "--sampling", "top-k=2,top-p=0.9"],
    "measure": ["measure", "RUN", "--limit", "1"],
    "measure one": ["measure", "RUN", "-t", "4", "--measure", "row-norm"],
    "verify": ["verify", "RUN"],
    "certificate": ["export", "RUN", "--format", "certificate", "--token", "4"],
    "report": ["report", "RUN"],
    "repair": ["repair", "RUN", "--out", "rows.safetensors"],
    "compare": ["compare", "RUN", "-p", "float32"],
    "show two": ["show", "RUN", "RUN"],
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED.keys())
def test_what_is_printed_can_be_typed(
    asked: list[str], run: str, own_folder: Path, command: Command
) -> None:
    out = command("run", "--model", model(own_folder), "--tokens", "all", "--out", run, "--limit=1")
    found = printed(out.out)
    assert [words[1] for words in found] == ["show", "verify"]
    words = [run if word == "RUN" else word for word in asked]
    for given in (words, [*words, "--model", model(own_folder)]):
        if given is not words and asked[0] == "show":
            continue
        done = command(*given)
        found += printed(done.out) + printed(done.err)
        if given is words and done.code == 2:
            assert "outside the run's own folder" in done.err
            assert len(printed(done.err)) == 1
    for words in found:
        done = command(*words[1:])
        assert done.code in (0, 1), (words, done.err)


def test_the_error_is_followed_by_the_command_that_was_meant(
    run: str, own_folder: Path, command: Command
) -> None:
    geom.run(model(own_folder), tokens="all", out=run).close()
    done = command("measure", run, "-t", "4", "--measure", "row-norm")
    (words,) = printed(done.err)
    name = model(own_folder)
    assert words == ["geom", "measure", run, "-t", "4", "--measure", "row-norm", "--model", name]
    assert done.err.count("\n") == 1


def test_a_page_and_a_card_name_no_folder_and_their_commands_work_beside_the_weights(
    run: str, own_folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("plotly")
    geom.run(model(own_folder), tokens="all", out=run).close()
    for given in ([], ["--model", model(own_folder)]):
        command("report", run, "--out", "page.html", *given)
        page = Path("page.html").read_text("utf-8")
        card = command("export", run, "--format", "markdown", *given).out
        for text in (page, card):
            assert str(own_folder) not in text
            assert "models/" not in text
            assert "w.npz" in text
        assert ("The vocabulary is not drawn" in page) == (not given)
        bare = re.sub(r"<script.*?</script>|</?span>", "", page, flags=re.S)
        found = printed(bare) + printed(card)
        assert {"run", "verify"} <= {words[1] for words in found}
        with monkeypatch.context() as patch:
            beside = own_folder / f"beside{len(given)}"
            beside.mkdir()
            for path in (Path("models/w.npz"), Path(run)):
                (beside / path.name).write_bytes(path.read_bytes())
            patch.chdir(beside)
            for words in found:
                more = ["--out", "again.db"] if words[1] == "run" else []
                Path("again.db").unlink(missing_ok=True)
                assert command(*words[1:], *more).code == 0, words


def test_a_run_of_arrays_names_no_command_that_cannot_work(
    own_folder: Path, command: Command
) -> None:
    readout = geom.Readout.fold(ROWS, tokens=TEXTS, norm="rmsnorm")
    geom.run(readout, tokens="all", out="r.db").close()
    out = command("show", "r.db").out
    assert not printed(out)
    assert "geom.verify(run, readout)" in out
    out = command("show", "r.db", "--sampling", "top-k=2").out
    assert "geom.measure(run, ['best-rank'], tokens='4-5')" in out


def test_why_an_unspeakable_tokens_certificate_needs_the_weights_is_said(
    run: str, own_folder: Path, command: Command
) -> None:
    geom.run(model(own_folder), tokens="all", out=run).close()
    done = command("export", run, "--format", "certificate", "--token", "4")
    assert done.code == 2
    assert "token 4" in done.err
    assert "exact weights" in done.err
    assert command("export", run, "--format", "certificate", "--token", "0").code == 0


def test_the_measure_named_fits_the_filter(run: str, own_folder: Path, command: Command) -> None:
    geom.run(model(own_folder), tokens="all", out=run).close()
    wanted = {
        "top-k=2": ["best-rank"],
        "top-p=0.3,temperature=0.5": ["max-probability", "best-rank"],
    }
    outs = {filters: command("show", run, "--sampling", filters).out for filters in wanted}
    for filters, measures in wanted.items():
        (words,) = printed(outs[filters])
        named = [after for word, after in itertools.pairwise(words) if word == "--measure"]
        assert named == measures
        assert ("measure.max-probability.temperature=0.5" in words) == ("temperature" in filters)
        assert command(*words[1:]).code == 0
    # at x = 0 all tokens tie, as there are no biases: min-p drops none there, and none is listed
    out = command("show", run, "--sampling", "min-p=1").out
    assert "not known" not in out
    assert re.search(r"^ *6 +sampled", out, re.M)


def test_the_name_of_a_plugin_in_place_of_a_model_is_explained(command: Command) -> None:
    for name, option in (("angular-margin", "--measure"), ("self-argmax", "--detector")):
        done = command("measure", "-m", name, "-t", "100")
        assert done.code == 2
        assert f"{name} is a {option[2:]}, not a model: give it with {option} {name}" in done.err


def test_measure_shows_the_hardest_first_and_names_the_rest(
    run: str, own_folder: Path, command: Command
) -> None:
    geom.run(model(own_folder), tokens="all", out=run).close()
    given = ("measure", run, "--model", model(own_folder), "-t", "all", "--measure", "row-norm")
    lines = command(*given, "--limit", "2").out.splitlines()
    ids = [line.split()[0] for line in lines if re.match(r" +\d  ", line)]
    assert ids == ["4", "5"]  # those that cannot win
    assert "unspeakable" in "\n".join(lines)
    (words,) = printed("\n".join(lines))
    assert words == ["geom", "show", run]
    shown = command(*words[1:]).out.splitlines()
    assert [line.split()[0] for line in shown if re.match(r" +\d  ", line)][:2] == ids
    (words,) = printed(command(*given, "--sort", "-row-norm", "--limit", "2").out)
    assert words == ["geom", "show", run, "--sort", "-row-norm"]
    lines = command(*given, "--sort", "-row-norm").out.splitlines()
    ids = [line.split()[0] for line in lines if re.match(r" +\d  ", line)]
    assert [ids[-2], ids[-1]] == ["4", "5"]  # the shortest rows
    done = command(*given, "--sort", "rownorm")
    assert (done.code, "did you mean 'row-norm'" in done.err) == (2, True)
    rows = command(*given, "--format", "jsonl").rows
    assert [row["token_id"] for row in rows] == [0, 1, 2, 3, 4, 5]
    model_alone = command("measure", "-m", "models/w.npz", "-t", "all", "--limit", "3").out
    assert "3 more: give a larger --limit, or --format jsonl" in model_alone


def test_no_line_of_a_piped_table_ends_with_blanks(
    run: str, own_folder: Path, command: Command
) -> None:
    out = command("run", "--model", model(own_folder), "--tokens", "all", "--out", run).out
    out += command("compare", run, "--model", model(own_folder), "-p", "float32").out
    assert not [line for line in out.splitlines() if line != line.rstrip()]


def test_a_message_ends_its_lines_between_words_and_its_command_is_one_line(
    run: str, own_folder: Path
) -> None:
    geom.run(model(own_folder), tokens="all", out=run).close()
    screen = Screen(60, 24)
    subprocess.run([*GEOM, "verify", run], stdout=screen.slave, stderr=screen.slave, check=False)
    screen.hang_up()
    *lines, last = screen.received.decode().replace("\r", "").rstrip("\n").split("\n")
    assert printed(last) == [["geom", "verify", run, "--model", model(own_folder)]]
    long = model(own_folder)
    assert all(len(line) <= 60 or long in line for line in lines)
    assert "give --allow-fetch if you trust the file" in " ".join(" ".join(lines).split())
