"""``geom report``: the contents of the page, against an HTML parser, NumPy and the run's rows."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import sys
from datetime import UTC, datetime
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import InputError, NoOptions, Readout
from geom_plugins.reporters import html_page
from geom_plugins.reporters.origin import title
from geom_plugins.reporters.page_data import CLASSES, page_data
from support.command import Command
from support.pages import HOSTILE, SHOWN, Page, hostile, numbers, page_of


def test_the_page_fetches_nothing() -> None:
    found = Page(page_of(hostile()))
    for _, attributes in found.elements:
        for name in ("src", "href", "action", "data", "srcset"):
            assert (attributes.get(name) or "#")[0] == "#" or attributes[name] == "data:,"
    assert "link" not in [tag for tag, a in found.elements if a.get("rel") == "stylesheet"]


def test_only_the_scripts_of_the_page_may_run() -> None:
    found = Page(page_of(hostile()))
    assert len(found.scripts) == 3
    (policy,) = (
        a["content"] or ""
        for tag, a in found.elements
        if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
        for code in found.scripts[1:]
    ]
    assert rules["script-src"].split() == ["'unsafe-eval'", *hashes]


def test_no_text_of_a_token_becomes_markup() -> None:
    page = page_of(hostile())
    found = Page(page)
    assert {tag for tag, _ in found.elements}.isdisjoint({"img", "b i", "iframe"})
    assert sum(tag == "script" for tag, _ in found.elements) == 3
    texts = found.data["texts"]
    assert [texts[str(i)] for i in range(len(HOSTILE))] == SHOWN
    for character in "\x00\x1b\u202e\u2028":
        assert character not in page


def test_characters_that_do_not_show_are_named() -> None:
    found = Page(page_of(hostile())).data["strange"]
    assert found["2"] == ["U+202E RIGHT-TO-LEFT OVERRIDE"]
    assert found["3"] == ["U+0000 control character", "U+001B control character"]
    assert found["7"] == ["U+2028 LINE SEPARATOR"]
    assert "8" not in found


def test_the_columns_are_the_rows_of_the_run() -> None:
    run = hostile()
    rows = {row.token_id: row for row in run.rows()}
    data = Page(page_of(run)).data["rows"]
    ids = numbers(data["id"], "<i4").tolist()
    assert sorted(ids) == sorted(rows)
    assert ids[0] == len(HOSTILE)  # the only unspeakable token
    for name, field in (("lower", "margin_lower"), ("upper", "margin_upper")):
        expected = [getattr(rows[i], field) for i in ids]
        np.testing.assert_array_equal(
            numbers(data[name], "<f8"), [np.nan if v is None else v for v in expected]
        )
    assert numbers(data["winner"], "<i4").tolist() == [rows[i].argmax_id for i in ids]
    assert [CLASSES[k] for k in numbers(data["class"], "<i4")] == [
        "hard" if rows[i].verdict == "speakable" and not rows[i].self_argmax
        else rows[i].verdict
        for i in ids
    ]  # fmt: skip
    assert data["proof"] == [rows[i].proof for i in ids]
    assert data["chance"] == [rows[i].chance for i in ids]


def test_the_page_says_how_likely_the_unspeakable_tokens_are_at_most() -> None:
    W = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]])
    with geom.run(Readout.fold(W, norm="rmsnorm"), tokens="all") as run:
        page, text = page_data(run), page_of(run)
    assert page["capped"] == (
        "Each unspeakable token is never the argmax, and never more likely than 0.5 (about 1 in 2) "
        "at temperature 1"
    )
    assert page["capped"] in text
    assert page["rows"]["chance"] == ["0.5 (about 1 in 2)"] * 2 + [""] * 2


@pytest.mark.parametrize("d", [1, 2, 3, 20])
def test_rows_are_drawn_from_the_centroid_on_principal_axes(d: int) -> None:
    rng = np.random.default_rng(d)
    W = rng.standard_normal((300, d)) * np.linspace(3.0, 1.0, d) + 5.0
    cloud = page_data(geom.run(Readout.fold(W), tokens="0", certifiers=[]))["cloud"]
    off = W - W.mean(axis=0)
    np.testing.assert_allclose(
        numbers(cloud["norm"], "<f4"), np.linalg.norm(off, axis=1), rtol=1e-6
    )
    shown = np.column_stack([numbers(cloud[name], "<f4") for name in "xy"])
    if d < 3:
        np.testing.assert_allclose(shown[:, :d], off, rtol=1e-6)
        return
    left, sizes, _ = np.linalg.svd(off, full_matrices=False)
    expected = left[:, :2] * sizes[:2]
    signs = np.sign((shown * expected).sum(axis=0))
    np.testing.assert_allclose(shown, expected * signs, atol=1e-3)


def test_weights_are_shown_with_the_heaviest_first() -> None:
    run = hostile()
    inside = len(HOSTILE)
    certificate = run.certificate(inside)
    assert isinstance(certificate, geom.Weights)
    shown = Page(page_of(run)).data["certificates"][str(inside)]
    assert shown["count"] == certificate.indices.size
    shares = dict(zip(certificate.indices.tolist(), certificate.values.tolist(), strict=True))
    total = sum(shares.values())
    values = [float(value) for _, value in shown["heaviest"]]
    assert values == sorted(values, reverse=True)
    for (token, _), value in zip(shown["heaviest"], values, strict=True):
        assert value == pytest.approx(100 * shares[token] / total, rel=0.005)


def test_measures_of_the_run_are_in_the_page(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    geom.run("demo", tokens="5,9", out=path).close()
    with geom.open_run(path) as run:
        (number,) = geom.measure(run, ["row-norm"], tokens=[9])
        (item,) = page_data(run)["measures"]
        ids = numbers(page_data(run)["rows"]["id"], "<i4").tolist()
    assert (item["name"], item["unit"]) == ("row-norm", number.unit)
    values = dict(zip(ids, numbers(item["value"], "<f8").tolist(), strict=True))
    assert values[9] == number.value
    assert np.isnan(values[5])


def test_without_the_weights_the_page_says_so_and_shows_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    geom.run(Readout.fold([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]), tokens="all", out=path).close()
    with geom.open_run(path) as run:
        text = page_of(run)
    found = Page(text).data
    assert found["cloud"] is None
    assert "not drawn because this page was made without the weights" in text
    assert found["redraw"].startswith("geom.export(geom.open_run(")
    assert numbers(found["rows"]["id"], "<i4").size == 3


def test_a_run_that_only_detects_has_a_page() -> None:
    found = Page(page_of(geom.run("demo", certifiers=[]))).data
    assert numbers(found["rows"]["class"], "<i4").tolist() == [1] * 413


def test_hard_and_speakable_tokens_do_not_interleave() -> None:
    with geom.run("demo", tokens="150-400") as run:
        data = page_data(run)
        rows = {row.token_id: row for row in run.rows()}
        hard = run.ranking("hard")
    ids = numbers(data["rows"]["id"], "<i4").tolist()
    labels = [rows[i].label for i in ids]
    assert {"unspeakable", "hard", "speakable"} <= set(labels)
    assert labels == sorted(labels, key=CLASSES.index)
    head = [i for i in ids if rows[i].label == "hard"][: hard.proven]
    assert head == [row.token_id for row in hard.rows[: hard.proven]]
    apart = [(rows[a], rows[b]) for a, b in pairwise(head) if not {a, b} & hard.tied]
    assert len(apart) > 5
    assert all(a.margin_upper <= b.margin_lower for a, b in apart)  # type: ignore[operator]  # known
    assert f"the first {hard.proven} hard tokens" in data["order"][0]
    assert "speakable tokens" in data["order"][1]


def test_the_page_says_what_made_the_run() -> None:
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    with geom.run("demo", tokens="5,9", domain="box", hardest=0) as run:
        page, data = page_of(run), page_data(run)
    begun = datetime.strptime(data["begun"], "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
    assert before <= begun <= datetime.now(UTC)
    assert shlex.split(" ".join(data["command"])) == [
        *("geom", "run", "--model", "demo", "--certifier", "maxent", "--certifier", "highs"),
        *("--domain", "box", "-o", "domain.box.radius=1.0"),
        *("--tokens", "5,9", "--hardest", "0"),
    ]
    assert dict(data["settings"]) == {
        "shape of W": "3,072 tokens, d = 64",
        "domain": "box: vectors with entries between -1 and 1",
        "tokens asked for": "5, 9",
        "detectors": "none",
        "certifiers": "maxent, then highs",
        "opening": "easy tokens in bulk, before the certifiers",
        "order": "not looked for",
    }
    assert list(data["versions"])[:2] == ["geom-unembed", "python"]
    assert "{&#34;" not in page
    assert "zero_sum" not in page


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("demo", "demo"),
        ("hf:EleutherAI/pythia-70m", "hf:EleutherAI/pythia-70m"),
        ("gguf:/home/me/models/small.Q4_1.gguf", "small.Q4_1.gguf"),
        ("gguf:/a/b.gguf?cast=q4_0&rows=/tmp/r.npz", "b.gguf?cast=q4_0&rows=r.npz"),
        ("/home/me/model.safetensors", "model.safetensors"),
        ("hf:C:\\Users\\me\\gpt2", "gpt2"),
        ("C:\\Users\\me\\gpt2.gguf", "gpt2.gguf"),
        ("hf:~/checkpoints/last/", "last"),
        ("hf:/hub/models--openai--whisper-base/snapshots/e37978b9", "openai/whisper-base"),
        ("npz:https://host/a/b.npz?W=W", "npz:https://host/a/b.npz?W=W"),
        ("npz:", "npz:"),
        ("/", "/"),
    ],
)  # fmt: skip
def test_a_title_has_no_local_path(model: str, shown: str) -> None:
    assert title(model) == shown


def test_the_title_of_a_page_is_the_name_of_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "W.npy", np.eye(3, dtype=np.float32))
    model = f"npz:{tmp_path / 'W.npy'}"
    with geom.run(model, tokens="all") as run:
        page = page_of(run)
    assert "<title>W.npy - geom</title>" in page
    assert "<h1>W.npy</h1>" in page


def test_probabilities_are_drawn_only_if_they_were_measured() -> None:
    with geom.run("demo", tokens="5,9,116,183,253") as run:
        assert page_data(run)["chances"] is None
        found = {m.token_id: m for m in geom.measure(run, ["max-probability"], tokens=[116, 253])}
        data = page_data(run)
    ids = numbers(data["rows"]["id"], "<i4")
    drawn = ids[numbers(data["chances"]["row"], "<i4")].tolist()
    assert sorted(drawn) == [116, 253]
    values = numbers(data["chances"]["value"], "<f8").tolist()
    assert values == [found[token].value for token in drawn]
    assert data["chances"]["temperature"] == 1.0
    caps = dict(
        zip(ids.tolist(), numbers(data["rows"]["probability"], "<f8").tolist(), strict=True)
    )
    assert 0.0 < 10 ** found[116].value <= caps[116] <= 0.5  # type: ignore[operator]  # a number
    assert np.isnan(caps[253])


@pytest.mark.parametrize(
    ("noun", "many", "chosen"),
    [("class", "classes", "predicted"), ("item", "items", "recommended")],
)
def test_a_page_calls_rows_what_they_are(noun: str, many: str, chosen: str, tmp_path: Path) -> None:
    np.save(tmp_path / "W.npy", np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [0.1, 0.1]]))
    with geom.run(f"npz:{tmp_path / 'W.npy'}?noun={noun}", tokens="all") as run:
        found = Page(page_of(run))
        page = page_of(run)
    assert found.data["noun"] == {"one": noun, "many": many, "chosen": chosen}
    shown = page[page.index("<body>") : page.index('<script id="data"')]
    said = re.sub(r"--tokens|tokens\"|#tokens|tokens-title", "", shown)
    assert "token" not in said
    assert f"The unspeakable {noun} is never the argmax" in shown
    assert f"cannot be {chosen}" in shown


def test_the_command_writes_beside_the_run(command: Command) -> None:
    command("run", "--tokens", "5,9", "--out", "some.db")
    done = command("report", "some.db")
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines()[-1] == "geom: the report is some.html"
    assert Page(Path("some.html").read_text("utf-8")).data["model"] == "demo"


def test_the_command_takes_other_places_and_weights(command: Command, tmp_path: Path) -> None:
    W = np.eye(3, dtype=np.float32)
    np.save(tmp_path / "W.npy", W)
    geom.run(Readout.fold(W), tokens="all", out=tmp_path / "run.db").close()
    model = f"npz:{tmp_path / 'W.npy'}"
    done = command("report", "run.db", "--model", model, "--out", "page.html")
    assert done.code == 0, done.err
    assert Page(Path("page.html").read_text("utf-8")).data["cloud"] is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.db"], "absent.db does not exist"),
        (["some.db", "--out", "no/such/folder.html"], "give a file that can be written"),
        (["some.db", "--model", "nonsense:"], "unknown source"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], words: str, command: Command
) -> None:
    command("run", "--tokens", "5", "--out", "some.db")
    done = command("report", *arguments)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert words in done.err
    assert not Path("some.html").exists()


@pytest.mark.parametrize("module", ["jinja2", "plotly.offline"])
def test_without_its_extra_it_says_which(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=re.escape(geom.install_command("report"))):
        html_page.write(hostile(), BytesIO(), NoOptions())
