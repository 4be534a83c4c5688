"""A new plugin as a package: the example of its hook under a new name, with tests.

The plugin's code is the example in the docstring of its hook (`geom.plugins.hookspecs`), which a
test of geom runs; the other files come from ``templates``.
"""

from __future__ import annotations

import ast
import inspect
import re
import secrets
import shutil
import textwrap
from importlib.resources import files
from pathlib import Path
from string import Template

from geom.errors import InputError, unknown
from geom.files.replacing import kind_of
from geom.plugins import hookspecs
from geom.plugins.registry import HOOKS, NAMING, installed, is_name


def new_plugin(kind: str, name: str, folder: str | Path = ".") -> Path:
    """Write a package with a new plugin.

    It has a ``pyproject.toml`` with the entry point, the plugin, tests that pass and a README.
    Nothing is overwritten, and nothing is left behind if the package cannot be written in full.

    Parameters
    ----------
    kind : str
        The kind of plugin: ``source``, ``detector``, ``certifier``, ``precision``, ``measure``,
        ``reporter`` or ``executor``.
    name : str
        Its name: lower-case letters, digits and hyphens.
    folder : str or Path, optional
        The folder in which the package's folder is made, the current one by default.

    Returns
    -------
    Path
        The package's folder.

    Raises
    ------
    InputError
        If the kind is unknown, the name is not valid or taken, or the folder is not empty.
    """
    if kind not in HOOKS:
        raise unknown("kind of plugin", kind, HOOKS)
    if not is_name(name):
        raise InputError(f"{name!r} is not a name for a plugin: {NAMING}")
    if any(item.record.name == name for item in installed().listed() if item.kind == kind):
        raise InputError(f"a {kind} called {name} is already installed: choose another name")
    place = Path(folder) / name
    if kind_of(place) not in (None, "a folder") or (place.is_dir() and any(place.iterdir())):
        raise InputError(f"{place} already exists: choose another name, or another --dir")
    part = place.with_name(f".geom-{secrets.token_hex(8)}.part")
    try:
        part.mkdir(parents=True)
        try:
            for path, text in _contents(kind, name).items():
                file = part / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            if place.is_dir():
                place.rmdir()  # it removes only an empty folder
            part.rename(place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"{place}: {error.strerror}; give a --dir in which you can write"
        ) from error
    return place


def _contents(kind: str, name: str) -> dict[str, str]:
    """Return the files of the package, by their paths in it."""
    module = "geom_" + name.replace("-", "_")
    code, example = _example(kind)
    words = {
        "kind": kind,
        "name": name,
        "module": module,
        "hook": HOOKS[kind][0],
        "article": "an" if kind[0] in "aeiou" else "a",
        "use": _use(kind, name),
    }
    code = re.sub(rf'(["\']){re.escape(example)}\1', f'"{name}"', code)
    for options in re.findall(r"^class (\w+Options)\b", code, re.MULTILINE):
        own = "".join(word.capitalize() for word in name.split("-"))
        code = re.sub(rf"\b{options}\b", f"{own}Options", code)
    out = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
        f"tests/test_{module[5:]}.py": f"test_{kind}.py.txt",
    }
    contents = {path: _filled(template, words) for path, template in out.items()}
    contents[f"src/{module}.py"] = f'"""A {kind} for geom."""\n\n{code}'
    if kind == "source":
        contents["tests/square.csv"] = "1,0\n0,1\n-1,0\n0,-1\n"
    return contents


def _example(kind: str) -> tuple[str, str]:
    """Return the example in the hook's docstring, and the name that its record has there."""
    hook, record = HOOKS[kind]
    specification = inspect.cleandoc(getattr(hookspecs, hook).__doc__)
    _, _, code = specification.partition("Examples\n--------\n::\n")
    code = textwrap.dedent(code).strip() + "\n"
    (call,) = [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == record.__name__
    ]
    return code, ast.literal_eval(call.args[0])


def _use(kind: str, name: str) -> str:
    """Return a command that uses a plugin of that kind."""
    return {
        "source": f"geom run --model {name}:tests/square.csv --tokens all",
        "detector": f"geom run --detector {name}",
        "certifier": f"geom run --certifier {name} --certifier highs",
        "precision": f"geom compare --tokens 2310 --precision {name} --precision float64",
        "measure": f"geom measure --measure {name} --tokens 2310",
        "reporter": f"geom export RUN --format {name}",
        "executor": f"geom run --executor {name}",
    }[kind]


def _filled(template: str, words: dict[str, str]) -> str:
    text = (files(__package__) / "templates" / template).read_text(encoding="utf-8")
    return Template(text).substitute(words)
