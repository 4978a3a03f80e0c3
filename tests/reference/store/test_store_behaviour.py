"""What every store keeps, whatever it is made of: the reference's own, and the simulated one."""

from __future__ import annotations

import pytest

from streamer_reference.core.rate import RateLimit
from streamer_reference.core.states import Status
from streamer_reference.store.base import DuplicateRequestError, Held, LimitReachedError
from streamer_reference.store.sqlite import SqliteStore
from streamproof.simulation import SimulatedStore
from streamproof.targets.simulated import Reference
from support.store_records import accept, claimed, connection_of, request_of


@pytest.fixture(params=["sqlite", "simulated"])
async def store(request, tmp_path):
    """Each store in its turn; SQLite without a thread."""
    if request.param == "sqlite":
        opened = SqliteStore(tmp_path / "store.sqlite", threaded=False)
    else:
        opened = SimulatedStore(Reference.vocabulary)
    yield opened
    await opened.aclose()


class TestStoreBehaviour:
    """Conditions, numbers, leases and what a sweep finds."""

    async def test_a_removed_connection_stays_removed(self, store):
        """CONN-2: twice is fine, its subscriptions go, and a message of it brings nothing back."""
        await store.put_connection(connection_of("c2"))
        await accept(store)
        await store.subscribe("k", "c2")
        assert await store.delete_connection("c2")
        assert not await store.delete_connection("c2")
        await store.touch("c2", RateLimit(1, 1), 5)
        assert await store.get_connection("c2") is None
        assert (await store.get("k")).subscribers == ()

    async def test_a_refused_acceptance_still_counts_its_message(self, store):
        """The bucket is taken from though nothing is stored."""
        await store.put_connection(connection_of())
        limit = RateLimit(60, 4)
        await store.accept(request_of("a"), "ack", limit, 1)
        with pytest.raises(DuplicateRequestError) as duplicate:
            await store.accept(request_of("a"), "ack", limit, 1)
        assert duplicate.value.details == {"status": Status.ACCEPTED}
        with pytest.raises(LimitReachedError, match="in flight"):
            await store.accept(request_of("b"), "ack", limit, 1)
        await store.touch("c", limit, 1000)
        with pytest.raises(LimitReachedError, match="too many messages"):
            await store.accept(request_of("b"), "ack", limit, 1)
        assert await store.get("b") is None

    async def test_only_what_is_due_is_claimed_and_only_once(self, store):
        """PENDING or RETRYING, not before its time, alone after a death."""
        await accept(store)
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

    async def test_an_attempt_that_lost_its_request_writes_nothing(self, store):
        """ASYNC-3: progress, retry, outcome and taking back carry the attempt as a condition."""
        await claimed(store)
        await store.retry("k", 1, failures=1, not_before_ms=0, now_ms=2500)
        await store.claim("k", "v", 3000, alone=False)
        before = await store.get("k")
        assert await store.save_progress("k", 1, 1, "m", 50.0, 3000) is None
        assert await store.finish("k", 1, Status.COMPLETED, "{}", (1, "m"), 3000) is None
        assert not await store.retry("k", 1, failures=2, not_before_ms=0, now_ms=3000)
        assert not await store.take_back("k", 1, 0, 3000)
        assert await store.get("k") == before
        assert before.request.failures == 1

    async def test_numbers_are_given_one_after_the_other(self, store):
        """MSG-4: a number that is taken or too far ahead is refused; the outcome is the last."""
        await claimed(store)
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

    async def test_an_outcome_recorded_without_a_number_takes_it_once(self, store):
        """The first to close wins."""
        await claimed(store)
        assert await store.finish("k", 1, Status.FAILED, "{}", None, 2000) == ()
        assert await store.close("k", 1, "one", 2100) == ()
        assert await store.close("k", 1, "two", 2100) is None
        assert (await store.get("k")).outbox.message == "one"

    async def test_a_retry_notes_what_was_taken(self, store):
        """The next attempt need not post it again."""
        await claimed(store, "a")
        await store.save_progress("a", 1, 1, "m", 5.0, 2000)
        await store.retry("a", 1, failures=1, not_before_ms=0, now_ms=2000, taken=True)
        assert (await store.get("a")).outbox.taken
        await claimed(store, "b")
        await store.save_progress("b", 1, 1, "m", 5.0, 2000)
        await store.retry("b", 1, failures=1, not_before_ms=0, now_ms=2000)
        assert not (await store.get("b")).outbox.taken

    async def test_a_request_ends_once_from_outside(self, store):
        """What it was before is the answer, None when it had ended or never was."""
        await accept(store)
        before = await store.end("k", Status.CANCELLED, "{}", 2000)
        assert before.request.status is Status.ACCEPTED
        assert await store.end("k", Status.FAILED, "{}", 2000) is None
        assert await store.end("nope", Status.FAILED, "{}", 2000) is None
        assert not await store.acknowledged("k", True, 2000)

    async def test_a_renewal_reports_what_is_held_and_what_was_ended_from_outside(self, store):
        """Until the outcome has its number, and only to the holder."""
        await claimed(store)
        assert await store.renew("w", "i", 9000) == (Held("k", 1, 0, ended=False),)
        await store.end("k", Status.CANCELLED, "{}", 2000)
        assert await store.renew("w", "i", 9000) == (Held("k", 1, 0, ended=True),)
        assert await store.renew("v", "j", 9000) == ()
        await store.close("k", 1, "out", 2000)
        assert await store.renew("w", "i", 9000) == ()

    async def test_orphans_are_what_nobody_with_a_lease_holds(self, store):
        """PROCESSING, and ended ones without a number once their holder had its time."""
        await store.renew("w", "i", 9000)
        await claimed(store, "held", "w")
        await claimed(store, "dead", "nobody")
        await claimed(store, "ended", "w")
        await store.finish("ended", 1, Status.FAILED, "{}", None, 2000)
        await accept(store, "cancelled")
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

    async def test_what_is_overdue_and_undelivered_is_found(self, store):
        """By the moment of the last change, and not before a pause is over."""
        await accept(store, "accepted")
        await claimed(store, "running")
        await claimed(store, "done")
        await store.finish("done", 1, Status.COMPLETED, "{}", (1, "m"), 2000)
        await claimed(store, "pausing")
        await store.retry("pausing", 1, failures=1, not_before_ms=8000, now_ms=2000)
        assert {s.request.key for s in await store.overdue(1001, 9)} == {"accepted"}
        assert {s.request.key for s in await store.overdue(8001, 9)} == {"accepted", "pausing"}
        assert {s.request.key for s in await store.undelivered(2001, 9)} == {"done"}
        assert await store.undelivered(2000, 9) == []
        assert set(await store.waiting(8000, 9)) == {"pausing"}

    async def test_what_is_put_off_is_found_later_and_tells_an_attempt_nothing_else(self, store):
        """PROG-2: the moment of the last progress stays, and so does what is claimed meanwhile."""
        await claimed(store, "pausing")
        await store.save_progress("pausing", 1, 1, "m", 10.0, 3000)
        await store.retry("pausing", 1, failures=1, not_before_ms=4000, now_ms=3000)
        await claimed(store, "running")
        await claimed(store, "done")
        await store.finish("done", 1, Status.COMPLETED, "{}", (1, "m"), 2000)
        before = {key: await store.get(key) for key in ("running", "done")}
        await store.put_off(dict.fromkeys(("pausing", "running", "done", "unknown"), 20_000))
        assert await store.overdue(20_000, 9) == await store.undelivered(20_000, 9) == []
        assert [s.request.key for s in await store.overdue(20_001, 9)] == ["pausing"]
        assert [s.request.key for s in await store.undelivered(20_001, 9)] == ["done"]
        assert (await store.get("pausing")).outbox.stored_at_ms == 3000
        assert await store.get("running") == before["running"]
        assert (await store.get("done")).request == before["done"].request
