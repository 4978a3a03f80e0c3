"""What the store promises, as protocols; SQLite and DynamoDB keep the same ones.

Every write that could be made by somebody who no longer holds the request carries the attempt as a
condition (a fencing token). A write whose condition fails answers None or False and changes
nothing; the caller then holds nothing any more and sends nothing more.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Protocol

from streamer_reference.core.rate import RateLimit
from streamer_reference.core.states import Status
from streamer_reference.protocol.errors import StreamerError


class StoreError(StreamerError):
    """The store failed: what was asked may or may not have been recorded."""

    def __init__(self, message: str = "") -> None:
        """`message` is for the log; a client is told the code's meaning alone."""
        super().__init__("STORAGE_ERROR")
        self.reason = message


class DuplicateRequestError(StreamerError):
    """A request with this key is remembered: `details.status` says how it stands."""

    def __init__(self, status: Status) -> None:
        """`status` of the request that was there first."""
        super().__init__("DUPLICATE_REQUEST", details={"status": status})


class LimitReachedError(StreamerError):
    """Too many messages, or too many requests in flight, on one connection."""

    def __init__(self, message: str, after_ms: int) -> None:
        """`after_ms` is when asking again can help."""
        super().__init__("RATE_LIMITED", message, after_ms=after_ms)


@dataclasses.dataclass(frozen=True, slots=True)
class Connection:
    """One open connection and who it belongs to."""

    connection_id: str
    tenant_id: str
    user_id: str
    permissions: tuple[str, ...]
    endpoint: str
    connected_at_ms: int
    last_ping_ms: int
    token_expires_at_s: float
    source_ip: str
    user_agent: str
    expires_at_s: int
    bucket_empty_at_ms: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One long request as it is stored; `attempt` is the fencing token.

    `failures` are the handler's, `deaths` its workers'; `payload`, `metadata` and `outcome` are
    JSON text, so that they come back exactly as they went in.
    """

    key: str
    tenant_id: str
    user_id: str
    request_id: str
    connection_id: str
    action: str
    payload: str
    metadata: str
    permissions: str
    correlation_id: str
    created_at_ms: int
    expires_at_s: int
    status: Status = Status.ACCEPTED
    changed_at_ms: int = 0
    attempt: int = 1
    failures: int = 0
    deaths: int = 0
    not_before_ms: int = 0
    worker_id: str | None = None
    outcome: str | None = None
    trace_header: str = ""  # of the router's span, as X-Amzn-Trace-Id; empty when nothing traces


@dataclasses.dataclass(frozen=True, slots=True)
class Outbox:
    """The last message stored for a request, and whether its receivers are known to have it.

    `closed` once that message is the outcome. A number is taken by storing its message, and the
    next only after this one was taken, so the last message is all that can be missing. `waiting` is
    the JSON of the newest progress behind it, which has no number yet.
    """

    sequence: int
    message: str
    taken: bool
    closed: bool
    percentage: float
    stored_at_ms: int
    waiting: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """A request with its outbox and those who subscribed to it."""

    request: Request
    outbox: Outbox
    subscribers: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """A request in a worker's name; `ended` when somebody else ended it and no outcome is sent."""

    key: str
    attempt: int
    failures: int
    ended: bool


def request_key(tenant_id: str, user_id: str, request_id: str) -> str:
    """One key for one user's request: JSON keeps `a:b` + `c` apart from `a` + `b:c`."""
    return json.dumps([tenant_id, user_id, request_id], ensure_ascii=False, separators=(",", ":"))


class ConnectionStore(Protocol):
    """Connections, read consistently: a connection is usable the moment it is open."""

    async def put_connection(self, connection: Connection) -> None:
        """Store it; raises `StoreError`."""

    async def get_connection(self, connection_id: str) -> Connection | None:
        """The connection, or None when it is unknown or removed."""

    async def touch(self, connection_id: str, limit: RateLimit, now_ms: int) -> None:
        """Count one message; raises `LimitReachedError`. A removed connection stays removed."""

    async def delete_connection(self, connection_id: str) -> bool:
        """Remove it and its subscriptions; False when it was gone already."""

    async def connections_of(self, tenant_id: str) -> list[str]:
        """The ids of a tenant's connections."""

    async def stale_connections(self, now_s: int, limit: int) -> list[str]:
        """Connections past their time to live."""


