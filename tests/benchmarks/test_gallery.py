"""The gallery: its pages and the README say the numbers that were measured, and no others."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gallery
import pytest

import geom
from support import ROOT

DOCS = ROOT / "docs"

MODELS = ("whisper", "smollm2", "demo")

FOUND: dict[str, dict[str, Any]] = json.loads((DOCS / "gallery.json").read_text(encoding="utf-8"))

CASTS: list[dict[str, Any]] = json.loads((DOCS / "casting.json").read_text(encoding="utf-8"))

NUMBER = re.compile(r"(?<![\w.,-])\d[\d,.]*(?:e-?\d+)?(?![\w])")
"""A number that stands by itself: not that of ``float16``, ``UTF-8`` or a byte such as ``F5``."""

AGREED = ("between 16 and 32", "from 16 to 32", "8 bits", "16 or 8 bits", "at temperature 1")
"""What is so by definition, or chosen."""


def prose(page: Path) -> str:
    """Return what a page says in words: no blocks of code, no names in code, no addresses."""
    text = page.read_text(encoding="utf-8")
    if page.name == "README.md":
        text = text[: text.index("```")]
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`]*`|\]\([^)]*\)|<!--.*?-->", " ", text)
    return " ".join(re.sub(r"\| +tokens \|", "|", text).split())


def said(model: str) -> Iterator[str]:
    """Yield everything that a page may say of a model, with a number in it."""
    row = FOUND[model]
    tokens, near = row["hardest"], row["near"]
    yield from (f"{row['V']:,} tokens", f"of width {row['d']}", f"{row['V']:,} of them")
    own, hard, lost = f"{row['own']:,}", f"{row['hard']:,}", str(row["unspeakable"])
    yield from (f"own direction: point the state at their row, and they win | {own} |",)
    yield from (f"{own} win along their own direction", f"makes them win | {hard} |")
    yield from (f"no state makes them win | {lost} |", f"{lost} tokens can never", f"the {lost}")
    yield from (f"{lost} tokens are unspeakable", f"{lost} of them", f"The {lost}", f"These {lost}")
    yield from (f"{hard} are hard", f"{hard} hard tokens", f"{hard} tokens are hard")
    losers = f"{row['hard'] + row['unspeakable']:,} that do not win along their own direction"
    instead = f"{row['winner']['instead']:,}"
    yield from (f"{instead} tokens it is", f"{instead} of the {losers}")
    yield from (
        f"{near} more can",
        f"{near} more can win",
        f"the {near}",
        f"The {near}",
        f"{near} tokens can win",
    )
    yield from (f"all {near}", f"{near} win")
    yield from crowded(row)
    yield f"{tokens[0]['low']:.1f} logits"
    yield f"{math.floor(tokens[0]['low'] / 2.0**-3)} times the step of bfloat16"
    if near:
        last, after = tokens[near - 1]["high"], tokens[near]["low"]
        least = f"{math.floor(tokens[0]['low'] * 1e7) / 1e7:.7f}"
        most = f"{math.ceil(last * 1e5) / 1e5:g}"
        yield from (f"{least} to {most} logits", f"at most {most} logits")
        yield from (f"with {math.floor(after * 100) / 100:g} logits", f"win by {after:.2g}")
    first = str(math.floor(10.0 ** -row["sampling"][0]["log10"][1]))
    yield from (f"in {first} draws", f"1 draw in {first}")
    examined = row["precisions"]["tokens"]
    chat = [token["low"] for token in tokens if token["token"].startswith('"<|im_')]
    yield from (
        f"among the {len(tokens)} hardest",
        f"by {math.floor(min(chat, default=0.0))} logits and more",
    )
    yield from (f"the {examined} hardest win", f"all {examined} of them")
    groups = Counter(token["group"] for token in tokens[:near])
    yield from (f"{groups['impossible']} of the {near}", f"{groups['unused']}, F1 and F2")
    yield f"{groups['control']} are control characters"
    yield f"last {groups['empty'] + groups['special']} are"
    yield from twins(row)
    yield from rounded(model)


def crowded(row: dict[str, Any]) -> Iterator[str]:
    """Yield what may be said of how close the rows near the border are."""
    crowd = row["crowd"]
    yield f"within {_up(crowd['farthest'])} of their mean"
    yield f"is {math.floor(crowd['usual'] * 100) / 100:g} from its nearest neighbour"
    yield from (f"these {crowd['tokens']} tokens", f"the {crowd['tokens']}")
    if row["behind"] is not None:
        yield f"the other {row['behind']} are all within {gallery.NEAR:g} logits"
    trained = row["never_trained"]
    if trained is not None:
        yield f"{trained['all']} tokens never occurred"
        yield f"the {trained['flagged']} that training never met"
        assert trained["flagged"] == row["unspeakable"] + row["near"] == crowd["tokens"]


def twins(row: dict[str, Any]) -> Iterator[str]:
    """Yield what may be said of tokens with equal rows."""
    same = [len(token["twins"]) + 1 for token in row["lost"] if token["twins"]]
    yield from (f"{len(same)} of the {len(row['lost'])}", f"other {len(row['lost']) - len(same)}")
    for size, tokens in Counter(same).items():
        yield from (f"one of {size}", f"one of {size} tokens", f"group of {size}")
        if tokens == 2 * size:
            yield f"two of {size}"
    special = sum(token["token"].endswith(" special") for token in row["lost"])
    yield f"{special} of them are special"


def rounded(model: str) -> Iterator[str]:
    """Yield what may be said of a head in other formats."""
    mine = [row for row in CASTS if row["model"] == model]
    bits = min(row["bits"] for row in mine if row["bits"])
    yield from (f"down to {bits} bits", "a format of 8.5 bits")
    lost = {row["cast"]: row["unspeakable"] for row in mine}
    few = {row["unspeakable"] for row in mine if row["bits"] and row["bits"] <= 8.5}
    assert len(few) == 1
    (all_few,) = few
    yield from (f"In bfloat16 {lost['bfloat16']} tokens", f"In bfloat16, {lost['bfloat16']} tokens")
    yield from (f"has, {all_few}:", f"tried, {all_few}.")
    if len(set(lost.values())) == 1 and not any(count for row in mine for _, count in row["near"]):
        yield from (f"the same {all_few} tokens", "within 0.1 logits of the border")


def _up(number: float) -> str:
    """Write a number in few digits, not less than it is."""
    return geom.rounded_up(number, 3 if number > 1e-3 else 2)


PAGES = {f"gallery-{model}.md": [model] for model in MODELS}
PAGES |= {"gallery.md": [], "index.md": ["whisper"], "../README.md": ["whisper"]}


@pytest.mark.parametrize("page", PAGES)
def test_every_number_of_a_page_was_measured(page: str) -> None:
    text = prose(DOCS / page)
    phrases = {*AGREED, *(phrase for model in PAGES[page] for phrase in said(model))}
    for phrase in sorted(phrases, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.,]){re.escape(phrase)}(?![\w]|[.,]\d)", "~", text)
    assert NUMBER.findall(text) == [], text


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with gallery.audited("demo", tmp_path_factory.mktemp("runs")) as run:
        found: dict[str, Any] = json.loads(json.dumps(gallery.figures("demo", run)))
    return found


def test_the_demo_is_what_the_gallery_says(demo: dict[str, Any]) -> None:
    kept = FOUND["demo"]
    assert demo.keys() == kept.keys()
    vary = {"hardest", "proven", "sampling", "lost", "crowd"}
    assert {key: demo[key] for key in demo if key not in vary} == {
        key: kept[key] for key in kept if key not in vary
    }
    same = ("id", "token", "proof", "twins")
    assert [[row[key] for key in same] for row in demo["lost"]] == [
        [row[key] for key in same] for row in kept["lost"]
    ]
    for key in ("tokens", "farthest", "usual"):
        assert demo["crowd"][key] == pytest.approx(kept["crowd"][key])


def test_two_measurements_of_the_demo_do_not_contradict_each_other(demo: dict[str, Any]) -> None:
    again = {row["id"]: row for row in demo["hardest"]}
    for row in FOUND["demo"]["hardest"][: gallery.HARDEST["demo"]]:
        assert max(row["low"], again[row["id"]]["low"]) <= min(
            row["high"], again[row["id"]]["high"]
        )
    likeliest = {row["id"]: row["log10"] for row in demo["sampling"]}
    for row in FOUND["demo"]["sampling"]:
        low, high = likeliest.get(row["id"], row["log10"])
        assert max(low, row["log10"][0]) <= min(high, row["log10"][1])


def test_the_order_of_the_hardest_is_proven() -> None:
    for row in FOUND.values():
        assert len(row["hardest"]) == row["proven"]
        near = [token for token in row["hardest"] if token["high"] <= gallery.NEAR]
        assert near == row["hardest"][: row["near"]]


def test_the_gallery_and_the_page_on_rounding_agree() -> None:
    for row in CASTS:
        if row["cast"] is None:
            mine = FOUND[row["model"]]
            assert [mine[key] for key in ("V", "d", "hard", "unspeakable", "undecided")] == [
                row[key] for key in ("V", "d", "hard", "unspeakable", "undecided")
            ]


def test_utf8_never_has_thirteen_bytes() -> None:
    """RFC 3629, section 1: the octet values C0, C1, F5 to FF never appear."""
    assert {0xC0, 0xC1, *range(0xF5, 0x100)} == gallery.IMPOSSIBLE
    assert {0xF1, 0xF2} == gallery.UNUSED  # planes 4 to 11


def test_pictures_are_small() -> None:
    names = [*(f"gallery-{model}" for model in MODELS), "report"]
    for name in names:
        for part in ("", "-vocabulary"):
            for scheme in ("", "-dark"):
                data = (DOCS / f"{name}{part}{scheme}.png").read_bytes()
                assert data.startswith(b"\x89PNG")
                assert len(data) < 100_000
