"""One socket on the gateway's port: HTTP first, a WebSocket once it was upgraded.

The first bytes decide. `@connections` is answered within the call that brought the request;
pipelined requests are answered in order. A handshake or a download keeps the socket to itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, cast

from streamproof.gateway import http11
from streamproof.gateway.clock import Timer
from streamproof.gateway.websocket import Connection, FrameProtocol

if TYPE_CHECKING:
    from streamproof.gateway.server import Gateway

REQUEST_TIMEOUT_S = 30.0  # from the socket's first moment, or an answer, to a whole request
SEND_TIMEOUT_S = 30.0  # for a peer to take at least something of its answer
BODY_BYTES_MAX = 10 << 20  # API Gateway's payload quota: above it a body is not even hashed
_ANSWERS_BYTES_MAX = 256 * 1024  # answers a peer may leave unread before its requests wait
_LOG = logging.getLogger("streamproof.gateway")
_PROTOCOL_LOG = logging.getLogger("streamproof.gateway.websockets")
_PROTOCOL_LOG.setLevel(logging.WARNING)  # below, it writes down requests, tokens and all


class Wire(asyncio.Protocol):
    """The socket's own state: a reader of requests, or a connection."""

    __slots__ = (
        "_busy",
        "_connection",
        "_drained",
        "_port",
        "_reader",
        "_timer",
        "_unsent_bytes",
        "_waiting_since",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, port: Gateway) -> None:
        """Belong to `port`."""
        self._port = port
        self._reader: http11.RequestReader | None = http11.RequestReader(
            port.body_bytes_kept, BODY_BYTES_MAX, hashes=True
        )
        self._connection: Connection | None = None
        self._busy = False
        self._drained: asyncio.Event | None = None
        self._timer: Timer | None = None
        self._waiting_since = 0.0
        self._unsent_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self.transport = cast(asyncio.Transport, transport)
        self._port.wires.add(self)
        self._wait_for_request()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002, asyncio's signature
        """Tell the connection, or whoever writes, that it is over."""
        self._port.wires.discard(self)
        self._stop_timer()
        if self._connection is not None:
            self._connection.lost()
        if self._drained is not None:
            self._drained.set()

    def data_received(self, data: bytes) -> None:
        """Hand over to the connection, or read requests."""
        if self._connection is not None:
            self._connection.receive(data)
        elif self._reader is not None:
            self._reader.feed(data)
            if not self._busy:
                self._serve()

    def eof_received(self) -> bool:
        """Let the transport close once what was written is sent."""
        if self._connection is not None:
            self._connection.receive_eof()
        return False

    def resume_writing(self) -> None:
        """The peer takes data again."""
        if self._connection is not None:
            self._connection.writable()
        elif self._drained is not None:
            self._drained.set()

    def open(self, connection: Connection) -> None:
        """Become a WebSocket; what came too early is read now."""
        early = self._reader.rest() if self._reader is not None else b""
        self._reader = None
        self._stop_timer()
        self._connection = connection
        self._busy = False
        if not self.transport.is_closing():
            self.transport.resume_reading()
        if early:
            connection.receive(early)

    def refuse(self, answer: bytes) -> None:
        """Give an answer, a handshake's status or another, and end."""
        self._busy = False
        self._wait_for_request()  # none will come: for so long the peer may take none of it
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def _serve(self) -> None:
        while self._reader is not None and not self._busy and not self.transport.is_closing():
            try:
                request = self._reader.next()
            except http11.HttpError as error:
                self.refuse(http11.response(error.status, keep_alive=False))
                return
            if request is None:
                if self._reader.awaits_continue():
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            if request.is_upgrade:
                self._hold(self._port.upgrade(self, request))
                return
            answer = self._port.answer(request)
            if not isinstance(answer, bytes):
                self._hold(self._stream(answer, request.keep_alive))
            elif request.keep_alive:
                self._write(answer)
            else:
                self.refuse(answer)

    def _write(self, answer: bytes) -> None:
        self.transport.write(answer)
        self._wait_for_request()
        if self.transport.get_write_buffer_size() > _ANSWERS_BYTES_MAX:
            self._hold(self._drain())

    def _hold(self, work: Awaitable[None]) -> None:
        """Read nothing more while `work` has the socket."""
        self._busy = True
        self.transport.pause_reading()
        self._port.start_task(work)

    def _release(self) -> None:
        self._busy = False
        self._wait_for_request()
        if not self.transport.is_closing():
            self.transport.resume_reading()
            self._serve()

    async def _drain(self) -> None:
        await self._until_drained()
        self._release()

    async def _stream(self, pieces: AsyncIterator[bytes], keep_alive: bool) -> None:
        try:
            async for piece in pieces:
                if self.transport.is_closing():
                    break
                self.transport.write(piece)
                await self._until_drained()
        except OSError as error:
            _LOG.warning("a download broke off: %s", error)
            self.transport.abort()  # the only way to say that what was promised will not come
            return
        if not keep_alive:
            self.transport.close()
        self._release()

    async def _until_drained(self) -> None:
        _, high = self.transport.get_write_buffer_limits()
        while (size := self.transport.get_write_buffer_size()) > high:
            if self.transport.is_closing():
                break
            self._drained = asyncio.Event()
            timer = self._port.clock.call_later(SEND_TIMEOUT_S, self._drained.set)
            try:
                await self._drained.wait()
            finally:
                timer.cancel()
            if self.transport.get_write_buffer_size() >= size:
                self.transport.abort()
        self._drained = None

    def _wait_for_request(self) -> None:
        self._waiting_since = self._port.clock.monotonic_s()
        self._unsent_bytes = self.transport.get_write_buffer_size()

    def _watch(self) -> None:
        """End the socket when no request comes; who is busy has limits of its own."""
        unsent_bytes = self.transport.get_write_buffer_size()
        left_s = self._waiting_since + REQUEST_TIMEOUT_S - self._port.clock.monotonic_s()
        if left_s <= 0 and (self._busy or unsent_bytes < self._unsent_bytes):
            self._wait_for_request()  # also while the peer still takes its answer
            left_s = REQUEST_TIMEOUT_S
        if left_s <= 0:
            self.transport.abort()
        else:
            self._timer = self._port.clock.call_later(left_s, self._watch)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def new_protocol(request: http11.Request, limits: tuple[int | None, int | None]) -> FrameProtocol:
    """Start websockets' server side with a request that was read already."""
    protocol = FrameProtocol(max_size=limits, logger=_PROTOCOL_LOG)
    protocol.receive_data(request.head)
    return protocol
