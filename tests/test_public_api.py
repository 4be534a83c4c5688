"""The promises of geom to those who import it, made in ``geom.__all__`` and design.md."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from importlib import import_module
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import geom

PAIRS = [{"Measure", "measure"}, {"Repair", "repair"}, {"Run", "run"}]
"""A record, and the function that makes it or asks it: the contract names both."""

HEAVY = ("dask", "distributed", "pyarrow", "torch", "transformer_lens", "transformers")
"""Packages that only some plugins need and only some users install."""

PAGES = Path(__file__).parent.parent / "docs"

DIRECTIVE = re.compile(r"^\.\. (auto\w+|py:data):: ([\w.]+)\n((?:   :.*\n)*)", re.MULTILINE)


def loaded_after(*statements: str) -> set[str]:
    """Return the top-level modules that a new interpreter has loaded after these statements."""
    code = "; ".join([*statements, "import json, sys", "print(json.dumps(list(sys.modules)))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def homes() -> dict[str, str]:
    """Return the module from which geom's stub imports each name."""
    stub = ast.parse(Path(geom.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    return {
        alias.name: f"geom.{node.module}"
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


HOMES = homes()


@pytest.mark.parametrize("name", HOMES)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    described = f'\n{name} = .*\n"""\\w'  # a type alias has no docstring attribute
    source = inspect.getsource(import_module(HOMES[name]))
    assert inspect.getdoc(getattr(geom, name)) or re.search(described, source)


def test_the_public_names_are_those_of_the_stub() -> None:
    assert list(geom.__all__) == sorted([*HOMES, "proofs"])
    assert set(dir(geom)) >= set(geom.__all__)
    assert set(geom.proofs.__all__) <= set(dir(geom.proofs))


def public() -> dict[str, object]:
    """Return every public name, as users write it, with its object."""
    return {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in (geom, geom.proofs)
        for name in module.__all__
    }


def described() -> list[str]:
    """Return every name that a directive on a page describes, repeats included.

    Of modules, only the public ones are returned.
    """
    found = []
    for page in PAGES.glob("*.md"):
        for kind, name, options in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            module = re.search(":module: (.*)", options)
            members = re.search(":members: (.*)", options)
            if kind != "automodule":
                found.append(f"{module[1]}.{name}" if module else name)
            elif name in public():
                found.append(name)
            elif members:
                found += [f"{name}.{member.strip()}" for member in members[1].split(",")]
    return found


def test_every_public_name_is_described_once_and_by_that_name() -> None:
    names = [name for name in described() if re.fullmatch(r"geom\.(proofs\.)?\w+", name)]
    assert sorted(names) == sorted(public())


def test_no_page_describes_a_public_name_by_where_it_is_defined() -> None:
    homes = {f"{HOMES[name]}.{name}" for name in HOMES}
    homes |= {
        f"{value.__module__}.{name.rpartition('.')[2]}"
        for name, value in public().items()
        if inspect.isfunction(value)
    }
    assert homes & set(described()) == set()


def test_the_page_of_python_lists_the_public_names_by_who_needs_them() -> None:
    page = (PAGES / "python.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\{py:obj\}`\S+ <(\S+)>`", page)) == sorted(public())


def test_no_two_public_names_are_a_letter_apart() -> None:
    names = sorted([*geom.__all__, *geom.proofs.__all__], key=str.lower)
    near = [(a, b) for a, b in combinations(names, 2) if apart(a, b) < 2]
    assert [pair for pair in near if set(pair) not in PAIRS] == []


def apart(a: str, b: str) -> int:
    """Return how many letters to change, add or drop to turn one name into the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        before, row = row, [i + 1]
        for j, y in enumerate(b):
            row.append(min(before[j] + (x != y), before[j + 1] + 1, row[j] + 1))
    return row[-1]


def test_a_star_import_brings_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from geom import *", names)
    assert set(geom.__all__) <= names.keys()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = geom.nonsense


def test_the_errors_are_one_family() -> None:
    for error in (geom.InputError, geom.PluginError, geom.StoreError):
        assert issubclass(error, geom.GeomError)


@pytest.mark.parametrize("module", ["geom", "geom.cli", "geom.plugins.hookspecs"])
def test_an_import_loads_no_solver_and_nothing_optional(module: str) -> None:
    assert not loaded_after(f"import {module}") & {*HEAVY, "highspy", "scipy", "mpmath"}


@pytest.mark.parametrize("module", ["geom", "geom.cli"])
def test_the_help_needs_no_numpy(module: str) -> None:
    assert not loaded_after(f"import {module}") & {"numpy", "flint", "pluggy"}


def test_finding_the_plugins_loads_nothing_optional() -> None:
    assert not loaded_after("from geom.plugins.registry import installed", "installed()") & set(
        HEAVY
    )


def test_verifying_loads_no_solver() -> None:
    loaded = loaded_after("from geom import judge, open_run, verify")
    assert not loaded & {*HEAVY, "highspy", "scipy", "mpmath"}


def test_the_example_of_the_contract_works(tmp_path: Path) -> None:
    W = np.random.default_rng(0).normal(size=(30, 3)) + 5.0
    W[7] = W.mean(axis=0)
    np.savez(tmp_path / "model.npz", W=W, b=np.zeros(30))
    out = tmp_path / "audit.db"

    readout = geom.load(f"npz:{tmp_path}/model.npz?norm=layernorm")
    geom.run(
        readout, detectors=["self-argmax"], certifiers=["highs"], domain="auto", out=out
    ).close()

    assert (readout.W == W).all()
    assert (readout.b == 0.0).all()
    assert (readout.domain.name, readout.tokens, len(readout.digest)) == ("layernorm", None, 64)
    assert readout.logits(np.ones((2, 3))).shape == (2, 30)
    with geom.open_run(out) as run:
        assert 7 in [row.token_id for row in run.rows("unspeakable")]
        for row in run.rows():
            cert = run.certificate(row.token_id)
            if row.verdict == "speakable":
                logits = readout.logits(cert.x)
                assert logits[row.token_id] > np.delete(logits, row.token_id).max()
            else:
                assert row.verdict == "unspeakable"
                r = cert.values @ (W[cert.indices] - W[row.token_id])
                assert abs(r - r.mean()).max() < 1e-12 * cert.values.sum()  # no x with sum 0 sees r
        assert geom.verify(run).ok
