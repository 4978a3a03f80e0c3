"""The store on SQLite: what its conditions keep, and that it looks nothing up by reading all."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer_reference.core.rate import RateLimit
from streamer_reference.core.states import Status
from streamer_reference.store import sqlite_writer, statements
from streamer_reference.store.base import (
    StoreError,
    request_key,
)
from streamer_reference.store.sqlite import OtherVersionError, SqliteStore
from support.store_records import accept, claimed, connection_of


class ManualClock:
    """Stands still."""

    def now_ms(self):
        return 1_742_086_800_000


@pytest.fixture
async def store(tmp_path):
    """A store without a thread."""
    opened = SqliteStore(tmp_path / "store.sqlite", threaded=False)
    yield opened
    await opened.aclose()


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | st.text(
    ':"[],\\ab', min_size=1, max_size=6
)


@given(st.tuples(NAMES, NAMES, NAMES), st.tuples(NAMES, NAMES, NAMES))
def test_keys_of_different_requests_differ(one, other):
    """ASYNC-4: the encoding is injective, whatever the names hold."""
    assert (request_key(*one) == request_key(*other)) == (one == other)


async def test_a_connection_comes_back_as_it_went_in(store, tmp_path):
    """Every field, and the file is private to the user."""
    await store.put_connection(connection_of())
    assert await store.get_connection("c") == connection_of()
    assert await store.connections_of("t") == ["c"]
    assert await store.connections_of("other") == []
    assert (tmp_path / "store.sqlite").stat().st_mode & 0o077 == 0
    with pytest.raises(StoreError) as caught:
        await store.put_connection(connection_of())
    assert "UNIQUE" in caught.value.reason
    assert "UNIQUE" not in str(caught.value.to_json())


async def test_forgetting_keeps_what_is_needed(store, monkeypatch):
    """Requests past retention, old changes, and leases that tell nobody anything."""
    monkeypatch.setattr(statements, "CHANGES_KEPT", 2)
    await claimed(store, "open", "holder")
    await claimed(store, "old", "holder")
    await store.finish("old", 1, Status.COMPLETED, "{}", (1, "m"), 3000)
    await accept(store, "new", expires_at_s=99_999)
    for worker in ("holder", "idle"):
        await store.renew(worker, worker, 1000)
    await store.forget(3_700_000)
    assert await store.get("old") is not None
    assert not await store.worker_gone("idle")
    assert await store.worker_gone("holder")
    assert len(store.changes(0, 99)) == 3
    await store.forget(10_002_000)
    assert await store.get("old") is not None
    await store.forget(10_004_000)
    assert await store.get("old") is None
    assert await store.get("open") is not None
    assert await store.get("new") is not None


async def test_counters_and_dead_letters_are_kept_for_seven_days(tmp_path):
    """From their last change on, by the clock of the process that writes."""
    clock = ManualClock()
    store = SqliteStore(tmp_path / "store.sqlite", threaded=False, clock=clock)
    await store.increment("a")
    await store.park({}, "why")
    await store.forget(clock.now_ms() + 7 * 86_400_000)
    assert await store.read("a") == 1
    await store.forget(clock.now_ms() + 7 * 86_400_000 + 1)
    assert await store.read("a") == 0
    assert store.reader.execute("SELECT count(*) FROM dead_letters").fetchall() == [(0,)]
    await store.aclose()


async def test_counters_and_dead_letters(store):
    """Durable, and one for each key."""
    assert await store.read("a") == 0
    assert [await store.increment("a"), await store.increment("a")] == [1, 2]
    assert (await store.read("a"), await store.read("b")) == (2, 0)
    await store.park({"a": 1}, "why")
    rows = store.reader.execute("SELECT record, reason FROM dead_letters").fetchall()
    assert rows == [('{"a": 1}', "why")]


async def test_the_change_log_holds_what_changed(store):
    """GW-11: a write that changes neither status nor attempt makes no record."""
    await claimed(store)
    await store.save_progress("k", 1, 1, "m", 5.0, 2000)
    await store.claim("k", "w", 2000, alone=True)
    await store.finish("k", 1, Status.COMPLETED, "{}", (2, "m"), 2000)
    await store.forget(99_999_000)
    changes = store.changes(0, 99)
    assert [row[1] for row in changes] == ["INSERT", "MODIFY", "MODIFY", "MODIFY", "REMOVE"]
    assert [row[0] for row in changes] == [1, 2, 3, 4, 5]
    assert store.changes(2, 1)[0][0] == 3
    assert store.latest_change() == 5
    assert '"status":"PROCESSING"' in changes[2][4]


async def test_no_statement_reads_a_whole_table(store, tmp_path):
    """EXPLAIN QUERY PLAN of everything that runs: an index, or a primary key, for each table."""
    statements = []
    for database in (store.reader, store.writer._database):
        database.set_trace_callback(statements.append)
    await store.put_connection(connection_of())
    await claimed(store)
    await store.touch("c", RateLimit(1, 1), 1)
    await store.subscribe("k", "c2")
    await store.unsubscribe("k", "c2")
    await store.waiting(1, 9)
    await store.orphans(9_999_999, 9)
    await store.overdue(9_999_999, 9)
    await store.undelivered(9_999_999, 9)
    await store.stale_connections(1, 9)
    await store.connections_of("t")
    await store.renew("w", "i", 1)
    await store.forget(1)
    await store.end("k", Status.FAILED, "{}", 1)
    await store.delete_connection("c")
    for database in (store.reader, store.writer._database):
        database.set_trace_callback(None)
    planned = 0
    for statement in dict.fromkeys(statements):
        verb = statement.split(maxsplit=1)[0]
        if verb not in ("SELECT", "UPDATE", "DELETE"):
            continue
        rows = store.reader.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        planned += 1
        for row in rows:
            detail = row[3]
            whole = detail.startswith("SCAN") and "INDEX" not in detail
            allowed = detail.startswith(("SCAN workers", "SCAN CONSTANT"))
            assert allowed or not whole, (detail, statement)
    assert planned > 20


async def test_a_store_that_fails_says_so_without_details(tmp_path):
    """`StoreError` for reads and writes; the reason is for the log."""
    store = SqliteStore(tmp_path / "store.sqlite", threaded=False)
    store.writer._database.execute("DROP TABLE outbox")
    with pytest.raises(StoreError, match="STORAGE_ERROR"):
        await store.get("k")
    with pytest.raises(StoreError):
        await store.overdue(1, 1)
    with pytest.raises(StoreError) as caught:
        await accept(store)
    assert "outbox" in caught.value.reason
    assert store.reader.execute("SELECT count(*) FROM requests").fetchall() == [(0,)]
    await store.aclose()


async def test_a_store_without_a_thread_tells_of_commits_too(tmp_path):
    """`on_change` after each write that was made, and not after one that failed."""
    changes = []
    store = SqliteStore(tmp_path / "store.sqlite", lambda: changes.append(1), threaded=False)
    await store.put_connection(connection_of())
    with pytest.raises(StoreError):
        await store.put_connection(connection_of())
    assert changes == [1]
    await store.aclose()


# The writer's thread


async def test_the_thread_commits_in_order_and_tells_the_loop(tmp_path):
    """Answers belong to their writes, a failed one spoils no other, and `on_change` is called."""
    changed = asyncio.Event()
    store = SqliteStore(tmp_path / "store.sqlite", changed.set)
    results = await asyncio.gather(
        *(store.increment("a") for _ in range(450)),
        store.put_connection(connection_of()),
        store.put_connection(connection_of()),
        return_exceptions=True,
    )
    assert results[:450] == list(range(1, 451))
    assert results[450] is None
    assert isinstance(results[451], StoreError)
    assert changed.is_set()
    await store.aclose()


async def test_closing_finishes_what_is_queued(tmp_path):
    """Nothing that was asked for is dropped; a caller that gave up is no trouble."""
    store = SqliteStore(tmp_path / "store.sqlite")
    blocked = threading.Event()
    first = asyncio.create_task(store.writer.write(lambda _: blocked.wait(5)))
    await asyncio.sleep(0)
    rest = [asyncio.create_task(store.increment("a")) for _ in range(3)]
    await asyncio.sleep(0)
    rest[0].cancel()
    asyncio.get_running_loop().call_soon(blocked.set)
    await first
    await asyncio.gather(*rest[1:])
    await store.aclose()
    again = SqliteStore(tmp_path / "store.sqlite")
    assert await again.read("a") == 3
    await again.aclose()


async def test_a_stop_that_is_read_with_a_batch_ends_after_it(tmp_path):
    """The sentinel may come while a batch gathers."""
    writer = sqlite_writer.Writer(sqlite_writer.open_database(tmp_path / "w.sqlite", lambda: 0))
    blocked = threading.Event()
    first = asyncio.create_task(writer.write(lambda _: blocked.wait(5)))
    await asyncio.sleep(0)
    second = asyncio.create_task(writer.write(lambda _: 2))
    await asyncio.sleep(0)
    third = asyncio.create_task(writer.write(lambda _: 3))
    await asyncio.sleep(0)
    writer._queue.put(None)
    blocked.set()
    assert (await first, await second, await third) == (True, 2, 3)
    writer._thread.join()


async def test_too_many_waiting_writes_are_refused(tmp_path, monkeypatch):
    """The queue is bounded, and says so at once."""
    monkeypatch.setattr(sqlite_writer, "QUEUE_MAX", 1)
    store = SqliteStore(tmp_path / "store.sqlite")
    blocked, begun = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def block(_):
        loop.call_soon_threadsafe(begun.set)
        return blocked.wait(5)

    first = asyncio.create_task(store.writer.write(block))
    await begun.wait()
    second = asyncio.create_task(store.increment("a"))
    await asyncio.sleep(0)
    with pytest.raises(StoreError) as caught:
        await store.increment("a")
    assert "waiting" in caught.value.reason
    blocked.set()
    await asyncio.gather(first, second)
    await store.aclose()


def test_an_answer_for_a_closed_loop_is_dropped(tmp_path):
    """Whoever asked is gone; the thread goes on."""
    store = SqliteStore(tmp_path / "store.sqlite")
    blocked = threading.Event()

    async def ask_and_leave():
        task = asyncio.create_task(store.writer.write(lambda _: blocked.wait(5)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(ask_and_leave())
    blocked.set()

    async def ask_again():
        assert await store.increment("a") == 1
        await store.aclose()

    asyncio.run(ask_again())


async def test_a_file_that_another_process_holds_is_waited_for_and_then_given_up(
    tmp_path, monkeypatch
):
    """All writes of the batch fail; the next ones work."""
    path = tmp_path / "store.sqlite"
    store = SqliteStore(path)
    other = sqlite_writer.open_database(path, lambda: 0)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite_writer.begin(sqlite_writer.open_database(path, lambda: 0), 0.002)
    monkeypatch.setattr(sqlite_writer.begin, "__defaults__", (0.002,))
    with pytest.raises(StoreError):
        await store.increment("a")
    other.execute("ROLLBACK")
    assert await store.increment("a") == 1
    monkeypatch.setattr(sqlite_writer, "locked", lambda error: False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError):
        await store.increment("a")
    other.close()
    await store.aclose()


async def test_a_commit_that_fails_fails_its_whole_batch(tmp_path):
    """A function that ends the transaction under the writer is answered with an error."""
    store = SqliteStore(tmp_path / "store.sqlite")

    def commit_early(db):
        db.execute("COMMIT")

    with pytest.raises(sqlite3.Error):
        await store.writer.write(commit_early)

    def break_the_savepoint(db):
        db.execute("RELEASE one")

    with pytest.raises(sqlite3.Error):
        await store.writer.write(break_the_savepoint)
    assert await store.increment("a") == 1
    await store.aclose()


def test_a_file_of_another_version_is_refused_and_left_alone(tmp_path):
    """Other tables would fail later and elsewhere; the error names the file."""
    path = tmp_path / "store.sqlite"
    for statement in ("PRAGMA user_version=7", "CREATE TABLE requests (key TEXT)"):
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute(statement)
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(OtherVersionError, match=r"store\.sqlite"):
            SqliteStore(path, threaded=False)
    assert path.read_bytes()[100:] == before[100:]  # the header says that WAL is on now
