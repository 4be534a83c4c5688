"""What a stranger's run file may cause to be opened, and what needs permission first."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import geom
from geom import InputError
from support.command import Command, install, separately
from support.server import Server
from support.strangers import SECRET, W, checkpoint, refused, stranger

pytestmark = pytest.mark.usefixtures("work")

COMMANDS = {
    "verify": ("verify", "theirs.db"),
    "measure": ("measure", "theirs.db", "--measure", "row-norm", "-t", "0"),
    "compare": ("compare", "theirs.db", "-t", "0", "-p", "float32"),
    "export": ("export", "theirs.db", "--format", "certificate"),
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())
def test_what_a_run_names_on_a_server_is_asked_for_first(
    arguments: tuple[str, ...], server: Server, command: Command
) -> None:
    stranger("theirs.db", f"safetensors:{server.url}/m.safetensors")
    if arguments[0] == "export":  # most certificates are written without the weights
        with closing(sqlite3.connect("theirs.db")) as connection, connection:
            connection.execute("UPDATE tokens SET recipe = 'own-direction' WHERE token_id = 0")
    line = refused(command(*arguments))
    assert "which would be fetched: name them with --model, or give --allow-fetch" in line
    assert server.requests == []
    np.save("mine.npy", W)
    assert command(*arguments, "--model", "npz:mine.npy").code == 0
    assert server.requests == []
    assert command(*arguments, "--allow-fetch").code == 0
    assert server.requests != []


def test_a_report_of_somebodys_run_fetches_nothing_unasked(
    server: Server, command: Command
) -> None:
    stranger("theirs.db", f"safetensors:{server.url}/m.safetensors")
    done = command("report", "theirs.db")
    assert done.code == 0
    assert "which would be fetched: name them with --model, or give --allow-fetch" in done.err
    page = Path("theirs.html").read_text()
    assert "The vocabulary is not drawn" in page
    assert server.requests == []
    assert command("report", "theirs.db", "--allow-fetch").code == 0
    assert "The vocabulary is not drawn" not in Path("theirs.html").read_text()
    assert server.requests != []


def test_showing_somebodys_run_fetches_nothing(server: Server, command: Command) -> None:
    stranger("theirs.db", f"safetensors:{server.url}/m.safetensors")
    assert command("show", "theirs.db").code == 0
    for token in range(5):
        assert command("show", "theirs.db", "--token", str(token)).code == 0
    for name in ("jsonl", "csv", "tokens", "html"):
        assert command("export", "theirs.db", "--format", name, "--out", "rows").code == 0
    with geom.open_run("theirs.db") as run:
        run._repr_html_()
    assert server.requests == []


def test_python_asks_the_same(server: Server) -> None:
    stranger("theirs.db", f"safetensors:{server.url}/m.safetensors")
    with geom.open_run("theirs.db") as run:
        for use in (lambda: run.problem, lambda: geom.verify(run)):
            with pytest.raises(InputError, match="allow_fetch=True in Python"):
                use()
        assert server.requests == []
        assert geom.verify(run, geom.Readout.fold(W)).ok
        assert server.requests == []
        assert geom.verify(run, allow_fetch=True).ok
    with geom.open_run("theirs.db", allow_fetch=True) as run:
        assert run.problem.readout.V == 5


def outside(tmp_path: Path) -> list[str]:
    """Names of sound weights that lie outside the run's folder."""
    there = tmp_path / "there"
    there.mkdir()
    np.savez(there / "w.npz", W=W)
    save_file({"lm_head.weight": W}, there / "w.safetensors")
    checkpoint(there / "model")
    Path("link.npz").symlink_to(there / "w.npz")
    Path("linked").symlink_to(there)
    Path("model").symlink_to(there / "model")
    return [
        f"npz:{there}/w.npz",
        "npz:../there/w.npz",
        "npz:linked/../../there/w.npz",
        "npz:link.npz",
        "npz:linked/w.npz",
        "npz:~/w.npz",
        f"safetensors:{there}/w.safetensors",
        f"hf:{there}/model",
        "hf:../there/model",
        "hf:model",
        "hf:~/model",
        f"gguf:{there}/w.gguf",
        "npz://127.0.0.1/share/w.npz",
        "npz:\\\\127.0.0.1\\share\\w.npz",
        f"transformer-lens:{there}/model",
    ]


def test_a_path_outside_the_runs_folder_is_asked_for_first(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in outside(tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path / "there"))
        stranger("theirs.db", model)
        line = refused(command("verify", "theirs.db"))
        assert "--model, or give --allow-fetch if you trust the file" in line
    for model in ("npz:link.npz", "hf:model", "npz:~/w.npz"):
        stranger("theirs.db", model)
        assert command("verify", "theirs.db", "--allow-fetch").code == 0


ROW = {"ids": np.array([4]), "rows": np.array([[3.0, 0.5]], np.float32)}


