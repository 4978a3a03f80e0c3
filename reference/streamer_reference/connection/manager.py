"""The one way from a message to a client: retries, circuits, order, and broadcasts.

What is given for one connection, one after the other, arrives in that order: each connection has a
turn that a send holds until it has ended, retries included. Connections do not wait for each other.
The breaker and the pauses are values of `core`; here are the calls, the clock and the dice.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import enum
import functools
import logging
import random
from collections.abc import Awaitable, Callable, Iterable

from streamer_reference.clock import Clock, SystemClock
from streamer_reference.connection import errors
from streamer_reference.connection.http import POOL_MAX
from streamer_reference.connection.management_client import ManagementClient
from streamer_reference.core.backoff import Backoff
from streamer_reference.core.circuit import CLOSED, Circuit, State

SEND = Backoff(first_s=0.05, ceiling_s=2.0, attempts_max=5, total_s=10.0)  # SEND-1
BROADCAST = dataclasses.replace(SEND, total_s=2.0)  # BCAST-2, for each recipient
BROADCAST_POSTS_MAX = POOL_MAX - 64  # under way at once; the rest of the pool is for others
PROMPT_POSTS_MAX = 32  # of these, not counting slow ones: no burst that others wait behind
PROMPT_S = 0.02  # a post of a broadcast that takes longer is slow: it holds nobody up
RECIPIENTS_AT_ONCE_MAX = 1000  # of one broadcast, those that pause before a retry included
WAITING_MAX = 1000  # sends that wait for one connection
CONNECTIONS_MAX = 20_000  # remembered; the longest unused is forgotten first
UNUSED_S_MAX = 7200.0  # the longest life of a connection, API Gateway quotas

_logger = logging.getLogger("streamer.connection")  # below the service's: its lines are JSON too


class Outcome(enum.StrEnum):
    """What became of a send."""

    DELIVERED = "delivered"  # the gateway took it
    GONE = "gone"  # the connection does not exist
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, slots=True)
class SendResult:
    """How a send ended; `error` says why it was not delivered."""

    outcome: Outcome
    attempts: int = 0  # HTTP calls made
    error: errors.SendError | None = None  # of the last one


@dataclasses.dataclass(frozen=True, slots=True)
class BroadcastResult:
    """How many recipients ended how; the three add up to those addressed."""

    delivered: int = 0
    gone: int = 0
    failed: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """What this process knows about a connection from sending to it."""

    circuit: State = State.CLOSED
    consecutive_failures: int = 0
    last_success_ms: int | None = None  # since the epoch


@dataclasses.dataclass(frozen=True, slots=True)
class _Send:
    """What is to be sent, how patiently, and what bounds its posts."""

    connection_id: str
    data: bytes
    backoff: Backoff
    repeatable: bool
    posts: Callable[[], contextlib.AbstractAsyncContextManager[None]]


class _BroadcastPost:
    """The place of one post of a broadcast; a slow one leaves it to the next, within a bound."""

    __slots__ = ("_late", "_places", "_slow")

    def __init__(self, places: asyncio.Semaphore, slow: set[_BroadcastPost]) -> None:
        self._places = places
        self._slow = slow

    async def __aenter__(self) -> None:
        await self._places.acquire()
        self._late = asyncio.get_running_loop().call_later(PROMPT_S, self._leave)

    def _leave(self) -> None:
        if len(self._slow) < BROADCAST_POSTS_MAX - PROMPT_POSTS_MAX:
            self._slow.add(self)
            self._places.release()

    async def __aexit__(self, *_error: object) -> None:
        if self in self._slow:
            self._slow.remove(self)
        else:
            self._late.cancel()
            self._places.release()


class _Connection:
    """The turn and the circuit of one connection."""

    __slots__ = ("circuit", "last_success_ms", "last_used_s", "turn", "users")

    def __init__(self) -> None:
        self.turn = asyncio.Lock()  # first come, first served
        self.users = 0  # sends that hold the turn or wait for it
        self.circuit: Circuit = CLOSED
        self.last_success_ms: int | None = None
        self.last_used_s = 0.0


class ConnectionManager:
    """Sends to connections through one management client, which it takes over and closes.

    `on_gone` is awaited for each send that was answered 410; it deletes the connection unless that
    was stored less than 30 s ago (SEND-3). `observe` is told of every send and every recipient of a
    broadcast. Memory is bounded by the constants above. Used on one event loop.
    """

    def __init__(
        self,
        client: ManagementClient,
        *,
        on_gone: Callable[[str], Awaitable[None]] | None = None,
        observe: Callable[[str, SendResult], None] | None = None,
        clock: Clock | None = None,
        dice: Callable[[], float] = random.random,
    ) -> None:
        """`dice` draws from [0, 1); it and `clock` are replaced in tests."""
        self._client = client
        self._on_gone = on_gone
        self._observe = observe
        self._clock = clock or SystemClock()
        self._dice = dice
        self._connections: collections.OrderedDict[str, _Connection] = collections.OrderedDict()
        self._prompt_posts = asyncio.Semaphore(PROMPT_POSTS_MAX)
        self._broadcast_post = functools.partial(_BroadcastPost, self._prompt_posts, set())
        self._sends = 0
        self._idle = asyncio.Event()  # no send is under way
        self._idle.set()
        self._closing = False
        self._stopped = asyncio.Event()

    async def send(self, connection_id: str, data: bytes, *, repeatable: bool = True) -> SendResult:
        """Send `data`, with at most 5 attempts within 10 s; raises nothing but a cancellation.

        `repeatable` says that the receiver drops a repeat (a message with `sequence`): only then is
        a post without an answer made again. Waiting for its turn may take another 10 s.
        """
        send = _Send(connection_id, data, SEND, repeatable, posts=contextlib.nullcontext)
        return await self._send(send)

    async def broadcast(self, connection_ids: Iterable[str], data: bytes) -> BroadcastResult:
        """Send the same bytes to each connection at most once, side by side.

        A recipient has 2 s for its attempts from its first one; none waits for another's retries.
        """
        recipients = list(dict.fromkeys(connection_ids))
        next_ones = iter(recipients)
        counts = collections.Counter[Outcome]()

        async def deliver() -> None:
            for connection_id in next_ones:
                send = _Send(connection_id, data, BROADCAST, False, self._broadcast_post)
                counts[(await self._send(send)).outcome] += 1

        async with asyncio.TaskGroup() as lanes:
            for _ in recipients[:RECIPIENTS_AT_ONCE_MAX]:
                lanes.create_task(deliver())
        return BroadcastResult(*(counts[outcome] for outcome in Outcome))

    def health(self, connection_id: str) -> Health:
        """What is known of a connection; of an unknown one, that nothing is wrong."""
        known = self._connections.get(connection_id)
        if known is None:
            return Health()
        return Health(known.circuit.state, known.circuit.failures, known.last_success_ms)

    def forget(self, connection_id: str) -> None:
        """Drop what is known of a connection that has ended, unless a send is under way."""
        known = self._connections.get(connection_id)
        if known is not None and known.users == 0:
            del self._connections[connection_id]

    async def aclose(self, drain_s: float = 5.0) -> None:
        """Refuse new sends, let those under way end for `drain_s`, then end them; never hangs."""
        self._closing = True
        await _happens(self._idle, drain_s)
        self._stopped.set()
        await self._client.aclose()
        await _happens(self._idle, 1.0)

    async def _send(self, send: _Send) -> SendResult:
        self._sends += 1
        self._idle.clear()
        try:
            result = await self._in_turn(send)
            if self._observe is not None:
                self._observe(send.connection_id, result)
            if result.outcome is Outcome.GONE and self._on_gone is not None:
                try:
                    await self._on_gone(send.connection_id)
                except Exception:
                    _logger.exception("a connection that is gone could not be removed")
            return result
        finally:
            self._sends -= 1
            if not self._sends:
                self._idle.set()

    async def _in_turn(self, send: _Send) -> SendResult:
        connection = self._connection(send.connection_id)
        if connection.users >= WAITING_MAX:
            return SendResult(Outcome.FAILED, error=errors.QueueFullError())
        connection.users += 1
        try:
            async with asyncio.timeout(send.backoff.total_s) as limit, connection.turn:
                limit.reschedule(None)  # its turn has come
                result = await self._guarded(connection, send)
        except TimeoutError:
            return SendResult(Outcome.FAILED, error=errors.QueueFullError())
        finally:
            connection.users -= 1
        if result.outcome is Outcome.GONE:
            self.forget(send.connection_id)
        return result

    async def _guarded(self, connection: _Connection, send: _Send) -> SendResult:
        now_s = asyncio.get_running_loop().time
        if self._closing:
            return SendResult(Outcome.FAILED, error=errors.ManagerClosedError())
        if not connection.circuit.admits(now_s()):
            return SendResult(Outcome.FAILED, error=errors.CircuitOpenError())
        connection.circuit = connection.circuit.begin()
        result = None
        try:
            result = await self._attempts(send)
        finally:  # a cancelled send has no result
            if result is None or not (result.error is None or result.error.peer_failed):
                connection.circuit = connection.circuit.inconclusive()
            elif result.error is not None:
                connection.circuit = connection.circuit.failed(now_s())
            else:
                connection.circuit = connection.circuit.succeeded()
                connection.last_success_ms = self._clock.now_ms()
        return result

    async def _attempts(self, send: _Send) -> SendResult:
        now_s = asyncio.get_running_loop().time
        attempts = 0
        began_s: float | None = None
        while True:
            async with send.posts():
                began_s = now_s() if began_s is None else began_s
                left_s = began_s + send.backoff.total_s - now_s()
                attempts += 1
                try:
                    await self._client.post_to_connection(
                        send.connection_id, send.data, timeout_s=left_s
                    )
                    return SendResult(Outcome.DELIVERED, attempts)
                except errors.SendError as problem:
                    error = problem
            pause_s = None
            if error.retryable and (send.repeatable or not error.may_have_arrived):
                pause_s = send.backoff.pause_s(attempts, now_s() - began_s, self._dice())
            if pause_s is None or await _happens(self._stopped, pause_s):
                outcome = Outcome.GONE if isinstance(error, errors.GoneError) else Outcome.FAILED
                return SendResult(outcome, attempts, error)

    def _connection(self, connection_id: str) -> _Connection:
        now_s = asyncio.get_running_loop().time()
        known = self._connections
        if connection_id not in known:
            while known:
                oldest_id, oldest = next(iter(known.items()))
                needed = now_s - oldest.last_used_s <= UNUSED_S_MAX and len(known) < CONNECTIONS_MAX
                if oldest.users or needed:
                    break
                del known[oldest_id]
            known[connection_id] = _Connection()
        known.move_to_end(connection_id)
        known[connection_id].last_used_s = now_s
        return known[connection_id]


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    """Whether the event comes in that time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()
    return event.is_set()