class RequestQueue(Protocol):
    """Long requests from acceptance to their outcome."""

    async def accept(
        self, request: Request, acknowledgment: str, limit: RateLimit, in_flight_max: int
    ) -> None:
        """Store request and acknowledgment, and count the message, in one step.

        Raises `LimitReachedError`, `DuplicateRequestError`, `StoreError`.
        """

    async def acknowledged(self, key: str, taken: bool, now_ms: int) -> bool:
        """ACCEPTED becomes PENDING; False when it is not ACCEPTED any more."""

    async def claim(self, key: str, worker_id: str, now_ms: int, *, alone: bool) -> Stored | None:
        """PENDING or RETRYING and due becomes PROCESSING; None when another was first.

        A request whose worker died is claimed only by an invocation that runs it `alone`.
        """

    async def save_progress(
        self, key: str, attempt: int, sequence: int, message: str, percentage: float, now_ms: int
    ) -> tuple[str, ...] | None:
        """Take the next number; the subscribers, or None when the attempt lost the request."""

    async def note(self, key: str, attempt: int, waiting: str, percentage: float) -> bool:
        """Keep progress that has to wait for its number; False when the attempt lost."""

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
        """PROCESSING becomes RETRYING with the next attempt; `taken` is of the last message."""

    async def finish(
        self,
        key: str,
        attempt: int,
        status: Status,
        outcome: str,
        message: tuple[int, str] | None,
        now_ms: int,
        waiting: str | None = None,
    ) -> tuple[str, ...] | None:
        """Record the outcome, numbered when `message` is given; None when the attempt lost.

        Without a number, `waiting` is the progress that goes out before it.
        """

    async def end(self, key: str, status: Status, outcome: str, now_ms: int) -> Stored | None:
        """End a request from outside (cancel, dead letter); what it was, None if it had ended."""

    async def close(
        self, key: str, sequence: int, message: str, now_ms: int, percentage: float | None = None
    ) -> tuple[str, ...] | None:
        """Number the outcome of an ended request; None when another did.

        With a percentage the message is the progress that still waited before the outcome.
        """

    async def taken(self, key: str, sequence: int) -> None:
        """Every receiver has the message, or is gone."""

    async def get(self, key: str) -> Stored | None:
        """The request, read consistently."""

    async def waiting(self, now_ms: int, limit: int) -> list[str]:
        """Keys that can be claimed now, without those that must run alone."""

    async def subscribe(self, key: str, connection_id: str) -> Stored | None:
        """Add a subscriber; the request as it was at that moment."""

    async def unsubscribe(self, key: str, connection_id: str) -> None:
        """Remove a subscriber."""


class LeaseStore(Protocol):
    """Workers' leases, and what a sweep finds."""

    async def renew(
        self, worker_id: str, invocation_id: str, lease_until_ms: int
    ) -> tuple[Held, ...]:
        """Hold on for another lease; what the store believes that this worker holds.

        A claim whose answer was lost is among it: only the worker can say that nobody runs it.
        """

    async def worker_gone(self, invocation_id: str) -> bool:
        """End the lease of the worker that ran this invocation; False when it is unknown."""

    async def orphans(self, now_ms: int, limit: int) -> list[Stored]:
        """PROCESSING requests, and ended but unnumbered ones, that nobody with a lease holds."""

    async def take_back(self, key: str, attempt: int, not_before_ms: int, now_ms: int) -> bool:
        """PROCESSING of a dead worker becomes RETRYING, one death and one attempt more."""

    async def overdue(self, before_ms: int, limit: int) -> list[Stored]:
        """ACCEPTED, PENDING and RETRYING requests that have not moved since `before_ms`."""

    async def undelivered(self, before_ms: int, limit: int) -> list[Stored]:
        """Outcomes stored before `before_ms` that are not known to be taken."""

    async def put_off(self, moments_ms: Mapping[str, int]) -> None:
        """Count those that still wait, or are not delivered, as moved or stored at these moments.

        So `overdue` and `undelivered` find others first.
        """

    async def forget(self, now_ms: int) -> None:
        """Drop what is past its retention, which counts from a request's end; some at a time."""


class Counters(Protocol):
    """Small counters, for the probe pack."""

    async def increment(self, key: str) -> int:
        """One more; the count after it."""

    async def read(self, key: str) -> int:
        """The count."""


class Store(ConnectionStore, RequestQueue, LeaseStore, Counters, Protocol):
    """All of it, as one process opens it."""

    async def park(self, record: dict[str, Any], reason: str) -> None:
        """Keep a stream record that cannot be handed over, for an operator."""

    async def aclose(self) -> None:
        """Finish what was written and let go."""
