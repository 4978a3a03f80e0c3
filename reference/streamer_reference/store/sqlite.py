"""The store on one SQLite file in WAL mode: reads on the loop, writes in the writer's thread.

`synchronous=NORMAL`: a commit survives kill -9 of any process, not a power cut.
"""

from __future__ import annotations

import functools
import sqlite3
import zlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from streamer_reference.clock import Clock, SystemClock
from streamer_reference.store import statements
from streamer_reference.store.base import Store, StoreError
from streamer_reference.store.sqlite_writer import Writer, open_database

P = ParamSpec("P")
T = TypeVar("T")
Step = Callable[Concatenate[sqlite3.Connection, P], T]


def _read_now(step: Step[P, T]) -> Callable[Concatenate[SqliteStore, P], T]:
    @functools.wraps(step)
    def method(store: SqliteStore, /, *args: P.args, **options: P.kwargs) -> T:
        store.reads += 1
        try:
            return step(store.reader, *args, **options)
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error

    return method


def _read(step: Step[P, T]) -> Callable[Concatenate[SqliteStore, P], Coroutine[Any, Any, T]]:
    read = _read_now(step)

    @functools.wraps(step)
    async def method(store: SqliteStore, /, *args: P.args, **options: P.kwargs) -> T:
        return read(store, *args, **options)

    return method


def _write(step: Step[P, T]) -> Callable[Concatenate[SqliteStore, P], Coroutine[Any, Any, T]]:
    """Answers once it is committed."""

    @functools.wraps(step)
    async def method(store: SqliteStore, /, *args: P.args, **options: P.kwargs) -> T:
        store.writes += 1
        try:
            answer: T = await store.writer.write(lambda db: step(db, *args, **options))
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error
        return answer

    return method


class OtherVersionError(Exception):
    """The file was made by another version, with other tables."""


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make what is not there; raises `OtherVersionError`."""
    schema = (Path(__file__).parent / "schema.sql").read_text(encoding="utf-8")
    version = zlib.crc32(schema.encode()) & 0x7FFF_FFFF  # a signed number of 32 bits in the file
    # In this order: whoever makes the tables sets the version with them.
    if db.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
        db.executescript(f"BEGIN IMMEDIATE; {schema}; PRAGMA user_version={version}; COMMIT")
    if db.execute("PRAGMA user_version").fetchone()[0] != version:
        raise OtherVersionError(str(path))


class SqliteStore(Store):
    """All tables in one file; open one per process. `on_change` is called after each commit."""

    def __init__(
        self,
        path: Path,
        on_change: Callable[[], None] | None = None,
        *,
        threaded: bool = True,
        clock: Clock | None = None,
    ) -> None:
        """Create the file, private to the user, when it is not there; raises `OtherVersionError`.

        Without a thread each write blocks the loop: for one process alone, on virtual time.
        """
        path.touch(mode=0o600)
        now_ms = (clock or SystemClock()).now_ms
        self.reader = open_database(path, now_ms)
        try:
            _prepare(self.reader, path)
        except BaseException:
            self.reader.close()
            raise
        self.writer = Writer(open_database(path, now_ms), on_change, threaded=threaded)
        self.reads = 0
        self.writes = 0

    async def aclose(self) -> None:
        self.writer.close()
        self.reader.close()

    put_connection = _write(statements.put_connection)
    get_connection = _read(statements.get_connection)
    touch = _write(statements.touch)
    delete_connection = _write(statements.delete_connection)
    connections_of = _read(statements.connections_of)
    stale_connections = _read(statements.stale_connections)
    accept = _write(statements.accept)
    acknowledged = _write(statements.acknowledged)
    claim = _write(statements.claim)
    save_progress = _write(statements.save_progress)
    note = _write(statements.note)
    retry = _write(statements.retry)
    take_back = _write(statements.take_back)
    finish = _write(statements.finish)
    end = _write(statements.end)
    close = _write(statements.close)
    taken = _write(statements.taken)
    get = _read(statements.get)
    waiting = _read(statements.waiting)
    subscribe = _write(statements.subscribe)
    unsubscribe = _write(statements.unsubscribe)
    renew = _write(statements.renew)
    worker_gone = _write(statements.worker_gone)
    orphans = _read(statements.orphans)
    overdue = _read(statements.overdue)
    undelivered = _read(statements.undelivered)
    put_off = _write(statements.put_off)
    forget = _write(statements.forget)
    increment = _write(statements.increment)
    read = _read(statements.read)
    park = _write(statements.park)
    changes = _read_now(statements.changes)
    latest_change = _read_now(statements.latest_change)
