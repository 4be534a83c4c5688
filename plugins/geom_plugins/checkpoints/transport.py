"""The bytes of a file on a server, requested by range.

http and https stream one answer per range, so that a broken connection loses none of the bytes that
have arrived: aiohttp is called directly, on fsspec's event loop. Object stores are read chunk by
chunk through fsspec. Storing the bytes and retrying is the task of `remote`.
"""

from __future__ import annotations

import re
import weakref
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from geom import InputError, parse_address, track_progress

TIMEOUT = 30.0
"""The seconds that a server may stay silent."""

_PIECE = 1 << 20
_CHUNK = 8 << 20
"""The bytes of one request if answers cannot be streamed: enough to outweigh its latency."""

_VALIDATORS = ("ETag", "etag", "Last-Modified", "LastModified", "last_modified", "mtime", "updated")
"""The fields that tell versions of a file apart, by the names in fsspec's file systems."""

_PASSWORD = (
    "it needs credentials: write https://USER:PASSWORD@HOST/..., or put them in the file ~/.netrc"
)


class BrokenError(Exception):
    """A connection failed in a way that may be temporary."""


@dataclass(frozen=True)
class Facts:
    """What a server says about a file; without a ``validator`` the file may change unnoticed."""

    size: int
    validator: str | None


class Transport(Protocol):
    """The connection that delivers the bytes of one file."""

    def pieces(self, begin: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from ``begin`` up to ``end``, in order, as they arrive.

        Raises BrokenError if another try may help, InputError if not.
        """


class Web:
    """A file behind http or https.

    A server that ignores ranges sends the whole file from its start; that one answer is kept open
    and read forwards for as long as the ranges go forwards, and the bytes between them are dropped.
    ``size`` is the file's length, if known. ``remedy`` says what to do if access is denied.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        size: int | None = None,
        *,
        name: str | None = None,
        remedy: str = _PASSWORD,
    ) -> None:
        import aiohttp
        from fsspec import filesystem

        self.name = name or hidden(url)
        self._remedy = remedy
        self._size = size
        self._tag: tuple[str, str] | None = None
        self._answer: _Answer | None = None
        try:
            self._url, basic = _without_user(url)
        except ValueError as error:
            raise InputError(f"{self.name} is not an address: {error}") from error
        # compressed answers would have another length, and their ranges another meaning
        self._headers = {"Accept-Encoding": "identity", **(headers or {}), **basic}
        # aiohttp refuses our header together with an entry of ~/.netrc
        own_credentials = any(key.lower() == "authorization" for key in self._headers)
        self._proxy = _proxy(self._url) if own_credentials else None
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=TIMEOUT)
        self._fs = filesystem(
            "http",
            skip_instance_cache=True,
            headers=self._headers,
            proxy=self._proxy,
            client_kwargs={
                "timeout": timeout,
                "trust_env": not own_credentials,  # proxies and ~/.netrc
                "read_bufsize": 1 << 18,
            },
        )

    def look(self) -> Facts:
        """Return the file's length and version. Raises InputError without an answer or a length."""
        try:
            info = self._fs.info(self._url)
        except Exception as error:  # fsspec hides the cause behind a FileNotFoundError
            raise InputError(str(self._reason(error.__cause__ or error))) from error
        if info.get("size") is None:
            raise InputError(
                f"{self.name}: the server does not say how long the file is; fetch it whole and "
                "give the local file"
            )
        self._size = int(info["size"])
        self._tag = next(
            ((key, info[key]) for key in ("ETag", "Last-Modified") if info.get(key)), None
        )
        return Facts(self._size, None if self._tag is None else self._tag[1])

    def pieces(self, begin: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from ``begin`` up to ``end``, in order, as they arrive."""
        if self._answer is None or self._answer.at > begin:
            self._close()
            self._answer = self._ask(begin, end)
        answer = self._answer
        complete = False
        try:
            if answer.at < begin:
                for _ in track_progress(
                    self._read(answer, begin), "skip", begin - answer.at, "bytes", len
                ):
                    pass
            yield from self._read(answer, end)
            complete = True
        finally:
            if not (complete and answer.whole):
                self._close()

    def _close(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def _ask(self, begin: int, end: int) -> _Answer:
        from fsspec.asyn import sync

        loop, wanted = self._fs.loop, {"Range": f"bytes={begin}-{end - 1}"}
        try:
            response = sync(loop, self._response, wanted)
        except Exception as error:  # any of aiohttp's
            raise self._reason(error) from error
        partial = response.status == 206
        answer = _Answer(loop, response, begin if partial else 0, whole=not partial)
        try:
            self._check(response.headers, begin, partial)
        except InputError:
            answer.close()
            raise
        return answer

    async def _response(self, wanted: Mapping[str, str]) -> Any:
        session, headers = await self._fs.set_session(), {**self._headers, **wanted}
        response = await session.get(self._url, headers=headers, proxy=self._proxy)
        response.raise_for_status()
        return response

    def _check(self, headers: Mapping[str, str], begin: int, partial: bool) -> None:
        """Raise InputError if the answer is not for the file, or the range, that was requested."""
        coding = headers.get("Content-Encoding", "identity")
        if coding not in ("", "identity"):
            raise InputError(
                f"{self.name}: the server sends it compressed ({coding}), which cannot be read in "
                "parts; fetch it whole and give the local file"
            )
        total = headers.get("Content-Length")
        if partial:
            span = re.match(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
            if span is None or int(span[1]) != begin:
                raise InputError(
                    f"{self.name}: the server answers with other bytes than were requested; fetch "
                    "it whole and give the local file"
                )
            total = None if span[2] == "*" else span[2]
        tag = headers.get(self._tag[0]) if self._tag else None
        if (total is not None and self._size is not None and int(total) != self._size) or (
            tag is not None and self._tag is not None and _strong(tag) != _strong(self._tag[1])
        ):
            raise InputError(self._changed())

    def _read(self, answer: _Answer, end: int) -> Iterator[bytes]:
        while answer.at < end:
            try:
                piece = answer.read(min(_PIECE, end - answer.at))
            except Exception as error:  # as above
                raise self._reason(error) from error
            if not piece:
                raise BrokenError(f"{self.name}: the connection was cut")
            yield piece

    def _changed(self) -> str:
        return f"{self.name} changed while it was read, or is cut short; run again"

    def _reason(self, error: BaseException) -> Exception:
        """Describe an error in geom's words: the library's may contain the whole address."""
        import aiohttp

        if isinstance(error, aiohttp.ClientResponseError):
            return self._refusal(error.status, error.message)
        if isinstance(error, TimeoutError):
            return BrokenError(
                f"{self.name}: the server has not answered for {TIMEOUT:g} s; try again later"
            )
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return BrokenError(
                f"{self.name}: the host is unknown; check the address and the network"
            )
        if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError)):
            return InputError(f"{self.name}: its certificate is not trusted, or its TLS is broken")
        if isinstance(error, aiohttp.ClientConnectorError):
            why = error.os_error.strerror or "no connection"
            return BrokenError(
                f"{self.name} cannot be reached: {why}; check the address and the network"
            )
        if isinstance(error, aiohttp.RedirectClientError):
            return InputError(
                f"{self.name} redirects to an address that is not http or https, which geom does "
                "not follow; give the address of the file itself"
            )
        if isinstance(error, (aiohttp.InvalidURL, ValueError)):
            return InputError(f"{self.name} is not an address; write https://HOST/PATH")
        if isinstance(error, (aiohttp.ClientError, OSError)):
            return BrokenError(f"{self.name}: the connection was cut")
        return InputError(f"{self.name} cannot be read: {type(error).__name__}")

    def _refusal(self, status: int, message: str) -> Exception:
        if status in (401, 403, 407):
            return InputError(f"{self.name}: access denied ({status}); {self._remedy}")
        if status in (404, 410):
            return InputError(f"{self.name} does not exist ({status}); check the address")
        if status in (412, 416):
            return InputError(self._changed())
        text = f"{self.name}: the server answers {status} {message}".rstrip()
        if status in (408, 429) or status >= 500:
            return BrokenError(f"{text}; try again later")
        return InputError(f"{text}; check the address")


class _Answer:
    """An answer whose body is being read: its next byte is the file's ``at``-th."""

    def __init__(self, loop: Any, response: Any, at: int, whole: bool) -> None:
        self.at, self.whole = at, whole
        self._loop, self._content = loop, response.content
        self.close = weakref.finalize(self, loop.call_soon_threadsafe, response.close)

    def read(self, most: int) -> bytes:
        """Return the bytes that have arrived or, if none, the next to arrive; none at the end."""
        from fsspec.asyn import sync

        piece: bytes = sync(self._loop, self._content.read, most)
        self.at += len(piece)
        return piece


class Store:
    """A file in an object store (s3, gs, az), or on the Hub outside of a model repository."""

    def __init__(self, location: str) -> None:
        self.name = hidden(location)
        text = parse_address(location).text  # a check: fsspec would open anything
        try:
            from fsspec.core import url_to_fs

            self._fs, self._path = url_to_fs(text)
        except ImportError as error:
            raise InputError(f"{self.name}: {error}") from error
        except Exception as error:  # fsspec's file systems raise anything
            raise InputError(f"{self.name} cannot be opened: {self._words(error)}") from error

    def look(self) -> Facts:
        """Return the file's length and version. Raises InputError if they are not available."""
        try:
            info = self._fs.info(self._path)
        except Exception as error:  # as above
            raise InputError(self._failure(error)) from error
        if info.get("type") == "directory":
            raise InputError(f"{self.name} is a folder; give a file")
        if info.get("size") is None:
            raise InputError(f"{self.name} has no known length; fetch it and give the local file")
        validator = next((str(info[key]) for key in _VALIDATORS if info.get(key)), None)
        return Facts(int(info["size"]), validator)

    def pieces(self, begin: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from ``begin`` up to ``end``, a chunk at a time."""
        try:
            with self._fs.open(self._path, "rb", cache_type="none", block_size=_CHUNK) as file:
                file.seek(begin)
                while begin < end:
                    piece = file.read(min(_CHUNK, end - begin))
                    if not 0 < len(piece) <= end - begin:
                        raise EOFError("it ends too early")
                    begin += len(piece)
                    yield piece
        except (FileNotFoundError, PermissionError) as error:
            raise InputError(self._failure(error)) from error
        except Exception as error:  # as above
            raise BrokenError(self._failure(error)) from error

    def _failure(self, error: Exception) -> str:
        if isinstance(error, FileNotFoundError):
            return f"{self.name} does not exist; check the address"
        if isinstance(error, PermissionError):
            return f"{self.name}: access denied; give the credentials of this protocol"
        return f"{self.name} cannot be read: {self._words(error)}"

    def _words(self, error: Exception) -> str:
        return hidden(" ".join(f"{type(error).__name__}: {error}".split()))[:200]


def hidden(text: str) -> str:
    """Return an address without its user, password and query, safe to show."""
    text = re.sub(r"(?<=://)[^/?#\s]*@", "***@", text)
    return re.sub(r"(://[^?\s]*)\?\S+", r"\1?***", text)


def _without_user(url: str) -> tuple[str, dict[str, str]]:
    """Return the address without its user and password, and the header with both (RFC 7617).

    Raises ValueError if it is not an address. The credentials go in a header because aiohttp does
    not send a header to another host that the server redirects to, but does send a session's
    credentials there.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("it names no host")
    if parts.username is None:
        return url, {}
    host = parts.netloc.rpartition("@")[2]
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    header = {"Authorization": f"Basic {b64encode(user).decode()}"}
    return urlunsplit(parts._replace(netloc=host)), header


def _proxy(url: str) -> str | None:
    """Return the proxy that the environment names for an address."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _strong(tag: str) -> str:
    return tag.removeprefix("W/")
