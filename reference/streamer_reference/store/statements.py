"""What the store reads and writes, as SQL: each function is one step on a database.

Reads run as they are. A write runs inside a transaction that somebody else opens and commits, and
whatever it raises takes back what it did, but for a `StreamerError`: a refusal is an answer, and
the message that it counted stays counted. What each promises is said in `base`.
"""
# ruff: noqa: D103 - one docstring for each promise, in base

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from streamer_reference.core.rate import RateLimit, take
from streamer_reference.core.states import CLAIMABLE, TERMINAL, Event, Status, move, sources
from streamer_reference.store.base import (
    Connection,
    DuplicateRequestError,
    Held,
    LimitReachedError,
    Outbox,
    Request,
    Stored,
)

CHANGES_KEPT = 100_000  # the stream's memory, in records
WORKERS_KEPT_MS = 3_600_000  # a lease that ended an hour ago tells nobody anything
RETENTION_MS = 7 * 86_400_000  # of counters and dead letters; a request has its own
FORGET_MAX = 500  # of each kind in one sweep, so that it blocks nobody
IN_FLIGHT_RETRY_MS = 1_000
CANCELLER_MS = 1_000  # a canceller numbers the outcome within this time when nobody held it
GIVEN_UP_MS = 30_000  # a holder numbers an outcome within this time or not at all

Database = sqlite3.Connection


def _in(statuses: Iterable[Status]) -> str:
    return "(" + ", ".join(f"'{status}'" for status in sorted(statuses)) + ")"


def _insert(table: str, record: Any) -> tuple[str, list[Any]]:
    values = [getattr(record, field.name) for field in dataclasses.fields(record)]
    places = ", ".join("?" for _ in values)
    values = [json.dumps(value) if isinstance(value, tuple) else value for value in values]
    return f"INSERT INTO {table} VALUES ({places})", values  # noqa: S608 - our names


def _stored(row: tuple[Any, ...]) -> Stored:
    """A row of the view `stored`."""
    request = Request(*row[:21])
    sequence, message, taken, closed, percentage, stored_at_ms, waiting, subscribers = row[21:]
    return Stored(
        dataclasses.replace(request, status=Status(request.status)),
        Outbox(sequence, message, bool(taken), bool(closed), percentage, stored_at_ms, waiting),
        tuple(json.loads(subscribers)),
    )


# Connections


def put_connection(db: Database, connection: Connection) -> None:
    db.execute(*_insert("connections", connection))


def get_connection(db: Database, connection_id: str) -> Connection | None:
    statement = "SELECT * FROM connections WHERE connection_id = ?"
    row = db.execute(statement, (connection_id,)).fetchone()
    if row is None:
        return None
    return dataclasses.replace(Connection(*row), permissions=tuple(json.loads(row[3])))


def touch(db: Database, connection_id: str, limit: RateLimit, now_ms: int) -> None:
    statement = "SELECT bucket_empty_at_ms FROM connections WHERE connection_id = ?"
    row = db.execute(statement, (connection_id,)).fetchone()
    if row is None:
        return  # removed meanwhile: an update must not bring it back
    empty_at_ms, early_ms = take(limit, row[0], now_ms)
    if early_ms:
        raise LimitReachedError("too many messages on this connection", early_ms)
    db.execute(
        "UPDATE connections SET bucket_empty_at_ms = ?, last_ping_ms = ? WHERE connection_id = ?",
        (empty_at_ms, now_ms, connection_id),
    )


def delete_connection(db: Database, connection_id: str) -> bool:
    db.execute("DELETE FROM subscriptions WHERE connection_id = ?", (connection_id,))
    deleted = db.execute("DELETE FROM connections WHERE connection_id = ?", (connection_id,))
    return deleted.rowcount == 1


def connections_of(db: Database, tenant_id: str) -> list[str]:
    statement = "SELECT connection_id FROM connections WHERE tenant_id = ?"
    return [row[0] for row in db.execute(statement, (tenant_id,))]


def stale_connections(db: Database, now_s: int, limit: int) -> list[str]:
    statement = "SELECT connection_id FROM connections WHERE expires_at_s < ? LIMIT ?"
    return [row[0] for row in db.execute(statement, (now_s, limit))]


# Requests: every change of a status is one of these statements, made from the table of core

