"""A store in memory that behaves as DynamoDB: conditional writes, and indexes that lag behind.

It offers what the judged system asks of its store, and takes that system's own records and errors
as a `Vocabulary`, so that nothing here depends on it. Each operation is one function that a
`Transport` brings to the tables: the transport decides about latency, throttles and lost answers,
the tables about conditions. A read by key is consistent; a query of an index may see the past.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

CANCELLER_MS = 1_000  # a canceller numbers the outcome within this time when nobody held it
GIVEN_UP_MS = 30_000  # a holder numbers an outcome within this time or not at all
IN_FLIGHT_RETRY_MS = 1_000
CLAIMABLE = ("PENDING", "RETRYING")
OPEN = ("ACCEPTED", *CLAIMABLE, "PROCESSING")
ENDED = ("COMPLETED", "FAILED", "CANCELLED")


@dataclasses.dataclass(frozen=True, slots=True)
class Vocabulary:
    """The records and errors of the judged system that its store takes and gives."""

    status: Callable[[str], Any]
    outbox: Callable[..., Any]
    stored: Callable[..., Any]
    held: Callable[..., Any]
    store_error: Callable[[str], Exception]
    duplicate: Callable[[Any], Exception]
    limit_reached: Callable[[str, int], Exception]
    take: Callable[[Any, float, float], tuple[float, int]]  # limit, bucket, now -> bucket, early


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One record of the requests' stream; an image is status, attempt and deaths, or None."""

    key: str
    request_id: str
    old: dict[str, Any] | None
    new: dict[str, Any] | None


class Transport(Protocol):
    """The way to the tables and back; what it raises, the caller of the store gets."""

    def __call__(
        self, name: str, key: str, function: Callable[[], T], *, writes: bool
    ) -> Awaitable[T]:
        """The function's answer, when and if it comes."""
        ...


async def at_once(name: str, key: str, function: Callable[[], T], *, writes: bool) -> T:
    """The transport without a network, for tests of the tables alone."""
    del name, key, writes
    return function()


@dataclasses.dataclass(frozen=True, slots=True)
class _View:
    """What an index shows: everything as it was at one moment."""

    requests: dict[str, Any]
    workers: dict[str, tuple[str, int]]
    connections: dict[str, Any]


