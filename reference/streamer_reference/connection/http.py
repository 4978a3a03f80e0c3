"""A thin HTTP/1.1 client: kept-alive connections to one host, one request at a time on each.

A general client costs more processor time than all the rest of a post. Of an answer only the status
is told. What is left out besides: redirects, cookies, compression, proxies, requests whose body is
a stream. Everything that is read is bounded.
"""

from __future__ import annotations

import asyncio
import ssl
import weakref
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

from streamer_reference.connection.errors import NoAnswerError, NotSentError

HEAD_BYTES_MAX = 16_384
BODY_BYTES_MAX = 1 << 20
IDLE_S_MAX = 20.0  # below the 60 s after which AWS's load balancers close an idle connection
POOL_MAX = 256  # sockets: posts that hang keep theirs, and must leave some to the others


class HttpClient:
    """Requests to one `http` or `https` origin over at most `pool_max` connections.

    The one that waits longest is served first. Used on one event loop; a pool that nobody closes
    keeps its sockets until the process ends.
    """

    def __init__(self, origin: str, *, pool_max: int = POOL_MAX) -> None:
        """Connect to nothing yet; `ValueError` for what is no such origin."""
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not the URL of a web server: {origin!r}")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._address = (parts.hostname, parts.port or (443 if self._tls else 80))
        self.host = parts.netloc.rpartition("@")[2]  # as the header and the signature want it
        self._places = asyncio.Semaphore(pool_max)
        self._idle: list[_Connection] = []  # the last used is the first used again
        self._open = weakref.WeakSet[_Connection]()  # each lives as long as its transport
        self._closed = False

    async def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float
    ) -> int:
        """The status of the answer; `headers` name the host, the length is added.

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
        """Close all connections, at once; a request under way ends with `NoAnswerError`."""
        self._closed = True
        for connection in list(self._open):
            connection.abort()
        await asyncio.sleep(0)  # so that the loop closes the sockets, should it end with this

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
        _, connection = await loop.create_connection(_Connection, host, port, ssl=self._tls)
        self._open.add(connection)
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
        self.reusable = True
        self.idle_since_s = 0.0
        self._received = bytearray()
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass

    def exchange(self, request: bytes) -> asyncio.Future[int]:
        self.reusable = False  # until the answer is whole
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def abort(self) -> None:
        self.reusable = False
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._answer is None or self._answer.done():
            self.abort()  # nobody asked: whose answer it is cannot be known
            return
        try:
            answer = _take_answer(self._received)
        except ValueError as problem:
            self._answer.set_exception(NoAnswerError(f"not an HTTP answer: {problem}"))
            self.abort()
            return
        if answer is not None:
            status, framed = answer
            self.reusable = framed and not self._received
            self._answer.set_result(status)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NoAnswerError("the connection was closed"))


def _take_answer(received: bytearray) -> tuple[int, bool] | None:
    """Take one answer off the front: its status, and whether another may follow it.

    None when it is not whole yet; interim answers, such as 100, are dropped. An answer of unknown
    length (chunked, or as long as the connection) is known by its head, and nothing may follow it.
    Raises `ValueError` for what is no answer or is larger than the bounds.
    """
    while True:
        end = received.find(b"\r\n\r\n")
        if (len(received) if end < 0 else end) > HEAD_BYTES_MAX:
            raise ValueError("the head is too large")
        if end < 0:
            return None
        status_line, *lines = received[:end].decode("latin-1").split("\r\n")
        if not status_line.startswith("HTTP/1."):
            raise ValueError("no status line")
        status, end = int(status_line[9:12]), end + 4
        if status >= 200:
            break
        del received[:end]
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    length = "0" if status in (204, 304) else headers.get("content-length")
    if length is None or "transfer-encoding" in headers:
        return status, False
    end += int(length)
    if not 0 <= int(length) <= BODY_BYTES_MAX:
        raise ValueError("the body is too large")
    if len(received) < end:
        return None
    del received[:end]
    return status, headers.get("connection", "").lower() != "close"
