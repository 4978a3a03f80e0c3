"""The client: ask, watch, get the result, and never mind the connection.

    async with StreamerClient(url, token) as client:
        report = await client.request("generate_report", {...}, on_progress=show)

One task owns the connection: it reads, keeps it alive, and makes a new one when it ends. A request
belongs to the client, not to a connection: what was under way is subscribed to on the next one, and
what the server sends twice is applied once.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import inspect
import logging
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.protocol import State

from streamer_reference.client.errors import (
    ClientClosedError,
    ClientError,
    ConnectionLostError,
    RequestFailedError,
    TokenRefusedError,
    UnreachableError,
)
from streamer_reference.client.exchange import Exchange, Meaning, Progress
from streamer_reference.core.backoff import Backoff
from streamer_reference.protocol.codec import decode, encode
from streamer_reference.protocol.errors import RETRY_AFTER_MS, ValidationError
from streamer_reference.protocol.limits import ID_PATTERN, MESSAGE_BYTES_MAX

KEEPALIVE_S = 570.0  # API Gateway closes after 600 s without a message; its pings do not count
PING_ANSWER_S = 30.0
RECONNECT = Backoff(first_s=0.25, ceiling_s=15.0, attempts_max=1000, total_s=300.0)
STABLE_S = 10.0  # a connection that lived so long ends a row of failures
FRAGMENT_CHARS = 8192  # 32,768 bytes at most in UTF-8, API Gateway's frame quota
SUBSCRIBE_ATTEMPTS_MAX = 5
REQUESTS_MAX = 1000  # under way at once
BROADCASTS_MAX = 1000  # kept for `broadcasts`; then the oldest is dropped

Token = str | Callable[[], str | Awaitable[str]]

_quiet = logging.getLogger(__name__ + ".websockets")
_quiet.setLevel(logging.INFO)  # websockets writes headers, so the token, at DEBUG


@dataclasses.dataclass(frozen=True, slots=True)
class Broadcast:
    """A message to the whole tenant."""

    broadcast_id: str
    user_id: str
    payload: Any


@dataclasses.dataclass(slots=True)
class Counters:
    """What happened beside the requests' own messages."""

    reconnects: int = 0
    repeats_dropped: int = 0
    gaps: int = 0  # numbers that never came; none in a run without faults
    unusable: int = 0  # messages that no client could read
    broadcasts_dropped: int = 0


class StreamerClient:
    """A session with a Streamer at `url` (`ws://` or `wss://`); used on one event loop.

    `token` is a JWT, or a function (plain or asynchronous) that makes one for each connection, so
    that a session outlives its token. `dice` draws from [0, 1) and is replaced in tests.
    """

    def __init__(
        self, url: str, token: Token, *, dice: Callable[[], float] = random.random
    ) -> None:
        """Nothing is opened before the client is entered."""
        self.counters = Counters()
        self._url = url
        self._token = token
        self._dice = dice
        self._exchanges: dict[str, Exchange] = {}
        self._connection: ClientConnection | None = None
        self._helpers: asyncio.TaskGroup | None = None
        self._active_s = 0.0  # when a message last passed in either direction
        self._broadcasts: collections.deque[Broadcast] = collections.deque(maxlen=BROADCASTS_MAX)
        self._news = asyncio.Event()
        self._ended: ClientError | None = ClientClosedError("the client was not entered")
        self._session: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect, once; raises `TokenRefusedError` or `UnreachableError`."""
        connection = await self._open()
        self._ended = None
        self._session = asyncio.create_task(self._run(connection), name="streamer client")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; requests under way end with `ClientClosedError`, at the server they go on."""
        if self._session is not None:
            self._session.cancel()
            await asyncio.wait([self._session])

    async def request(
        self,
        action: str,
        payload: Mapping[str, Any] | None = None,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        request_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        repeatable: bool = False,
    ) -> Any:
        """Ask, and return `data` or `result` (a `StoredResult` when that did not fit a message).

        `on_progress` is called on the loop, in order, and must not block. `repeatable` allows a
        request to be sent again when the connection broke and the server knows nothing of it: a
        short one may have run. Raises `RequestFailedError`, another `ClientError`, `TimeoutError`
        after `timeout_s` (it may still run: ask `status`), `ValueError` for what cannot be sent.
        """
        if request_id is None:
            request_id = uuid.uuid4().hex
        elif request_id in self._exchanges or not ID_PATTERN.fullmatch(request_id):
            raise ValueError(f"{request_id!r} is under way, or is no id")
        message: dict[str, Any] = {"id": request_id, "action": action, "payload": payload or {}}
        if metadata:
            message["metadata"] = metadata
        text = encode(message)
        if len(text.encode()) > MESSAGE_BYTES_MAX:
            raise ValueError(f"a message has at most {MESSAGE_BYTES_MAX} bytes")
        if self._ended is not None:
            raise self._ended
        if len(self._exchanges) >= REQUESTS_MAX:
            raise ClientError(f"more than {REQUESTS_MAX} requests are under way")
        exchange = self._exchanges[request_id] = Exchange(request_id, text, on_progress)
        exchange.repeatable = repeatable
        try:
            async with asyncio.timeout(timeout_s):
                await self._offer(exchange)
                return await exchange.answer
        finally:
            del self._exchanges[request_id]

    async def broadcasts(self) -> AsyncIterator[Broadcast]:
        """The broadcasts since the client was entered, each given out once; ends with the client."""
        while True:
            while self._broadcasts:
                yield self._broadcasts.popleft()
            if self._ended is not None:
                return
            self._news.clear()
            await self._news.wait()

    async def _open(self) -> ClientConnection:
        token = self._token() if callable(self._token) else self._token
        if inspect.isawaitable(token):
            token = await token
        try:
            return await connect(
                self._url,
                additional_headers={"Authorization": token},
                compression=None,  # API Gateway does not negotiate it
                max_size=MESSAGE_BYTES_MAX,
                close_timeout=2,
                logger=_quiet,
            )
        except InvalidStatus as problem:
            status = problem.response.status_code
            if status in (401, 403):
                raise TokenRefusedError(status) from None
            raise UnreachableError(f"the server refused the handshake: {status}") from problem
        except (OSError, WebSocketException) as problem:
            raise UnreachableError(f"the server cannot be reached: {problem}") from problem

    async def _run(self, connection: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        ended = ClientClosedError("the client was closed")
        failures, since_s = 0, loop.time()
        try:
            while True:
                opened_s = loop.time()
                await self._serve(connection)
                if loop.time() - opened_s >= STABLE_S:
                    failures, since_s = 0, loop.time()
                while True:
                    failures += 1
                    pause_s = RECONNECT.pause_s(failures, loop.time() - since_s, self._dice())
                    ...
        finally:
            ...
