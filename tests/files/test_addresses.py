"""Which addresses may be opened, no matter who names them."""

from __future__ import annotations

import json
import re
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from geom import InputError, parse_address
from geom_plugins.checkpoints.locations import open_file
from geom_plugins.checkpoints.transport import Store
from support import ROOT
from support.command import Command
from support.server import Server
from support.strangers import refused, stranger

pytestmark = pytest.mark.usefixtures("work")


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
    for source in ("npz", "hf", "transformer-lens"):
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
    """Return a server that has no files and records the headers of its clients."""

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
    assert "redirects to an address that is not http or https" in line
    assert "root:" not in line


def test_the_lowest_fsspec_allowed_sandboxes_its_templates() -> None:
    """Its ReferenceFileSystem has rendered in jinja2's sandbox since 2026.6.0."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (bound,) = [line for line in project["project"]["dependencies"] if line.startswith("fsspec")]
    year, month = re.fullmatch(r"fsspec\[http\]>=(\d+)\.(\d+)", bound).groups()  # type: ignore[union-attr]
    assert (int(year), int(month)) >= (2026, 6)
