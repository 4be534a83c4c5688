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
from support import ctranslate2_files, gguf_files
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
        root = self.server.root
        files = [path for path in sorted(root.rglob("*")) if path.is_file()]
        siblings = [
            {"rfilename": str(path.relative_to(root)), "size": path.stat().st_size}
            for path in files
        ]
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
        large = name.endswith((".safetensors", ".gguf", "model.bin"))
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


DIGEST = "import sys, geom; print(*(geom.load(model).digest for model in sys.argv[1:]))"


def digest(run: Run, *models: str, **more: str) -> str:
    """Return the digest that all of the models have, or the digests if they differ."""
    done = run("-c", DIGEST, *models, **more)
    assert (done.code, done.err) == (0, "")
    return " ".join(sorted(set(done.out.split())))


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


def test_a_place_on_the_hub_is_written_in_many_ways(hub: Hub, run: Run) -> None:
    single(hub.root)
    (hub.root / "inside").mkdir()
    for name in ("config.json", "model.safetensors"):
        (hub.root / name).rename(hub.root / "inside" / name)
        (hub.root / name).symlink_to(hub.root / "inside" / name)
    models = (
        "hf:acme/toy",
        "hf:acme/toy@old",
        f"hf:acme/toy@{OLDER}",
        "hf:hf://acme/toy",
        "hf:hf://acme/toy@old",
        "hf:https://huggingface.co/acme/toy",
        "hf:https://huggingface.co/acme/toy/",
        "hf:huggingface.co/acme/toy",
        "hf:https://huggingface.co/acme/toy/tree/old",
        "hf:https://hf.co/acme/toy/tree/main",
        f"hf:{hub.url}/acme/toy/tree/old",
        "hf:https://huggingface.co/acme/toy/tree/old/inside",
        "hf:acme/toy@old/inside",
    )
    files = (
        "https://huggingface.co/acme/toy/blob/old/model.safetensors",
        "https://huggingface.co/acme/toy/resolve/main/inside/model.safetensors",
        f"{hub.url}/acme/toy/blob/main/model.safetensors",
    )
    query = "?norm=rmsnorm&gamma=model.norm.weight"
    assert digest(run, *models, *(f"safetensors:{file}{query}" for file in files)) == TRUTH
    paths = [path.partition("?")[0] for _, path, _ in hub.requests if "/api/models/" in path]
    asked = {path.rpartition("/revision/")[2] for path in paths}
    assert asked >= {"old", "main", OLDER}


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            "hf:https://huggingface.co/acme/toy/blob/old/model.safetensors",
            "is the address of a file; write hf:acme/toy@old, or safetensors:https://hugging",
        ),
        ("hf:https://huggingface.co/datasets/acme/toy", "is not the address of a model on the Hub"),
        ("hf:https://huggingface.co/acme/toy/discussions/3", "that names no files; write hf:acme"),
        ("hf:acme/toy@old?revision=main", "names the revision 'old', and ?revision= another"),
        ("hf:https://127.0.0.1/acme/toy", "model hf: does not take a https:// address"),
        ("gguf:acme/toy", "acme/toy has 0 GGUF files; check its name"),
        ("gguf:acme/toy/none.gguf", "acme/toy has no file none.gguf; check its name"),
        (
            "gguf:acme/nothing/m.gguf",
            "acme/nothing/m.gguf is not a file on this machine, and acme/nothing is not a local",
        ),
    ],
)
def test_another_place_is_one_line(model: str, reason: str, hub: Hub, run: Run) -> None:
    single(hub.root)
    assert reason in refused(run, model)


def layered(path: Path, tensors: dict[str, Any], settings: dict[str, Any] | None = None) -> None:
    """Write a GGUF file in which the readout lies behind 8 MiB of layers and a long vocabulary."""
    layers = {"blk.0.ffn_up.weight": np.zeros((1 << 13, 256), np.float32)}

    def tokens(writer: Any) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list([f"token{n}" for n in range(len(W))])
        writer.add_token_merges(["a b" * 100] * 10_000)

    gguf_files.write(path, {**layers, **tensors}, gguf_files.RMS | (settings or {}), tokens=tokens)


