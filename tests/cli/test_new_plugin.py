"""``geom new-plugin``: what it writes and what it refuses; ``tests/fresh`` installs the package."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

import geom
from geom import InputError
from geom.plugins import hookspecs
from geom.plugins.registry import HOOKS
from support.command import Command


@pytest.mark.parametrize("kind", HOOKS)
def test_a_package_has_all_that_it_needs(kind: str, command: Command) -> None:
    done = command("new-plugin", kind, "two-words")
    assert (done.code, done.out) == (0, "two-words\n")
    assert "pip install -e 'two-words[test]'" in done.err
    files = {str(path.relative_to("two-words")) for path in Path("two-words").rglob("*.*")}
    assert files - {"tests/square.csv"} == {
        "pyproject.toml",
        "README.md",
        "src/geom_two_words.py",
        "tests/test_two_words.py",
    }
    project = tomllib.loads(Path("two-words/pyproject.toml").read_text())
    assert project["project"]["entry-points"]["geom"] == {"two-words": "geom_two_words"}
    for path in Path("two-words").rglob("*.py"):
        ast.parse(path.read_text())
        assert '"two-words"' in path.read_text()
        assert "$" not in path.read_text()


@pytest.mark.parametrize("kind", HOOKS)
def test_a_package_has_no_name_of_the_example(kind: str, command: Command) -> None:
    assert command("new-plugin", kind, "two-words").code == 0
    code = Path("two-words/src/geom_two_words.py").read_text()
    defined = {node.name for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ClassDef)}
    assert defined <= {"TwoWordsOptions"}
    hook = getattr(hookspecs, HOOKS[kind][0])
    _, _, example = (hook.__doc__ or "").partition("Examples")
    names = re.findall(r"class (\w+)|yield \w+\(\"([\w-]+)\"", example)
    text = "".join(path.read_text() for path in Path("two-words").rglob("*.*"))
    for name in filter(None, (name for pair in names for name in pair)):
        quoted = rf"""class {name}|["'`]{re.escape(name)}[:"'`]"""
        assert not re.search(quoted, text), name


def test_it_goes_where_it_is_told(command: Command) -> None:
    assert command("new-plugin", "measure", "mine", "--dir", "deep/er").code == 0
    assert Path("deep/er/mine/pyproject.toml").exists()


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("detektor", "mine", "unknown kind of plugin 'detektor': did you mean 'detector'?"),
        ("detector", "My Detector", "is not a name for a plugin: use small letters"),
        ("detector", "../up", "is not a name for a plugin"),
        ("detector", "", "is not a name for a plugin"),
        ("detector", "self-argmax", "a detector called self-argmax is already installed"),
        ("detector", "full", "full already exists: choose another name, or another --dir"),
        ("detector", "a-file", "a-file already exists"),
    ],
)
def test_what_cannot_be_is_one_line(kind: str, name: str, said: str, command: Command) -> None:
    Path("full").mkdir()
    Path("full/kept").write_text("kept")
    Path("a-file").write_text("kept")
    done = command("new-plugin", kind, name)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err
    assert Path("full/kept").read_text() == Path("a-file").read_text() == "kept"


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="give a --dir in which you can write"):
        geom.new_plugin("detector", "mine", tmp_path / "file")
