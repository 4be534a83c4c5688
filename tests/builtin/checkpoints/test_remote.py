"""Files behind a server that counts bytes and misbehaves: the right readout, or one clear line."""

from __future__ import annotations

import errno
import gzip
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from numpy.typing import NDArray

import geom
from geom import InputError
from geom_plugins.checkpoints import remote, transport
from geom_plugins.checkpoints.locations import open_file
from support.command import Command, environment
from support.server import Server

MIB = 1 << 20
RNG = np.random.default_rng(7)
W = RNG.standard_normal((4096, 256)).astype(np.float32)
"""The matrix has 4 MiB."""
GAMMA = RNG.uniform(0.5, 2, 256).astype(np.float32)


def checkpoint(path: Path, filler: int = 98 * MIB) -> Path:
    """Write a safetensors file of W between two large unused tensors that take no disk."""
    places: dict[str, tuple[NDArray[Any] | None, list[int], int]] = {
        "layers.0": (None, [filler // 4], filler),
        "lm_head.weight": (W, list(W.shape), W.nbytes),
        "layers.1": (None, [filler // 4], filler),
        "norm.weight": (GAMMA, [256], GAMMA.nbytes),
    }
    header, at = {}, 0
    for name, (_, shape, size) in places.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array, _, size in places.values():
            if array is None:
                file.seek(size, os.SEEK_CUR)
            else:
                file.write(array.tobytes())
    return path


@pytest.fixture(autouse=True)
def _no_patience(own_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_WAITS", (0.01, 0.02, 0.03))
    monkeypatch.setattr(transport, "TIMEOUT", 2.0)


QUERY = "?gamma=norm.weight&norm=rmsnorm"


def load(server: Server, query: str = QUERY) -> geom.Readout:
    return geom.load(f"safetensors:{server.url}/m.safetensors{query}")


def truth() -> str:
    """Return the digest of the true readout."""
    return geom.Readout.fold(W, gamma=GAMMA, norm="rmsnorm").digest


def cached(tmp_path: Path, pattern: str = "*") -> list[Path]:
    return [p for p in (tmp_path / "cache").rglob(pattern) if p.is_file()]


# Only the bytes that are needed


def test_of_200_mib_the_readout_of_4_is_read(server: Server) -> None:
    path = checkpoint(server.root / "m.safetensors")
    assert path.stat().st_size > 200 * MIB
    readout = load(server)
    assert server.sent <= 5 * MIB
    assert readout.digest == truth()
    assert readout.digest == geom.load(f"safetensors:{path}{QUERY}").digest


def test_a_second_load_sends_nothing(server: Server) -> None:
    checkpoint(server.root / "m.safetensors")
    load(server)
    before = server.sent
    assert load(server).digest == truth()
    assert server.sent == before


def test_another_version_of_the_file_is_fetched_anew(server: Server) -> None:
    checkpoint(server.root / "m.safetensors", 4096)
    load(server)
    server.etag, before = '"two"', server.sent
    assert load(server).digest == truth()
    assert server.sent > before + 4 * MIB


def test_with_no_version_nothing_is_kept(server: Server, tmp_path: Path) -> None:
    checkpoint(server.root / "m.safetensors", 4096)
    server.etag = None
    assert load(server).digest == truth()
    assert cached(tmp_path) == []
    before = server.sent
    assert load(server).digest == truth()
    assert server.sent > before + 4 * MIB


def test_progress_counts_the_bytes(server: Server) -> None:
    checkpoint(server.root / "m.safetensors", 4096)
    seen: list[tuple[str, float, float, str]] = []
    geom.run(
        f"safetensors:{server.url}/m.safetensors",
        certifiers=[],
        tokens=[0],
        progress=lambda *step: seen.append(step),
    ).close()
    fetched = [step for step in seen if step[0] == "fetch"]
    assert fetched[-1] == ("fetch", W.nbytes, W.nbytes, "bytes")
    assert [done for _, done, *_ in fetched] == sorted(done for _, done, *_ in fetched)


# Cuts


def test_a_cut_connection_is_resumed(server: Server) -> None:
    checkpoint(server.root / "m.safetensors")
    server.cut_at, server.cuts = 2 * MIB, 1
    assert load(server).digest == truth()
    assert server.cuts == 0
    assert server.sent < 2 * MIB + W.nbytes  # W is not sent a second time


def test_a_server_that_cuts_every_connection_is_read_bit_by_bit(server: Server) -> None:
    checkpoint(server.root / "m.safetensors")
    server.cut_at, server.cuts = MIB, 10**6
    assert load(server).digest == truth()
    assert server.sent <= 8 * MIB


def test_answers_shorter_than_asked_for_are_continued(server: Server) -> None:
    checkpoint(server.root / "m.safetensors", 4096)
    whole = open_file(f"{server.url}/m.safetensors").span(0, 4 * MIB).bytes()
    server.short_by = 1000
    server.etag = '"two"'
    with pytest.raises(InputError, match="changed while it was read"):
        open_file(f"{server.url}/m.safetensors").span(0, 5000)  # HEAD is short as well
    server.short_by = 0
    file = open_file(f"{server.url}/m.safetensors")
    server.short_by = 1000
    with pytest.raises(InputError, match=r"connection was cut, at byte \d+ of"):
        file.span(0, 4 * MIB)
    server.short_by = 0
    assert open_file(f"{server.url}/m.safetensors").span(0, 4 * MIB).bytes() == whole


def test_errors_that_pass_are_waited_for(server: Server) -> None:
    checkpoint(server.root / "m.safetensors", 4096)
    server.refuse = [500, 503, 429]
    assert load(server).digest == truth()


def test_a_killed_process_is_continued(server: Server, tmp_path: Path) -> None:
    checkpoint(server.root / "m.safetensors")
    server.pace = 0.02
    model = f"safetensors:{server.url}/m.safetensors{QUERY}"
    with subprocess.Popen(
        [sys.executable, "-c", "import sys, geom; geom.load(sys.argv[1])", model],
        env=environment(None),
    ) as process:
        deadline = time.monotonic() + 60
        while server.sent < MIB and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert MIB <= server.sent < 3 * MIB
    (part,) = cached(tmp_path, "*.part")
    kept = part.stat().st_size
    assert kept > 0
    server.pace, before = 0.0, server.sent
    assert load(server).digest == truth()
    assert server.sent - before <= W.nbytes - kept + MIB // 4  # and bytes already on their way
    assert cached(tmp_path, "*.part") == []


def test_two_at_once_fetch_each_byte_once(server: Server) -> None:
    checkpoint(server.root / "m.safetensors")
    server.pace = 0.005
    digests: list[str] = []
    threads = [
        threading.Thread(target=lambda: digests.append(load(server).digest)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert digests == [truth()] * 2
    assert server.sent <= 5 * MIB


# Servers without ranges


def test_without_ranges_the_file_is_read_once_and_forwards(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(server.root / "m.safetensors", 8 * MIB)
    server.ranges = False
    assert load(server).digest == truth()
    assert sum(method == "GET" for method, *_ in server.requests) == 1
    assert server.sent <= 21 * MIB


def test_without_ranges_reading_stops_after_the_last_wanted_byte(server: Server) -> None:
    checkpoint(server.root / "m.safetensors", 64 * MIB)
    server.ranges = False
    assert load(server, "").digest == geom.Readout.fold(W).digest
    assert server.sent <= (64 + 4 + 16) * MIB  # and the sockets' buffers


def test_without_ranges_going_back_starts_again(server: Server) -> None:
    content = RNG.bytes(3 * MIB)
    (server.root / "f").write_bytes(content)
    server.ranges = False
    file = open_file(f"{server.url}/f")
    for begin, end in [(2 * MIB, 3 * MIB), (5, 9), (7, 2 * MIB), (0, 0), (3 * MIB - 1, 3 * MIB)]:
        assert file.span(begin, end).bytes() == content[begin:end]


def test_without_ranges_a_cut_is_survived(server: Server) -> None:
    checkpoint(server.root / "m.safetensors", 4096)
    server.ranges = False
    server.cut_at, server.cuts = 2 * MIB, 1
    assert load(server).digest == truth()


def test_without_a_length_the_line_says_so(server: Server) -> None:
    checkpoint(server.root / "m.safetensors", 4096)
    server.lengths = False
    with pytest.raises(InputError, match="does not say how long the file is; fetch it whole"):
        load(server)


# Wrong answers


def test_a_truncated_file_is_refused(server: Server) -> None:
    checkpoint(server.root / "m.safetensors", 4096)
    server.really = 3 * MIB
    with pytest.raises(
        InputError, match=r"was cut, at byte 3145728 of .*the bytes so far are kept"
    ):
        load(server)


def test_a_file_that_lacks_its_end_is_refused(server: Server) -> None:
    path = checkpoint(server.root / "m.safetensors", 4096)
    os.truncate(path, 3 * MIB)
    with pytest.raises(InputError, match="lies outside it; the file may be cut short"):
        load(server)


def test_a_file_that_changes_between_two_requests_is_refused(server: Server) -> None:
    checkpoint(server.root / "m.safetensors", 4096)
    file = open_file(f"{server.url}/m.safetensors")
    file.span(0, 8)
    server.etag = '"two"'
    with pytest.raises(InputError, match="changed while it was read"):
        file.span(8, 100)


def test_a_file_that_changes_its_length_is_refused(server: Server) -> None:
    path = checkpoint(server.root / "m.safetensors", 4096)
    server.etag = None
    file = open_file(f"{server.url}/m.safetensors")
    file.span(0, 8)
    os.truncate(path, 2 * MIB)
    with pytest.raises(InputError, match="changed while it was read"):
        file.span(8, 100)


def test_another_range_than_asked_for_is_refused(server: Server) -> None:
    checkpoint(server.root / "m.safetensors", 4096)
    file = open_file(f"{server.url}/m.safetensors")
    server.shift = 3
    with pytest.raises(InputError, match="other bytes than were requested"):
        file.span(8, 100)


def test_compressed_parts_are_refused(server: Server) -> None:
    (server.root / "f").write_bytes(gzip.compress(bytes(1000)))
    file = open_file(f"{server.url}/f")
    server.coding = "gzip"
    with pytest.raises(InputError, match="sends it compressed"):
        file.span(0, 10)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (struct.pack("<Q", 10**9) + b"{}", "do not begin with a header's length"),
        (
            b'{"lm_head.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 9000]}}',
            "lies outside",
        ),
        (
            b'{"lm_head.weight": {"dtype": "F32", "shape": [9, 2], "data_offsets": [0, 16]}}',
            "has 16 bytes, and needs 72",
        ),
    ],
)
def test_a_header_that_lies_is_one_line(
    header: bytes, reason: str, server: Server, command: Command
) -> None:
    if header.startswith(b"{"):
        header = struct.pack("<Q", len(header)) + header
    (server.root / "m.safetensors").write_bytes(header + bytes(16))
    assert reason in refused(command, f"{server.url}/m.safetensors")
    assert server.sent < 1000


# No answer


def refused(command: Command, address: str) -> str:
    done = command("run", "-m", f"safetensors:{address}", "--out", "run.db")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("geom: ")
    assert done.err.count("\n") == 1
    assert not Path("run.db").exists()
    return done.err


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "access denied (401); it needs credentials: write https://USER:PASSWORD@HOST"),
        (403, "access denied (403)"),
        (404, "does not exist (404); check the address"),
        (410, "does not exist (410)"),
        (418, "the server answers 418"),
        (503, "the server answers 503 Service Unavailable; try again later"),
    ],
)
def test_a_refusal_is_one_line(status: int, reason: str, server: Server, command: Command) -> None:
    server.always = status
    assert reason in refused(command, f"{server.url}/m.safetensors")


def test_a_file_that_is_not_there_is_one_line(server: Server, command: Command) -> None:
    assert "gone.safetensors does not exist (404)" in refused(
        command, f"{server.url}/gone.safetensors"
    )


def test_nobody_listening_is_one_line(command: Command) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = refused(command, f"http://127.0.0.1:{port}/m.safetensors")
    assert "cannot be reached" in line


def test_an_unknown_host_is_one_line(command: Command) -> None:
    line = refused(command, "http://nowhere.invalid/m.safetensors")
    assert "nowhere.invalid/m.safetensors: the host is unknown" in line


def test_a_server_that_never_answers_is_one_line(
    server: Server, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "TIMEOUT", 0.3)
    server.silent = True
    line = refused(command, f"{server.url}/m.safetensors")
    assert "has not answered for 0.3 s; try again later" in line


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://", "names no host"),
        ("http://[::1/x", "is not an address"),
        ("http://127.0.0.1:99999/x", "is not an address"),
        ("nope://x/y", "'nope' is not a protocol geom opens; give a local path, or"),
        ("s3://bucket/m.safetensors", "s3fs"),
        ("file:///nowhere/m.safetensors", "file:// is not a protocol geom opens; give the path"),
        ("memory://nowhere", "'memory' is not a protocol geom opens"),
        ("hf://owner/name", "names no file; write hf://OWNER/NAME/FILE"),
    ],
)
def test_an_address_that_is_none_is_one_line(address: str, reason: str, command: Command) -> None:
    assert reason in refused(command, address)


def test_a_full_disk_is_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(server.root / "m.safetensors", 4096)

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(remote.os, "write", full)
    with pytest.raises(InputError, match=r"No space left on device; make room, or set HF_HOME"):
        load(server)


# Credentials


def test_credentials_open_the_file_and_are_kept_nowhere(
    server: Server, tmp_path: Path, command: Command
) -> None:
    checkpoint(server.root / "m.safetensors", 4096)
    server.user = "ann:s3cr@t/x"
    address = server.url.replace("://", "://ann:s3cr%40t%2Fx@")
    model = f"safetensors:{address}/m.safetensors"
    done = command("run", "-m", model, "--tokens", "0", "--out", "run.db")
    assert (done.code, "s3cr" in done.out + done.err) == (0, False)
    assert b"safetensors:http://***@127.0.0.1" in Path("run.db").read_bytes()
    for path in [Path("run.db"), *cached(tmp_path)]:
        assert b"s3cr" not in path.read_bytes()
        assert "s3cr" not in str(path)
    server.user = "ann:other"
    assert "http://***@127.0.0.1" in (line := refused_again(command, model))
    assert "s3cr" not in line


def refused_again(command: Command, model: str) -> str:
    done = command("run", "-m", model, "--tokens", "0", "--out", "other.db")
    assert done.code == 2
    return done.err


def test_credentials_are_not_sent_on_to_another_host(server: Server, tmp_path: Path) -> None:
    import http.server

    seen: list[str | None] = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_response(302)
            self.send_header("Location", f"{server.url}/f")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_: Any) -> None:
            pass

    (server.root / "f").write_bytes(b"0123456789")
    server.user = "ann:secret"  # the credentials would be accepted
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as front:
        threading.Thread(target=front.serve_forever, args=(0.02,), daemon=True).start()
        with pytest.raises(InputError, match="access denied"):
            open_file(f"http://ann:secret@127.0.0.1:{front.server_address[1]}/f")
        front.shutdown()
    assert set(seen) == {"Basic YW5uOnNlY3JldA=="}


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://u:p@host/a@b?sig=1&x=2", "https://***@host/a@b?***"),
        ("https://host/a@b", "https://host/a@b"),
        ("hf://o/n@main/f", "hf://o/n@main/f"),
    ],
)
def test_secrets_in_addresses_are_hidden(address: str, shown: str) -> None:
    assert transport.hidden(address) == shown


# Object stores


class Bucket(MemoryFileSystem):
    """A filesystem in memory that fsspec finds in place of S3."""

    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.rpartition("://")[2].strip("/")


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_store_of_objects_goes_the_same_way(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules["fsspec.registry"].__dict__["_registry"], scheme, Bucket)
    content = RNG.bytes(2 * MIB)
    fsspec.filesystem(scheme).pipe_file("/bucket/f", content)
    file = open_file(f"{scheme}://bucket/f")
    assert file.size == len(content)
    assert file.span(100, 2 * MIB - 5).bytes() == content[100:-5]
    with pytest.raises(InputError, match="gone does not exist"):
        open_file(f"{scheme}://bucket/gone")
