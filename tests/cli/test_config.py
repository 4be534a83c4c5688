"""``--config FILE.toml`` and the flags that override it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from geom import InputError
from geom.cli.config import Config, configure

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_toml(content: str) -> Path:
        path = tmp_path / "geom.toml"
        path.write_text(content, encoding="utf-8")
        return path

    return write_toml


def test_without_file_and_flags_nothing_is_set() -> None:
    assert configure(None, []) == (Config(), {})


def test_an_empty_file_sets_nothing(write: Write) -> None:
    assert configure(write(""), []) == (Config(), {})


def test_a_file_says_what_the_flags_say(write: Write) -> None:
    path = write(
        'model = "npz:w.npz"\ndetectors = ["self-argmax"]\ncertifiers = ["highs", "mpmath"]\n'
        'domain = "box"\ntokens = "1-5"\nexecutor = "serial"\ndevice = "cpu"\nhardest = 3\n'
        'out = "audit.db"\n'
    )
    config, given = configure(path, [])
    assert config == Config(
        model="npz:w.npz",
        detectors=["self-argmax"],
        certifiers=["highs", "mpmath"],
        domain="box",
        tokens="1-5",
        executor="serial",
        device="cpu",
        hardest=3,
        out="audit.db",
    )
    assert given == {}


def test_tables_hold_the_options_of_plugins(write: Write) -> None:
    path = write("[certifier.mpmath]\ndigits = 80\n[source.npz]\nlayout = 'dv'\n")
    assert configure(path, [])[1] == {
        ("certifier", "mpmath"): {"digits": 80},
        ("source", "npz"): {"layout": "dv"},
    }


def test_a_table_gives_the_box_its_radius_and_names_the_domain(write: Write) -> None:
    config, given = configure(write("[domain.box]\nradius = 2.5\n"), [])
    assert config.domain == "box"
    assert given == {("domain", "box"): {"radius": 2.5}}


def test_a_table_gives_the_executor_its_options_and_names_it(write: Write) -> None:
    config, given = configure(write("[executor.threads]\nworkers = 4\n"), [])
    assert config.executor == "threads"
    assert given == {("executor", "threads"): {"workers": 4}}


def test_flags_win_over_the_file(write: Write) -> None:
    path = write("[certifier.mpmath]\ndigits = 80\n[certifier.highs]\nadd = 3\nrounds = 4\n")
    flags = ["certifier.highs.add=5", "detector.self-argmax.centre=false"]
    assert configure(path, flags)[1] == {
        ("certifier", "mpmath"): {"digits": 80},
        ("certifier", "highs"): {"add": "5", "rounds": 4},
        ("detector", "self-argmax"): {"centre": "false"},
    }


@pytest.mark.parametrize(
    ("key", "nearest"), [("certifer", "certifier"), ("modle", "model"), ("token", "tokens")]
)
def test_an_unknown_key_is_answered_with_the_nearest(key: str, nearest: str, write: Write) -> None:
    with pytest.raises(InputError, match=f"key in .*geom.toml '{key}': did you mean '{nearest}'"):
        configure(write(f"{key} = 1\n"), [])


@pytest.mark.parametrize(
    "content",
    [
        'certifiers = "highs"',
        "certifiers = [1]",
        "detectors = [['self-argmax']]",
        "model = 5",
        "tokens = [1, 2]",
        "domain = 1",
        "domain = ['box']",
        "[model]\nname = 'demo'",
        "certifier = 'highs'",
        "certifier = []",
        "[certifier]\nhighs = 1",
        "[certifier]\nhighs = [1]",
        "[[certifier.highs]]\nadd = 1",
        "[domain]\nbox = 2.0",
        "[certifier.'a.b']\nadd = 1",
        "[certifier.highs]\n'a.b' = 1",
        "[certifier.'']\nadd = 1",
        "[domain.box]\nradius = 1\n[domain.layernorm]\nradius = 1",
        "model =",
    ],
)
def test_a_value_of_the_wrong_shape_is_refused_in_one_line(content: str, write: Write) -> None:
    with pytest.raises(InputError) as refused:
        configure(write(content), [])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("flag", ["digits=80", "certifier.mpmath.digits", "=", "a.b.c.d=1"])
def test_a_flag_of_another_form_is_shown_the_form(flag: str) -> None:
    with pytest.raises(InputError, match=r"KIND\.NAME\.OPTION=VALUE"):
        configure(None, [flag])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.toml"):
        configure(tmp_path / "absent.toml", [])
