"""One writer thread per process, which commits together what has gathered.

A write on the event loop can stop every socket of the process for a tenth of a second when another
process holds the file; a thread per write would commit one by one. So writes are functions queued
to one thread: it opens a transaction, runs what is there, commits once, and answers all.
"""

from __future__ import annotations

import asyncio
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamer_reference.protocol.errors import StreamerError

BATCH_MAX = 200  # functions in one transaction, so that no write waits for long
QUEUE_MAX = 20_000  # beyond it the store is overloaded and says so
LOCK_WAIT_S = 5.0  # how long another process may hold the file before a write fails
CHECKPOINT_PAGES = 1_000  # larger ones stall single writes for 60 to 80 ms

Write = Callable[[sqlite3.Connection], Any]


def open_database(path: Path, now_ms: Callable[[], int]) -> sqlite3.Connection:
    """A connection with our settings; SQLite's own busy handler is off, as it waits up to 1 s.

    `now_ms` is what the schema knows under that name.
    """
    database = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=0, cached_statements=256
    )
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    database.create_function("now_ms", 0, now_ms)
    return database


def locked(error: sqlite3.OperationalError) -> bool:
    """Whether another process holds the file just now."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def begin(database: sqlite3.Connection, wait_s: float = LOCK_WAIT_S) -> None:
    """Open a write transaction, waiting in steps below a millisecond for another process."""
    give_up_at = time.monotonic() + wait_s
    while True:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not locked(error) or time.monotonic() > give_up_at:
                raise
            time.sleep(random.uniform(0.0001, 0.0009))  # noqa: S311 - no secret, only a spread
        else:
            return


class Writer:
    """Runs write functions in order on its own thread; `on_commit` is called after each batch."""

    def __init__(
        self,
        database: sqlite3.Connection,
        on_commit: Callable[[], None] | None = None,
        *,
        threaded: bool = True,
    ) -> None:
        """`on_commit` runs on the event loop of the write; `database` is closed at the end.

        Without a thread a write is committed when it is asked for: for virtual time.
        """
        self._database = database
        self._on_commit = on_commit
        self._closed = False
        self._queue: queue.Queue[tuple[Write, asyncio.Future[Any]] | None] = queue.Queue(QUEUE_MAX)
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._threaded = threaded
        if threaded:
            self._thread.start()

    async def write(self, function: Write) -> Any:
        """The function's answer once it is committed; raises what it raised, or `sqlite3.Error`."""
        if self._closed:  # nobody would ever answer
            raise sqlite3.OperationalError("the store is closed")
        future = asyncio.get_running_loop().create_future()
        if not self._threaded:
            self._commit([(function, future)])
            return await future
        try:
            self._queue.put_nowait((function, future))
        except queue.Full:
            raise sqlite3.OperationalError("too many writes are waiting") from None
        return await future

    def close(self) -> None:
        """Finish what is queued, then let the file go."""
        self._closed = True
        if self._threaded:
            self._queue.put(None)
            self._thread.join()
        self._database.close()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            stop = False
            while len(batch) < BATCH_MAX and not stop:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    stop = True
                else:
                    batch.append(more)
            self._commit(batch)
            if stop:
                break

    def _commit(self, batch: list[tuple[Write, asyncio.Future[Any]]]) -> None:
        answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        try:
            begin(self._database)
            for function, future in batch:
                self._database.execute("SAVEPOINT one")
                try:
                    answers.append((future, function(self._database), None))
                except Exception as error:  # noqa: BLE001 - belongs to the one who asked
                    if not isinstance(error, StreamerError):  # a refusal keeps what it counted
                        self._database.execute("ROLLBACK TO one")
                    answers.append((future, None, error))
                self._database.execute("RELEASE one")
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            answers = [(future, None, error) for _, future in batch]
        by_loop: dict[asyncio.AbstractEventLoop, list[Any]] = {}
        for answer in answers:
            by_loop.setdefault(answer[0].get_loop(), []).append(answer)
        for loop, group in by_loop.items():
            try:
                loop.call_soon_threadsafe(self._answer, group)
            except RuntimeError:
                continue  # the loop that asked is closed: nobody waits for the answer

    def _answer(self, answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
        for future, value, error in answers:
            if future.cancelled():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)
        if self._on_commit is not None and any(error is None for _, _, error in answers):
            self._on_commit()
