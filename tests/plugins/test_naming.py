"""A model that is named without a source: what is there comes first, then the Hub."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import geom
from geom import InputError, ModelSource, NoOptions, Readout, hookimpl
from geom.plugins.naming import named_source
from geom.plugins.registry import Origin, Plugins
from geom_plugins.checkpoints.hub import _UnreachableError
from support.command import Command
from support.plugins import Use
from support.strangers import SQUARE, W, checkpoint, refused, stranger

pytestmark = pytest.mark.usefixtures("work")


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("geom_plugins.checkpoints.hub.HubFolder._ask", asked)


FOUND = {
    "W.npz": "npz:W.npz",
    "./W.npy": "npz:./W.npy",
    "W.NPY": "npz:W.NPY",
    "W.safetensors": "safetensors:W.safetensors",
    "W.gguf?cast=q4_0": "gguf:W.gguf?cast=q4_0",
    "model": "hf:model",
    "./model/": "hf:./model/",
    "model?new=2&cast=float16": "hf:model?new=2&cast=float16",
    "odd:name.npy": "npz:odd:name.npy",
    # nothing of these names is here
    "gpt2": "hf:gpt2",
    "gpt2?bias=no": "hf:gpt2?bias=no",
    "EleutherAI/pythia-70m": "hf:EleutherAI/pythia-70m",
    "google/gemma-2b@refs/pr/3": "hf:google/gemma-2b@refs/pr/3",
    "https://huggingface.co/gpt2": "hf:https://huggingface.co/gpt2",
    "hf://OWNER/NAME": "hf:hf://OWNER/NAME",
    "https://me:secret@host/m.gguf": "gguf:https://me:secret@host/m.gguf",
    "s3://bucket/m.safetensors?unembed=W": "safetensors:s3://bucket/m.safetensors?unembed=W",
    # a source comes first, whatever lies here
    "demo": "demo",
    "demo?cast=q4_0": "demo?cast=q4_0",
    "npz:W.gguf": "npz:W.gguf",
    "hf:absent": "hf:absent",
}


def _files() -> None:
    for name in ("W.npz", "W.npy", "W.NPY", "W.safetensors", "W.gguf", "odd:name.npy", "W.bin"):
        Path(name).touch()
    checkpoint(Path("model"))
    for name in ("empty", "demo", "models"):
        Path(name).mkdir()
    Path("demo", "config.json").touch()


@pytest.mark.parametrize(("text", "whole"), FOUND.items(), ids=FOUND.keys())
def test_a_name_gets_the_source_that_is_meant(text: str, whole: str) -> None:
    _files()
    assert str(named_source(text)) == whole


REFUSED = {
    "far/from/it.gguf": "does not exist; give a file or a folder that does, or SOURCE:far/from/it",
    "x.gguf": "x.gguf does not exist: did you mean 'W.gguf'?",
    "./Wx.npz": "./Wx.npz does not exist: did you mean './W.npz'?",
    "./x.gguf": "./x.gguf does not exist",
    "/nowhere/model": "/nowhere/model does not exist",
    "~/nowhere": "~/nowhere does not exist",
    "runs/of/a/model": "runs/of/a/model does not exist",
    "models/llama": "models/llama does not exist",
    "W.bin": "geom does not know which source reads it; write SOURCE:W.bin",
    "empty": "a folder is a checkpoint if it has one of config.json",
    "dmeo": "did you mean 'demo'? a model of that name on the Hub is hf:dmeo",
    "two words": "unknown source 'two words'",
    "nzp:W.npz": "unknown source 'nzp': did you mean 'npz'?",
    "file:///etc/passwd": "file",
    "": "write SOURCE:LOCATION",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_slip_is_said_and_asks_nobody(text: str, command: Command) -> None:
    _files()
    assert REFUSED[text] in refused(command("run", "--model", text, "--out", "run.db"))


ABSENT = {
    "modle": "modle is no source, and no file or folder here (did you mean 'model'?); as an id of "
    "the Hub: modle is not in the cache, and HF_HUB_OFFLINE is set; unset it",
    "W": "W is no source, and no file or folder here (did you mean 'W.NPY' or 'W.gguf' or ",
    "safe": "safe is no source, and no file or folder here (did you mean 'safetensors'",
    "xyz": "xyz is no source, and no file or folder here; as an id of the Hub: xyz is not in",
    "gpt2": "gpt2 is no source, and no file or folder here; as an id of the Hub: gpt2 is not in",
    "hf2": "hf2 is no source, and no file or folder here; as an id of the Hub: hf2 is not in",
    "acme/model": "acme/model is no source, and no file or folder here; as an id of the Hub: ",
}
"""Names of nothing here that the Hub may know, and what is said if it cannot be asked."""


@pytest.mark.parametrize("text", ABSENT)
@pytest.mark.parametrize("asked", ["run", "check", "activations"])
def test_a_name_of_nothing_says_what_was_tried(
    text: str, asked: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(_: object) -> None:
        raise _UnreachableError("HF_HUB_OFFLINE is set")

    monkeypatch.setattr("geom_plugins.checkpoints.hub.HubFolder._ask", offline)
    _files()
    ask = {
        "run": ("run", "--model", text),
        "check": ("check", text),
        "activations": ("activations", text, "--text", __file__, "--out", "acts.npy"),
    }
    line = refused(command(*ask[asked]))
    assert ABSENT[text] in line
    named = refused(command("run", "--model", f"hf:{text}"))
    assert named.startswith(f"geom: {text} is not in the cache")


def test_every_command_and_python_take_a_file(command: Command) -> None:
    np.savez("W.npz", W=SQUARE)
    np.save("W.npy", SQUARE)
    save_file({"lm_head.weight": W}, "W.safetensors")
    for name in ("W.npz", "W.npy", "W.safetensors"):
        assert (geom.load(name).W == SQUARE).all()
    assert command("run", "-m", "W.npz", "-t", "all", "--out", "run.db").code == 0
    assert command("verify", "run.db", "-m", "W.npz").code == 0
    for arguments in (("compare", "-p", "float32"), ("measure", "--measure", "row-norm")):
        assert command(*arguments, "-m", "W.npy", "-t", "4").code == 0
    assert "source npz has no check" in refused(command("check", "W.npz"))
    several = command("run", "-m", "W.npz", "-m", "W.npy", "--out", "runs")
    assert several.code == 0


def test_options_of_the_source_that_was_found_apply(command: Command) -> None:
    np.save("W.npy", SQUARE.T)
    turned = ("-o", "source.npz.layout=dv", "-t", "all", "--out", "run.db")
    assert command("run", "-m", "W.npy", *turned).code == 0
    with geom.open_run("run.db") as run:
        assert run.problem.readout.V == 5


def test_a_run_keeps_the_whole_name(command: Command) -> None:
    checkpoint(Path("model"))
    assert command("run", "-m", "model?cast=float16", "-t", "all", "--out", "run.db").code == 0
    with closing(sqlite3.connect("run.db")) as connection:
        ((kept,),) = connection.execute("SELECT value FROM meta WHERE key = 'model'")
    assert json.loads(kept) == "hf:model?cast=float16"


@pytest.mark.parametrize("name", ["m.npy", "./m.npy", "model", "gpt2", "OWNER/NAME"])
@pytest.mark.parametrize("allowed", [(), ("--allow-fetch",)], ids=["unasked", "allowed"])
def test_a_name_in_a_run_is_never_completed(
    name: str, allowed: tuple[str, ...], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger("theirs.db", name)
    np.save("m.npy", W)
    checkpoint(Path("model"))

    def opened(*_: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr("numpy.load", opened)
    line = refused(command("verify", "theirs.db", *allowed))
    assert f"unknown source {name!r}" in line


def test_a_source_of_a_stranger_reads_files_and_only_the_user_tells_two_apart(
    use: Use,
) -> None:
    class Theirs:
        @staticmethod
        @hookimpl
        def geom_sources():  # type: ignore[no-untyped-def]
            yield ModelSource("csv", "", _load, NoOptions, suffixes=(".csv",))
            yield ModelSource("table", "", _load, NoOptions, suffixes=(".tsv", ".txt"))
            yield ModelSource("words", "", _load, NoOptions, suffixes=(".txt",))

    plugins = Plugins()
    plugins.register(Theirs, "theirs", Origin("theirs", "1", "theirs"))
    use(plugins)
    for name in ("a.csv", "a.tsv", "a.txt"):
        Path(name).touch()
    assert str(named_source("a.csv")) == "csv:a.csv"
    assert str(named_source("a.tsv")) == "table:a.tsv"
    with pytest.raises(InputError, match="sources table, words all read such a model"):
        named_source("a.txt")
    with pytest.raises(InputError, match="unknown source 'gpt2'"):  # none reads the Hub
        named_source("gpt2")


def _load(location: str, options: NoOptions) -> Readout:
    raise AssertionError(location)
