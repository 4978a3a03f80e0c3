"""The store on SQLite: what its conditions keep, and that it looks nothing up by reading all."""

from __future__ import annotations

import asyncio
import sqlite3
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer_reference.core.rate import RateLimit
from streamer_reference.core.states import Status
from streamer_reference.store import sqlite as sqlite_module
from streamer_reference.store import sqlite_writer
from streamer_reference.store.base import (
    Connection,
    DuplicateRequestError,
    Held,
    LimitReachedError,
    Request,
    StoreError,
    request_key,
)
from streamer_reference.store.sqlite import SqliteStore

NO_LIMIT = RateLimit(0, 0)


@pytest.fixture
async def store(tmp_path):
    """A store without a thread."""
    opened = SqliteStore(tmp_path / "store.sqlite", threaded=False)
    yield opened
    await opened.aclose()


def _request(key="k", **fields):
    defaults = {
        "key": key,
        "tenant_id": "t",
        "user_id": "u",
        "request_id": key,
        "connection_id": "c",
        "action": "a",
        "payload": "{}",
        "metadata": "{}",
        "permissions": "[]",
        "correlation_id": "x",
        "created_at_ms": 1000,
        "changed_at_ms": 1000,
        "expires_at_s": 10_000,
    }
    return Request(**{**defaults, **fields})


def _connection(connection_id="c", **fields):
    defaults = {
        "tenant_id": "t",
        "user_id": "u",
        "permissions": ("p", "q"),
        "endpoint": "e",
        "connected_at_ms": 1,
        "last_ping_ms": 1,
        "token_expires_at_s": 5.5,
        "source_ip": "i",
        "user_agent": "g",
        "expires_at_s": 100,
    }
    return Connection(connection_id, **{**defaults, **fields})


async def _accept(store, key="k", **fields):
    await store.accept(_request(key, **fields), "ack", NO_LIMIT, 0)


async def _claimed(store, key="k", worker="w", now_ms=2000):
    await _accept(store, key)
    await store.acknowledged(key, True, now_ms)
    return await store.claim(key, worker, now_ms, alone=False)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | st.text(
    ':"[],\\ab', min_size=1, max_size=6
)


@given(st.tuples(NAMES, NAMES, NAMES), st.tuples(NAMES, NAMES, NAMES))
def test_keys_of_different_requests_differ(one, other):
    """ASYNC-4: the encoding is injective, whatever the names hold."""
    assert (request_key(*one) == request_key(*other)) == (one == other)


async def test_a_connection_comes_back_as_it_went_in(store, tmp_path):
    """Every field, and the file is private to the user."""
    await store.put_connection(_connection())
    assert await store.get_connection("c") == _connection()
    assert await store.connections_of("t") == ["c"]
    assert await store.connections_of("other") == []
    assert (tmp_path / "store.sqlite").stat().st_mode & 0o077 == 0
    with pytest.raises(StoreError) as caught:
        await store.put_connection(_connection())
    assert "UNIQUE" in caught.value.reason
    assert "UNIQUE" not in str(caught.value.to_json())


async def test_a_removed_connection_stays_removed(store):
    """CONN-2: twice is fine, its subscriptions go, and a message of it brings nothing back."""
    await store.put_connection(_connection("c2"))
    await _accept(store)
    await store.subscribe("k", "c2")
    assert await store.delete_connection("c2")
    assert not await store.delete_connection("c2")
    await store.touch("c2", RateLimit(1, 1), 5)
    assert await store.get_connection("c2") is None
    assert (await store.get("k")).subscribers == ()


