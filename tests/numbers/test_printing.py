"""The printed form of a proven number holds as printed: Fractions of the text decide it."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import geom
from geom import Readout, Run, TokenRow
from geom.numbers.printing import enclosure, ranks, rounded, rounded_down, rounded_up, with_error
from geom.store import MeasureRow
from support import pages
from support.command import Command
from support.pages import Page, page_of

EDGES = [0.0, -0.0, 5e-324, 2.0**-1022, 1.7976931348623157e308, 3.949, 0.1, 9.995, 1e22, 1e-5]
finite = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [sign * value for value in EDGES for sign in (1.0, -1.0)]
)
numbers = finite | st.fractions()
counts = st.integers(1, 17)
radii = st.floats(0.0, allow_infinity=False, allow_nan=False) | st.sampled_from(EDGES[2:])


def digits_of(text: str) -> int:
    """Return the number of significant digits of a decimal."""
    return len(re.sub(r"e.*|[-.]", "", text).lstrip("0")) or 1


@given(numbers, counts)
@example(3.949, 3)
@example(-0.0, 1)
@example(5e-324, 1)
@example(-1.7976931348623157e308, 2)
@example(Fraction(1, 10**400), 3)
def test_a_bound_is_rounded_away_from_what_it_bounds(value: float | Fraction, digits: int) -> None:
    exactly = Fraction(value)
    down, up = rounded_down(value, digits), rounded_up(value, digits)
    step = abs(exactly) * Fraction(10) ** (1 - digits)
    assert exactly - step <= Fraction(down) <= exactly <= Fraction(up) <= exactly + step
    assert all(digits_of(text) <= max(digits, len(str(abs(round(exactly))))) for text in (down, up))
    assert max(digits_of(down.rstrip("0")), digits_of(up.rstrip("0"))) <= digits


@given(numbers, counts)
def test_only_zero_is_printed_as_zero_and_no_sign_changes(
    value: float | Fraction, digits: int
) -> None:
    for text in (rounded_down(value, digits), rounded_up(value, digits), rounded(value, digits)):
        assert np.sign(Fraction(text)) == np.sign(Fraction(value))
        assert text == "0" if value == 0 else not text.startswith(("-0 ", "+"))


@given(finite, counts)
def test_what_is_no_bound_is_written_as_python_writes_it(value: float, digits: int) -> None:
    assert rounded(value, digits) == f"{value or 0.0:.{digits}g}"


@pytest.mark.parametrize("function", [rounded_down, rounded_up, rounded])
def test_what_is_no_number_is_said_so(function: object) -> None:
    assert callable(function)
    assert [function(x) for x in (math.nan, math.inf, -math.inf)] == ["nan", "inf", "-inf"]


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (None, None, "-"),
        (3.949, None, ">= 3.94"),
        (None, 3.9501, "<= 3.96"),
        (-3.3812, 0.0, "-3.39 .. 0"),
        (2e-7, 2.5e-7, "1.99e-07 .. 2.5e-07"),
        (5e-324, -0.0, "4.94e-324 .. 0"),
        (0.0, -0.0, "0"),
        (None, -5e-324, "<= -4.94e-324"),
    ],
)
def test_bounds_on_a_margin_are_rounded_outwards(
    low: float | None, high: float | None, text: str
) -> None:
    assert enclosure(low, high) == text


@given(finite, radii)
@example(3.949, 0.0)
@example(0.2, 0.5)
@example(-0.0001, 0.1)
@example(1e300, 5e-324)
@example(5e-324, 1.7976931348623157e308)
@example(9.9999, 0.0021)
def test_a_printed_interval_contains_the_proven_one(value: float, error: float) -> None:
    low, high = interval(with_error(value, error, True))
    assert low <= Fraction(value) - Fraction(error)
    assert high >= Fraction(value) + Fraction(error)
    lost = abs(Fraction(value)) / 10 ** (13 if error else 5)
    assert high - low <= 4 * (Fraction(error) * 11 / 10 + lost)  # one digit: at most twice as wide


@given(finite, radii.filter(bool))
def test_an_estimate_is_rounded_to_the_nearest_and_its_error_up(value: float, error: float) -> None:
    middle, shown = map(Fraction, with_error(value, error, False).split(" ~ "))
    lost = abs(Fraction(value)) / 10**14
    assert Fraction(error) <= shown <= 2 * Fraction(error) + lost
    assert abs(middle - Fraction(value)) <= Fraction(error) / 20 + lost


@pytest.mark.parametrize(
    ("value", "error", "proven", "text"),
    [
        (-3.0211, 0.0338, False, "-3.021 ~ 0.034"),
        (0.5, 0.0, True, "0.5"),
        (1 / 3, 0.0, True, "0.333333 ± 0.000001"),
        (1 / 3, 0.0, False, "0.333333"),
        (1 / 3, None, False, "0.333333"),
        (0.5703873189063, 1.01e-12, True, "0.5703873189063 ± 2e-12"),
        (-0.0001, 0.1, True, "-0.101 .. 0.1"),
        (10.0, 1.0, True, "9 .. 11"),
        (10.0, 0.99, True, "10.00 ± 0.99"),
        (10.0, 1.0, False, "10.0 ~ 1.0"),
        (0.0, 0.0, True, "0"),
        (-math.inf, 0.0, True, "-inf"),
        (2.0, math.inf, True, "2 ± inf"),
        (56789.0, 1234.0, True, "5.68e+04 ± 2e+03"),
        (1.0, math.nan, True, "1"),
    ],
)
def test_values_have_the_digits_that_their_errors_leave(
    value: float, error: float | None, proven: bool, text: str
) -> None:
    assert with_error(value, error, proven) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.0, 0.0, "1"),
        (5.0, 1.0, "4 .. 5"),
        (3012.0, 3011.0, "1 .. 3012"),
        (262144.0, 0.0, "262144"),
    ],
)
def test_a_rank_is_a_whole_number_and_what_is_reached_is_its_upper_end(
    value: float, error: float, text: str
) -> None:
    assert ranks(value, error) == text


# The commands' output


MEASURES = (
    "angular-margin",
    "best-rank",
    "chebyshev-radius",
    "perturbation",
    "logit-bias",
    "min-p",
)
NUMBER = r"-?\d[\d.]*(?:e[+-]\d+)?"
BOUNDS = re.compile(rf"(?:(?P<low>{NUMBER}) \.\. )?(?:(?P<sign>[<>]=) )?(?P<last>{NUMBER})")


def interval(text: str) -> tuple[Fraction, Fraction]:
    """Return the ends of a printed ``value ± radius``, or ``low .. high``."""
    low, dots, high = text.partition(" .. ")
    if dots:
        return Fraction(low), Fraction(high)
    value, _, radius = text.partition(" ± ")
    middle, reach = Fraction(value), Fraction(radius or 0)
    return middle - reach, middle + reach


def ends(text: str) -> tuple[Fraction | None, Fraction | None]:
    """Return the bounds that a printed enclosure gives."""
    if text in ("-", "0"):
        return (None, None) if text == "-" else (Fraction(0), Fraction(0))
    found = BOUNDS.fullmatch(text)
    assert found, text
    last = Fraction(found["last"])
    if found["low"]:
        return Fraction(found["low"]), last
    return (last, None) if found["sign"] == ">=" else (None, last)


def assert_margin_holds(row: TokenRow, text: str) -> None:
    """Check that the printed bounds are the row's, neither tighter nor of another sign."""
    low, high = ends(text)
    assert (low is None, high is None) == (row.margin_lower is None, row.margin_upper is None)
    if low is not None and row.margin_lower is not None:
        assert low <= Fraction(row.margin_lower) <= low + abs(low) / 50
        assert (low > 0) == (row.margin_lower > 0.0)
    if high is not None and row.margin_upper is not None:
        assert high - abs(high) / 50 <= Fraction(row.margin_upper) <= high
        assert (high > 0) == (row.margin_upper > 0.0)


