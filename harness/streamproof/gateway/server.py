"""The gateway: one port, and what is behind it. Everything else in this package hangs here."""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Coroutine
from typing import Any, cast

from websockets.http11 import Request as UpgradeRequest

from streamproof.errors import UsageError
from streamproof.gateway import events, http11
from streamproof.gateway.clock import Clock
from streamproof.gateway.connections import Connections
from streamproof.gateway.connections_api import ConnectionsApi
from streamproof.gateway.description import Description
from streamproof.gateway.errors import FunctionError, ThrottledError
from streamproof.gateway.event_source_mapping import MappingRunner
from streamproof.gateway.functions import FunctionHost
from streamproof.gateway.handshake import Handshake, refusal
from streamproof.gateway.identifiers import new_id
from streamproof.gateway.messages import MessageDispatcher
from streamproof.gateway.schedules import ScheduleRunner
from streamproof.gateway.tasks import Tasks
from streamproof.gateway.throttle import TokenBucket
from streamproof.gateway.websocket import Connection
from streamproof.gateway.wire import Wire, new_protocol

BACKLOG = 4096
TLS_HANDSHAKE_S = 10.0
FINISH_S = 8.0  # what runs may take so long to end when all stops, which takes 10 s at most
_CLOSE_S = 0.7  # then the clients to answer a close, and as long $disconnect to run
_ECHO_BYTES_MAX = 64 << 20
_PAGE_HEADERS = (("Cache-Control", "no-store"), ("X-Frame-Options", "DENY"))
_LOG = logging.getLogger("streamproof.gateway")


