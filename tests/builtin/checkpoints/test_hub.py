"""``hf:OWNER/NAME`` against a local Hub, in separate processes as users have them."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray

import geom
from support.command import Done
from support.server import Handler, Server, serving

MIB = 1 << 20
COMMIT, OLDER = "c0ffee" + "0" * 34, "decade" + "0" * 34
TOKEN = "hf_letmein"
RNG = np.random.default_rng(11)
W = RNG.standard_normal((4096, 256)).astype(np.float32)
"""The matrix has 4 MiB."""
GAMMA = RNG.uniform(0.5, 2, 256).astype(np.float32)


class Hub(Server):
    """The addresses that huggingface_hub requests for one model."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.RequestHandlerClass = HubHandler
        self.private = False
        self.gated = False
        self.down = False
        self.elsewhere = self.url.replace("127.0.0.1", "localhost")
        self.leaked: set[str] = set()
        """The credentials that reached the other host."""

    def find(self, path: str) -> Path | None:
        return super().find(path.removeprefix("/cdn"))


class HubHandler(Handler):
    """The API as https://huggingface.co/docs/hub/api describes and huggingface_hub reads it."""

    server: Hub

    def answer(self, head: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/cdn/"):
            self.server.leaked |= {self.headers["Authorization"]} - {None}
            super().answer(head)
            return
        self.server.requests.append((self.command, self.path, self.headers.get("Range")))
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        api = re.fullmatch(r"/api/models/(\w+/\w+)(?:/revision/(.+))?", path)
        file = re.fullmatch(r"/(\w+/\w+)/resolve/([^/]+)/(.+)", path)
        match = api or file
        if self.server.down:
            self.tell(503)
        elif match is None or match[1] != "acme/toy" or (self.server.private and not known):
            self.tell(404 if known else 401, "RepoNotFound")
        elif match[2] not in (None, "main", COMMIT, "old", OLDER):
            self.tell(404, "RevisionNotFound")
        elif api:
            self.describe(OLDER if match[2] in ("old", OLDER) else COMMIT)
        elif self.server.gated and not known:
            self.tell(401 if self.headers.get("Authorization") is None else 403, "GatedRepo")
        else:
            self.resolve(match[3])

    def describe(self, commit: str) -> None:
        files = [path for path in sorted(self.server.root.iterdir()) if path.is_file()]
        siblings = [{"rfilename": path.name, "size": path.stat().st_size} for path in files]
        body = json.dumps({"id": "acme/toy", "sha": commit, "siblings": siblings}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def resolve(self, name: str) -> None:
        """Redirect large files to another host, as the Hub does."""
        path = self.server.root / name
        if not path.is_file():
            self.tell(404, "EntryNotFound")
            return
        large = name.endswith(".safetensors")
        size = path.stat().st_size
        self.send_response(302 if large else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{name}"')
        self.send_header("Content-Length", "0" if large else str(size))
        if large:
            self.send_header("X-Linked-Size", str(size))
            self.send_header("X-Linked-ETag", f'"{name}"')
            self.send_header("Location", f"{self.server.elsewhere}/cdn/{name}")
        self.end_headers()
        if self.command == "GET" and not large:
            self.server.sent += self.wfile.write(path.read_bytes())

    def tell(self, status: int, code: str | None = None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def write(path: Path, tensors: dict[str, NDArray[Any] | int]) -> None:
    """Write a safetensors file; a number means a tensor of so many bytes that takes no disk."""
    header, at = {}, 0
    for name, array in tensors.items():
        size = array if isinstance(array, int) else array.nbytes
        shape = [size // 4] if isinstance(array, int) else list(array.shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            if isinstance(array, int):
                file.seek(array, os.SEEK_CUR)
            else:
                file.write(array.tobytes())
        file.truncate(8 + len(text) + at)


def single(root: Path) -> None:
    tensors: dict[str, NDArray[Any] | int] = {
        "model.layers.0.w": 98 * MIB,
        "lm_head.weight": W,
        "model.layers.1.w": 98 * MIB,
    }
    tensors |= {"model.norm.weight": GAMMA, "other.weight": W[:8]}
    write(root / "model.safetensors", tensors)


def sharded(root: Path) -> None:
    shards: list[dict[str, NDArray[Any] | int]] = [
        {"model.embed_tokens.weight": 98 * MIB},
        {"model.layers.0.w": 50 * MIB, "model.norm.weight": GAMMA},
        {"model.layers.1.w": 48 * MIB, "lm_head.weight": W},
    ]
    names = [f"model-{i}-of-3.safetensors" for i in (1, 2, 3)]
    for name, tensors in zip(names, shards, strict=True):
        write(root / name, tensors)
    index = {t: name for name, tensors in zip(names, shards, strict=True) for t in tensors}
    text = json.dumps({"metadata": {}, "weight_map": index})
    (root / "model.safetensors.index.json").write_text(text)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    root = tmp_path / "served"
    root.mkdir()
    config = {"model_type": "llama", "hidden_size": 256, "tie_word_embeddings": False}
    (root / "config.json").write_text(json.dumps(config))
    with serving(Hub(root)) as running:
        assert isinstance(running, Hub)
        yield running


Run = Callable[..., Done]


@pytest.fixture
def run(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a command line whose process uses this Hub and caches files here."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
        monkeypatch.delenv(name)
    surroundings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "NO_PROXY": "127.0.0.1,localhost",
    }

    def start(*arguments: str, **more: str) -> Done:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            encoding="utf-8",
            env=os.environ | surroundings | more,
            timeout=100,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return start


DIGEST = "import sys, geom; print(geom.load(sys.argv[1]).digest)"


def digest(run: Run, model: str, **more: str) -> str:
    done = run("-c", DIGEST, model, **more)
    assert (done.code, done.err) == (0, "")
    return done.out.strip()


def refused(run: Run, model: str, **more: str) -> str:
    done = run("-m", "geom.cli", "run", "-m", model, "--out", "run.db", **more)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("geom: ")
    assert done.err.count("\n") == 1, done.err
    return done.err


TRUTH = geom.Readout.fold(W, gamma=GAMMA, norm="rmsnorm").digest


@pytest.mark.parametrize("layout", [single, sharded])
def test_only_the_readout_is_fetched_and_only_once(
    layout: Callable[[Path], None], hub: Hub, run: Run
) -> None:
    layout(hub.root)
    assert sum(path.stat().st_size for path in hub.root.iterdir()) > 200 * MIB
    assert digest(run, "hf:acme/toy") == TRUTH
    assert hub.sent < 2 * MIB + W.nbytes  # W is not sent a second time
    before = hub.sent
    assert digest(run, "hf:acme/toy") == TRUTH
    assert hub.sent == before


def test_what_was_read_can_be_read_offline(hub: Hub, run: Run) -> None:
    sharded(hub.root)
    assert digest(run, "hf:acme/toy") == TRUTH
    hub.requests.clear()
    assert digest(run, "hf:acme/toy", HF_HUB_OFFLINE="1") == TRUTH
    assert hub.requests == []
    hub.down = True
    assert digest(run, "hf:acme/toy") == TRUTH


def test_what_was_not_read_is_refused_offline(hub: Hub, run: Run) -> None:
    single(hub.root)
    line = refused(run, "hf:acme/toy", HF_HUB_OFFLINE="1")
    assert "acme/toy is not in the cache, and HF_HUB_OFFLINE is set; unset it" in line
    digest(run, "hf:acme/toy")
    line = refused(run, "hf:acme/toy?unembed=other.weight&norm=none", HF_HUB_OFFLINE="1")
    assert "model.safetensors of acme/toy is not in the cache" in line


def test_a_checkpoint_that_is_here_whole_is_not_fetched(hub: Hub, run: Run) -> None:
    write(hub.root / "model.safetensors", {"lm_head.weight": W, "model.norm.weight": GAMMA})
    fetch = "import sys, huggingface_hub as h; h.hf_hub_download('acme/toy', sys.argv[1])"
    for name in ("config.json", "model.safetensors"):
        assert run("-c", fetch, name).code == 0
    before = hub.sent
    assert digest(run, "hf:acme/toy") == TRUTH
    assert hub.sent == before
    hub.requests.clear()
    assert digest(run, "hf:acme/toy", HF_HUB_OFFLINE="1") == TRUTH
    assert hub.requests == []


def test_a_cut_connection_is_resumed(hub: Hub, run: Run) -> None:
    single(hub.root)
    hub.cut_at, hub.cuts = 2 * MIB, 1
    assert digest(run, "hf:acme/toy") == TRUTH
    assert hub.cuts == 0
    assert hub.sent <= 5 * MIB


def test_one_file_by_its_address(hub: Hub, run: Run) -> None:
    single(hub.root)
    model = "safetensors:hf://acme/toy@old/model.safetensors?norm=rmsnorm&gamma=model.norm.weight"
    assert digest(run, model) == TRUTH
    assert any(OLDER in path for _, path, _ in hub.requests)
    assert hub.sent <= 5 * MIB
    line = refused(run, "safetensors:hf://acme/toy/other.safetensors")
    assert "acme/toy has no file other.safetensors" in line


def test_a_private_model_wants_a_token(hub: Hub, run: Run) -> None:
    single(hub.root)
    hub.private = True
    line = refused(run, "hf:acme/toy")
    assert "not on the Hub at" in line
    assert "log in with `hf auth login` or set HF_TOKEN" in line
    assert digest(run, "hf:acme/toy", HF_TOKEN=TOKEN) == TRUTH
    assert hub.leaked == set()


def test_a_token_gets_along_with_netrc(hub: Hub, run: Run, tmp_path: Path) -> None:
    single(hub.root)
    hub.private = True
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password secret\n")
    netrc.chmod(0o600)
    assert digest(run, "hf:acme/toy", HF_TOKEN=TOKEN, NETRC=str(netrc)) == TRUTH


@pytest.mark.parametrize("token", ["", "hf_wrong"])
def test_a_gated_model_says_where_to_ask(token: str, hub: Hub, run: Run) -> None:
    single(hub.root)
    hub.gated = True
    line = refused(run, "hf:acme/toy", HF_TOKEN=token)
    assert f"acme/toy is gated; ask for access at {hub.url}/acme/toy" in line
    assert digest(run, "hf:acme/toy", HF_TOKEN=TOKEN) == TRUTH


def test_a_gated_file_is_one_line(hub: Hub, run: Run) -> None:
    single(hub.root)
    hub.gated = True
    line = refused(run, "safetensors:hf://acme/toy/model.safetensors")
    assert "model.safetensors of acme/toy: access denied (401); ask for access at" in line


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("hf:acme/nothing", "acme/nothing is not a local directory, and not on the Hub at"),
        ("hf:acme/toy?revision=gone", "acme/toy has no revision 'gone'"),
        ("hf:a/b/c", "a/b/c is neither a local directory nor an id of the Hub"),
        ("hf:../gone", "../gone is neither a local directory nor an id of the Hub"),
        ("hf:no such", "no such is neither a local directory nor an id of the Hub"),
    ],
)
def test_a_model_that_is_not_there_is_one_line(model: str, reason: str, hub: Hub, run: Run) -> None:
    assert reason in refused(run, model)


def test_a_hub_out_of_reach_is_one_line(hub: Hub, run: Run) -> None:
    line = refused(run, "hf:acme/toy", HF_ENDPOINT="http://127.0.0.1:9")
    assert "acme/toy is not in the cache, and http://127.0.0.1:9 cannot be reached" in line
    assert "give a local directory" in line


def test_a_server_that_is_no_hub_is_one_line(hub: Hub, run: Run) -> None:
    hub.RequestHandlerClass = _NoHub
    assert "acme/toy" in refused(run, "hf:acme/toy")


class _NoHub(BaseHTTPRequestHandler):
    """A handler that answers every request with a web page."""

    def do_GET(self) -> None:
        body = b"<html>Log in to the wireless network</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Print nothing."""
