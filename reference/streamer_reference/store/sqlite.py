"""The store on one SQLite file in WAL mode: reads on the loop, writes in the writer's thread.

`synchronous=NORMAL`: a commit survives kill -9 of any process, not a power cut.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from streamer_reference.core.rate import RateLimit, take
from streamer_reference.core.states import CLAIMABLE, TERMINAL, Event, Status, move, sources
from streamer_reference.store.base import (
    Connection,
    DuplicateRequestError,
    Held,
    LimitReachedError,
    Outbox,
    Request,
    Store,
    Stored,
    StoreError,
)
from streamer_reference.store.sqlite_writer import InlineWriter, Writer, open_database

CHANGES_KEPT = 100_000  # the stream's memory, in records
WORKERS_KEPT_MS = 3_600_000  # a lease that ended an hour ago tells nobody anything
IN_FLIGHT_RETRY_MS = 1_000
FORGET_MAX = 500  # requests that one sweep drops, so that it blocks nobody
CANCELLER_MS = 1_000  # a canceller numbers the outcome within this time when nobody held it
GIVEN_UP_MS = 30_000  # a holder numbers an outcome within this time or not at all

T = TypeVar("T")


def _columns(record: type) -> str:
    return ", ".join(field.name for field in dataclasses.fields(record))


def _insert(table: str, record: type) -> str:
    places = ", ".join("?" for _ in dataclasses.fields(record))
    return f"INSERT INTO {table} ({_columns(record)}) VALUES ({places})"  # noqa: S608 - our names


def _in(statuses: object) -> str:
    return "(" + ", ".join(f"'{status}'" for status in sorted(statuses)) + ")"  # type: ignore[call-overload]  # any collection of Status


_REQUEST = _columns(Request)
_STORED = (
    ", ".join(f"r.{field.name}" for field in dataclasses.fields(Request))
    + ", "
    + ", ".join(f"o.{field.name}" for field in dataclasses.fields(Outbox))
)
_SELECT_STORED = f"SELECT {_STORED} FROM requests r JOIN outbox o ON o.key = r.key WHERE "  # noqa: S608 - our names
_REQUEST_WIDTH = len(dataclasses.fields(Request))


class SqliteStore(Store):
    """All tables in one file; open one per process. `on_change` is called after each commit."""

    def __init__(
        self, path: Path, on_change: Callable[[], None] | None = None, *, threaded: bool = True
    ) -> None:
        """Create the file, private to the user, when it is not there.

        Without a thread each write blocks the loop: for one process alone, on virtual time.
        """
        path.touch(mode=0o600)
        self._reader = open_database(path)
        schema = (Path(__file__).parent / "schema.sql").read_text(encoding="utf-8")
        self._reader.executescript(schema)
        self._writer = (Writer if threaded else InlineWriter)(path, on_change)
        self.reads = 0
        self.writes = 0

    async def aclose(self) -> None:
        self._writer.close()
        self._reader.close()

    def _read(self, statement: str, *values: Any) -> list[Any]:
        self.reads += 1
        try:
            return self._reader.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error

    async def _write(self, function: Callable[[sqlite3.Connection], T]) -> T:
        self.writes += 1
        try:
            answer: T = await self._writer.write(function)
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error
        return answer

    async def _execute(self, statement: str, *values: Any) -> None:
        def execute(db: sqlite3.Connection) -> None:
            db.execute(statement, values)

        await self._write(execute)

    # Connections

    async def put_connection(self, connection: Connection) -> None:
        await self._execute(_insert("connections", Connection), *_values(connection))

    async def get_connection(self, connection_id: str) -> Connection | None:
        rows = self._read(
            f"SELECT {_columns(Connection)} FROM connections WHERE connection_id = ?",  # noqa: S608 - our names
            connection_id,
        )
        return _connection(rows[0]) if rows else None

    async def touch(self, connection_id: str, limit: RateLimit, now_ms: int) -> None:
        await self._write(lambda db: _touch(db, connection_id, limit, now_ms))

    async def delete_connection(self, connection_id: str) -> bool:
        def delete(db: sqlite3.Connection) -> bool:
            db.execute("DELETE FROM subscriptions WHERE connection_id = ?", (connection_id,))
            cursor = db.execute("DELETE FROM connections WHERE connection_id = ?", (connection_id,))
            return cursor.rowcount == 1

        return await self._write(delete)

    async def connections_of(self, tenant_id: str) -> list[str]:
        statement = "SELECT connection_id FROM connections WHERE tenant_id = ?"
        return [row[0] for row in self._read(statement, tenant_id)]

    async def stale_connections(self, now_s: int, limit: int) -> list[str]:
        statement = "SELECT connection_id FROM connections WHERE expires_at_s < ? LIMIT ?"
        return [row[0] for row in self._read(statement, now_s, limit)]

    # Requests

    async def accept(
        self, request: Request, acknowledgment: str, limit: RateLimit, in_flight_max: int
    ) -> None:
        row = (*_values(request),)
        insert_request = _insert("requests", Request)

        def accept(db: sqlite3.Connection) -> None:
            _touch(db, request.connection_id, limit, request.created_at_ms)
            there = db.execute("SELECT status FROM requests WHERE key = ?", (request.key,))
            if (earlier := there.fetchone()) is not None:
                raise DuplicateRequestError(Status(earlier[0]))
            count = db.execute(
                "SELECT count(*) FROM requests WHERE connection_id = ? AND outcome IS NULL",
                (request.connection_id,),
            ).fetchone()[0]
            if 0 < in_flight_max <= count:
                raise LimitReachedError(
                    f"{count} requests of this connection are in flight", IN_FLIGHT_RETRY_MS
                )
            db.execute(insert_request, row)
            db.execute(
                "INSERT INTO outbox (key, sequence, message, taken, closed, percentage,"
                " stored_at_ms) VALUES (?, 0, ?, 0, 0, 0, ?)",
                (request.key, acknowledgment, request.created_at_ms),
            )

        # A refusal must keep the counted message, so it travels as a value, not as a rollback.
        refusal = await self._write(lambda db: _kept(accept, db))
        if refusal is not None:
            raise refusal

    async def acknowledged(self, key: str, taken: bool, now_ms: int) -> bool:
        def acknowledged(db: sqlite3.Connection) -> bool:
            if not _move(db, key, Event.ACKNOWLEDGED, now_ms):
                return False
            db.execute("UPDATE outbox SET taken = ? WHERE key = ?", (taken, key))
            return True

        return await self._write(acknowledged)

    async def claim(self, key: str, worker_id: str, now_ms: int, *, alone: bool) -> Stored | None:
        def claim(db: sqlite3.Connection) -> Stored | None:
            moved = _move(
                db,
                key,
                Event.CLAIMED,
                now_ms,
                "worker_id = ?",
                (worker_id,),
                due_ms=now_ms,
                deaths_max=None if alone else 0,
            )
            return _stored(db, key) if moved else None

        return await self._write(claim)

    async def save_progress(
        self, key: str, attempt: int, sequence: int, message: str, percentage: float, now_ms: int
    ) -> tuple[str, ...] | None:
        def save(db: sqlite3.Connection) -> tuple[str, ...] | None:
            if not _held(db, key, attempt):
                return None
            if not _number(db, key, sequence, message, now_ms, percentage):
                return None
            return _subscribers(db, key)

        return await self._write(save)

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
        def retry(db: sqlite3.Connection) -> bool:
            moved = _move(
                db,
                key,
                Event.RETRIED,
                now_ms,
                "attempt = attempt + 1, failures = ?, not_before_ms = ?, worker_id = NULL",
                (failures, not_before_ms),
                attempt=attempt,
            )
            if moved and taken:
                db.execute("UPDATE outbox SET taken = 1 WHERE key = ?", (key,))
            return moved

        return await self._write(retry)

    async def take_back(self, key: str, attempt: int, not_before_ms: int, now_ms: int) -> bool:
        return await self._write(
            lambda db: _move(
                db,
                key,
                Event.RETRIED,
                now_ms,
                "attempt = attempt + 1, deaths = deaths + 1, not_before_ms = ?, worker_id = NULL",
                (not_before_ms,),
                attempt=attempt,
            )
        )

    async def finish(
        self,
        key: str,
        attempt: int,
        status: Status,
        outcome: str,
        message: tuple[int, str] | None,
        now_ms: int,
    ) -> tuple[str, ...] | None:
        event = Event.COMPLETED if status is Status.COMPLETED else Event.FAILED

        def finish(db: sqlite3.Connection) -> tuple[str, ...] | None:
            if not _held(db, key, attempt):
                return None
            if message is not None and not _number(db, key, *message, now_ms, None):
                return None
            _move(db, key, event, now_ms, "outcome = ?", (outcome,), attempt=attempt)
            return _subscribers(db, key)

        return await self._write(finish)

    async def end(self, key: str, status: Status, outcome: str, now_ms: int) -> Stored | None:
        event = Event.CANCELLED if status is Status.CANCELLED else Event.FAILED

        def end(db: sqlite3.Connection) -> Stored | None:
            before = _stored(db, key)
            moved = _move(db, key, event, now_ms, "outcome = ?", (outcome,))
            return before if moved else None

        return await self._write(end)

    async def close(
        self, key: str, sequence: int, message: str, now_ms: int
    ) -> tuple[str, ...] | None:
        def close(db: sqlite3.Connection) -> tuple[str, ...] | None:
            if not _number(db, key, sequence, message, now_ms, None):
                return None
            return _subscribers(db, key)

        return await self._write(close)

    async def taken(self, key: str, sequence: int) -> None:
        statement = "UPDATE outbox SET taken = 1 WHERE key = ? AND sequence = ?"
        await self._execute(statement, key, sequence)

    async def get(self, key: str) -> Stored | None:
        self.reads += 1
        try:
            return _stored(self._reader, key)
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error

    async def waiting(self, now_ms: int, limit: int) -> list[str]:
        statement = (
            f"SELECT key FROM requests WHERE status IN {_in(CLAIMABLE)} AND outcome IS NULL"  # noqa: S608 - our names
            " AND not_before_ms <= ? AND deaths = 0 LIMIT ?"
        )
        return [row[0] for row in self._read(statement, now_ms, limit)]

    async def subscribe(self, key: str, connection_id: str) -> Stored | None:
        def subscribe(db: sqlite3.Connection) -> Stored | None:
            stored = _stored(db, key)
            if stored is not None and stored.request.connection_id != connection_id:
                db.execute(
                    "INSERT OR IGNORE INTO subscriptions VALUES (?, ?)", (key, connection_id)
                )
            return stored

        return await self._write(subscribe)

    async def unsubscribe(self, key: str, connection_id: str) -> None:
        statement = "DELETE FROM subscriptions WHERE key = ? AND connection_id = ?"
        await self._execute(statement, key, connection_id)

    # Leases and sweeps

    async def renew(
        self, worker_id: str, invocation_id: str, lease_until_ms: int
    ) -> tuple[Held, ...]:
        def renew(db: sqlite3.Connection) -> tuple[Held, ...]:
            db.execute(
                "INSERT INTO workers VALUES (?, ?, ?) ON CONFLICT (worker_id) DO UPDATE SET"
                " invocation_id = excluded.invocation_id, lease_until_ms = excluded.lease_until_ms",
                (worker_id, invocation_id, lease_until_ms),
            )
            rows = db.execute(
                # In this order: by itself SQLite would read every request of seven days.
                "SELECT r.key, r.attempt, r.failures, r.outcome IS NOT NULL"
                " FROM outbox o INDEXED BY outbox_unnumbered"
                " CROSS JOIN requests r ON r.key = o.key"
                " WHERE NOT o.closed AND r.worker_id = ?",
                (worker_id,),
            )
            return tuple(Held(key, attempt, fails, bool(e)) for key, attempt, fails, e in rows)

        return await self._write(renew)

    async def worker_gone(self, invocation_id: str) -> bool:
        statement = "UPDATE workers SET lease_until_ms = 0 WHERE invocation_id = ?"
        return await self._write(lambda db: db.execute(statement, (invocation_id,)).rowcount > 0)

    async def orphans(self, now_ms: int, limit: int) -> list[Stored]:
        held = "r.worker_id IN (SELECT worker_id FROM workers WHERE lease_until_ms > ?)"
        unnumbered = f"r.status IN {_in(TERMINAL)} AND NOT o.closed AND r.changed_at_ms < ?"
        rows = self._read(
            f"{_SELECT_STORED} r.status = ? AND r.outcome IS NULL AND NOT coalesce({held}, 0)"
            f" UNION ALL {_SELECT_STORED} {unnumbered}"
            f" AND (r.changed_at_ms < ? OR NOT coalesce({held}, 0)) LIMIT ?",
            Status.PROCESSING,
            now_ms,
            now_ms - CANCELLER_MS,
            now_ms - GIVEN_UP_MS,
            now_ms,
            limit,
        )
        return [self._whole(row) for row in rows]

    async def overdue(self, before_ms: int, limit: int) -> list[Stored]:
        rows = self._read(
            f"{_SELECT_STORED} r.status IN {_in(CLAIMABLE | {Status.ACCEPTED})}"
            " AND r.outcome IS NULL AND r.changed_at_ms < ? AND r.not_before_ms < ? LIMIT ?",
            before_ms,
            before_ms,
            limit,
        )
        return [self._whole(row) for row in rows]

    async def undelivered(self, before_ms: int, limit: int) -> list[Stored]:
        rows = self._read(
            f"{_SELECT_STORED} o.closed AND NOT o.taken AND o.stored_at_ms < ? LIMIT ?",
            before_ms,
            limit,
        )
        return [self._whole(row) for row in rows]

    async def forget(self, now_ms: int) -> None:
        def forget(db: sqlite3.Connection) -> None:
            expired = db.execute(
                "SELECT key FROM requests WHERE expires_at_s < ? LIMIT ?",
                (now_ms // 1000, FORGET_MAX),
            ).fetchall()
            for table in ("requests", "outbox", "subscriptions"):
                db.executemany(f"DELETE FROM {table} WHERE key = ?", expired)  # noqa: S608 - our names
            db.execute(
                "DELETE FROM changes WHERE sequence < (SELECT max(sequence) FROM changes) - ?",
                (CHANGES_KEPT,),
            )
            db.execute(
                "DELETE FROM workers WHERE lease_until_ms < ? AND worker_id NOT IN"
                " (SELECT worker_id FROM requests WHERE outcome IS NULL AND worker_id NOT NULL)",
                (now_ms - WORKERS_KEPT_MS,),
            )

        await self._write(forget)

    # Counters and dead letters

    async def increment(self, key: str) -> int:
        statement = (
            "INSERT INTO counters VALUES (?, 1)"
            " ON CONFLICT (key) DO UPDATE SET count = count + 1 RETURNING count"
        )
        return await self._write(lambda db: int(db.execute(statement, (key,)).fetchone()[0]))

    async def read(self, key: str) -> int:
        rows = self._read("SELECT count FROM counters WHERE key = ?", key)
        return rows[0][0] if rows else 0

    async def park(self, record: dict[str, Any], reason: str) -> None:
        statement = "INSERT INTO dead_letters (record, reason) VALUES (?, ?)"
        await self._execute(statement, json.dumps(record), reason)

    # The stream

    def changes(self, after: int, limit: int) -> list[tuple[Any, ...]]:
        """Rows (sequence, event_name, key, old_image, new_image, created_at_s) after a number."""
        return self._read(
            "SELECT sequence, event_name, key, old_image, new_image, created_at_s FROM changes"
            " WHERE sequence > ? ORDER BY sequence LIMIT ?",
            after,
            limit,
        )

    def latest_change(self) -> int:
        """The newest change's number, 0 when there is none."""
        return int(self._read("SELECT coalesce(max(sequence), 0) FROM changes")[0][0])

    def _whole(self, row: tuple[Any, ...]) -> Stored:
        return _from_row(row, _subscribers(self._reader, row[0]))