_ENDING = ", outcome = :outcome, expires_at_s = expires_at_s + (:now_ms - created_at_ms) / 1000"
_CHANGES = {
    Event.ACKNOWLEDGED: "",
    Event.CLAIMED: ", worker_id = :worker_id",
    Event.RETRIED: (
        ", attempt = attempt + 1, failures = coalesce(:failures, failures),"
        " deaths = deaths + :deaths, not_before_ms = :not_before_ms, worker_id = NULL"
    ),
    Event.COMPLETED: _ENDING,
    Event.FAILED: _ENDING,
    Event.CANCELLED: _ENDING,
}
_CONDITIONS = {
    Event.CLAIMED: " AND not_before_ms <= :now_ms AND (deaths = 0 OR :alone)",
    Event.RETRIED: " AND attempt = :attempt",
}
_MOVES = {
    event: f"UPDATE requests SET status = '{move(sources(event)[0], event)}',"  # noqa: S608 - ours
    f" changed_at_ms = :now_ms{_CHANGES[event]}"
    f" WHERE key = :key AND status IN {_in(sources(event))}{_CONDITIONS.get(event, '')}"
    for event in Event
}
_ENDS = {
    Status.COMPLETED: Event.COMPLETED,
    Status.FAILED: Event.FAILED,
    Status.CANCELLED: Event.CANCELLED,
}


def _move(db: Database, event: Event, **values: Any) -> bool:
    return db.execute(_MOVES[event], values).rowcount == 1


def accept(
    db: Database, request: Request, acknowledgment: str, limit: RateLimit, in_flight_max: int
) -> None:
    touch(db, request.connection_id, limit, request.created_at_ms)
    there = db.execute("SELECT status FROM requests WHERE key = ?", (request.key,)).fetchone()
    if there is not None:
        raise DuplicateRequestError(Status(there[0]))
    statement = "SELECT count(*) FROM requests WHERE connection_id = ? AND outcome IS NULL"
    count = db.execute(statement, (request.connection_id,)).fetchone()[0]
    if 0 < in_flight_max <= count:
        raise LimitReachedError(
            f"{count} requests of this connection are in flight", IN_FLIGHT_RETRY_MS
        )
    db.execute(*_insert("requests", request))
    db.execute(
        "INSERT INTO outbox VALUES (?, 0, ?, 0, 0, 0, ?, NULL)",
        (request.key, acknowledgment, request.created_at_ms),
    )


def acknowledged(db: Database, key: str, taken: bool, now_ms: int) -> bool:
    moved = _move(db, Event.ACKNOWLEDGED, key=key, now_ms=now_ms)
    if moved:
        db.execute("UPDATE outbox SET taken = ? WHERE key = ?", (taken, key))
    return moved


def claim(db: Database, key: str, worker_id: str, now_ms: int, *, alone: bool) -> Stored | None:
    moved = _move(db, Event.CLAIMED, key=key, worker_id=worker_id, now_ms=now_ms, alone=alone)
    return get(db, key) if moved else None


def save_progress(
    db: Database,
    key: str,
    attempt: int,
    sequence: int,
    message: str,
    percentage: float,
    now_ms: int,
) -> tuple[str, ...] | None:
    if not _is_held(db, key, attempt):
        return None
    return close(db, key, sequence, message, now_ms, percentage)


def note(db: Database, key: str, attempt: int, waiting: str, percentage: float) -> bool:
    is_held = _is_held(db, key, attempt)
    if is_held:
        statement = "UPDATE outbox SET waiting = ?, percentage = ? WHERE key = ?"
        db.execute(statement, (waiting, percentage, key))
    return is_held


def retry(
    db: Database,
    key: str,
    attempt: int,
    *,
    failures: int | None,
    not_before_ms: int,
    now_ms: int,
    taken: bool = False,
    deaths: int = 0,
) -> bool:
    moved = _move(
        db,
        Event.RETRIED,
        key=key,
        attempt=attempt,
        failures=failures,
        deaths=deaths,
        not_before_ms=not_before_ms,
        now_ms=now_ms,
    )
    if moved and taken:
        db.execute("UPDATE outbox SET taken = 1 WHERE key = ?", (key,))
    return moved


def take_back(db: Database, key: str, attempt: int, not_before_ms: int, now_ms: int) -> bool:
    return retry(
        db, key, attempt, failures=None, not_before_ms=not_before_ms, now_ms=now_ms, deaths=1
    )


def finish(
    db: Database,
    key: str,
    attempt: int,
    status: Status,
    outcome: str,
    message: tuple[int, str] | None,
    now_ms: int,
    waiting: str | None = None,
) -> tuple[str, ...] | None:
    if not _is_held(db, key, attempt):
        return None
    if message is None:
        db.execute("UPDATE outbox SET waiting = ? WHERE key = ?", (waiting, key))
    elif close(db, key, *message, now_ms) is None:
        return None
    _move(db, _ENDS[status], key=key, outcome=outcome, now_ms=now_ms)
    return _subscribers(db, key)


