"""What geom promises to those who import it; the promise is ``geom.__all__`` and design.md."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import geom

HEAVY = ("dask", "distributed", "pyarrow", "torch", "transformer_lens", "transformers")
"""What only some plugins need, and some users install."""


def loaded_after(*statements: str) -> set[str]:
    """The top-level modules in a new interpreter after these statements."""
    code = "; ".join([*statements, "import json, sys", "print(json.dumps(list(sys.modules)))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def named_for_type_checkers() -> dict[str, tuple[str, ...]]:
    """Module -> names, as the ``if TYPE_CHECKING`` block of geom imports them."""
    (block,) = [
        node for node in ast.parse(inspect.getsource(geom)).body if isinstance(node, ast.If)
    ]
    return {
        str(statement.module): tuple(alias.name for alias in statement.names)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
    }


@pytest.mark.parametrize("name", geom.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    home = next(module for module, names in geom._HOME.items() if name in names)
    described = f'\n{name} = .*\n"""\\w'  # a type alias has no docstring of its own
    source = inspect.getsource(import_module(home))
    assert inspect.getdoc(getattr(geom, name)) or re.search(described, source)


def test_public_names_are_sorted_and_named_once() -> None:
    assert geom.__all__ == sorted(set(geom.__all__))


def test_every_public_name_has_one_home() -> None:
    assert Counter(name for names in geom._HOME.values() for name in names) == Counter(geom.__all__)


def test_type_checkers_see_what_is_imported() -> None:
    assert named_for_type_checkers() == geom._HOME


def test_a_star_import_brings_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from geom import *", names)
    assert set(geom.__all__) <= names.keys()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'geom' has no attribute 'nonsense'"):
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
