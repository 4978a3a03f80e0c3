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
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.protocol import State

from streamer_reference.client import errors
from streamer_reference.client.exchange import Exchange, Progress
from streamer_reference.core.backoff import Backoff
from streamer_reference.protocol.codec import decode, encode
from streamer_reference.protocol.errors import ValidationError
from streamer_reference.protocol.limits import ID_PATTERN, MESSAGE_BYTES_MAX

KEEPALIVE_S = 570.0  # API Gateway closes after 600 s without a message; its pings do not count
PING_ANSWER_S = 30.0
RECONNECT = Backoff(first_s=0.25, ceiling_s=15.0, attempts_max=1000, total_s=300.0)
STABLE_S = 10.0  # a connection that lived so long ends a row of failures
FRAGMENT_CHARS = 8192  # 32,768 bytes at most in UTF-8, API Gateway's frame quota
SUBSCRIBE_ATTEMPTS_MAX = 5
REQUESTS_MAX = 1000  # under way at once
BROADCASTS_MAX = 1000  # kept for `broadcasts`; then the oldest is dropped

_LOG = logging.getLogger(__name__)
_QUIET = logging.getLogger(__name__ + ".websockets")
_QUIET.setLevel(logging.INFO)  # websockets writes headers, so the token, at DEBUG


@dataclasses.dataclass(frozen=True, slots=True)
class Broadcast:
    """A message to the whole tenant."""

    broadcast_id: str
    user_id: str
    payload: Any


