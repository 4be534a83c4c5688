"""A local file server that counts what it sends, and misbehaves on demand."""

from __future__ import annotations

import base64
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_PIECE = 1 << 16


class Server(ThreadingHTTPServer):
    """A server of the files in a folder, with HEAD, ranges and an ETag; its attributes set how."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.sent = 0
        """The bytes of bodies sent so far."""
        self.requests: list[tuple[str, str, str | None]] = []
        """The method, path and range of each request so far."""
        self.etag: str | None = '"one"'
        self.ranges = True
        self.lengths = True
        self.cut_at: int | None = None
        """A longer body is cut off here, and the connection is closed."""
        self.cuts = 0
        """How many bodies to cut; reduced by one after each cut."""
        self.short_by = 0
        """How many bytes fewer than asked for are sent, with an honest Content-Length."""
        self.really: int | None = None
        """The file's true length, if it is less than the server claims."""
        self.shift = 0
        """How far a range is off, in bytes."""
        self.pace = 0.0
        """The seconds between pieces."""
        self.user: str | None = None
        """The user:password that the server requires."""
        self.refuse: list[int] = []
        """The statuses of the next GETs."""
        self.always: int | None = None
        """The status of every request."""
        self.coding: str | None = None
        self.silent = False
        self.stop = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that has disconnected."""

    def find(self, path: str) -> Path | None:
        """Return the file at a path, or None."""
        file = self.root / path.lstrip("/")
        return file if file.is_file() else None


class Handler(BaseHTTPRequestHandler):
    """The handler of one connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        self.answer(head=True)

    def do_GET(self) -> None:
        self.answer(head=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def answer(self, head: bool) -> None:
        server = self.server
        server.requests.append((self.command, self.path, self.headers.get("Range")))
        if server.silent:
            server.stop.wait(60)
            self.close_connection = True
            return
        if server.user is not None:
            wanted = "Basic " + base64.b64encode(server.user.encode()).decode()
            if self.headers.get("Authorization") != wanted:
                self.refuse(401)
                return
        if server.always is not None:
            self.refuse(server.always)
            return
        if server.refuse and not head:
            self.refuse(server.refuse.pop(0))
            return
        file = server.find(self.path)
        if file is None:
            self.refuse(404)
            return
        self.send_file(file, head)

    def refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_file(self, file: Path, head: bool) -> None:
        server, size = self.server, file.stat().st_size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        partial = bool(server.ranges and wanted)
        begin, end = (int(wanted[1]), int(wanted[2]) + 1) if wanted and partial else (0, size)
        begin, end = begin + server.shift, min(end, size) - server.short_by
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
        elif server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.coding:
            self.send_header("Content-Encoding", server.coding)
        if server.lengths:
            self.send_header("Content-Length", str(end - begin))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if not head:
            self.send_body(file, begin, end)

    def send_body(self, file: Path, begin: int, end: int) -> None:
        server = self.server
        stop = end if server.really is None else min(end, server.really)
        if server.cuts and server.cut_at is not None and stop - begin > server.cut_at:
            stop = begin + server.cut_at
            server.cuts -= 1
        with file.open("rb") as content:
            content.seek(begin)
            while begin < stop:
                piece = content.read(min(_PIECE, stop - begin))
                self.wfile.write(piece)
                server.sent += len(piece)
                begin += len(piece)
                time.sleep(server.pace)
        if begin < end:
            time.sleep(1.0)  # whatever the client has not read from its buffer by now is lost
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Run the server within the block."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()
