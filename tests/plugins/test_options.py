"""Options of plugins, on a plugin of the tests' own; what msgspec converts to is spelt out here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from geom import Certifier, Finding, InputError, NoOptions, PluginError, Problem
from geom.plugins.options import (
    as_plain,
    by_plugin,
    describe,
    parse_assignments,
    read_config,
    validate,
)


@dataclass(frozen=True)
class Options:
    """One option of every type that a plugin may declare."""

    digits: Annotated[int, Meta(ge=15, le=99, description="decimal digits")] = 50
    gap: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    bias: bool = False
    layout: Literal["vd", "dv"] = "vd"
    name: str = "W"
    limit: int | None = None
    gamma: str | None = None
    steps: tuple[int, ...] = ()
    rows: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Some combinations make no sense, whatever the types say."""
        if self.name == "":
            raise ValueError("name is empty: give one")
        if self.name == "silent":
            raise ValueError


def certify(problem: Problem, token: int, prior: Finding, options: Any) -> Finding:
    return Finding()


RECORD = Certifier("mine", "", certify, Options)

GOOD = [
    ("digits", "80", 80),
    ("digits", 15, 15),
    ("digits", 99, 99),
    ("gap", "0.25", 0.25),
    ("gap", "1e-3", 1e-3),
    ("bias", "true", True),
    ("bias", "false", False),
    ("bias", True, True),
    ("layout", "dv", "dv"),
    ("name", "80", "80"),
    ("name", "true", "true"),
    ("limit", "7", 7),
    ("limit", 7, 7),
    ("limit", None, None),
    ("gamma", "ln_f.weight", "ln_f.weight"),
    ("steps", [1, 2], (1, 2)),
    ("rows", [3], [3]),
]

BAD = [
    ("digits", "14"),
    ("digits", "100"),
    ("digits", 14),
    ("digits", "many"),
    ("digits", "8.5"),
    ("digits", ""),
    ("digits", True),
    ("digits", [80]),
    ("digits", {"a": 1}),
    ("digits", "9" * 5000),
    ("gap", "0"),
    ("gap", "1"),
    ("gap", "nan"),
    ("gap", "inf"),
    ("gap", float("nan")),
    ("bias", "maybe"),
    ("bias", ""),
    ("bias", 7),
    ("layout", "vv"),
    ("layout", "VD"),
    ("layout", 1),
    ("name", 80),
    ("name", ["W"]),
    ("name", ""),
    ("name", "silent"),
    ("limit", "some"),
    ("gamma", 1),
    ("steps", ["one"]),
    ("rows", "3"),
]


@pytest.mark.parametrize(("option", "given", "meant"), GOOD)
def test_a_value_takes_the_declared_type(option: str, given: Any, meant: Any) -> None:
    value = getattr(validate("certifier", RECORD, {option: given}), option)
    assert (type(value), value) == (type(meant), meant)


@pytest.mark.parametrize(("option", "given"), BAD)
def test_a_bad_value_is_refused_in_one_line_that_names_the_plugin(option: str, given: Any) -> None:
    with pytest.raises(InputError) as refused:
        validate("certifier", RECORD, {option: given})
    message = str(refused.value)
    assert "certifier.mine" in message or "certifier mine" in message
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize(("option", "given"), [bad for bad in BAD if bad[0] != "name"])
def test_a_bad_value_is_named_as_it_would_be_written(option: str, given: Any) -> None:
    with pytest.raises(InputError) as refused:
        validate("certifier", RECORD, {option: given})
    assert f"certifier.mine.{option}={str(given)[:50]}" in str(refused.value)


@pytest.mark.parametrize(
    ("option", "given", "remedy"),
    [
        ("digits", "14", ">= 15"),
        ("digits", "100", "<= 99"),
        ("digits", "many", "int"),
        ("gap", "0", "> 0"),
        ("bias", "maybe", "bool"),
        ("layout", "vv", "vd|dv"),
        ("name", "", "name is empty: give one"),
    ],
)
def test_a_refusal_says_what_would_do(option: str, given: str, remedy: str) -> None:
    with pytest.raises(InputError) as refused:
        validate("certifier", RECORD, {option: given})
    assert remedy in str(refused.value)