def _values(record: Any) -> list[Any]:
    return [
        json.dumps(value) if isinstance(value, tuple) else value
        for value in (getattr(record, field.name) for field in dataclasses.fields(record))
    ]


def _connection(row: tuple[Any, ...]) -> Connection:
    connection = Connection(*row)
    permissions = tuple(json.loads(row[3]))
    return dataclasses.replace(connection, permissions=permissions)


def _from_row(row: tuple[Any, ...], subscribers: tuple[str, ...]) -> Stored:
    request = Request(*row[:_REQUEST_WIDTH])
    sequence, message, taken, closed, percentage, stored_at_ms = row[_REQUEST_WIDTH:]
    return Stored(
        dataclasses.replace(request, status=Status(request.status)),
        Outbox(sequence, message, bool(taken), bool(closed), percentage, stored_at_ms),
        subscribers,
    )


def _stored(db: sqlite3.Connection, key: str) -> Stored | None:
    row = db.execute(f"{_SELECT_STORED} r.key = ?", (key,)).fetchone()
    return None if row is None else _from_row(row, _subscribers(db, key))


def _subscribers(db: sqlite3.Connection, key: str) -> tuple[str, ...]:
    rows = db.execute("SELECT connection_id FROM subscriptions WHERE key = ?", (key,))
    return tuple(row[0] for row in rows)


