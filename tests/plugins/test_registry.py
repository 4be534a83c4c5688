"""Plugins, found as pip installs them: a module and its .dist-info folder on the path."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

import geom_plugins
from geom import InputError, PluginError
from geom.plugins.registry import HOOKS, Plugins

GOOD = """
from geom import Candidate, Detector, NoOptions, hookimpl

def detect(readout, domain, options):
    yield Candidate(0)

@hookimpl
def geom_detectors():
    yield Detector("{detector}", "flags the first token", detect, NoOptions)
"""

HEAD = """
from dataclasses import dataclass
from geom import Candidate, Detector, NoOptions, hookimpl

def detect(readout, domain, options):
    return []
"""

BROKEN = {
    "an import that fails": ("import nowhere_to_be_found", "nowhere_to_be_found"),
    "no Python": ("def :", "SyntaxError"),
    "an error at import": ("raise RuntimeError('first line\\nsecond line')", "first line"),
    "a hook that raises": (
        HEAD + "@hookimpl\ndef geom_detectors():\n    raise KeyError('lost')",
        "lost",
    ),
    "a hook that raises between its records": (
        HEAD + "@hookimpl\ndef geom_detectors():\n"
        "    yield Detector('half', '', detect, NoOptions)\n    raise KeyError('lost')",
        "lost",
    ),
    "a hook that yields nothing to iterate": (
        HEAD + "@hookimpl\ndef geom_detectors():\n    return None",
        "it returned None, not Detectors: yield them, or return a list",
    ),
    "a record of another kind": (
        HEAD + "@hookimpl\ndef geom_certifiers():\n"
        "    yield Detector('half', '', detect, NoOptions)",
        "not Certifier records",
    ),
    "no record": (
        HEAD + "@hookimpl\ndef geom_detectors():\n    yield 'half'",
        "not Detector records",
    ),
    "a hook that nothing marks": (
        HEAD + "def geom_detectors():\n    yield Detector('half', '', detect, NoOptions)",
        "it registers nothing: no function of broken_geom is marked with @geom.hookimpl",
    ),
    "a name that nobody can type": (
        HEAD + "@hookimpl\ndef geom_detectors():\n"
        "    yield Detector('My Idea', '', detect, NoOptions)",
        "geom_detectors yields the name 'My Idea'; use small letters, digits and hyphens",
    ),
    "a misspelt hook": (HEAD + "@hookimpl\ndef geom_detektors():\n    return []", "geom_detektors"),
    "a hook with a parameter": (
        HEAD + "@hookimpl\ndef geom_detectors(readout):\n    return []",
        "readout",
    ),
    "an option without default": (
        HEAD + "@dataclass(frozen=True)\nclass Options:\n    size: int\n\n"
        "@hookimpl\ndef geom_detectors():\n    yield Detector('half', '', detect, Options)",
        "size",
    ),
    "options that are no dataclass": (
        HEAD + "@hookimpl\ndef geom_detectors():\n    yield Detector('half', '', detect, dict)",
        "dataclass",
    ),
    "an option of an unknown type": (
        HEAD + "@dataclass(frozen=True)\nclass Options:\n    size: 'Nonsense' = 1\n\n"
        "@hookimpl\ndef geom_detectors():\n    yield Detector('half', '', detect, Options)",
        "Nonsense",
    ),
}

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution of one module, whose entry point is the module unless told."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = []

    def write(distribution: str, code: str, points: str = "it = {module}") -> None:
        module = distribution.replace("-", "_")
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n"
        )
        (info / "entry_points.txt").write_text(f"[geom]\n{points.format(module=module)}\n")
        importlib.invalidate_caches()

    yield write
    for module in modules:
        sys.modules.pop(module, None)


def discovered() -> Plugins:
    plugins = Plugins()
    plugins.discover()
    return plugins


def names(plugins: Plugins, kind: str) -> list[str]:
    return [item.record.name for item in plugins.listed() if item.kind == kind]


def test_a_strangers_plugin_is_found_by_its_entry_point(install: Install) -> None:
    install("stranger-geom", GOOD.format(detector="first-token"))
    plugins = discovered()
    (item,) = plugins.named("first-token")
    assert (item.kind, str(item.origin)) == ("detector", "stranger-geom 1.5")
    assert plugins.get("detector", "first-token") is item.record


def test_a_plugin_may_be_an_object_in_a_module(install: Install) -> None:
    code = "class Plugin:\n    @hookimpl\n    def geom_detectors(self):\n"
    code += "        return [Detector('in-an-object', '', detect, NoOptions)]\n\nplugin = Plugin()"
    install("stranger-geom", HEAD + code, points="it = {module}:plugin")
    assert "in-an-object" in names(discovered(), "detector")


@pytest.mark.parametrize(("code", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plugin_is_skipped_with_its_reason(
    code: str, reason: str, install: Install
) -> None:
    install("broken-geom", code)
    (skipped,) = discovered().skipped
    assert skipped.origin.distribution == "broken-geom"
    assert reason in skipped.reason
    assert "\n" not in str(skipped)


@pytest.mark.parametrize("code", [code for code, _ in BROKEN.values()], ids=BROKEN.keys())
def test_beside_a_broken_plugin_the_others_work(code: str, install: Install) -> None:
    install("broken-geom", code)
    install("stranger-geom", GOOD.format(detector="first-token"))
    assert names(discovered(), "detector") == [
        "first-token",
        "hull-vertex",
        "random-directions",
        "reflections",
        "self-argmax",
    ]


@pytest.mark.parametrize("value", ["no module!", "", "a:b:c"])
def test_a_malformed_entry_point_is_skipped(value: str, install: Install) -> None:
    install("broken-geom", "", points=f"it = {value}")
    plugins = discovered()
    assert [skipped.origin.distribution for skipped in plugins.skipped] == ["broken-geom"]
    assert names(plugins, "executor") == ["dask", "local", "serial"]


def test_a_name_that_the_module_lacks_is_skipped(install: Install) -> None:
    install("broken-geom", "", points="it = {module}:plugin")
    (skipped,) = discovered().skipped
    assert "plugin" in skipped.reason


def test_two_entry_points_to_one_module_register_it_once(install: Install) -> None:
    install("twice-geom", GOOD.format(detector="first"), points="a = {module}\nb = {module}")
    plugins = discovered()
    assert names(plugins, "detector").count("first") == 1
    assert [skipped.name for skipped in plugins.skipped] == ["b"]


def test_of_two_modules_with_one_entry_name_the_second_is_skipped(install: Install) -> None:
    install("one-geom", GOOD.format(detector="one"))
    install("two-geom", GOOD.format(detector="two"))
    plugins = Plugins()
    for module in ("one_geom", "two_geom"):
        plugins.discover([EntryPoint("it", module, "geom")])
    assert names(plugins, "detector") == ["one"]
    assert [skipped.name for skipped in plugins.skipped] == ["it"]


def test_two_plugins_of_one_kind_and_name_are_refused_by_their_distributions(
    install: Install,
) -> None:
    install("one-geom", GOOD.format(detector="same"))
    install("two-geom", GOOD.format(detector="same"))
    with pytest.raises(PluginError, match=r"detector 'same'.*(one|two)-geom 1\.5.*geom 1\.5"):
        discovered()


def test_a_builtin_has_no_privilege_over_a_stranger_of_its_name(install: Install) -> None:
    install("stranger-geom", GOOD.format(detector="self-argmax"))
    with pytest.raises(PluginError, match="self-argmax"):
        discovered()


def test_two_kinds_may_share_a_name(install: Install) -> None:
    install("stranger-geom", GOOD.format(detector="highs"))
    assert [item.kind for item in discovered().named("highs")] == ["detector", "certifier"]


@pytest.mark.parametrize(
    ("kind", "name", "answer"),
    [
        ("detector", "self-argmx", "did you mean 'self-argmax'"),
        ("certifier", "high", "did you mean 'highs'"),
        ("detectr", "self-argmax", "did you mean 'detector'"),
        ("executor", "qqqq", "known: dask, local, serial"),
        ("measure", "zzzz", "unknown measure 'zzzz'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(kind: str, name: str, answer: str) -> None:
    with pytest.raises(InputError, match=answer):
        discovered().get(kind, name)


def test_a_name_whose_plugin_was_skipped_is_answered_with_the_reason(install: Install) -> None:
    install("my-idea", "def geom_detectors():\n    return []")
    for asked in (
        lambda: discovered().get("detector", "my-idea"),
        lambda: discovered().named("it"),
    ):
        with pytest.raises(InputError, match=r"; plugin it of my-idea 1.5 skipped: .*it registers"):
            asked()


def test_an_unknown_plugin_of_any_kind_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'jsonl'"):
        discovered().named("jsnl")


def test_plugins_are_listed_by_kind_and_then_by_name() -> None:
    listed = [(item.kind, item.record.name) for item in discovered().listed()]
    assert listed == sorted(listed, key=lambda item: (list(HOOKS).index(item[0]), item[1]))


def test_without_entry_points_there_is_no_plugin() -> None:
    plugins = Plugins()
    plugins.discover([])
    assert plugins.listed() == []


def test_every_builtin_module_with_a_hook_is_an_entry_point() -> None:
    root = Path(geom_plugins.__path__[0])
    with_hooks = {
        ".".join(["geom_plugins", *path.relative_to(root).with_suffix("").parts])
        for path in root.rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name in hooks()
    }
    registered = {point.value for point in entry_points(group="geom")}
    assert {value for value in registered if value.startswith("geom_plugins")} == with_hooks


def test_every_builtin_works_here() -> None:
    assert discovered().skipped == []


def hooks() -> set[str]:
    return {hook for hook, _ in HOOKS.values()}