async def test_a_refused_acceptance_still_counts_its_message(store):
    """The bucket is taken from though nothing is stored."""
    await store.put_connection(_connection())
    limit = RateLimit(60, 4)
    await store.accept(_request("a"), "ack", limit, 1)
    with pytest.raises(DuplicateRequestError) as duplicate:
        await store.accept(_request("a"), "ack", limit, 1)
    assert duplicate.value.details == {"status": Status.ACCEPTED}
    with pytest.raises(LimitReachedError, match="in flight"):
        await store.accept(_request("b"), "ack", limit, 1)
    await store.touch("c", limit, 1000)
    with pytest.raises(LimitReachedError, match="too many messages"):
        await store.accept(_request("b"), "ack", limit, 1)
    assert await store.get("b") is None


async def test_only_what_is_due_is_claimed_and_only_once(store):
    """PENDING or RETRYING, not before its time, alone after a death."""
    await _accept(store)
    assert await store.claim("k", "w", 5000, alone=False) is None
    assert await store.acknowledged("k", False, 1500)
    assert not await store.acknowledged("k", True, 1500)
    stored = await store.claim("k", "w", 2000, alone=False)
    assert (stored.request.status, stored.request.worker_id) == (Status.PROCESSING, "w")
    assert not stored.outbox.taken
    assert await store.claim("k", "v", 2000, alone=True) is None
    assert await store.take_back("k", 1, 3000, 2000)
    assert not await store.take_back("k", 1, 3000, 2000)
    assert await store.claim("k", "v", 2999, alone=True) is None
    assert await store.claim("k", "v", 3000, alone=False) is None
    assert await store.waiting(3000, 9) == []
    stored = await store.claim("k", "v", 3000, alone=True)
    assert (stored.request.attempt, stored.request.deaths) == (2, 1)


async def test_an_attempt_that_lost_its_request_writes_nothing(store):
    """ASYNC-3: progress, retry, outcome and taking back carry the attempt as a condition."""
    await _claimed(store)
    await store.retry("k", 1, failures=1, not_before_ms=0, now_ms=2500)
    await store.claim("k", "v", 3000, alone=False)
    before = await store.get("k")
    assert await store.save_progress("k", 1, 1, "m", 50.0, 3000) is None
    assert await store.finish("k", 1, Status.COMPLETED, "{}", (1, "m"), 3000) is None
    assert not await store.retry("k", 1, failures=2, not_before_ms=0, now_ms=3000)
    assert not await store.take_back("k", 1, 0, 3000)
    assert await store.get("k") == before
    assert before.request.failures == 1


async def test_numbers_are_given_one_after_the_other(store):
    """MSG-4: a number that is taken or too far ahead is refused; the outcome is the last."""
    await _claimed(store)
    assert await store.save_progress("k", 1, 2, "m2", 50.0, 2000) is None
    assert await store.save_progress("k", 1, 1, "m1", 50.0, 2000) == ()
    assert await store.save_progress("k", 1, 1, "other", 60.0, 2000) is None
    assert await store.finish("k", 1, Status.COMPLETED, "{}", (1, "out"), 2000) is None
    assert (await store.get("k")).request.status is Status.PROCESSING
    assert (await store.get("k")).outbox.percentage == 50
    await store.subscribe("k", "c2")
    assert await store.finish("k", 1, Status.COMPLETED, "{}", (2, "out"), 2000) == ("c2",)
    assert await store.close("k", 3, "again", 2000) is None
    stored = await store.get("k")
    assert (stored.outbox.sequence, stored.outbox.message) == (2, "out")
    assert stored.outbox.closed
    await store.taken("k", 1)
    assert not (await store.get("k")).outbox.taken
    await store.taken("k", 2)
    assert (await store.get("k")).outbox.taken


async def test_an_outcome_recorded_without_a_number_takes_it_once(store):
    """The first to close wins."""
    await _claimed(store)
    assert await store.finish("k", 1, Status.FAILED, "{}", None, 2000) == ()
    assert await store.close("k", 1, "one", 2100) == ()
    assert await store.close("k", 1, "two", 2100) is None
    assert (await store.get("k")).outbox.message == "one"