class StreamerClient:
    """A session with a Streamer at `url` (`ws://` or `wss://`); used on one event loop.

    `token` is a JWT, or a function (plain or asynchronous) that makes one for each connection, so
    that a session outlives its token.
    """

    def __init__(self, url: str, token: str | Callable[[], str | Awaitable[str]]) -> None:
        """Nothing is opened before the client is entered."""
        self._url, self._token = url, token
        self._exchanges: dict[str, Exchange] = {}
        self._connection: ClientConnection | None = None
        self._active_s = 0.0  # when a message last passed in either direction
        self._broadcasts: collections.deque[Broadcast] = collections.deque(maxlen=BROADCASTS_MAX)
        self._news = asyncio.Event()
        self._ended: Exception | None = errors.ClientClosedError("the client was not entered")
        self._session: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect, once; raises `TokenRefusedError` or `UnreachableError`."""
        connection = await self._open()
        self._ended = None
        self._session = asyncio.create_task(self._run(connection), name="streamer client")
        return self

    async def __aexit__(self, *_: object) -> None:
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
    ) -> Any:
        """Ask, and return `data` or `result` (a `StoredResult` when that did not fit a message).

        `on_progress` is called on the loop, in order, and must not block. Raises
        `RequestFailedError`, another `ClientError`, `TimeoutError` after `timeout_s` (it may still
        run: ask `status`), `ValueError` for what cannot be sent.
        """
        message: dict[str, Any] = {"action": action, "payload": payload or {}}
        message["id"] = uuid.uuid4().hex if request_id is None else request_id
        message |= {"metadata": metadata} if metadata else {}
        exchange = Exchange(encode(message), on_progress)
        if message["id"] in self._exchanges or not ID_PATTERN.fullmatch(message["id"]):
            raise ValueError(f"{request_id!r} is under way, or is no id")
        if len(exchange.text.encode()) > MESSAGE_BYTES_MAX:
            raise ValueError(f"a message has at most {MESSAGE_BYTES_MAX} bytes")
        if self._ended is not None:
            raise self._ended
        if len(self._exchanges) >= REQUESTS_MAX:
            raise errors.ClientError(f"more than {REQUESTS_MAX} requests are under way")
        return await self._answer(message["id"], exchange, timeout_s)

    async def _answer(self, request_id: str, exchange: Exchange, timeout_s: float | None) -> Any:
        self._exchanges[request_id] = exchange
        try:
            async with asyncio.timeout(timeout_s):
                await self._offer(exchange)
                return await exchange.answer
        finally:
            del self._exchanges[request_id]

    async def _ask(self, action: str, payload: dict[str, Any], timeout_s: float | None) -> None:
        """A request of the client's own, beside those that are counted."""
        request_id = uuid.uuid4().hex
        text = encode({"id": request_id, "action": action, "payload": payload})
        await self._answer(request_id, Exchange(text), timeout_s)

    async def broadcasts(self) -> AsyncIterator[Broadcast]:
        """The broadcasts since the client was entered, each once; ends when the client does."""
        while True:
            while self._broadcasts:
                yield self._broadcasts.popleft()
            if self._ended is not None:
                return
            self._news.clear()
            await self._news.wait()

    async def _open(self) -> ClientConnection:
        try:
            token = self._token() if callable(self._token) else self._token
            token = await token if inspect.isawaitable(token) else token
        except Exception as problem:
            raise errors.UnreachableError(f"no token could be made: {problem}") from problem
        try:
            return await connect(
                self._url,
                additional_headers={"Authorization": token},
                compression=None,  # API Gateway does not negotiate it
                max_size=MESSAGE_BYTES_MAX,
                close_timeout=2,
                logger=_QUIET,
            )
        except InvalidURI:
            raise ValueError("not the URL of a WebSocket server") from None
        except (OSError, WebSocketException) as problem:
            status = problem.response.status_code if isinstance(problem, InvalidStatus) else None
            if status in (401, 403):
                raise errors.TokenRefusedError(status) from None
            raise errors.UnreachableError(f"the server cannot be reached: {problem}") from problem

    async def _run(self, connection: ClientConnection) -> None:
        """One connection after the other, until none can be made or the client is closed."""
        now_s = asyncio.get_running_loop().time
        ended: Exception = errors.ClientClosedError("the client was closed")
        failures, since_s = 0, 0.0
        try:
            while True:
                opened_s = now_s()
                await self._serve(connection)
                if failures == 0 or now_s() - opened_s >= STABLE_S:
                    failures, since_s = 0, now_s()
                reopened = None
                while reopened is None:
                    failures += 1
                    chance = random.random()  # noqa: S311 - jitter
                    pause_s = RECONNECT.pause_s(failures, now_s() - since_s, chance)
                    if pause_s is None:
                        raise errors.UnreachableError("the server did not come back in time")
                    await asyncio.sleep(pause_s)
                    try:
                        reopened = await self._open()
                    except errors.TokenRefusedError:
                        raise  # the same token would be refused again
                    except errors.UnreachableError as problem:
                        _LOG.info("not connected again yet: %s", problem)
                connection = reopened
        except errors.ClientError as problem:
            ended = problem
        finally:
            self._ended = ended
            for exchange in self._exchanges.values():
                exchange.fail(ended)
            self._news.set()

    async def _serve(self, connection: ClientConnection) -> None:
        """Read one connection to its end, with what must be said on it beside."""
        under_way = list(self._exchanges.items())  # before a new one can use the connection
        self._connection = connection
        self._active_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as helpers:
                helpers.create_task(self._resume(under_way))
                helpers.create_task(self._keep_alive(connection))
                while True:
                    self._take(await connection.recv())
        except* ConnectionClosed:
            pass  # the group has ended the helpers and their requests
        finally:
            self._connection = None
            await connection.close()

    async def _offer(self, exchange: Exchange) -> None:
        """Send a request now, or leave it for the next connection."""
        connection = self._connection
        if connection is None or connection.state is not State.OPEN:
            return
        exchange.was_sent = True
        self._active_s = asyncio.get_running_loop().time()
        text = exchange.text
        starts = range(0, len(text), FRAGMENT_CHARS)
        fragments = [text[start : start + FRAGMENT_CHARS] for start in starts]
        with contextlib.suppress(ConnectionClosed):  # whether it left shows on the next one
            await connection.send(fragments if len(fragments) > 1 else text)

    async def _resume(self, under_way: list[tuple[str, Exchange]]) -> None:
        for request_id, exchange in under_way:
            if exchange.was_sent:
                await self._subscribe(request_id, exchange)
            else:
                await self._offer(exchange)

    async def _subscribe(self, request_id: str, exchange: Exchange) -> None:
        for _ in range(SUBSCRIBE_ATTEMPTS_MAX):
            if exchange.answer.done():
                return
            try:
                await self._ask("subscribe", {"request_id": request_id}, None)
            except errors.RequestFailedError as problem:
                if not problem.retryable:
                    break
                await asyncio.sleep(problem.after_ms / 1000)
            else:
                return
        lost = "the connection broke, and the server kept no answer"
        exchange.fail(errors.ConnectionLostError(lost))

    async def _keep_alive(self, connection: ClientConnection) -> None:
        now_s = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(max(0.0, self._active_s + KEEPALIVE_S - now_s()))
            if now_s() - self._active_s >= KEEPALIVE_S:
                try:
                    with contextlib.suppress(errors.RequestFailedError):  # an answer all the same
                        await self._ask("ping", {}, PING_ANSWER_S)
                except TimeoutError:
                    await connection.close()

    def _take(self, text: str | bytes) -> None:
        self._active_s = asyncio.get_running_loop().time()
        try:
            message = decode(text if isinstance(text, str) else "")  # a binary one is no JSON
            if message["type"] == "broadcast":
                sender = message["from"]["user_id"]
                broadcast = Broadcast(message["broadcast_id"], sender, message["payload"])
                self._broadcasts.append(broadcast)
                self._news.set()
            elif (exchange := self._exchanges.get(message["request_id"])) is not None:
                exchange.take(message)
        except (ValidationError, AttributeError, KeyError, TypeError) as problem:
            _LOG.warning("a message that nobody can read: %s", type(problem).__name__)
