"""A thin HTTP/1.1 client: kept-alive connections to one host, one request at a time on each.

A general client costs more processor time than all the rest of a post. What is left out: redirects,
cookies, compression, proxies, requests whose body is a stream. Everything that is read is bounded.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

from streamer_reference.connection.errors import NoAnswerError, NotSentError

HEAD_BYTES_MAX = 16_384
BODY_BYTES_MAX = 1 << 20
IDLE_S_MAX = 20.0  # below the 60 s after which AWS's load balancers close an idle connection
CLOSE_S = 1.0
POOL_MAX = 256  # sockets: posts that hang keep theirs, and must leave some to the others


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """An answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        """Whether the server takes another request on the same connection."""
        framed = self.status == 204 or not self.headers.keys().isdisjoint(_FRAMES)
        return framed and self.headers.get("connection", "").lower() != "close"


_FRAMES = frozenset({"content-length", "transfer-encoding"})


class HttpClient:
    """Requests to one `http` or `https` origin over at most `pool_max` connections.

    The one that waits longest is served first. Used on one event loop; a pool that nobody closes
    keeps its sockets until the process ends.
    """

    def __init__(
        self, origin: str, *, pool_max: int = POOL_MAX, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        """`ssl_context` replaces the system's trust; it is used for `https` only."""
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not the URL of a web server: {origin!r}")
        secure = parts.scheme == "https"
        self.host = parts.netloc.rpartition("@")[2]  # as the header and the signature want it
        self._address = (parts.hostname, parts.port or (443 if secure else 80))
        self._ssl = (ssl_context or ssl.create_default_context()) if secure else None
        self._places = asyncio.Semaphore(pool_max)
        self._idle: list[_Connection] = []  # the last used is the first used again
        self._open: set[_Connection] = set()
        self._closed = False

    async def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float
    ) -> Response:
        """The answer, whatever its status; `headers` name the host, the length is added.

        Raises `NotSentError` when no connection was had, `NoAnswerError` when the answer did not
        come whole within `timeout_s`, which includes waiting for a place in the pool.
        """
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"{method} {path} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n"
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(timeout_s), self._places:
                connection = await self._take()
                try:
                    return await connection.exchange(head.encode("latin-1") + body)
                finally:
                    self._give_back(connection)
        except TimeoutError:
            error = NoAnswerError if connection else NotSentError
            raise error(f"no answer within {timeout_s:.3g} s") from None
        except OSError as problem:
            raise NotSentError(f"no connection to {self.host}: {problem}") from problem

    async def aclose(self) -> None:
        """Close all connections, within 1 s; a request under way ends with `NoAnswerError`."""
        self._closed = True
        lost = [connection.lost for connection in self._open]
        for connection in self._open:
            connection.abort()
        if lost:
            await asyncio.wait(lost, timeout=CLOSE_S)

    async def _take(self) -> _Connection:
        if self._closed:
            raise NotSentError("the client is closed")
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and loop.time() - connection.idle_since_s < IDLE_S_MAX:
                return connection
            connection.abort()
        host, port = self._address
        _, connection = await loop.create_connection(_Connection, host, port, ssl=self._ssl)
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    def _give_back(self, connection: _Connection) -> None:
        if connection.reusable and not self._closed:
            connection.idle_since_s = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:  # an answer that comes too late must not become the next request's
            connection.abort()


class _Connection(asyncio.Protocol):
    """One connection: writes a request, completes a future with its answer."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reusable = True
        self.idle_since_s = 0.0
        self._received = bytearray()
        self._answer: asyncio.Future[Response] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass

    def exchange(self, request: bytes) -> asyncio.Future[Response]:
        self.reusable = False  # until the answer is whole
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def abort(self) -> None:
        self.reusable = False
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._complete(ended=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._complete(ended=exc is None)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NoAnswerError("the connection was closed"))
        self.lost.set_result(None)

    def _complete(self, *, ended: bool) -> None:
        if self._answer is None or self._answer.done():
            if self._received:  # nobody asked: whose answer it is cannot be known
                self.abort()
            return
        try:
            response = _parse(self._received, ended=ended)
        except ValueError as problem:
            self._answer.set_exception(NoAnswerError(f"not an HTTP answer: {problem}"))
            self.abort()
            return
        if response is not None:
            self.reusable = response.keeps_alive and not self._received and not ended
            self._answer.set_result(response)


def _parse(received: bytearray, *, ended: bool) -> Response | None:
    """Take one whole answer out of `received`; None when there is none yet.

    Raises `ValueError` for what is no answer or is larger than the bounds.
    """
    head = _parse_head(received)
    if head is None:
        return None
    status, headers, start = head
    if status in (204, 304):
        found: tuple[bytes, int] | None = b"", start
    elif "chunked" in headers.get("transfer-encoding", "").lower():
        found = _parse_chunks(received, start)
    elif "content-length" in headers:
        found = _slice(received, start, int(headers["content-length"]))
    else:  # as long as the connection lasts
        found = _slice(received, start, len(received) - start + (0 if ended else 1))
    if found is None:
        return None
    body, end = found
    del received[:end]
    return Response(status, headers, body)


def _parse_head(received: bytearray) -> tuple[int, dict[str, str], int] | None:
    """Status, headers and where the body starts; interim answers, such as 100, are dropped."""
    while True:
        end = received.find(b"\r\n\r\n")
        if (len(received) if end < 0 else end) > HEAD_BYTES_MAX:
            raise ValueError("the head is too large")
        if end < 0:
            return None
        status_line, *lines = received[:end].decode("latin-1").split("\r\n")
        if not status_line.startswith("HTTP/1."):
            raise ValueError("no status line")
        status = int(status_line[9:12])
        if status >= 200:
            pairs = (line.partition(":") for line in lines)
            return status, {name.lower(): value.strip() for name, _, value in pairs}, end + 4
        del received[: end + 4]


def _slice(received: bytearray, start: int, size: int) -> tuple[bytes, int] | None:
    if not 0 <= size <= BODY_BYTES_MAX:
        raise ValueError("the body is too large")
    end = start + size
    return (bytes(received[start:end]), end) if len(received) >= end else None


def _parse_chunks(received: bytearray, start: int) -> tuple[bytes, int] | None:
    body = b""
    while (line_end := received.find(b"\r\n", start)) >= 0:
        size = int(received[start:line_end].partition(b";")[0], 16)
        chunk = _slice(received, line_end + 2, size)
        if chunk is None or len(received) < chunk[1] + 2:
            return None
        start = chunk[1] + 2
        if size == 0:  # trailers are not asked for, so none are sent
            return body, start
        body += chunk[0]
        if len(body) > BODY_BYTES_MAX:
            raise ValueError("the body is too large")
    return None