async def test_a_retry_notes_what_was_taken(store):
    """The next attempt need not post it again."""
    await _claimed(store, "a")
    await store.save_progress("a", 1, 1, "m", 5.0, 2000)
    await store.retry("a", 1, failures=1, not_before_ms=0, now_ms=2000, taken=True)
    assert (await store.get("a")).outbox.taken
    await _claimed(store, "b")
    await store.save_progress("b", 1, 1, "m", 5.0, 2000)
    await store.retry("b", 1, failures=1, not_before_ms=0, now_ms=2000)
    assert not (await store.get("b")).outbox.taken


async def test_a_request_ends_once_from_outside(store):
    """What it was before is the answer, None when it had ended or never was."""
    await _accept(store)
    before = await store.end("k", Status.CANCELLED, "{}", 2000)
    assert before.request.status is Status.ACCEPTED
    assert await store.end("k", Status.FAILED, "{}", 2000) is None
    assert await store.end("nope", Status.FAILED, "{}", 2000) is None
    assert not await store.acknowledged("k", True, 2000)


async def test_a_renewal_reports_what_is_held_and_what_was_ended_from_outside(store):
    """Until the outcome has its number, and only to the holder."""
    await _claimed(store)
    assert await store.renew("w", "i", 9000) == (Held("k", 1, 0, ended=False),)
    await store.end("k", Status.CANCELLED, "{}", 2000)
    assert await store.renew("w", "i", 9000) == (Held("k", 1, 0, ended=True),)
    assert await store.renew("v", "j", 9000) == ()
    await store.close("k", 1, "out", 2000)
    assert await store.renew("w", "i", 9000) == ()


async def test_orphans_are_what_nobody_with_a_lease_holds(store):
    """PROCESSING, and ended ones without a number once their holder had its time."""
    await store.renew("w", "i", 9000)
    await _claimed(store, "held", "w")
    await _claimed(store, "dead", "nobody")
    await _claimed(store, "ended", "w")
    await store.finish("ended", 1, Status.FAILED, "{}", None, 2000)
    await _accept(store, "cancelled")
    await store.end("cancelled", Status.CANCELLED, "{}", 2000)

    async def found(now_ms):
        return {stored.request.key for stored in await store.orphans(now_ms, 9)}

    assert await found(2500) == {"dead"}
    assert await found(3500) == {"dead", "cancelled"}
    assert await store.worker_gone("i")
    assert not await store.worker_gone("unknown")
    assert await found(3500) == {"dead", "cancelled", "held", "ended"}
    await store.renew("w", "i", 99_000)
    assert await found(32_001) == {"dead", "cancelled", "ended"}
    assert len(await store.orphans(99_999, 1)) == 1


async def test_what_is_overdue_and_undelivered_is_found(store):
    """By the moment of the last change, and not before a pause is over."""
    await _accept(store, "accepted")
    await _claimed(store, "running")
    await _claimed(store, "done")
    await store.finish("done", 1, Status.COMPLETED, "{}", (1, "m"), 2000)
    await _claimed(store, "pausing")
    await store.retry("pausing", 1, failures=1, not_before_ms=8000, now_ms=2000)
    assert {s.request.key for s in await store.overdue(1001, 9)} == {"accepted"}
    assert {s.request.key for s in await store.overdue(8001, 9)} == {"accepted", "pausing"}
    assert {s.request.key for s in await store.undelivered(2001, 9)} == {"done"}
    assert await store.undelivered(2000, 9) == []
    assert set(await store.waiting(8000, 9)) == {"pausing"}


async def test_forgetting_keeps_what_is_needed(store, monkeypatch):
    """Requests past retention, old changes, and leases that tell nobody anything."""
    monkeypatch.setattr(sqlite_module, "CHANGES_KEPT", 2)
    await _claimed(store, "old", "holder")
    await _accept(store, "new", expires_at_s=99_999)
    for worker in ("holder", "idle"):
        await store.renew(worker, worker, 1000)
    await store.forget(3_700_000)
    assert await store.get("old") is not None
    assert not await store.worker_gone("idle")
    assert await store.worker_gone("holder")
    assert len(store.changes(0, 99)) == 3
    await store.forget(10_001_000)
    assert await store.get("old") is None
    assert await store.get("new") is not None