class SimulatedStore:
    """All tables of one world. The conditions have names of their own, for `flaws`."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        transport: Transport = at_once,
        *,
        now_s: Callable[[], float] = lambda: 0.0,
        lag_s: Callable[[], float] = lambda: 0.0,
        on_change: Callable[[Change], None] = lambda _: None,
        on_unfenced: Callable[[str, int], None] = lambda _, __: None,
    ) -> None:
        """`lag_s` is asked for each query of an index: how old is what it shows?

        `on_unfenced` is told of an attempt that wrote while another one held the request.
        """
        self.words = vocabulary
        self._ask = transport
        self._now_s = now_s
        self._lag_s = lag_s
        self._on_change = on_change
        self._on_unfenced = on_unfenced
        self.requests: dict[str, Any] = {}  # by key, `Stored` of the system
        self.workers: dict[str, tuple[str, int]] = {}  # invocation, lease until
        self.connections: dict[str, Any] = {}
        self.counters: dict[str, int] = {}
        self.dead_letters: list[tuple[dict[str, Any], str]] = []
        self._past: list[tuple[float, _View]] = [(-1.0, _View({}, {}, {}))]

    # Connections

    async def put_connection(self, connection: Any) -> None:
        """Store it; an id that is there already fails the write."""

        def put() -> None:
            if connection.connection_id in self.connections:
                raise self.words.store_error("the connection is there")
            self.connections[connection.connection_id] = connection

        await self.write("put_connection", connection.connection_id, put)

    async def get_connection(self, connection_id: str) -> Any:
        """Read consistently."""
        return await self._read(
            "get_connection", connection_id, lambda: self.connections.get(connection_id)
        )

    async def touch(self, connection_id: str, limit: Any, now_ms: int) -> None:
        """Count one message."""
        await self.write("touch", connection_id, lambda: self._touch(connection_id, limit, now_ms))

    async def delete_connection(self, connection_id: str) -> bool:
        """Remove it and its subscriptions."""

        def delete() -> bool:
            for key, stored in self.requests.items():
                if connection_id in stored.subscribers:
                    rest = tuple(s for s in stored.subscribers if s != connection_id)
                    self.requests[key] = dataclasses.replace(stored, subscribers=rest)
            return self.connections.pop(connection_id, None) is not None

        return await self.write("delete_connection", connection_id, delete)

    async def connections_of(self, tenant_id: str) -> list[str]:
        """By the index of tenants."""

        def find() -> list[str]:
            known = self._view().connections.values()
            return [c.connection_id for c in known if c.tenant_id == tenant_id]

        return await self._read("connections_of", tenant_id, find)

    async def stale_connections(self, now_s: int, limit: int) -> list[str]:
        """By the index of expiries."""

        def find() -> list[str]:
            known = self._view().connections.values()
            return [c.connection_id for c in known if c.expires_at_s < now_s][:limit]

        return await self._read("stale_connections", "", find)

    # Requests

    async def accept(
        self, request: Any, acknowledgment: str, limit: Any, in_flight_max: int
    ) -> None:
        """Count the message and store the request with its acknowledgment, in one step."""

        def accept() -> None:
            self._touch(request.connection_id, limit, request.created_at_ms)
            earlier = self.earlier(request.key)
            if earlier is not None:
                raise self.words.duplicate(earlier.request.status)
            count = sum(
                stored.request.connection_id == request.connection_id
                and stored.request.outcome is None
                for stored in self.requests.values()
            )
            if 0 < in_flight_max <= count:
                what = f"{count} requests of this connection are in flight"
                raise self.words.limit_reached(what, IN_FLIGHT_RETRY_MS)
            outbox = self.words.outbox(
                sequence=0,
                message=acknowledgment,
                taken=False,
                closed=False,
                percentage=0.0,
                stored_at_ms=request.created_at_ms,
            )
            self.put(self.words.stored(request=request, outbox=outbox, subscribers=()))

        await self.write("accept", request.key, accept)

    async def acknowledged(self, key: str, taken: bool, now_ms: int) -> bool:
        """ACCEPTED becomes PENDING."""

        def acknowledged() -> bool:
            stored = self.requests.get(key)
            if stored is None or stored.request.status != "ACCEPTED":
                return False
            self._move(stored, "PENDING", now_ms, outbox={"taken": taken})
            return True

        return await self.write("acknowledged", key, acknowledged)

    async def claim(self, key: str, worker_id: str, now_ms: int, *, alone: bool) -> Any:
        """What is claimable and due becomes PROCESSING."""

        def claim() -> Any:
            stored = self.requests.get(key)
            if stored is None:
                return None
            if not self.may_be_claimed(stored.request, now_ms, alone):
                return None
            return self._move(stored, "PROCESSING", now_ms, worker_id=worker_id)

        return await self.write("claim", key, claim)

    async def save_progress(
        self, key: str, attempt: int, sequence: int, message: str, percentage: float, now_ms: int
    ) -> tuple[str, ...] | None:
        """Take the next number, while the attempt holds the request."""

        def save() -> tuple[str, ...] | None:
            stored = self._holder(key, attempt)
            if stored is None:
                return None
            return self._number(stored, sequence, message, now_ms, percentage)

        return await self.write("save_progress", key, save)

    async def note(self, key: str, attempt: int, waiting: str, percentage: float) -> bool:
        """Keep progress that has to wait for its number."""

        def note() -> bool:
            stored = self._holder(key, attempt)
            if stored is None:
                return False
            self._say(stored, waiting=waiting, percentage=percentage)
            return True

        return await self.write("note", key, note)

    async def retry(
        self,
        key: str,
        attempt: int,
        *,
        failures: int,
        not_before_ms: int,
        now_ms: int,
        taken: bool = False,
    ) -> bool:
        """PROCESSING becomes RETRYING with the next attempt."""

        def retry() -> bool:
            stored = self._holder(key, attempt)
            if stored is None:
                return False
            self._move(
                stored,
                "RETRYING",
                now_ms,
                outbox={"taken": True} if taken else {},
                attempt=attempt + 1,
                failures=failures,
                not_before_ms=not_before_ms,
                worker_id=None,
            )
            return True

        return await self.write("retry", key, retry)

    async def take_back(self, key: str, attempt: int, not_before_ms: int, now_ms: int) -> bool:
        """PROCESSING of a dead worker becomes RETRYING, one death more."""

        def take_back() -> bool:
            stored = self._holder(key, attempt)
            if stored is None:
                return False
            self._move(
                stored,
                "RETRYING",
                now_ms,
                attempt=attempt + 1,
                deaths=stored.request.deaths + 1,
                not_before_ms=not_before_ms,
                worker_id=None,
            )
            return True

        return await self.write("take_back", key, take_back)

    async def finish(
        self,
        key: str,
        attempt: int,
        status: Any,
        outcome: str,
        message: tuple[int, str] | None,
        now_ms: int,
        waiting: str | None = None,
    ) -> tuple[str, ...] | None:
        """Record the outcome, numbered when there is a message, or behind what waits."""

        def finish() -> tuple[str, ...] | None:
            stored = self._holder(key, attempt)
            if stored is None:
                return None
            subscribers: tuple[str, ...] = stored.subscribers
            if message is not None:
                numbered = self._number(stored, *message, now_ms, None)
                if numbered is None:
                    return None
                stored, subscribers = self.requests[key], numbered
            else:
                stored = self._say(stored, waiting=waiting)
            self._end(stored, status, outcome, now_ms)
            return subscribers

        return await self.write("finish", key, finish)

    async def end(self, key: str, status: Any, outcome: str, now_ms: int) -> Any:
        """End it from outside; what it was."""

        def end() -> Any:
            stored = self.requests.get(key)
            if stored is None or not self.may_be_ended(stored):
                return None
            self._end(stored, status, outcome, now_ms)
            return stored

        return await self.write("end", key, end)

    async def close(
        self, key: str, sequence: int, message: str, now_ms: int, percentage: float | None = None
    ) -> tuple[str, ...] | None:
        """Number the outcome of an ended request, or the progress that waited before it."""

        def close() -> tuple[str, ...] | None:
            stored = self.requests.get(key)
            if stored is None:
                return None
            return self._number(stored, sequence, message, now_ms, percentage)

        return await self.write("close", key, close)

    async def taken(self, key: str, sequence: int) -> None:
        """Every receiver of the last message has it."""

        def taken() -> None:
            stored = self.requests.get(key)
            if stored is not None and stored.outbox.sequence == sequence:
                self._say(stored, taken=True)

        await self.write("taken", key, taken)

    async def get(self, key: str) -> Any:
        """Read consistently."""
        return await self._read("get", key, lambda: self.requests.get(key))

    async def waiting(self, now_ms: int, limit: int) -> list[str]:
        """By the index of open requests: what can be claimed now, not what must run alone."""

        def find() -> list[str]:
            return [
                key
                for key, stored in self._view().requests.items()
                if stored.request.status in CLAIMABLE
                and stored.request.not_before_ms <= now_ms
                and not stored.request.deaths
            ][:limit]

        return await self._read("waiting", "", find)

    async def subscribe(self, key: str, connection_id: str) -> Any:
        """Add a subscriber; the request as it was."""

        def subscribe() -> Any:
            stored = self.requests.get(key)
            if stored is None or connection_id == stored.request.connection_id:
                return stored
            if connection_id not in stored.subscribers:
                more = (*stored.subscribers, connection_id)
                self.requests[key] = dataclasses.replace(stored, subscribers=more)
            return stored

        return await self.write("subscribe", key, subscribe)

    async def unsubscribe(self, key: str, connection_id: str) -> None:
        """Remove a subscriber."""

        def unsubscribe() -> None:
            stored = self.requests.get(key)
            if stored is not None:
                rest = tuple(s for s in stored.subscribers if s != connection_id)
                self.requests[key] = dataclasses.replace(stored, subscribers=rest)

        await self.write("unsubscribe", key, unsubscribe)

    # Leases and sweeps

    async def renew(
        self, worker_id: str, invocation_id: str, lease_until_ms: int
    ) -> tuple[Any, ...]:
        """Hold on; what is in this worker's name and has no number for its outcome yet."""

        def renew() -> tuple[Any, ...]:
            self.workers[worker_id] = (invocation_id, lease_until_ms)
            return tuple(
                self.words.held(
                    key, stored.request.attempt, stored.request.failures, _ended(stored)
                )
                for key, stored in self.requests.items()
                if stored.request.worker_id == worker_id and not stored.outbox.closed
            )

        return await self.write("renew", worker_id, renew)

    async def worker_gone(self, invocation_id: str) -> bool:
        """End the lease of whoever ran this invocation."""

        def gone() -> bool:
            found = [w for w, (i, _) in self.workers.items() if i == invocation_id]
            for worker_id in found:
                self.workers[worker_id] = (invocation_id, 0)
            return bool(found)

        return await self.write("worker_gone", invocation_id, gone)

    async def orphans(self, now_ms: int, limit: int) -> list[Any]:
        """PROCESSING that nobody with a lease holds, and ended ones that nobody numbered."""

        def find() -> list[Any]:
            view = self._view()

            def orphaned(stored: Any) -> bool:
                request = stored.request
                _, lease_until_ms = view.workers.get(request.worker_id, ("", -1))
                alone = lease_until_ms <= now_ms
                if not _ended(stored):
                    return alone and request.status == "PROCESSING"
                age_ms = now_ms - request.changed_at_ms
                return (
                    not stored.outbox.closed
                    and age_ms > CANCELLER_MS
                    and (alone or age_ms > GIVEN_UP_MS)
                )

            return _oldest(filter(orphaned, view.requests.values()), limit)

        return await self._read("orphans", "", find)

    async def overdue(self, before_ms: int, limit: int) -> list[Any]:
        """What waits and has not moved since."""

        def find() -> list[Any]:
            found = (
                stored
                for stored in self._view().requests.values()
                if stored.request.status in ("ACCEPTED", *CLAIMABLE)
                and stored.request.changed_at_ms < before_ms
                and stored.request.not_before_ms < before_ms
            )
            return _oldest(found, limit)

        return await self._read("overdue", "", find)

    async def undelivered(self, before_ms: int, limit: int) -> list[Any]:
        """Outcomes that are not known to be taken."""

        def find() -> list[Any]:
            found = [
                stored
                for stored in self._view().requests.values()
                if stored.outbox.closed
                and not stored.outbox.taken
                and stored.outbox.stored_at_ms < before_ms
            ]
            return sorted(found, key=lambda stored: stored.outbox.stored_at_ms)[:limit]

        return await self._read("undelivered", "", find)

    async def put_off(self, moments_ms: Mapping[str, int]) -> None:
        """Count what waits as moved, and what is not delivered as stored, at these moments."""

        def put_off() -> None:
            for key, moment_ms in moments_ms.items():
                stored = self.requests.get(key)
                if stored is None:
                    continue
                if stored.request.status in ("ACCEPTED", *CLAIMABLE):
                    request = dataclasses.replace(stored.request, changed_at_ms=moment_ms)
                    self.put(dataclasses.replace(stored, request=request))
                elif stored.outbox.closed and not stored.outbox.taken:
                    self._say(stored, stored_at_ms=moment_ms)

        await self.write("put_off", "", put_off)

    async def forget(self, now_ms: int) -> None:
        """Drop what is past its retention."""

        def forget() -> None:
            for key, stored in list(self.requests.items()):
                if _ended(stored) and stored.request.expires_at_s < now_ms // 1000:
                    del self.requests[key]
                    self._on_change(Change(key, stored.request.request_id, _image(stored), None))

        await self.write("forget", "", forget)

    # Counters and dead letters

    async def increment(self, key: str) -> int:
        """One more."""

        def increment() -> int:
            self.counters[key] = self.counters.get(key, 0) + 1
            return self.counters[key]

        return await self.write("increment", key, increment)

    async def read(self, key: str) -> int:
        """The count."""
        return await self._read("read", key, lambda: self.counters.get(key, 0))

    async def park(self, record: dict[str, Any], reason: str) -> None:
        """Keep a stream record for an operator."""
        await self.write("park", "", lambda: self.dead_letters.append((record, reason)))

    async def aclose(self) -> None:
        """There is nothing to let go of."""

    # What the operations are made of

    async def _read(self, name: str, key: str, function: Callable[[], T]) -> T:
        return await self._ask(name, key, function, writes=False)

    async def write(self, name: str, key: str, function: Callable[[], T]) -> T:
        """One write, as the transport brings it to the tables."""

        def write() -> T:
            answer = function()
            self._remember()
            return answer

        return await self._ask(name, key, write, writes=True)

    def _view(self) -> _View:
        """Everything as it was some time ago, as the index has it."""
        lag_s = self._lag_s()
        if not lag_s:
            return _View(self.requests, self.workers, self.connections)
        place = bisect.bisect_right(self._past, self._now_s() - lag_s, key=lambda past: past[0])
        return self._past[max(0, place - 1)][1]

    def _remember(self) -> None:
        view = _View(dict(self.requests), dict(self.workers), dict(self.connections))
        self._past.append((self._now_s(), view))

    def _touch(self, connection_id: str, limit: Any, now_ms: int) -> None:
        connection = self.connections.get(connection_id)
        if connection is None:
            return  # removed meanwhile: an update must not bring it back
        empty_at_ms, early_ms = self.words.take(limit, connection.bucket_empty_at_ms, now_ms)
        if early_ms:
            raise self.words.limit_reached("too many messages on this connection", early_ms)
        self.connections[connection_id] = dataclasses.replace(
            connection, bucket_empty_at_ms=empty_at_ms, last_ping_ms=now_ms
        )

    def _holder(self, key: str, attempt: int) -> Any:
        stored = self.held(key, attempt)
        if stored is not None and stored.request.attempt != attempt:
            self._on_unfenced(stored.request.request_id, attempt)
        return stored

    # Conditions

    def earlier(self, key: str) -> Any:
        """The request that has this key already."""
        return self.requests.get(key)

    def may_be_claimed(self, request: Any, now_ms: int, alone: bool) -> bool:
        """Waiting, due, and for whoever runs it alone once a worker died of it."""
        waits = request.status in CLAIMABLE and request.not_before_ms <= now_ms
        return waits and (alone or not request.deaths)

    def may_be_ended(self, stored: Any) -> bool:
        """It has not ended."""
        return stored.request.status in OPEN

    def may_be_numbered(self, stored: Any, sequence: int) -> bool:
        """It is the next number, and the last was not the outcome."""
        return not stored.outbox.closed and stored.outbox.sequence == sequence - 1

    def held(self, key: str, attempt: int) -> Any:
        """The request if this attempt holds it."""
        stored = self.requests.get(key)
        if stored is None or stored.request.status != "PROCESSING":
            return None
        return stored if stored.request.attempt == attempt else None

    def _say(self, stored: Any, **changes: Any) -> Any:
        """Change what is known of the last message; nothing that the stream shows."""
        said = dataclasses.replace(stored, outbox=dataclasses.replace(stored.outbox, **changes))
        self.requests[stored.request.key] = said
        return said

    def _end(self, stored: Any, status: Any, outcome: str, now_ms: int) -> None:
        """The retention counts from here."""
        lasted_s = (now_ms - stored.request.created_at_ms) // 1000
        expires_at_s = stored.request.expires_at_s + lasted_s
        self._move(stored, status, now_ms, outcome=outcome, expires_at_s=expires_at_s)

    def _number(
        self, stored: Any, sequence: int, message: str, now_ms: int, percentage: float | None
    ) -> tuple[str, ...] | None:
        """Give the message the next number; without a percentage it is the outcome, the last."""
        if not self.may_be_numbered(stored, sequence):
            return None
        outbox = self.words.outbox(
            sequence=sequence,
            message=message,
            taken=False,
            closed=percentage is None,
            percentage=stored.outbox.percentage if percentage is None else percentage,
            stored_at_ms=now_ms,
        )
        self.requests[stored.request.key] = dataclasses.replace(stored, outbox=outbox)
        subscribers: tuple[str, ...] = stored.subscribers
        return subscribers

    def _move(
        self,
        stored: Any,
        status: Any,
        now_ms: int,
        *,
        outbox: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Any:
        request = dataclasses.replace(
            stored.request, status=self.words.status(status), changed_at_ms=now_ms, **changes
        )
        said = dataclasses.replace(stored.outbox, **outbox) if outbox else stored.outbox
        moved = dataclasses.replace(stored, request=request, outbox=said)
        self.put(moved)
        return moved

    def put(self, stored: Any) -> None:
        """Store it and tell the stream, unless nothing changed that the stream shows."""
        key = stored.request.key
        before = self.requests.get(key)
        self.requests[key] = stored
        old, new = None if before is None else _image(before), _image(stored)
        if old != new:
            self._on_change(Change(key, stored.request.request_id, old, new))


def _ended(stored: Any) -> bool:
    return stored.request.outcome is not None


def _oldest(found: Iterable[Any], limit: int) -> list[Any]:
    """Those that have not moved for the longest time."""
    return sorted(found, key=lambda stored: stored.request.changed_at_ms)[:limit]


def _image(stored: Any) -> dict[str, Any]:
    request = stored.request
    return {"status": str(request.status), "attempt": request.attempt, "deaths": request.deaths}