def test_rows_outside_the_runs_folder_are_asked_for_first(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the source: the demo reads nothing, and its rows may still come from anywhere."""
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.setenv("HOME", str(there))
    save_file(ROW, there / "rows.safetensors")
    np.savez("w.npz", W=W)
    Path("link.safetensors").symlink_to(there / "rows.safetensors")
    places = [
        f"{there}/rows.safetensors",
        "../there/rows.safetensors",
        "~/rows.safetensors",
        "link.safetensors",
        "https://127.0.0.1/rows.safetensors",
        "//127.0.0.1/share/rows.safetensors",
    ]
    for model in ("npz:w.npz?rows=", "demo?cast=q8_0&rows="):
        for place in places:
            stranger("theirs.db", f"{model}{place}")
            line = refused(command("verify", "theirs.db"))
            assert "outside the run's own folder" in line
            assert "--model, or give --allow-fetch if you trust the file" in line
    for place in places[:4]:
        stranger("theirs.db", f"npz:w.npz?rows={place}")
        refused(command("verify", "theirs.db"))
        done = command("verify", "theirs.db", "--allow-fetch")
        assert done.code == 1
        assert "other weights" in done.out + done.err  # they were read


def test_rows_in_the_runs_own_folder_need_no_word(command: Command) -> None:
    np.savez("w.npz", W=W)
    save_file(ROW, "rows.safetensors")
    model = "npz:w.npz?rows=rows.safetensors"
    geom.run(model, tokens="all", out="run.db").close()
    assert command("verify", "run.db").code == 0


def test_a_changed_head_in_the_runs_own_folder_needs_no_word(command: Command) -> None:
    checkpoint(Path("model"))
    geom.run("hf:model?new=1&cast=bfloat16&bias=no", tokens="all", out="run.db").close()
    assert command("verify", "run.db").code == 0


def test_a_file_of_another_kind_in_the_place_of_rows_shows_nothing(command: Command) -> None:
    Path("secret").write_text(SECRET)
    np.savez("w.npz", W=W)
    line = refused(command("run", "-m", "npz:w.npz?rows=secret", "--out", "run.db"))
    assert "secret does not hold rows" in line
    assert "hunter2" not in line
    stranger("theirs.db", "npz:w.npz?rows=secret")
    assert "hunter2" not in refused(command("verify", "theirs.db"))


def test_a_run_says_how_to_verify_it_if_its_weights_are_elsewhere(
    tmp_path: Path, command: Command
) -> None:
    np.savez("w.npz", W=W)
    Path("runs").mkdir()
    for out, words in (("runs/r.db", f" --model npz:{tmp_path}/work/w.npz\n"), ("r.db", "\n")):
        done = command("run", "--model", f"npz:{tmp_path}/work/w.npz", "--out", out)
        assert done.code == 0
        assert f"geom verify {out}{words}" in done.out
        assert command("verify", *f"{out}{words}".split()).code == 0


def test_weights_in_the_runs_own_folder_need_no_word(tmp_path: Path, command: Command) -> None:
    np.savez("w.npz", W=W)
    checkpoint(Path("model"))
    Path("deeper").mkdir()
    np.save("deeper/w.npy", W)
    for model in ("npz:w.npz", "npz:deeper/w.npy", f"npz:{tmp_path}/work/w.npz", "hf:model"):
        stranger("theirs.db", model)
        assert command("verify", "theirs.db").code == 0


def test_the_folder_is_the_runs_and_not_the_users(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez("w.npz", W=W)
    (tmp_path / "theirs").mkdir()
    stranger("../theirs/run.db", "npz:w.npz")
    assert "outside the run's own folder" in refused(command("verify", "../theirs/run.db"))


def test_what_comes_with_geom_needs_no_word(command: Command) -> None:
    for model in ("demo", "synthetic:gpt2-like?V=30&d=4"):
        geom.run(model, tokens=[5], certifiers=["maxent"], out="run.db").close()
        assert command("verify", "run.db").code == 0
        Path("run.db").unlink()


def test_an_id_of_the_hub_in_a_run_is_asked_for_first(command: Command) -> None:
    stranger("theirs.db", "hf:owner/name")
    line = refused(command("verify", "theirs.db"))
    assert "hf:owner/name, which would be fetched from the Hugging Face Hub" in line


def adapter(folder: Path, base: str) -> None:
    """Write an adapter that has a head of its own."""
    folder.mkdir(parents=True)
    settings = {"peft_type": "LORA", "modules_to_save": ["lm_head"]}
    settings["base_model_name_or_path"] = base
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    save_file({"base_model.model.lm_head.weight": W}, folder / "adapter_model.safetensors")


def test_the_base_of_an_adapter_in_a_run_is_asked_for_first(
    tmp_path: Path, command: Command
) -> None:
    checkpoint(tmp_path / "there" / "model")
    Path("elsewhere").mkdir()
    adapter(Path("elsewhere/adapter"), "owner/name")
    for model, why in (
        (
            "hf:elsewhere/adapter",
            "and with them owner/name, which would be fetched",
        ),
        (
            f"hf:elsewhere/adapter?base={tmp_path}/there/model",
            f"and with them {tmp_path}/there/model, outside the run's own folder",
        ),
        (
            "hf:elsewhere/adapter?base=owner/other",
            "them owner/other, which would be fetched",
        ),
        ("hf:elsewhere/adapter?base=https://huggingface.co/o/n", "huggingface.co/o/n, which would"),
    ):
        stranger("theirs.db", model)
        assert why in refused(command("verify", "theirs.db"))
    stranger("theirs.db", f"hf:elsewhere/adapter?base={tmp_path}/there/model")
    assert command("verify", "theirs.db", "--allow-fetch").code == 0
    adapter(Path("own"), "base")
    checkpoint(Path("own/base"))
    checkpoint(Path("beside"))
    for model in ("hf:own", "hf:own?base=beside"):
        stranger("theirs.db", model)
        assert command("verify", "theirs.db").code == 0
    (Path("own") / "adapter_config.json").write_text("{}")
    stranger("theirs.db", "hf:own")
    assert "which geom does not read" in refused(command("verify", "theirs.db"))


@pytest.mark.parametrize(
    "model",
    [
        "hf:owner/name@main",
        "hf:https://huggingface.co/owner/name/tree/main",
        "hf:huggingface.co/owner/name",
        "hf:hf://owner/name",
        "gguf:owner/name/model.gguf",
        "gguf:owner/name",
        "gguf:hf://owner/name/model.gguf",
        "gguf:https://huggingface.co/owner/name/blob/main/model.gguf",
        "gguf:http://127.0.0.1/model.gguf",
        "safetensors:https://huggingface.co/owner/name/blob/main/m.safetensors",
    ],
)
def test_a_place_on_the_hub_in_a_run_is_asked_for_first(model: str, command: Command) -> None:
    stranger("theirs.db", model)
    assert "which would be fetched" in refused(command("verify", "theirs.db"))


def test_a_cache_folder_in_a_run_leads_to_no_other_folder(tmp_path: Path, command: Command) -> None:
    checkpoint(tmp_path / "there" / "model")
    snapshots = Path("models--owner--name/snapshots")
    checkpoint(snapshots / "c0ffee")
    (snapshots / "linked").symlink_to(tmp_path / "there" / "model")
    stranger("theirs.db", "hf:models--owner--name?revision=c0ffee")
    assert command("verify", "theirs.db").code == 0
    stranger("theirs.db", "hf:models--owner--name?revision=linked")
    assert "is a link that leads out of" in refused(command("verify", "theirs.db"))


def test_a_run_cannot_choose_transformer_lens(command: Command) -> None:
    checkpoint(Path("model"))
    stranger("theirs.db", "transformer-lens:model")
    line = refused(command("verify", "theirs.db"))
    assert "source transformer-lens may open anything" in line


PLUGIN = """
from pathlib import Path

from geom import ModelSource, NoOptions, hookimpl


def load(location, options):
    Path("loaded").touch()


@hookimpl
def geom_sources():
    yield ModelSource("theirs", "a source that says nothing of what it reads", load, NoOptions)
"""


def test_a_run_cannot_choose_a_source_that_does_not_say_what_it_opens(tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    install(tmp_path / "packages", "geom-theirs", PLUGIN)
    stranger("theirs.db", "theirs:place")
    path = os.pathsep.join([str(tmp_path / "packages"), os.environ.get("PYTHONPATH", "")])
    line = refused(separately("verify", "theirs.db", python_path=Path(path)))
    assert "source theirs may open anything" in line
    assert not Path("loaded").exists()
    separately("verify", "theirs.db", "--allow-fetch", python_path=Path(path))
    assert Path("loaded").exists()


def test_a_run_of_this_process_is_believed(server: Server) -> None:
    with geom.run(f"safetensors:{server.url}/m.safetensors", tokens="all") as run:
        assert geom.verify(run).ok


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("synthetic:gpt2-like?V=100000000&d=2", "100000000 x 2"),
        ("synthetic:gpt2-like?V=5&d=100000000", "5 x 100000000"),
        ("synthetic:real-like?V=5&d=2&new=999999999", "1000000004 x 2"),
        ("demo?new=999999999", "more than 999999999 rows"),
    ],
)
def test_weights_of_another_size_than_the_runs_are_refused_before_they_are_made(
    model: str, found: str, own_folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*_: object) -> None:
        raise AssertionError("memory was asked for")

    stranger("theirs.db", model)
    monkeypatch.setattr("geom.machine.memory.check_memory", taken)
    monkeypatch.setattr("geom_plugins.sources.synthetic.check_memory", taken)
    said = refused(command("verify", "theirs.db"))
    assert said.startswith(f"geom: theirs.db has W of 5 x 2, and names weights of {found}, {model}")
