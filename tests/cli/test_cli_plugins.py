"""``geom plugins``: the installed plugins, against a list by hand and a plugin of this test."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from support.command import Command, install, separately

BUILT_IN = {
    "source": {"demo", "npz", "safetensors", "synthetic"},
    "detector": {"hull-vertex", "random-directions", "reflections", "self-argmax"},
    "certifier": {"highs", "linprog-post", "maxent", "mpmath"},
    "precision": {"arb", "bfloat16", "double-double", "exact", "float16", "float32", "float64"},
    "reporter": {"certificate", "csv", "jsonl", "parquet"},
    "executor": {"local", "serial"},
}
STRANGER = """
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from geom import Candidate, Detector, hookimpl

@dataclass(frozen=True)
class Options:
    count: Annotated[int, Meta(ge=1, description="how many to flag")] = 3
    order: Literal["first", "last"] = "last"

def detect(readout, domain, options):
    yield Candidate(0)

@hookimpl
def geom_detectors():
    yield Detector("first-tokens", "flags the first", detect, Options)
"""


def test_the_table_lists_every_built_in_with_its_distribution(command: Command) -> None:
    out = command("plugins").out
    kind, found = "", {}
    for line in out.splitlines():
        if match := re.match(r" (\S*) +(\S+)  .+ geom-unembed \d", line):
            kind = match[1] or kind
            found.setdefault(kind, set()).add(match[2])
    assert {kind: found.get(kind, set()) & names for kind, names in BUILT_IN.items()} == BUILT_IN


def test_json_lists_every_built_in_with_its_distribution(command: Command) -> None:
    done = command("plugins", "--format", "json")
    listed = json.loads(done.out)
    named = {(item["kind"], item["name"]) for item in listed}
    assert named >= {(kind, name) for kind, names in BUILT_IN.items() for name in names}
    assert {item["distribution"] for item in listed} == {"geom-unembed"}
    assert all(item["summary"] and item["module"].startswith("geom_plugins.") for item in listed)


def test_one_plugin_is_shown_with_its_options(command: Command) -> None:
    out = command("plugins", "random-directions").out
    assert "from geom-unembed" in out
    assert re.search(r"^ samples  int >= 1  20000    \S", out, re.MULTILINE)
    assert re.search(r"^ seed     int >= 0  0        \S", out, re.MULTILINE)
    assert "-o detector.random-directions.samples=VALUE" in out


def test_a_source_says_how_its_options_go_into_the_models_name(command: Command) -> None:
    out = command("plugins", "npz").out
    assert re.search(r"^ layout +vd\|dv or none +- +\S", out, re.MULTILINE)
    assert re.search(r"^ b +str or none +- +\S", out, re.MULTILINE)
    assert "--model npz:LOCATION?W=VALUE" in out


def test_json_of_one_plugin_holds_its_options(command: Command) -> None:
    (item,) = json.loads(command("plugins", "random-directions", "--format", "json").out)
    options = {option["name"]: (option["type"], option["default"]) for option in item["options"]}
    assert options == {"samples": ("int >= 1", 20_000), "seed": ("int >= 0", 0)}


def test_a_plugin_without_options_says_so(command: Command) -> None:
    assert "no options" in command("plugins", "serial").out


@pytest.mark.parametrize("names", BUILT_IN.values(), ids=BUILT_IN.keys())
def test_every_option_of_every_built_in_is_explained(names: set[str], command: Command) -> None:
    for name in names:
        for item in json.loads(command("plugins", name, "--format", "json").out):
            assert all(option["summary"] and option["type"] for option in item["options"])


def test_an_unknown_plugin_is_answered_with_the_nearest(command: Command) -> None:
    done = command("plugins", "self-argmx")
    assert (done.code, done.out) == (2, "")
    assert "did you mean 'self-argmax'?" in done.err


def test_a_strangers_plugin_is_listed_with_its_own_distribution(tmp_path: Path) -> None:
    install(tmp_path, "stranger-geom", STRANGER)
    out = separately("plugins", python_path=tmp_path).out
    assert re.search(r"  first-tokens +flags the first +stranger-geom 1\.5", out)


def test_a_strangers_plugin_is_shown_with_its_options(tmp_path: Path) -> None:
    install(tmp_path, "stranger-geom", STRANGER)
    done = separately("plugins", "first-tokens", "--format", "json", python_path=tmp_path)
    (item,) = json.loads(done.out)
    assert (item["kind"], item["version"]) == ("detector", "1.5")
    assert item["options"] == [
        {"name": "count", "type": "int >= 1", "default": 3, "summary": "how many to flag"},
        {"name": "order", "type": "first|last", "default": "last", "summary": ""},
    ]


def test_a_broken_plugin_is_named_and_the_others_listed(tmp_path: Path) -> None:
    install(tmp_path, "broken-geom", "import nowhere_to_be_found")
    done = separately("plugins", python_path=tmp_path)
    assert (done.code, done.err.count("\n"), "self-argmax" in done.out) == (0, 1, True)
    assert "broken-geom" in done.err
    assert "nowhere_to_be_found" in done.err


def test_two_plugins_of_one_name_are_refused(tmp_path: Path) -> None:
    install(tmp_path, "stranger-geom", STRANGER)
    install(tmp_path, "other-geom", STRANGER)
    done = separately("plugins", python_path=tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "first-tokens" in done.err
    assert "uninstall one" in done.err