class Gateway:
    """API Gateway, Lambda and what triggers it, for one description, on one loop."""

    def __init__(self, description: Description, clock: Clock | None = None) -> None:
        """Raises `UsageError` for a description that cannot be hosted; opens nothing yet."""
        description.check()
        self.description = description
        self.clock: Clock = clock or Clock()
        self.wires: set[Wire] = set()
        self.connections = Connections()
        self.body_bytes_kept = description.limits.message_bytes
        self.port = 0
        self._host = ""
        self._tasks = Tasks()  # messages and handshakes
        self._ends = Tasks()  # $disconnect
        self._functions = FunctionHost(description, self.clock)
        self._messages = MessageDispatcher(description, self._functions, self.clock, self._tasks)
        self._handshake = Handshake(description, self._functions, self.clock)
        self._management = ConnectionsApi(description, self.connections, self.clock)
        rate = description.limits.connects_per_s
        self._connects = TokenBucket(self.clock, rate, rate or 0)
        api = description.api
        self._mappings = [
            MappingRunner(mapping, api, self._functions, self.clock, description.faults)
            for mapping in description.mappings
        ]
        self._schedules = [
            ScheduleRunner(schedule, api, self._functions, self.clock)
            for schedule in description.schedules
        ]
        self._server: asyncio.Server | None = None
        self._stopping = False
        self._all_ended = asyncio.Event()

    async def start(
        self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        """Open the port and start what is hosted; raises `UsageError` when it cannot be had."""
        await self.listen(host, port, tls)
        await self.start_functions()

    async def listen(
        self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        """Open the port, 0 for a free one, so that functions can be told it before they start."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Wire(self),
                host,
                port,
                backlog=BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=TLS_HANDSHAKE_S if tls else None,
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UsageError(
                    f"port {port} is taken", "choose another, or 0 for a free one"
                ) from error
            raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self._host, self.port = self._server.sockets[0].getsockname()[:2]

    async def start_functions(self) -> None:
        """Start what is kept warm, the stream mappings and the schedules."""
        self._functions.start()
        for mapping in self._mappings:
            mapping.start()
        for schedule in self._schedules:
            schedule.start()

    def stream_wake(self) -> None:
        """Let the mappings look for records at once; the store's owner calls it after a commit."""
        for runner in self._mappings:
            runner.wake()

    async def stop(self, timeout_s: float = FINISH_S) -> None:
        """Let what runs finish, close connections with 1001, run `$disconnect`, end processes."""
        if self._stopping:
            return
        self._stopping = True
        for connection in self.connections.all():
            connection.pause()
        for schedule in self._schedules:
            schedule.stop()
        self._functions.stopping()
        await asyncio.gather(
            self._tasks.finish(timeout_s),
            self._functions.finish(timeout_s),
            *(mapping.stop(timeout_s) for mapping in self._mappings),
        )
        await self._close_connections()
        await self._tasks.cancel()
        await self._functions.stop()
        if self._server is not None:
            self._server.close()
        for wire in list(self.wires):
            wire.transport.abort()
        if self._server is not None:
            await self._server.wait_closed()

    async def _close_connections(self) -> None:
        for connection in self.connections.all():
            connection.close(1001, "Going away", "Going away")
        loop = asyncio.get_running_loop()
        end_s = loop.time() + _CLOSE_S
        if self.connections.ending:
            try:
                async with asyncio.timeout_at(end_s):
                    await self._all_ended.wait()
            except TimeoutError:
                for connection in list(self.connections.ending):
                    connection.abort()
                    connection.lost()
        await self._ends.finish(_CLOSE_S)
        await self._ends.cancel()

    async def invoke(self, name: str, event: Any) -> Any:
        """Invoke a function synchronously; raises `FunctionError` or `ThrottledError`."""
        return await self._functions.invoke(name, event)

    def invoke_async(self, name: str, event: Any) -> str:
        """Queue an invocation, return its request id; `ThrottledError` when too many wait."""
        return self._functions.invoke_async(name, event)

    def process_ids(self) -> dict[str, list[int]]:
        """Return the ids of the processes that run each described function."""
        return self._functions.process_ids()

    def log_streams(self, function: str) -> dict[str, int]:
        """Return the id of the process behind each of a function's log streams."""
        return self._functions.log_streams(function)

    # What a socket asks.

    def start_task(self, work: Awaitable[None]) -> None:
        """Run `work` in the background."""
        self._tasks.start(cast(Coroutine[Any, Any, None], work))

    def answer(self, request: http11.Request) -> bytes | AsyncIterator[bytes]:
        """Answer a plain request."""
        stage_path = f"/{self.description.api.stage}"
        if request.path.rstrip("/") == stage_path and request.method == "GET":
            return http11.response(426, b"", [("Upgrade", "websocket")])
        page = self.description.pages.get(request.path)
        if page is not None and request.method == "GET" and _names_loopback(request):
            content_type, body = page()
            return http11.response(200, body, [("Content-Type", content_type), *_PAGE_HEADERS])
        for prefix, site in self.description.sites.items():
            if request.path.startswith(prefix):
                return site(request)
        return self._management.handle(request)

    async def upgrade(self, wire: Wire, request: http11.Request) -> None:
        """Decide about a WebSocket."""
        limits = self.description.limits
        echo = self.description.raw_echo
        sizes = (_ECHO_BYTES_MAX, None) if echo else (limits.message_bytes, limits.frame_bytes)
        protocol = new_protocol(request, sizes)
        asked = protocol.events_received()
        if not asked:  # not a request that RFC 6455 takes
            told = b"".join(protocol.data_to_send())
            wire.refuse(told or http11.response(400, keep_alive=False))
            return
        answer = protocol.accept(cast(UpgradeRequest, asked[0]))
        if answer.status_code != 101:
            wire.refuse(answer.serialize())
            return
        session = self._new_session(wire, request)
        refused = None if echo else await self._refusal(session, request)
        if isinstance(refused, int):
            wire.refuse(refusal(refused, session.connection_id))
            return
        if refused is not None:
            answer.headers["Sec-WebSocket-Protocol"] = refused
        connection = Connection(
            session,
            wire.transport,
            protocol,
            self.clock,
            limits,
            on_message=_echo if echo else self._messages.dispatch,
            on_ending=self.connections.end,
            on_ended=self._ended,
            binary=echo,
        )
        self.connections.add(connection)
        if wire.transport.is_closing():
            connection.lost()  # the client did not wait; $connect has run, so $disconnect runs
            return
        connection.open(answer)
        wire.open(connection)

    async def _refusal(self, session: events.Session, request: http11.Request) -> int | str | None:
        """Return the status of a refusal, or the subprotocol (None for none) of an open one."""
        if request.path.rstrip("/") != f"/{self.description.api.stage}":
            return 403
        if self._stopping or len(self.connections) >= self.description.limits.connections_max:
            return 503
        if not self._connects.take():
            return 429
        decision = await self._handshake.decide(session, request)
        return decision.subprotocol if decision.status == 200 else decision.status

    def _new_session(self, wire: Wire, request: http11.Request) -> events.Session:
        peer = wire.transport.get_extra_info("peername")
        return events.Session(
            connection_id=new_id(),
            connected_at_ms=int(self.clock.time_s() * 1000),
            source_ip=peer[0] if peer else "127.0.0.1",
            user_agent=request.header.get("user-agent"),
            domain_name=f"{self._host}:{self.port}",
        )

    def _ended(self, connection: Connection) -> None:
        self.connections.forget(connection)
        if self._stopping and not self.connections.ending:
            self._all_ended.set()
        if not self.description.raw_echo and "$disconnect" in self.description.api.routes:
            self._ends.start(self._disconnect(connection))

    async def _disconnect(self, connection: Connection) -> None:
        api = self.description.api
        event = events.disconnect_event(
            api,
            connection.session,
            self.clock.time_s(),
            connection.end_code,
            connection.end_reason,
        )
        try:
            await self._functions.invoke(api.routes["$disconnect"], event)
        except (FunctionError, ThrottledError) as error:
            _LOG.warning("$disconnect failed: %s", error)


def _names_loopback(request: http11.Request) -> bool:
    host = (request.header.get("host") or "").rsplit(":", 1)[0]
    return host in ("127.0.0.1", "localhost", "[::1]")


def _echo(connection: Connection, data: bytes, is_text: bool) -> None:
    connection.done(len(data))
    connection.answer(data, text=is_text)
