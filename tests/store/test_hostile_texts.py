"""No text, of a run, of a plugin or in a message, acts on a terminal or in a page."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import geom
from geom import InputError, Readout
from geom.cli.display.messages import say
from geom.cli.display.progress import bars
from geom.errors import raised
from support.command import GEOM, Command, install, separately
from support.hostile_runs import BAD, COMMANDS, SQUARE, acting, edit
from support.pages import Page, page_of

# One gate


TEXTS = ["token", "argmax", "certifier", "note", "flagged_by"]
PLACES = {
    **{
        f"tokens.{name}": (
            f"UPDATE tokens SET {name} = ?",
            json.dumps([BAD]) if name == "flagged_by" else BAD,
        )
        for name in TEXTS
    },
    "measures.token": ("UPDATE measures SET token = ?", BAD),
    "measures.note": ("UPDATE measures SET note = ?", BAD),
    "measures.options": ("UPDATE measures SET options = ?", json.dumps({BAD: BAD})),
    **{
        f"meta.{key}": (f"UPDATE meta SET value = ? WHERE key = '{key}'", json.dumps(value))
        for key, value in {
            "model": f"npz:{BAD}",
            "notes": [BAD, "\ud800"],
            "warnings": [BAD, "\ud800"],
            "versions": {BAD: BAD},
        }.items()
    },
    **{
        f"settings.{key}": (
            f"UPDATE meta SET value = json_set(value, '$.{key}', json(?)) WHERE key = 'settings'",
            json.dumps(value),
        )
        for key, value in {
            "digest": BAD,
            "tokens": BAD,
            "detectors": {BAD: {BAD: BAD}},
            "certifiers": {BAD: {BAD: BAD}},
        }.items()
    },
}


@pytest.mark.parametrize(("statement", "value"), PLACES.values(), ids=PLACES.keys())
def test_no_text_of_a_file_acts_on_a_terminal(
    statement: str, value: str, path: Path, command: Command
) -> None:
    edit(path, statement, values=(value,))
    ways = [
        *COMMANDS.values(),
        ["show", "run.db", "--token", "0"],
        ["show", "run.db", "--token", "4"],
        ["show", "run.db", "--token", BAD],
        ["verify", "run.db", "-m", "npz:square.npz"],
        ["measure", "run.db", "-m", "npz:square.npz", "--measure", "row-norm"],
        ["compare", "run.db", "-m", "npz:square.npz", "-p", "float32"],
        ["report", "run.db", "-m", "npz:square.npz"],
    ]
    for arguments in ways:
        done = command(*arguments)
        assert not acting(done.out + done.err), arguments
        assert done.code in (0, 1, 2)
    said = command("show", "run.db", "--token", "0").out + command("show", "run.db").out
    assert "[red]x[/red]" in said or statement not in SHOWN


SHOWN = [
    statement
    for place, (statement, _) in PLACES.items()
    if place
    in ("tokens.note", "tokens.certifier", "tokens.flagged_by", "meta.notes", "meta.warnings")
]
"""The texts that a command shows whole: markup in them is text."""


@pytest.mark.parametrize(("statement", "value"), PLACES.values(), ids=PLACES.keys())
def test_jsonl_gives_back_what_was_written_a_line_a_token(
    statement: str, value: str, path: Path, command: Command
) -> None:
    edit(path, statement, values=(value,))
    done = command("export", "run.db")
    lines = done.out.removesuffix("\n").split("\n")
    assert (done.code, len(lines), done.out.splitlines()) == (0, 6, lines)
    assert not acting(done.out)
    name = statement.split()[3]
    if statement.startswith("UPDATE tokens"):
        expected = json.loads(value) if name == "flagged_by" else value
        assert [json.loads(line).get(name) for line in lines] == [expected] * 6


@pytest.mark.parametrize(("statement", "value"), PLACES.values(), ids=PLACES.keys())
def test_no_text_of_a_file_acts_in_a_page(statement: str, value: str, path: Path) -> None:
    edit(path, statement, values=(value,))
    with geom.open_run(path, Readout.fold(SQUARE)) as run:
        page = Page(page_of(run))
        shown = run._repr_html_()
    assert not acting(shown)

    def texts(item: Any) -> list[str]:
        if isinstance(item, dict):
            return [text for pair in item.items() for part in pair for text in texts(part)]
        if isinstance(item, list):
            return [text for part in item for text in texts(part)]
        return [item] if isinstance(item, str) else []

    assert not {text for text in texts(page.data) if acting(text)}


def test_a_csv_on_a_terminal_is_spelled_out_and_in_a_pipe_is_not(path: Path) -> None:
    pty = pytest.importorskip("pty")
    edit(path, "UPDATE tokens SET token = ?", values=(f"a{BAD}",))
    arguments = [*GEOM, "export", "run.db", "--format", "csv"]
    piped = subprocess.run(arguments, capture_output=True, timeout=120, check=True)
    assert f"a{BAD}" in piped.stdout.decode()
    ours, theirs = pty.openpty()
    with subprocess.Popen(arguments, stdout=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        written = b""
        with suppress(OSError):  # Linux says so at the end of a terminal
            while part := os.read(ours, 65536):
                written += part
    os.close(ours)
    shown = written.decode().replace("\r\n", "\n")
    assert process.returncode == 0
    assert not acting(shown)
    assert r"a\u001b[2J" in shown


# Plugins and messages


PLUGIN = """
from dataclasses import dataclass
from typing import Annotated
from msgspec import Meta
from geom import Detector, Measure, Measurement, NoOptions, hookimpl

BAD = {bad!r}

@dataclass(frozen=True)
class Options:
    way: Annotated[str, Meta(description=BAD)] = BAD

@hookimpl
def geom_detectors():
    yield Detector({name!r}, BAD, lambda *given: [], Options)
"""


def test_no_text_of_a_plugin_acts_on_a_terminal(tmp_path: Path) -> None:
    install(tmp_path, "good-name", PLUGIN.format(bad=BAD, name="calm"))
    install(tmp_path, "bad-name", PLUGIN.format(bad=BAD, name=BAD))
    for arguments in (["plugins"], ["plugins", "calm"], ["plugins", "--format", "json"]):
        done = separately(*arguments, python_path=tmp_path)
        assert done.code == 0
        assert not acting(done.out + done.err)
        assert "calm" in done.out
        assert "bad-name 1.5 skipped: PluginError: geom_detectors yields the name" in done.err


def test_a_message_of_any_length_is_a_short_line(capfd: pytest.CaptureFixture[str]) -> None:
    text = f"first {BAD} " + "line\n" * 200_000 + " last"
    say(text)
    said = capfd.readouterr().err
    assert said.startswith(r"geom: first \u001b[2J")
    assert said.endswith("last\n")
    assert "1000" in said  # how long it was
    assert said.count("\n") == 1
    for message in (said.rstrip(), str(InputError(text)), raised(ValueError(text))):
        assert len(message) < 2100
        assert "\n" not in message
    assert not acting(said + str(InputError(text)))


def test_a_stage_of_a_plugin_does_not_act_on_the_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with bars() as watcher:
        watcher("[red]x[/red]\x1b[2J\u202e", 1.0, 2.0, BAD[-30:])
    said = capfd.readouterr().err
    assert "[red]x[/red]" in said
    assert not acting(said)