GGUF: dict[str, Any] = {"output.weight": W, "output_norm.weight": GAMMA}


def test_a_gguf_file_on_the_hub_is_read_by_ranges(hub: Hub, run: Run) -> None:
    layered(hub.root / "toy-Q8.gguf", GGUF)
    size = (hub.root / "toy-Q8.gguf").stat().st_size
    models = (
        "gguf:acme/toy/toy-Q8.gguf",
        "gguf:acme/toy",
        "gguf:hf://acme/toy/toy-Q8.gguf",
        "gguf:https://huggingface.co/acme/toy/blob/main/toy-Q8.gguf",
        "gguf:https://huggingface.co/acme/toy/resolve/main/toy-Q8.gguf?download=true",
    )
    layered(Path("here.gguf"), GGUF)
    assert digest(run, "gguf:here.gguf", *models) == TRUTH
    header = 3_200_000
    assert W.nbytes + header < hub.sent < W.nbytes + 2 * header + (1 << 20) < size
    before = hub.sent
    assert digest(run, models[0], HF_HUB_OFFLINE="1") == TRUTH
    assert hub.sent == before


def test_a_split_gguf_model_on_the_hub_is_read_from_any_part(hub: Hub, run: Run) -> None:
    names = [f"toy-{n:05}-of-00002.gguf" for n in (1, 2)]
    parts = ({"output_norm.weight": GAMMA}, {"output.weight": W})
    for n, (name, tensors) in enumerate(zip(names, parts, strict=True)):
        layers = {f"blk.{n}.w": GAMMA}
        split = {"split.no": n, "split.count": 2, "split.tensors.count": 4}
        gguf_files.write(hub.root / name, layers | tensors, gguf_files.RMS | split)
    assert digest(run, *(f"gguf:acme/toy@old/{name}" for name in names)) == TRUTH
    (hub.root / names[0]).unlink()
    assert f"and {names[0]} is not in the same folder" in refused(run, f"gguf:acme/toy/{names[1]}")


def test_an_adapter_here_has_its_base_on_the_hub(hub: Hub, run: Run, tmp_path: Path) -> None:
    single(hub.root)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    head: dict[str, Any] = {"base_model.model.lm_head.weight": W[::-1].copy()}
    write(adapter / "adapter_model.safetensors", head)
    settings = {"peft_type": "LORA", "modules_to_save": ["lm_head"], "revision": "old"}
    settings |= {"base_model_name_or_path": "acme/toy"}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    turned = geom.Readout.fold(W[::-1], gamma=GAMMA, norm="rmsnorm").digest
    assert digest(run, "hf:adapter") == turned
    asked = {path for _, path, _ in hub.requests if "/api/models/" in path}
    assert asked == {"/api/models/acme/toy/revision/old?blobs=true"}
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (hub.root / name).write_bytes((adapter / name).read_bytes())
    # transformers too takes the base that an adapter on the Hub names, here the same repository
    assert "acme/toy@old, the base of acme/toy, is an adapter itself" in refused(run, "hf:acme/toy")
    assert digest(run, "hf:acme/toy?adapter=no") == TRUTH


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


def test_of_a_ctranslate2_model_the_readout_is_fetched(hub: Hub, run: Run, tmp_path: Path) -> None:
    layers = {f"decoder/layer_{n}/ffn/weight": np.zeros((3, MIB), np.float32) for n in range(4)}
    head = {"decoder/embeddings/weight": W, **layers, "decoder/layer_norm/gamma": GAMMA}
    aliases = [("decoder/projection/weight", "decoder/embeddings/weight")]
    local = ctranslate2_files.save(tmp_path / "local", head, aliases)
    (local / "model.bin").rename(hub.root / "model.bin")
    assert digest(run, "ct2:acme/toy") == digest(run, f"ct2:{hub.root}")
    assert hub.sent < 5 * MIB < (hub.root / "model.bin").stat().st_size / 10
    sent = hub.sent
    digest(run, "ct2:acme/toy")
    assert hub.sent - sent < MIB / 10