def test_no_value_is_the_defaults() -> None:
    assert validate("certifier", RECORD, {}) == Options()


@pytest.mark.parametrize(
    ("option", "answer"),
    [("digit", "did you mean 'digits'"), ("layuot", "did you mean 'layout'"), ("q", "known: bias")],
)
def test_an_unknown_option_is_answered_with_the_nearest(option: str, answer: str) -> None:
    with pytest.raises(InputError, match=f"option of certifier mine '{option}': {answer}"):
        validate("certifier", RECORD, {option: "1"})


def test_a_plugin_without_options_takes_none() -> None:
    with pytest.raises(InputError, match="none is known"):
        validate("certifier", Certifier("mine", "", certify, NoOptions), {"digits": "1"})


def test_options_become_json_and_come_back() -> None:
    options = validate("certifier", RECORD, {"digits": "80", "steps": [1, 2], "limit": "3"})
    assert validate("certifier", RECORD, as_plain(options)) == options


def test_options_are_described_by_type_bounds_default_and_summary() -> None:
    described = {info.name: (info.type, info.default) for info in describe(RECORD)}
    assert described["digits"] == ("int >= 15 <= 99", 50)
    assert described["gap"] == ("float > 0 < 1", 0.5)
    assert described["layout"] == ("vd|dv", "vd")
    assert described["limit"] == ("int or none", None)
    assert described["rows"][1] == []
    assert describe(RECORD)[0].summary == "decimal digits"


def test_every_option_has_a_default() -> None:
    @dataclass(frozen=True)
    class Bare:
        size: int

    with pytest.raises(PluginError, match="option size of mine has no default"):
        describe(Certifier("mine", "", certify, Bare))


def test_assignments_split_at_the_first_equals_sign() -> None:
    assert parse_assignments(["a.b.c=d=e", "a.b.f="]) == {"a.b.c": "d=e", "a.b.f": ""}


def test_the_last_of_two_assignments_wins() -> None:
    assert parse_assignments(["a.b.c=1", "a.b.c=2"]) == {"a.b.c": "2"}


@pytest.mark.parametrize("text", ["", "digits", "certifier.mine.digits", "certifier.mine.digits:1"])
def test_an_assignment_without_equals_is_shown_the_form(text: str) -> None:
    with pytest.raises(InputError, match=r"write KIND\.NAME\.OPTION=VALUE"):
        parse_assignments([text])


def test_values_are_sorted_by_plugin() -> None:
    assert by_plugin({"a.b.c": 1, "a.b.d": 2, "a.e.c": 3}) == {
        ("a", "b"): {"c": 1, "d": 2},
        ("a", "e"): {"c": 3},
    }


@pytest.mark.parametrize("path", ["", "digits", "mine.digits", "a.b.c.d", "a..c", ".b.c", "a.b."])
def test_a_key_of_another_form_is_shown_the_form(path: str) -> None:
    with pytest.raises(InputError, match=r"write KIND\.NAME\.OPTION=VALUE"):
        by_plugin({path: 1})


def test_a_toml_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "geom.toml").write_text('[certifier.mine]\ndigits = 80\nname = "ä"\n', "utf-8")
    assert read_config(tmp_path / "geom.toml") == {
        "certifier": {"mine": {"digits": 80, "name": "ä"}}
    }


@pytest.mark.parametrize(
    "content",
    [b"digits =", b"[certifier", b"a = 1\na = 2", b"\xff\xfe", b"x = " + b"[" * 3000, b"\0"],
)
def test_what_is_no_toml_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "geom.toml").write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_config(tmp_path / "geom.toml")
    assert "geom.toml" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_a_config_that_cannot_be_opened_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give a TOML file"):
        read_config(tmp_path / name)