def end(db: Database, key: str, status: Status, outcome: str, now_ms: int) -> Stored | None:
    before = get(db, key)
    return before if _move(db, _ENDS[status], key=key, outcome=outcome, now_ms=now_ms) else None


def close(
    db: Database,
    key: str,
    sequence: int,
    message: str,
    now_ms: int,
    percentage: float | None = None,
) -> tuple[str, ...] | None:
    numbered = db.execute(
        "UPDATE outbox SET sequence = ?, message = ?, taken = 0, stored_at_ms = ?, waiting = NULL,"
        " closed = ?, percentage = coalesce(?, percentage)"
        " WHERE key = ? AND sequence = ? AND NOT closed",
        (sequence, message, now_ms, percentage is None, percentage, key, sequence - 1),
    )
    return _subscribers(db, key) if numbered.rowcount == 1 else None


def taken(db: Database, key: str, sequence: int) -> None:
    db.execute("UPDATE outbox SET taken = 1 WHERE key = ? AND sequence = ?", (key, sequence))


def get(db: Database, key: str) -> Stored | None:
    row = db.execute("SELECT * FROM stored WHERE key = ?", (key,)).fetchone()
    return None if row is None else _stored(row)


def waiting(db: Database, now_ms: int, limit: int) -> list[str]:
    statement = (
        f"SELECT key FROM requests WHERE status IN {_in(CLAIMABLE)} AND outcome IS NULL"  # noqa: S608 - our names
        " AND not_before_ms <= ? AND deaths = 0 LIMIT ?"
    )
    return [row[0] for row in db.execute(statement, (now_ms, limit))]


def subscribe(db: Database, key: str, connection_id: str) -> Stored | None:
    found = get(db, key)
    if found is not None and found.request.connection_id != connection_id:
        db.execute("INSERT OR IGNORE INTO subscriptions VALUES (?, ?)", (key, connection_id))
    return found


def unsubscribe(db: Database, key: str, connection_id: str) -> None:
    statement = "DELETE FROM subscriptions WHERE key = ? AND connection_id = ?"
    db.execute(statement, (key, connection_id))


def _is_held(db: Database, key: str, attempt: int) -> bool:
    statement = "SELECT 1 FROM requests WHERE key = ? AND attempt = ? AND status = ?"
    return db.execute(statement, (key, attempt, Status.PROCESSING)).fetchone() is not None


def _subscribers(db: Database, key: str) -> tuple[str, ...]:
    rows = db.execute("SELECT connection_id FROM subscriptions WHERE key = ?", (key,))
    return tuple(row[0] for row in rows)


# Leases and sweeps


def renew(
    db: Database, worker_id: str, invocation_id: str, lease_until_ms: int
) -> tuple[Held, ...]:
    db.execute(
        "INSERT OR REPLACE INTO workers VALUES (?, ?, ?)",
        (worker_id, invocation_id, lease_until_ms),
    )
    rows = db.execute(
        # In this order: by itself SQLite would read every request of seven days.
        "SELECT r.key, r.attempt, r.failures, r.outcome IS NOT NULL"
        " FROM outbox o INDEXED BY outbox_unnumbered CROSS JOIN requests r ON r.key = o.key"
        " WHERE NOT o.closed AND r.worker_id = ?",
        (worker_id,),
    )
    return tuple(Held(key, attempt, fails, bool(ended)) for key, attempt, fails, ended in rows)


def worker_gone(db: Database, invocation_id: str) -> bool:
    statement = "UPDATE workers SET lease_until_ms = 0 WHERE invocation_id = ?"
    return db.execute(statement, (invocation_id,)).rowcount > 0


