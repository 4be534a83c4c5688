"""What may be opened, by whose word, and what is never shown of it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import struct
import threading
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import geom
from geom import InputError, parse_address
from geom_plugins.checkpoints.locations import open_file
from geom_plugins.checkpoints.transport import Store
from support import ROOT, TESTS
from support.command import Command, Done, install, separately
from support.server import Server, serving

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5]])
W = SQUARE.astype(np.float32)
NORM = np.ones(2, np.float32)

SECRET = "root:$6$hunter2$x7:19000:0:99999:7:::\nbackup = correct horse battery staple\n"


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder and a cache of the test's own; what waits for ever is ended."""
    import huggingface_hub.utils._cache_assets as assets

    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(assets, "HF_ASSETS_CACHE", str(tmp_path / "cache" / "assets"))

    def late(*_: object) -> None:
        raise AssertionError("it waits for ever")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(100)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def command(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """In the folder of these tests, which is one of several."""
    monkeypatch.chdir(tmp_path / "work")
    return command


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    root = tmp_path / "served"
    root.mkdir()
    save_file({"lm_head.weight": W}, root / "m.safetensors")
    with serving(Server(root)) as running:
        yield running


def refused(done: Done) -> str:
    """The one line of a command that must fail."""
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("geom: ")
    assert done.err.count("\n") == 1
    return done.err


# The gate


@pytest.mark.parametrize(
    ("location", "scheme"),
    [
        ("http://host/m.safetensors", "http"),
        ("HTTPS://host/m.safetensors", "https"),
        ("http://[::1]:80/m.safetensors", "http"),
        ("hf://owner/name/file", "hf"),
        ("s3://bucket/key", "s3"),
        ("gs://bucket/key", "gs"),
        ("az://container/key", "az"),
        ("m.safetensors", None),
        ("/a folder/m.safetensors", None),
        ("C:/m.safetensors", None),
        ("owner/name", None),
    ],
)
def test_places_that_may_be_opened(location: str, scheme: str | None) -> None:
    found = parse_address(location)
    assert found.scheme == scheme
    assert (found.path is None) == (scheme is not None)


FORBIDDEN = (
    "simplecache::http://127.0.0.1/m",
    "filecache::s3://bucket/key",
    "reference::http://127.0.0.1/refs.json",
    "reference://refs.json",
    "http://127.0.0.1/m::file:///etc/passwd",
    "zip://m.safetensors::http://127.0.0.1/m.zip",
    "s3://bucket/key::reference://x",
    "hf://datasets/owner/name/refs.json::reference://",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "file://host/etc/passwd",
    "local:///etc/passwd",
    "memory://m",
    "data://text/plain,x",
    "ftp://127.0.0.1/m",
    "sftp://127.0.0.1/m",
    "ssh://127.0.0.1/m",
    "smb://127.0.0.1/m",
    "webhdfs://127.0.0.1/m",
    "github://owner:name@/m",
    "git://m",
    "jupyter://127.0.0.1/m",
    "abfs://container/m",
    "gcs://bucket/m",
    "s3a://bucket/m",
    "dir://m",
    "generic://m",
    "http\t://127.0.0.1/m",
    "http://127.0.0.1/\nm",
    " http://127.0.0.1/m",
    "://m",
)


@pytest.mark.parametrize("location", FORBIDDEN)
def test_no_other_protocol_and_no_chain_is_opened(location: str) -> None:
    for use in (parse_address, open_file, Store):
        with pytest.raises(InputError, match=r"geom opens|chains protocols|control character"):
            use(location)


@pytest.mark.parametrize("location", FORBIDDEN)
def test_the_gate_holds_whoever_names_the_place(location: str, command: Command) -> None:
    model = f"safetensors:{location}"
    lines = [refused(command("run", "-m", model, "--out", "run.db"))]
    Path("geom.toml").write_text(f"model = {json.dumps(model)}")
    lines.append(refused(command("run", "--config", "geom.toml", "--out", "run.db")))
    stranger("theirs.db", model)
    lines.append(refused(command("verify", "theirs.db")))
    lines.append(refused(command("verify", "theirs.db", "--allow-fetch")))
    for line in lines:
        assert re.search("geom opens|chains protocols|control character|allow-fetch", line)
    assert not Path("run.db").exists()


def test_sources_of_local_files_ask_no_server(command: Command, server: Server) -> None:
    for source in ("npz", "gguf", "hf", "transformer-lens"):
        model = f"{source}:{server.url}/m.safetensors"
        assert "http://" in refused(command("run", "-m", model, "--out", "run.db"))
    assert server.requests == []


def test_nothing_in_an_address_is_filled_in(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOM_SECRET", "hunter2")
    monkeypatch.setenv("HF_TOKEN", "hf_hunter2")
    for name in ("$GEOM_SECRET", "${GEOM_SECRET}", "{{ GEOM_SECRET }}", "%GEOM_SECRET%", "~"):
        with pytest.raises(InputError, match="does not exist"):
            open_file(f"{server.url}/{name}")
        with pytest.raises(InputError, match=r"does not exist|is a folder"):
            open_file(f"work/{name}")
    assert server.requests
    assert "hunter2" not in str(server.requests)


def test_the_hubs_token_goes_to_no_other_server(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setenv("HF_TOKEN", "hf_hunter2")
    monkeypatch.setattr(server, "RequestHandlerClass", listening(seen))
    with pytest.raises(InputError, match="does not exist"):
        open_file(f"{server.url}/m.safetensors")
    assert seen
    assert "hunter2" not in str(seen)


def listening(seen: list[Any]) -> type[BaseHTTPRequestHandler]:
    """A server that has nothing, and keeps the headers of who asks."""

    class Listener(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            seen.append(dict(self.headers))
            self.send_response(404)
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_: Any) -> None:
            pass

    return Listener


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/m", "s3://bucket/m"])
def test_a_redirect_reaches_no_other_protocol(target: str, command: Command) -> None:
    class Elsewhere(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as front:
        threading.Thread(target=front.serve_forever, args=(0.02,), daemon=True).start()
        model = f"safetensors:http://127.0.0.1:{front.server_address[1]}/m"
        line = refused(command("run", "-m", model, "--out", "run.db"))
        front.shutdown()
    assert "redirects to what is no address of http or https" in line
    assert "root:" not in line


def test_the_lowest_fsspec_allowed_sandboxes_its_templates() -> None:
    """Its ReferenceFileSystem has rendered in jinja2's sandbox since 2026.6.0."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (bound,) = [line for line in project["project"]["dependencies"] if line.startswith("fsspec")]
    year, month = re.fullmatch(r"fsspec\[http\]>=(\d+)\.(\d+)", bound).groups()  # type: ignore[union-attr]
    assert (int(year), int(month)) >= (2026, 6)


# A run file of somebody's


def stranger(name: str, model: str) -> Path:
    """A run of the square whose file says that its weights are elsewhere."""
    path = Path(name)
    path.unlink(missing_ok=True)
    geom.run(geom.Readout.fold(W), tokens="all", out=path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        value = json.dumps(model)
        statement = "UPDATE meta SET value = ? WHERE key = 'model'"
        assert connection.execute(statement, (value,)).rowcount == 1
    return path


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
    """Names of weights that are sound, and lie outside of the folder of the run."""
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


# Files of a checkpoint


def checkpoint(folder: Path, index: dict[str, str] | None = None) -> Path:
    """A checkpoint of the square, whole or as an index has it."""
    folder.mkdir(parents=True)
    config = {"model_type": "llama", "hidden_size": 2, "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {"lm_head.weight": W, "model.norm.weight": NORM}
    if index is None:
        save_file(tensors, folder / "model.safetensors")
    else:
        weight_map = json.dumps({"metadata": {}, "weight_map": index})
        (folder / "model.safetensors.index.json").write_text(weight_map)
    return folder


def named(file: str) -> dict[str, str]:
    return {"lm_head.weight": file, "model.norm.weight": file}


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "sub/../../secret.safetensors",
        "./secret.safetensors",
        "..",
        "",
        "/tmp/secret.safetensors",
        "sub//secret.safetensors",
        "..\\secret.safetensors",
        "C:secret.safetensors",
        "\\\\host\\share\\secret.safetensors",
        "http://127.0.0.1/secret.safetensors",
        "secret.safetensors\0",
    ],
)
@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_an_index_names_no_file_outside_its_folder(
    name: str, kind: str, tmp_path: Path, command: Command
) -> None:
    secret = {"lm_head.weight": W, "model.norm.weight": NORM}
    save_file(secret, tmp_path / "work" / "secret.safetensors")
    folder = checkpoint(Path("model"), named(name))
    (folder / "model.safetensors.index.json").rename(folder / f"{kind}.index.json")
    line = refused(command("run", "-m", "hf:model", "-t", "0", "--out", "run.db"))
    assert "index.json of model names the file" in line
    assert "which is not one of its own" in line


@pytest.mark.parametrize("name", ["shard.safetensors", "sub/shard.safetensors"])
def test_a_shard_is_no_link_out_of_its_folder(name: str, tmp_path: Path, command: Command) -> None:
    save_file({"lm_head.weight": W, "model.norm.weight": NORM}, tmp_path / "secret.safetensors")
    folder = checkpoint(Path("model"), named(name))
    if "/" in name:
        (folder / "sub").symlink_to(tmp_path)
        (tmp_path / "shard.safetensors").symlink_to(tmp_path / "secret.safetensors")
    else:
        (folder / name).symlink_to(tmp_path / "secret.safetensors")
    line = refused(command("run", "-m", "hf:model", "-t", "0", "--out", "run.db"))
    assert "is a link that leads out of the folder; put the file itself there" in line


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_no_file_of_a_checkpoint_is_a_link_out_of_it(
    name: str, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "shadow").write_text(SECRET)
    folder = checkpoint(Path("model"))
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "shadow")
    line = refused(command("run", "-m", "hf:model", "-t", "0", "--out", "run.db"))
    assert "is a link that leads out of the folder" in line


def test_links_within_a_folder_and_in_the_hubs_cache_are_followed(tmp_path: Path) -> None:
    inside = checkpoint(Path("model"), named("shard.safetensors"))
    tensors = {"lm_head.weight": W, "model.norm.weight": NORM}
    (inside / "data").mkdir()
    save_file(tensors, inside / "data" / "blob")
    (inside / "shard.safetensors").symlink_to("data/blob")
    digest = geom.load("hf:model").digest
    repository = tmp_path / "hub" / "models--owner--name"
    snapshot = checkpoint(repository / "snapshots" / "c0ffee", named("shard.safetensors"))
    (repository / "blobs").mkdir()
    save_file(tensors, repository / "blobs" / "a")
    (snapshot / "shard.safetensors").symlink_to("../../blobs/a")
    for name in ("config.json", "model.safetensors.index.json"):
        (snapshot / name).rename(repository / "blobs" / name)
        (snapshot / name).symlink_to(Path("../../blobs") / name)
    assert geom.load(f"hf:{snapshot}").digest == digest
    Path("elsewhere").symlink_to(snapshot)
    assert geom.load("hf:elsewhere").digest == digest
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to("../../refs")
    with pytest.raises(InputError, match="leads out of the folder"):
        geom.load(f"hf:{snapshot}")


@pytest.mark.parametrize("revision", ["../x", "a/../../b", "/etc", "a\\b", "..", ""])
def test_a_revision_is_no_path(revision: str, command: Command) -> None:
    model = f"hf:owner/name?revision={revision}"
    line = refused(command("run", "-m", model, "--out", "run.db"))
    assert "is no revision of owner/name; give a branch, a tag or a commit" in line


# No file where a file is expected


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # its address is short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def folder(path: Path) -> None:
    path.mkdir()


MAKERS = (pipe, device, unix_socket, folder)

READERS: dict[str, tuple[str, ...]] = {
    "W.npz": ("run", "-m", "npz:W.npz", "--out", "run.db"),
    "W.npy": ("run", "-m", "npz:W.npy", "--out", "run.db"),
    "W.safetensors": ("run", "-m", "safetensors:W.safetensors", "--out", "run.db"),
    "W.gguf": ("run", "-m", "gguf:W.gguf", "--out", "run.db"),
    "ids.txt": ("run", "-t", "@ids.txt", "--out", "run.db"),
    "geom.toml": ("run", "--config", "geom.toml", "--out", "run.db"),
    "x.npy": ("compare", "-t", "0", "--at", "x.npy"),
    "run.db": ("verify", "run.db"),
    "model/config.json": ("run", "-m", "hf:model", "-t", "0", "--out", "run.db"),
    "model/model.safetensors": ("run", "-m", "hf:model", "-t", "0", "--out", "run.db"),
}
"""Whatever is opened by a name, and a command that opens it."""


def prepared(name: str) -> Path:
    """The place of the file, in a folder that is sound but for it."""
    if name.startswith("model/"):
        checkpoint(Path("model"))
        Path(name).unlink()
    return Path(name)


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused_at_once(
    name: str, make: Callable[[Path], None], command: Command
) -> None:
    make(prepared(name))
    started = time.monotonic()
    refused(command(*READERS[name]))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json"])
@pytest.mark.parametrize("make", [pipe, unix_socket], ids=["pipe", "socket"])
def test_a_tokenizer_that_is_no_file_is_not_waited_for(
    name: str, make: Callable[[Path], None], command: Command
) -> None:
    checkpoint(Path("model"))
    make(Path("model") / name)
    assert command("run", "-m", "hf:model", "-t", "0", "--out", "run.db").code == 0


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("file").write_bytes(b"x")
    looked = os.stat("file")
    Path("file").unlink()
    os.mkfifo("file")
    monkeypatch.setattr(Path, "stat", lambda *_, **__: looked)
    with pytest.raises(InputError, match="file is a pipe, and no file"):
        geom.open_regular(Path("file"))


@pytest.mark.parametrize("name", READERS)
def test_nothing_of_another_file_is_shown(name: str, command: Command) -> None:
    prepared(name).write_text(SECRET)
    line = refused(command(*READERS[name]))
    for piece in re.findall(r"\w{4,}", SECRET):
        assert piece not in line
    for start in (SECRET[:4], "root", SECRET.encode()[:8].hex()):
        assert start not in line
    assert str(int.from_bytes(SECRET.encode()[:8], "little")) not in line


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.safetensors.index.json", "tokenizer.json", "vocab.txt"]
)
@pytest.mark.parametrize("content", [SECRET.encode(), b"\xff\xfe" + SECRET.encode("utf-16-le")])
def test_nothing_of_another_file_beside_a_checkpoint_is_shown(
    name: str, content: bytes, command: Command
) -> None:
    model = checkpoint(Path("model"))
    if "model." in name or name.endswith("bin"):
        (model / "model.safetensors").unlink()
    (model / name).write_bytes(content)
    done = command("run", "-m", "hf:model", "-t", "0", "--out", "run.db")
    for piece in ("root", "hunter2", "correct", "horse", "0xff"):
        assert piece not in done.err


@pytest.mark.parametrize("content", [b"hunter2 = 3\nhunter2 = 4\n", b"[hunter2]\n[hunter2]\n"])
def test_a_damaged_configuration_is_told_by_its_place(content: bytes, command: Command) -> None:
    Path("geom.toml").write_bytes(content)
    line = refused(command("run", "--config", "geom.toml"))
    assert re.search(r"geom\.toml is no TOML \(at line \d, column \d+\); give a TOML file", line)


# Much of it


def test_a_header_of_600_000_tensors_is_refused_at_once(command: Command) -> None:
    one = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    text = json.dumps({f"t{i}": one for i in range(600_000)}).encode()
    Path("W.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    started = time.monotonic()
    line = refused(command(*READERS["W.safetensors"]))
    assert "its header has 600000 tensors, and geom reads up to 200000" in line
    assert time.monotonic() - started < 10


def test_a_name_of_10_mb_is_cut_short(command: Command) -> None:
    name = "hunter2" * 1_500_000
    save_file({name: W}, "W.safetensors")
    line = refused(command(*READERS["W.safetensors"]))
    assert "has no tensor 'lm_head.weight'; it has hunter2" in line
    assert len(line) < 2100


def test_an_archive_of_400_000_names_is_refused_at_once(command: Command) -> None:
    with zipfile.ZipFile("W.npz", "w") as archive:
        archive.writestr("W.npy", b"")
    data = Path("W.npz").read_bytes()
    entry = data[data.index(b"PK\1\2") : data.index(b"PK\5\6")]
    many = 400_000
    listed = entry * many
    start = len(data[: data.index(b"PK\1\2")])
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, start, 0)
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, many, many, len(listed), start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start + len(listed), 1)
    Path("W.npz").write_bytes(data[:start] + listed + record + locator + end)
    with zipfile.ZipFile("W.npz") as whole:
        assert len(whole.namelist()) == many
    started = time.monotonic()
    assert "MiB of names; save fewer arrays" in refused(command(*READERS["W.npz"]))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (struct.pack("<2Q", 10**9, 0), "claims 1000000000 tensors, and geom reads up to"),
        (struct.pack("<2Q", 0, 10**9), "claims 1000000000 settings, and geom reads up to"),
        (
            struct.pack("<2QQ", 0, 1, 1) + b"k" + struct.pack("<2IQ", 9, 8, 10**10),
            "claims 10000000000 strings in 'k', and geom reads up to",
        ),
        (
            struct.pack("<2QQ", 0, 1, 1) + b"k" + struct.pack("<IQ", 8, 10**11),
            "its header has more than 256 MiB",
        ),
    ],
)
def test_a_gguf_file_with_a_hole_is_refused_at_once(
    header: bytes, reason: str, command: Command
) -> None:
    with Path("W.gguf").open("wb") as file:
        file.write(b"GGUF" + struct.pack("<I", 3) + header)
        file.truncate(1 << 38)  # of which nothing is on the disk
    started = time.monotonic()
    assert reason in refused(command(*READERS["W.gguf"]))
    assert time.monotonic() - started < 10


def test_a_file_that_should_be_small_is_not_read_whole(command: Command) -> None:
    checkpoint(Path("model"))
    with Path("model/config.json").open("wb") as file:
        file.truncate(1 << 38)
    assert "has more than 256 MiB" in refused(command(*READERS["model/config.json"]))


# The threat model


def test_every_test_that_the_threat_model_names_is_there() -> None:
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    named = re.findall(r"`(test_\w+)\.py::(test_\w+)`", page)
    assert len(named) >= 20
    for file, name in named:
        (found,) = TESTS.rglob(f"{file}.py")
        text = found.read_text("utf-8")
        assert re.search(rf"^    *def {name}\(|^def {name}\(", text, re.MULTILINE), (file, name)


def test_every_line_of_the_threat_model_names_its_test() -> None:
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    claims = [row for row in rows if not re.match(r"\|[ -]*\||\| what", row)]
    assert len(claims) >= 15
    assert all(re.search(r"`test_\w+\.py::test_\w+`", row) for row in claims)