def _kept(
    function: Callable[[sqlite3.Connection], None], db: sqlite3.Connection
) -> LimitReachedError | DuplicateRequestError | None:
    try:
        function(db)
    except (LimitReachedError, DuplicateRequestError) as refusal:
        return refusal
    return None


def _touch(db: sqlite3.Connection, connection_id: str, limit: RateLimit, now_ms: int) -> None:
    row = db.execute(
        "SELECT bucket_empty_at_ms FROM connections WHERE connection_id = ?", (connection_id,)
    ).fetchone()
    if row is None:
        return  # removed meanwhile: an update must not bring it back
    empty_at_ms, early_ms = take(limit, row[0], now_ms)
    if early_ms:
        raise LimitReachedError("too many messages on this connection", early_ms)
    db.execute(
        "UPDATE connections SET bucket_empty_at_ms = ?, last_ping_ms = ? WHERE connection_id = ?",
        (empty_at_ms, now_ms, connection_id),
    )


def _held(db: sqlite3.Connection, key: str, attempt: int) -> bool:
    row = db.execute(
        "SELECT 1 FROM requests WHERE key = ? AND attempt = ? AND status = ?",
        (key, attempt, Status.PROCESSING),
    ).fetchone()
    return row is not None


def _number(
    db: sqlite3.Connection,
    key: str,
    sequence: int,
    message: str,
    now_ms: int,
    percentage: float | None,
) -> bool:
    """Give `message` the next number; a percentage of None makes it the outcome, which is last."""
    cursor = db.execute(
        "UPDATE outbox SET sequence = ?, message = ?, taken = 0, stored_at_ms = ?,"
        " closed = ?, percentage = coalesce(?, percentage)"
        " WHERE key = ? AND sequence = ? AND NOT closed",
        (sequence, message, now_ms, percentage is None, percentage, key, sequence - 1),
    )
    return cursor.rowcount == 1


def _move(
    db: sqlite3.Connection,
    key: str,
    event: Event,
    now_ms: int,
    assignments: str = "",
    values: tuple[Any, ...] = (),
    *,
    attempt: int | None = None,
    due_ms: int | None = None,
    deaths_max: int | None = None,
) -> bool:
    """Change the status as the table of core says, on the conditions given."""
    # Whoever names an attempt acts as its holder, so nothing but PROCESSING is theirs to move.
    from_statuses = sources(event) if attempt is None else (Status.PROCESSING,)
    status = move(from_statuses[0], event)
    statement = (
        f"UPDATE requests SET status = ?, changed_at_ms = ?{', ' * bool(assignments)}{assignments}"  # noqa: S608 - our names
        f" WHERE key = ? AND status IN {_in(from_statuses)}"
    )
    parameters = [status, now_ms, *values, key]
    if attempt is not None:
        statement += " AND attempt = ?"
        parameters.append(attempt)
    if due_ms is not None:
        statement += " AND not_before_ms <= ?"
        parameters.append(due_ms)
    if deaths_max is not None:
        statement += " AND deaths <= ?"
        parameters.append(deaths_max)
    return db.execute(statement, parameters).rowcount == 1