_HELD = "coalesce(worker_id IN (SELECT worker_id FROM workers WHERE lease_until_ms > :now_ms), 0)"
_ORPHANS = (
    f"SELECT * FROM stored WHERE status = 'PROCESSING' AND outcome IS NULL AND NOT {_HELD}"  # noqa: S608 - our names
    f" UNION ALL SELECT * FROM stored WHERE status IN {_in(TERMINAL)} AND NOT closed"
    f" AND changed_at_ms < :now_ms - {CANCELLER_MS}"
    f" AND (changed_at_ms < :now_ms - {GIVEN_UP_MS} OR NOT {_HELD})"
    " ORDER BY changed_at_ms LIMIT :limit"
)
_OVERDUE = (
    f"SELECT * FROM stored WHERE status IN {_in(CLAIMABLE | {Status.ACCEPTED})}"  # noqa: S608 - our names
    " AND outcome IS NULL AND changed_at_ms < :before_ms AND not_before_ms < :before_ms"
    " ORDER BY changed_at_ms LIMIT :limit"
)
_UNDELIVERED = (
    "SELECT * FROM stored WHERE closed AND NOT taken AND stored_at_ms < :before_ms"
    " ORDER BY stored_at_ms LIMIT :limit"
)


def orphans(db: Database, now_ms: int, limit: int) -> list[Stored]:
    return [_stored(row) for row in db.execute(_ORPHANS, {"now_ms": now_ms, "limit": limit})]


def overdue(db: Database, before_ms: int, limit: int) -> list[Stored]:
    return [_stored(row) for row in db.execute(_OVERDUE, {"before_ms": before_ms, "limit": limit})]


def undelivered(db: Database, before_ms: int, limit: int) -> list[Stored]:
    rows = db.execute(_UNDELIVERED, {"before_ms": before_ms, "limit": limit})
    return [_stored(row) for row in rows]


def put_off(db: Database, moments_ms: Mapping[str, int]) -> None:
    moments = [(moment_ms, key) for key, moment_ms in moments_ms.items()]
    waits = f"status IN {_in(CLAIMABLE | {Status.ACCEPTED})}"
    db.executemany(
        f"UPDATE requests SET changed_at_ms = ? WHERE key = ? AND {waits}",  # noqa: S608 - our names
        moments,
    )
    # An open outbox has the moment of the last progress, which the next attempt goes by (PROG-2).
    db.executemany(
        "UPDATE outbox SET stored_at_ms = ? WHERE key = ? AND closed AND NOT taken", moments
    )


_FORGET = (
    (
        "DELETE FROM requests WHERE key IN (SELECT key FROM requests"
        " WHERE outcome NOT NULL AND expires_at_s < :now_ms / 1000 LIMIT :most)"
    ),
    (
        "DELETE FROM counters WHERE key IN (SELECT key FROM counters"
        " WHERE changed_at_ms < :now_ms - :retention_ms LIMIT :most)"
    ),
    (
        "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters"
        " WHERE parked_at_ms < :now_ms - :retention_ms LIMIT :most)"
    ),
    "DELETE FROM changes WHERE sequence < (SELECT max(sequence) FROM changes) - :changes_kept",
    (
        "DELETE FROM workers WHERE lease_until_ms < :now_ms - :workers_kept_ms AND worker_id NOT IN"
        " (SELECT worker_id FROM requests WHERE outcome IS NULL AND worker_id NOT NULL)"
    ),
)


def forget(db: Database, now_ms: int) -> None:
    values = {
        "now_ms": now_ms,
        "most": FORGET_MAX,
        "retention_ms": RETENTION_MS,
        "changes_kept": CHANGES_KEPT,
        "workers_kept_ms": WORKERS_KEPT_MS,
    }
    for statement in _FORGET:
        db.execute(statement, values)


# Counters and dead letters


def increment(db: Database, key: str) -> int:
    statement = (
        "INSERT INTO counters VALUES (?, 1, now_ms()) ON CONFLICT (key)"
        " DO UPDATE SET count = count + 1, changed_at_ms = now_ms() RETURNING count"
    )
    return int(db.execute(statement, (key,)).fetchone()[0])


def read(db: Database, key: str) -> int:
    row = db.execute("SELECT count FROM counters WHERE key = ?", (key,)).fetchone()
    return 0 if row is None else int(row[0])


def park(db: Database, record: dict[str, Any], reason: str) -> None:
    statement = "INSERT INTO dead_letters (record, reason, parked_at_ms) VALUES (?, ?, now_ms())"
    db.execute(statement, (json.dumps(record), reason))


# The stream


def changes(db: Database, after: int, limit: int) -> list[tuple[Any, ...]]:
    """Rows (sequence, event_name, key, old_image, new_image, created_at_s) after a number."""
    statement = "SELECT * FROM changes WHERE sequence > ? ORDER BY sequence LIMIT ?"
    return db.execute(statement, (after, limit)).fetchall()


def latest_change(db: Database) -> int:
    """The newest change's number, 0 when there is none."""
    return int(db.execute("SELECT coalesce(max(sequence), 0) FROM changes").fetchone()[0])
