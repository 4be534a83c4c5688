"""The report as a browser shows it: headless Chromium, driven by Selenium."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import geom
from geom import NoOptions, Run
from geom_plugins.reporters import html_page
from support.pages import SHOWN, hostile

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="needs chromium and chromedriver, on Debian the packages chromium and chromium-driver",
)

FLAGS = (
    "--headless=new --no-sandbox --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage "
    "--enable-unsafe-swiftshader --window-size=1300,900"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = Options()
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_page_load_timeout(120)
    driver.set_script_timeout(120)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "demo.html"
    with geom.run("demo") as run:
        keep(run, path)
    return path


def keep(run: Run, path: Path) -> None:
    with path.open("wb") as file:
        html_page.write(run, file, NoOptions())


def wait(until: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while True:
        found = until()
        if found or time.monotonic() > end:
            return found
        time.sleep(0.05)


def show(browser: Chrome, page: Path) -> None:
    """Open the page, and wait until everything is drawn."""
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(page.as_uri())
    ready = "return 'ready' in document.documentElement.dataset"
    assert wait(lambda: browser.execute_script(ready))


def ids(browser: Chrome) -> list[int]:
    """Return the tokens of the table that are in sight, or near."""
    return [int(found.text) for found in browser.find_elements(By.CSS_SELECTOR, "#body .unfold")]


def problems(browser: Chrome) -> list[str]:
    return [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]


def requests(browser: Chrome) -> set[str]:
    """Return the schemes of all URLs that the page requested."""
    events = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    return {
        e["params"]["request"]["url"].partition(":")[0]
        for e in events
        if e["method"] == "Network.requestWillBeSent"
    }


def test_it_draws_all_pictures_and_asks_for_nothing(browser: Chrome, demo: Path) -> None:
    show(browser, demo)
    assert len(browser.find_elements(By.CSS_SELECTOR, ".js-plotly-plot")) == 4
    drawn = (
        "return document.getElementById(arguments[0]).data"
        ".filter(t => t.mode === 'markers').map(t => t.x.length)"
    )
    assert sum(browser.execute_script(drawn, "places")) == 3072 + 1  # the last is the centroid
    assert sum(browser.execute_script(drawn, "norms")) == 413
    heights = "return document.getElementById('margins').data.flatMap(t => t.y)"
    assert sum(browser.execute_script(heights)) == 413
    open_marks = "return document.getElementById('norms').data.filter(t => t.mode === 'markers'" + (
        " && t.marker.symbol.endsWith('-open')).map(t => t.x.length)"
    )
    with geom.run("demo") as run:
        loose = [row for row in run.rows("speakable") if not row.known]
    assert 0 < len(loose) < 413
    assert sum(browser.execute_script(open_marks)) == len(loose)
    assert problems(browser) == []
    assert requests(browser) <= {"file", "data", "blob"}


def test_every_number_of_a_column_is_shown_whole(browser: Chrome, tmp_path: Path) -> None:
    with geom.run("demo", tokens="100,116,183,253", out=tmp_path / "run.db") as run:
        geom.measure(run, "max-probability", [100, 253])
        geom.measure(run, "row-norm", [100, 116, 183, 253])
        keep(run, tmp_path / "measured.html")
    show(browser, tmp_path / "measured.html")
    cells = browser.find_elements(By.CSS_SELECTOR, "#body td.number")
    assert len(cells) == 4 * 4
    cut = "return arguments[0].scrollWidth > arguments[0].clientWidth"
    assert [cell.text for cell in cells if browser.execute_script(cut, cell)] == []


def test_tokens_without_a_verdict_are_counted_as_on_a_terminal(
    browser: Chrome, demo: Path, tmp_path: Path
) -> None:
    show(browser, demo)
    counts = browser.find_element(By.ID, "verdicts").text
    assert "2,659\nnot flagged, 87 %\npassed over by self-argmax" in counts
    with geom.run("demo", tokens="5,9") as run:
        keep(run, tmp_path / "two.html")
    show(browser, tmp_path / "two.html")
    counts = browser.find_element(By.ID, "verdicts").text
    assert "3,070\nnot examined, 100 %\nnot in the list of tokens" in counts


def test_the_winners_are_those_of_the_rows(browser: Chrome, demo: Path) -> None:
    show(browser, demo)
    with geom.run("demo") as run:
        lost = [row.argmax_id for row in run.rows() if not row.self_argmax]
    most = max(set(lost), key=lost.count)
    trace = browser.execute_script("return document.getElementById('winners').data[0]")
    assert (trace["customdata"][-1], trace["x"][-1]) == (most, lost.count(most))


def test_search_and_the_choice_of_a_verdict_leave_what_was_asked_for(
    browser: Chrome, demo: Path
) -> None:
    show(browser, demo)
    search = browser.find_element(By.ID, "search")
    search.send_keys("SKIPunless")
    assert ids(browser) == [2114]
    assert browser.find_element(By.ID, "found").text == "1 of 413 tokens"
    search.clear()
    search.send_keys("2310")
    assert 2310 in ids(browser)
    search.clear()
    search.send_keys(Keys.BACKSPACE)
    browser.find_element(By.CSS_SELECTOR, "#class option[value='unspeakable']").click()
    assert browser.find_element(By.ID, "found").text == "32 of 413 tokens"


def test_a_search_that_finds_nothing_says_so_and_leads_back(browser: Chrome, demo: Path) -> None:
    show(browser, demo)
    browser.find_element(By.CSS_SELECTOR, "#class option[value='hard']").click()
    browser.find_element(By.ID, "search").send_keys("<b>no such")
    (said,) = browser.find_elements(By.CSS_SELECTOR, "#body tr")
    assert said.text.startswith("No hard token has the id or the text <b>no such.")
    assert not browser.find_element(By.ID, "csv").is_enabled()
    said.find_element(By.TAG_NAME, "button").click()
    assert browser.find_element(By.ID, "found").text == "413 tokens"
    assert browser.find_element(By.ID, "csv").is_enabled()


def test_what_was_filtered_can_be_saved_as_csv(browser: Chrome, demo: Path, tmp_path: Path) -> None:
    show(browser, demo)
    where = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    browser.find_element(By.CSS_SELECTOR, "#class option[value='unspeakable']").click()
    browser.find_element(By.ID, "csv").click()
    assert browser.find_element(By.ID, "taken").text == "saved 32 tokens"
    file = tmp_path / "run.csv"
    assert wait(file.exists)
    with file.open(encoding="utf-8", newline="") as lines:
        found = list(csv.DictReader(lines))
    with geom.run("demo") as run:
        rows = run.ranking("unspeakable").rows
    assert [int(line["id"]) for line in found] == [row.token_id for row in rows]
    for line, row in zip(found, rows, strict=True):
        assert line["token"] == geom.visible(row.token, row.token_kind)
        assert (line["verdict"], line["proof"]) == ("unspeakable", row.proof)
        assert float(line["margin_upper"]) == row.margin_upper
        assert float(line["probability_upper"]) == row.probability_upper
        assert int(line["argmax_id"]) == row.argmax_id
    assert requests(browser) <= {"file", "data", "blob"}


def test_no_cell_of_the_csv_is_a_formula_or_breaks_out(browser: Chrome, tmp_path: Path) -> None:
    keep(hostile(), tmp_path / "hostile.html")
    show(browser, tmp_path / "hostile.html")
    text = browser.execute_script("return table(',', quoted).join('\\r\\n')")
    lines = list(csv.DictReader(io.StringIO(text)))
    assert sorted(line["token"] for line in lines) == sorted([*SHOWN, '"inside"'])
    hostile_cell = "return quoted(plain(arguments[0]))"
    for formula in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1"):
        assert browser.execute_script(hostile_cell, formula).lstrip('"')[0] == "'"
    assert browser.execute_script(hostile_cell, 'a"b,c\nd') == '"a""b,c\nd"'


def test_ids_and_rows_can_be_copied(browser: Chrome, demo: Path) -> None:
    show(browser, demo)
    browser.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    browser.find_element(By.CSS_SELECTOR, "#class option[value='unspeakable']").click()
    with geom.run("demo") as run:
        expected = [row.token_id for row in run.ranking("unspeakable").rows]
    read = "const done = arguments[0]; navigator.clipboard.readText().then(done)"
    for button, words in (("ids", "copied the ids of 32 tokens"), ("copy", "copied 32 tokens")):
        browser.find_element(By.ID, button).click()
        assert wait(lambda words=words: browser.find_element(By.ID, "taken").text == words)
        text = browser.execute_async_script(read)
        if button == "ids":
            assert list(geom.parse_tokens(text, 3072)) == sorted(expected)
            continue
        head, *lines = (line.split("\t") for line in text.split("\n"))
        assert head[:3] == ["id", "token", "verdict"]
        assert [int(line[0]) for line in lines] == expected


def test_the_tokens_come_before_the_pictures(browser: Chrome, demo: Path) -> None:
    show(browser, demo)
    places = [
        browser.find_element(By.ID, name).location["y"] for name in ("verdicts", "table", "norms")
    ]
    assert places == sorted(places)
    assert places[1] < 600  # on the first screen


def test_a_picture_without_points_is_not_drawn(browser: Chrome, tmp_path: Path) -> None:
    with geom.run("demo", tokens="5,9", detectors=[], certifiers=[], opening=False) as run:
        keep(run, tmp_path / "undecided.html")
    show(browser, tmp_path / "undecided.html")
    drawn = browser.find_elements(By.CSS_SELECTOR, ".js-plotly-plot")
    assert [found.get_attribute("id") for found in drawn] == ["places"]
    assert len(browser.find_elements(By.TAG_NAME, "figure")) == 1


def test_probabilities_lie_between_the_lines_that_margins_draw(
    browser: Chrome, tmp_path: Path
) -> None:
    tokens = [116, 183, 253, 135, 1396, 10]
    with geom.run("demo", tokens="10,116,135,183,253,1396") as run:
        measured = geom.measure(run, ["max-probability"], tokens=tokens)
        keep(run, tmp_path / "measured.html")
    show(browser, tmp_path / "measured.html")
    traces = browser.execute_script(
        "return document.getElementById('chances').data.map(t => ({mode: t.mode, x: t.x, y: t.y,"
        " ids: t.customdata}))"
    )
    shown = dict(pair for t in traces if t["ids"] for pair in zip(t["ids"], t["y"], strict=True))
    assert shown == {m.token_id: m.value for m in measured}
    upper, lower = (t["y"] for t in traces if t["mode"] == "lines")
    at_zero = next(t["x"] for t in traces if t["mode"] == "lines").index(0)
    assert upper[at_zero] == pytest.approx(np.log10(1 / 2))
    assert lower[at_zero] == pytest.approx(-np.log10(3072))
    assert all(low <= high for low, high in zip(lower, upper, strict=True))
    assert problems(browser) == []


@pytest.mark.parametrize("column", [0, 4])
def test_a_click_on_a_column_sorts_by_it_and_another_turns_it_round(
    column: int, browser: Chrome, demo: Path
) -> None:
    show(browser, demo)
    with geom.run("demo") as run:
        rows = run.ranking().rows
    ranks = {row.token_id: rank for rank, row in enumerate(rows)}
    by_id = {row.token_id: row.token_id if column == 0 else ranks[row.token_id] for row in rows}
    turns = [("ascending", False), ("descending", True)]
    if column == 4:  # the page opens in this order
        assert [by_id[i] for i in ids(browser)] == list(range(len(ids(browser))))
        turns.reverse()
    for turn, descending in turns:
        browser.find_elements(By.CSS_SELECTOR, "#head button")[column].click()
        head = browser.find_elements(By.CSS_SELECTOR, "#head th")[column]
        assert head.get_attribute("aria-sort") == turn
        shown = [by_id[i] for i in ids(browser)]
        assert shown == sorted(by_id.values(), reverse=descending)[: len(shown)]


def test_a_row_unfolds_to_its_proof_by_mouse_and_by_keyboard(browser: Chrome, demo: Path) -> None:
    show(browser, demo)
    browser.find_element(By.ID, "search").send_keys("RABIC")
    browser.find_element(By.CSS_SELECTOR, "#body tr.row td.token").click()
    text = browser.find_element(By.CSS_SELECTOR, "#body tr.more").text
    assert "Proven by weights over other tokens" in text
    assert "geom show RUN --token 2262" in text
    browser.find_element(By.ID, "search").send_keys(Keys.CONTROL, "a")
    browser.find_element(By.ID, "search").send_keys(Keys.BACKSPACE)
    browser.find_elements(By.CSS_SELECTOR, "#head button")[0].click()
    assert len(browser.find_elements(By.CSS_SELECTOR, "#body tr.more")) == 0  # it is further down
    first, second = ids(browser)[:2]
    browser.find_element(By.CSS_SELECTOR, "#body .unfold").send_keys(Keys.ARROW_DOWN)
    assert browser.switch_to.active_element.text == str(second)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    active = browser.switch_to.active_element
    assert (active.text, active.get_attribute("aria-expanded")) == (str(second), "true")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#body tr.more")) == 1
    active.send_keys(Keys.ARROW_UP)
    assert browser.switch_to.active_element.text == str(first)


def test_a_point_of_a_picture_leads_to_its_row(browser: Chrome, demo: Path) -> None:
    show(browser, demo)
    browser.execute_script(
        "document.getElementById('norms').emit('plotly_click', {points: [{customdata: 2310}]})"
    )
    assert browser.switch_to.active_element.text == "2310"
    assert "Proven by" in browser.find_element(By.CSS_SELECTOR, "#body tr.more").text


def test_margins_within_one_power_of_ten_have_a_scale(browser: Chrome, tmp_path: Path) -> None:
    turns = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False)
    lengths = np.linspace(3.0, 3.02, 24)[:, None]
    readout = geom.Readout.fold(lengths * np.stack([np.cos(turns), np.sin(turns)], axis=1))
    with geom.run(readout, tokens="all") as run:
        keep(run, tmp_path / "near.html")
    show(browser, tmp_path / "near.html")
    for axis in ("#norms .ytick text", "#margins .xtick text"):
        assert len(browser.find_elements(By.CSS_SELECTOR, axis)) >= 3


def test_texts_of_tokens_do_nothing(browser: Chrome, tmp_path: Path) -> None:
    keep(hostile(), tmp_path / "hostile.html")
    show(browser, tmp_path / "hostile.html")
    assert browser.title == "python - geom"
    shown = [
        found.text for found in browser.find_elements(By.CSS_SELECTOR, "#body td:nth-child(2)")
    ]
    assert sorted(shown) == sorted([*SHOWN, '"inside"'])
    assert browser.find_elements(By.TAG_NAME, "img") == []
    browser.find_element(By.CSS_SELECTOR, "#body .unfold").click()
    labels = browser.execute_script(
        "return document.getElementById('norms').data.flatMap(t => t.text)"
    )
    assert not any("<img" in text or "<script" in text for text in labels)
    assert problems(browser) == []
    assert requests(browser) <= {"file", "data", "blob"}


def test_fifty_thousand_rows_scroll(browser: Chrome, tmp_path: Path) -> None:
    with geom.run("synthetic:gpt2-like?V=50000&d=8&seed=1", tokens="all", certifiers=[]) as run:
        keep(run, tmp_path / "large.html")
    show(browser, tmp_path / "large.html")
    browser.find_elements(By.CSS_SELECTOR, "#head button")[0].click()
    assert ids(browser)[0] == 0
    for share, first in ((0.5, 24_000), (1.0, 49_900), (0.25, 12_000)):
        browser.execute_script(
            "const s = document.getElementById('scroll');"
            "s.scrollTop = arguments[0] * (s.scrollHeight - s.clientHeight)",
            share,
        )
        assert wait(lambda first=first: first <= ids(browser)[0] < first + 2000)
        assert len(ids(browser)) < 100
    browser.find_element(By.ID, "search").send_keys("49999")
    assert wait(lambda: ids(browser) == [49_999])
    assert problems(browser) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 390])
def test_it_fits_the_screen_in_light_and_dark(
    scheme: str, width: int, browser: Chrome, demo: Path
) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        show(browser, demo)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        heads = browser.find_elements(By.CSS_SELECTOR, "#head th")
        if width < 400:
            token = browser.find_element(By.CSS_SELECTOR, "#body td.token")
            assert token.size["width"] > 120
            for name in ("verdict", "margin"):
                cut = "return arguments[0].scrollWidth > arguments[0].clientWidth"
                found = browser.find_elements(By.CSS_SELECTOR, f"#body td.{name}")
                assert len(found) > 5
                assert all(cell.text for cell in found)
                assert not any(browser.execute_script(cut, cell) for cell in found)
            for name in ("search", "class", "ids", "copy", "csv"):
                box = browser.find_element(By.ID, name).rect
                assert box["x"] + box["width"] <= width
        within = sum(head.size["width"] for head in heads)
        assert within > 0.9 * browser.find_element(By.ID, "scroll").size["width"]
        colours = browser.execute_script(
            "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        )
        ink, page = (sum(map(int, c[4:-1].split(","))) for c in colours)
        assert (ink < 200 and page > 650) if scheme == "light" else (ink > 650 and page < 200)
        labels = browser.find_element(By.CSS_SELECTOR, "#margins .xtick text")
        assert labels.value_of_css_property("fill") == colours[0]
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_theme_can_be_chosen(browser: Chrome, demo: Path) -> None:
    show(browser, demo)
    seen = []
    for name in ("light", "dark"):
        browser.find_element(By.XPATH, f"//select[@id='theme']/option[text()='{name}']").click()
        seen.append(browser.find_element(By.TAG_NAME, "body").value_of_css_property("color"))
    assert seen[0] != seen[1]


def test_every_control_can_be_reached_by_keyboard(browser: Chrome, demo: Path) -> None:
    show(browser, demo)
    reached = set()
    for _ in range(24):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        active = browser.switch_to.active_element
        reached.add(active.get_attribute("id") or active.get_attribute("class") or active.text)
    assert {"theme", "search", "class", "scroll", "unfold", "skip", "verdict"} <= reached