def assert_measure_holds(item: MeasureRow, text: str) -> None:
    """Check that a printed interval holds the stored one; a rank that is reached is its end."""
    assert item.value is not None
    if not item.proven or item.error is None or math.isinf(item.value):
        return
    low, high = interval(text)
    assert low <= Fraction(item.value) - Fraction(item.error)
    assert high >= Fraction(item.value) + Fraction(0 if item.unit == "rank" else item.error)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store and measure a run of random rows, some inside the hull, in a ball with biases."""
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((60, 4)) * 10.0 ** rng.uniform(-1.0, 1.0, (60, 1))
    readout = Readout.fold(rows, rng.standard_normal(60) * 0.1, norm="rmsnorm")
    folder = tmp_path_factory.mktemp("printed")
    np.savez(folder / "random.npz", W=readout.W, b=readout.b)
    path = folder / "run.db"
    model = f"npz:{folder / 'random.npz'}?b=b&norm=rmsnorm"
    with geom.run(model, tokens="all", out=path) as run:
        geom.measure(run, MEASURES, "all")
    return path


@pytest.fixture
def run(kept: Path) -> Iterator[Run]:
    with geom.open_run(kept) as opened:
        yield opened


def test_the_table_of_a_run_claims_no_more_than_is_proven(
    command: Command, run: Run, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TTY_COMPATIBLE": "1", "COLUMNS": "400", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    out = re.sub(r"\x1b\[[0-9;]*m", "", command("show", str(kept)).out)
    lines = [re.split(r"  +", line.strip()) for line in out.splitlines()]
    cells = {line[0]: line for line in lines}
    names = cells["id"]
    measured, checked = run.measured(), 0
    for row in run.rows():
        shown = dict(zip(names, cells[str(row.token_id)], strict=True))
        assert_margin_holds(row, shown["largest margin"])
        for name in MEASURES:
            assert_measure_holds(measured[row.token_id][name], shown[name])
            checked += 1
    assert checked == 60 * len(MEASURES)


def test_a_token_is_shown_with_no_more_than_is_proven(
    command: Command, run: Run, kept: Path
) -> None:
    measured = run.measured()
    for row in list(run.rows())[::6]:
        out = command("show", str(kept), "--token", str(row.token_id)).out
        lines = [line.rstrip() for line in out.splitlines()]
        facts = dict(re.split(r"  +", line, maxsplit=1) for line in lines if line[:1].strip())
        assert_margin_holds(row, facts["largest margin"].removesuffix(" logits"))
        for name in MEASURES:
            item = measured[row.token_id][name]
            assert_measure_holds(item, facts[name].partition(f" {item.unit}")[0])


def test_measures_are_printed_with_no_more_than_is_proven(
    command: Command, run: Run, kept: Path
) -> None:
    measured = run.measured()
    for name in MEASURES:
        out = command("measure", str(kept), "--measure", name, "-t", "all", "--limit", "999").out
        lines = [re.split(r"  +", line.strip()) for line in out.splitlines()]
        cells = {line[0]: line[-1] for line in lines}
        for row in run.rows():
            assert_measure_holds(measured[row.token_id][name], cells[str(row.token_id)])


def test_a_notebook_and_a_page_show_no_more_than_is_proven(run: Run) -> None:
    rows, measured = {row.token_id: row for row in run.rows()}, run.measured()
    notebook = re.findall(r"<tr><td>(\d+)</td>.*?<td>([^<]*)</td></tr>", run._repr_html_())
    assert len(notebook) == 20
    for token, text in notebook:
        assert_margin_holds(rows[int(token)], text.replace("&gt;", ">").replace("&lt;", "<"))
    data = Page(page_of(run)).data
    ordered = [rows[token] for token in pages.numbers(data["rows"]["id"], "<i4").tolist()]
    assert len(ordered) == len(rows)
    for row, text in zip(ordered, data["rows"]["margin"], strict=True):
        assert_margin_holds(row, text)
    assert {column["name"] for column in data["measures"]} == set(MEASURES)
    for column in data["measures"]:
        for row, text in zip(ordered, column["shown"], strict=True):
            assert_measure_holds(measured[row.token_id][column["name"]], text)


def test_files_have_every_digit(command: Command, run: Run, kept: Path) -> None:
    """Jsonl and csv are for programs: they hold every float64 exactly."""
    rows = {row.token_id: row for row in run.rows()}
    by_json = {row["token_id"]: row for row in command("export", str(kept)).rows}
    command("export", str(kept), "--format", "csv", "--out", "run.csv")
    table = csv.DictReader(io.StringIO(Path("run.csv").read_text(encoding="utf-8")))
    by_csv = {int(row["token_id"]): row for row in table}
    for token, row in rows.items():
        for name in ("margin_lower", "margin_upper"):
            assert by_json[token][name] == getattr(row, name)
            assert (by_csv[token][name] or None) == (
                None if getattr(row, name) is None else repr(getattr(row, name))
            )


def test_exact_margins_are_compared_rounded_down(command: Command, run: Run, kept: Path) -> None:
    tokens = "0-29"
    out = command("compare", str(kept), "-t", tokens, "-p", "float64").out
    cells = {line[0]: line for line in (line.split() for line in out.splitlines()) if line}
    for point in geom.compare(run, tokens, ["float64"]).points:
        shown = Fraction(cells[str(point.token_id)][2])
        assert shown <= point.margin <= shown + abs(shown) / 5