async def test_counters_and_dead_letters(store):
    """Durable, and one for each key."""
    assert await store.read("a") == 0
    assert [await store.increment("a"), await store.increment("a")] == [1, 2]
    assert (await store.read("a"), await store.read("b")) == (2, 0)
    await store.park({"a": 1}, "why")
    rows = store._read("SELECT record, reason FROM dead_letters")
    assert rows == [('{"a": 1}', "why")]


async def test_the_change_log_holds_what_changed(store):
    """GW-11: a write that changes neither status nor attempt makes no record."""
    await _claimed(store)
    await store.save_progress("k", 1, 1, "m", 5.0, 2000)
    await store.claim("k", "w", 2000, alone=True)
    await store.forget(99_999_000)
    changes = store.changes(0, 99)
    assert [row[1] for row in changes] == ["INSERT", "MODIFY", "MODIFY", "REMOVE"]
    assert [row[0] for row in changes] == [1, 2, 3, 4]
    assert store.changes(2, 1)[0][0] == 3
    assert store.latest_change() == 4
    assert '"status":"PROCESSING"' in changes[2][4]


async def test_no_statement_reads_a_whole_table(store, tmp_path):
    """EXPLAIN QUERY PLAN of everything that runs: an index, or a primary key, for each table."""
    statements = []
    for database in (store._reader, store._writer._database):
        database.set_trace_callback(statements.append)
    await store.put_connection(_connection())
    await _claimed(store)
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
    for database in (store._reader, store._writer._database):
        database.set_trace_callback(None)
    planned = 0
    for statement in dict.fromkeys(statements):
        verb = statement.split(maxsplit=1)[0]
        if verb not in ("SELECT", "UPDATE", "DELETE"):
            continue
        rows = store._reader.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
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
    store._writer._database.execute("DROP TABLE outbox")
    with pytest.raises(StoreError, match="STORAGE_ERROR"):
        await store.get("k")
    with pytest.raises(StoreError):
        await store.overdue(1, 1)
    with pytest.raises(StoreError) as caught:
        await _accept(store)
    assert "outbox" in caught.value.reason
    assert store._read("SELECT count(*) FROM requests") == [(0,)]
    await store.aclose()


async def test_a_store_without_a_thread_tells_of_commits_too(tmp_path):
    """`on_change` after each write that was made, and not after one that failed."""
    changes = []
    store = SqliteStore(tmp_path / "store.sqlite", lambda: changes.append(1), threaded=False)
    await store.put_connection(_connection())
    with pytest.raises(StoreError):
        await store.put_connection(_connection())
    assert changes == [1]
    await store.aclose()


# The writer's thread


async def test_the_thread_commits_in_order_and_tells_the_loop(tmp_path):
    """Answers belong to their writes, a failed one spoils no other, and `on_change` is called."""
    changed = asyncio.Event()
    store = SqliteStore(tmp_path / "store.sqlite", changed.set)
    results = await asyncio.gather(
        *(store.increment("a") for _ in range(450)),
        store.put_connection(_connection()),
        store.put_connection(_connection()),
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
    first = asyncio.create_task(store._write(lambda _: blocked.wait(5)))
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
    writer = sqlite_writer.Writer(tmp_path / "w.sqlite")
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

    first = asyncio.create_task(store._write(block))
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
        task = asyncio.create_task(store._write(lambda _: blocked.wait(5)))
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
    other = sqlite_writer.open_database(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite_writer.begin(sqlite_writer.open_database(path), 0.002)
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

    with pytest.raises(StoreError):
        await store._write(commit_early)

    def break_the_savepoint(db):
        db.execute("RELEASE one")

    with pytest.raises(StoreError):
        await store._write(break_the_savepoint)
    assert await store.increment("a") == 1
    await store.aclose()
