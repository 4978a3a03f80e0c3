"""HTTP/1.1 as bytes: requests out of a buffer, responses into bytes. No sockets here.

Small on purpose: one reader for `@connections`, objects and the Runtime API, where each request
costs little. Everything that is read has a bound.
"""

from __future__ import annotations

import dataclasses
import hashlib
import http
from collections.abc import Iterable
from typing import Any

HEAD_BYTES_MAX = 32 * 1024
HEADERS_MAX = 128
EMPTY_SHA256 = hashlib.sha256().hexdigest()


class HttpError(Exception):
    """The peer does not speak HTTP/1.1 as we take it; the connection ends after the answer."""

    def __init__(self, status: int, message: str) -> None:
        """`status` is what the peer is told."""
        super().__init__(message)
        self.status = status


@dataclasses.dataclass(slots=True)
class Request:
    """One request: names in `header` are lower case, repeated ones joined by a comma.

    `body` is empty when the body has more than the reader keeps; `body_bytes` says how many.
    """

    method: str
    path: str  # as it came, still encoded
    query: str
    version: str
    headers: list[tuple[str, str]]
    header: dict[str, str]
    head: bytes
    body: bytes = b""
    body_bytes: int = 0
    body_sha256: str = EMPTY_SHA256

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open after the answer."""
        options = {
            option.strip() for option in self.header.get("connection", "").lower().split(",")
        }
        if self.version == "HTTP/1.1":
            return "close" not in options
        return "keep-alive" in options and "close" not in options

    @property
    def is_upgrade(self) -> bool:
        """Whether the peer asks for a WebSocket."""
        return "websocket" in self.header.get("upgrade", "").lower()


class RequestReader:
    """Cuts requests out of what arrives; pipelined ones come one by one."""

    def __init__(self, body_bytes_kept: int, body_bytes_max: int, *, hashes: bool) -> None:
        """Keep bodies up to `body_bytes_kept`, discard larger ones, refuse above the maximum.

        `hashes` asks for the SHA-256 of each body, of discarded ones too.
        """
        self._kept = body_bytes_kept
        self._max = body_bytes_max
        self._hashes = hashes
        self._buffer = bytearray()
        self._request: Request | None = None
        self._left = 0
        self._digest: Any = None

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._buffer += data

    def rest(self) -> bytes:
        """Return what was not read yet, and forget it."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def awaits_continue(self) -> bool:
        """Tell, once per request, that the peer wants a `100 Continue` before it sends a body."""
        request = self._request
        if request is None or request.header.get("expect", "").lower() != "100-continue":
            return False
        del request.header["expect"]
        return True

    def next(self) -> Request | None:
        """Return the next whole request, None while it is incomplete; raises `HttpError`."""
        if self._request is None:
            # RFC 9112, 2.2: a line break before the request line is to be ignored.
            while self._buffer[:2] == b"\r\n":
                del self._buffer[:2]
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0 or end > HEAD_BYTES_MAX:
                if len(self._buffer) > HEAD_BYTES_MAX:
                    raise HttpError(431, "request header fields too large")
                return None
            head = bytes(self._buffer[: end + 4])
            del self._buffer[: end + 4]
            self._begin(head)
        return self._finish(self._request) if self._request is not None else None

    def _begin(self, head: bytes) -> None:
        request = _read_head(head)
        self._left = 0
        if not request.is_upgrade:
            self._left = _content_length(request)
        if self._left > self._max:
            raise HttpError(413, "request body too large")
        request.body_bytes = self._left
        self._digest = hashlib.sha256() if self._left > self._kept else None
        self._request = request

    def _finish(self, request: Request) -> Request | None:
        if self._digest is not None:
            piece = bytes(self._buffer[: self._left])
            del self._buffer[: len(piece)]
            self._digest.update(piece)
            self._left -= len(piece)
            if self._left:
                return None
            request.body_sha256 = self._digest.hexdigest()
        elif len(self._buffer) < self._left:
            return None
        elif self._left:
            request.body = bytes(self._buffer[: self._left])
            del self._buffer[: self._left]
            if self._hashes:
                request.body_sha256 = hashlib.sha256(request.body).hexdigest()
        self._request = None
        return request


def _read_head(head: bytes) -> Request:
    lines = head[:-4].decode("latin-1").split("\r\n")
    try:
        method, target, version = lines[0].split(" ")
    except ValueError:
        raise HttpError(400, "bad request line") from None
    if version not in ("HTTP/1.1", "HTTP/1.0") or not method.isalpha() or target[:1] != "/":
        raise HttpError(400, "bad request line")
    if len(lines) > HEADERS_MAX + 1:
        raise HttpError(431, "too many header fields")
    headers = []
    header: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        # Spaces around names are how requests are smuggled (RFC 9112, 5.1).
        if not colon or not name or name.strip() != name or " " in name:
            raise HttpError(400, "bad header line")
        value = value.strip(" \t")
        key = name.lower()
        headers.append((name, value))
        header[key] = f"{header[key]},{value}" if key in header else value
    path, _, query = target.partition("?")
    return Request(method, path, query, version, headers, header, head)


def _content_length(request: Request) -> int:
    if "transfer-encoding" in request.header:
        raise HttpError(411, "a body needs Content-Length")
    text = request.header.get("content-length", "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise HttpError(400, "bad Content-Length")
    return int(text)


_REASONS = {status.value: status.phrase for status in http.HTTPStatus}


def response(
    status: int,
    body: bytes = b"",
    headers: Iterable[tuple[str, str]] = (),
    *,
    keep_alive: bool = True,
    length: int | None = None,
) -> bytes:
    """Write a response; `length` stands for the body's when the body follows or is left out."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers]
    if status != 204:
        lines.append(f"Content-Length: {len(body) if length is None else length}\r\n")
    if not keep_alive:
        lines.append("Connection: close\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("latin-1") + body
