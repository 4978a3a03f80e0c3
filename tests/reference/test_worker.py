"""Workers: one outcome for each request, numbers without gaps, whatever dies and whenever."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer_reference.connection.errors import ForbiddenError, GoneError, ServiceError
from streamer_reference.core.states import Status
from streamer_reference.handlers import Registry, default_registry
from streamer_reference.protocol.errors import FieldError, HandlerError, RetryableError
from streamer_reference.store.base import StoreError
from streamer_reference.sweeper import sweep
from streamer_reference.worker import Worker, outcome_message
from support.reference_world import Fuse, MemoryObjects, World, kinds
from support.virtual_time import pass_time, run_virtual, virtual_time


def _registry(**handlers):
    registry = Registry()
    registry.include(default_registry(probe=True))
    for action, run in handlers.items():
        registry.handler(action, estimated_duration_s=60, time_limit_s=20)(run)
    return registry


async def _steps(job):
    """Three progress messages, each with what was set before it."""
    for percentage in (10, 55, 100):
        job.set_metadata("step", percentage)
        job.progress(percentage, f"at {percentage}")
        await job.sleep(0.12)
    return {"attempt": "any"}


async def _world(directory, request_id="r1", action="steps", payload=None, **options):
    options.setdefault("registry", _registry(steps=_steps))
    world = World(directory, **options)
    await world.connect("c1")
    got = await world.say("c1", action, payload, id=request_id)
    assert kinds(got) == ["acknowledgment"]
    return world


@virtual_time
async def test_a_request_runs_from_acknowledgment_to_outcome(tmp_path):
    """Four kinds of writes, four messages of progress and outcome, and nothing twice."""
    world = await _world(tmp_path)
    await world.run()
    messages = world.check("c1", "r1")
    assert kinds(messages) == ["acknowledgment", "progress", "progress", "progress", "complete"]
    assert [m["metadata"] for m in messages[1:4]] == [{"step": 10}, {"step": 55}, {"step": 100}]
    assert messages[-1]["result"] == {"attempt": "any"}
    assert world.repeats("c1") == 0
    stored = await world.stored("r1")
    assert stored.request.status is Status.COMPLETED
    assert stored.outbox.taken
    assert stored.outbox.closed


@virtual_time
async def test_a_long_request_keeps_its_budget_of_writes(tmp_path):
    """OBS-5: five writes and one for each progress message, the lease apart."""
    world = World(tmp_path, registry=_registry(steps=_steps))
    await world.connect("c1")
    before = world.store.writes
    await world.say("c1", "steps", id="r1")
    await world.stream()
    services = world.process()
    await Worker(services, "w").work("i", world.invocations.pop()["request_keys"])
    leases = services.store.calls.count("renew")
    progress = kinds(world.of("c1", "r1")).count("progress")
    assert world.store.writes - before - leases <= 5 + progress
    assert services.store.calls.count("claim") == 1


def _crash(at, after):
    """One worker dies at its `at`-th call; whether it came so far, and what the client saw."""

    async def scenario(directory):
        world = await _world(directory)
        fuse = Fuse(at, after=after)
        await world.run(fuse)
        await world.settle(13)
        messages = world.check("c1", "r1")
        assert messages[-1]["type"] == "complete"
        stored = await world.stored("r1")
        assert stored.request.status is Status.COMPLETED
        assert stored.outbox.taken
        return fuse.blown.is_set()

    with tempfile.TemporaryDirectory() as directory:
        return run_virtual(scenario(Path(directory)))


@pytest.mark.parametrize("after", [False, True])
def test_a_worker_may_die_at_any_call(after):
    """Numbers stay gapless with one content each, whichever call to store or client is the last."""
    at = 1
    while _crash(at, after):
        at += 1
    assert at > 15  # it died in claim, each write and each post, and once not at all


CRASHES = st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=2, max_size=3)


@settings(max_examples=40, deadline=None)
@given(CRASHES, st.lists(st.sampled_from([None, ServiceError]), max_size=6))
def test_workers_may_die_one_after_the_other(crashes, faults):
    """Fewer deaths than five, on any calls, with posts that fail: still one whole story."""

    async def scenario(directory):
        world = await _world(directory)
        world.clients.fail("c1", *faults)
        await world.run(*(Fuse(at, after=after) for at, after in crashes))
        await world.settle(16)
        assert world.check("c1", "r1")[-1]["type"] == "complete"

    with tempfile.TemporaryDirectory() as directory:
        run_virtual(scenario(Path(directory)))


@virtual_time
async def test_a_router_may_die_around_the_acknowledgment(tmp_path):
    """What was stored is acknowledged and ends, wherever the router died."""
    for at in range(1, 8):
        for after in (False, True):
            directory = tmp_path / f"{at}-{after}"
            directory.mkdir()
            world = World(directory, registry=_registry(steps=_steps))
            await world.connect("c1")
            fuse = Fuse(at, after=after)
            healthy, world.services = world.services, world.process(fuse)
            try:
                await world.say("c1", "steps", id="r1")
            except asyncio.CancelledError:
                assert fuse.blown.is_set()
            world.services = healthy
            await world.run()
            await world.settle(14)
            if await world.store.get(world.key("r1")) is not None:
                assert world.check("c1", "r1")[-1]["type"] == "complete"
            else:
                assert world.got("c1") == []


@virtual_time
async def test_a_takeover_keeps_the_floor(tmp_path):
    """PROG-6: the second attempt begins at 10 again, and no lower percentage is sent."""
    seen, fuse = [], Fuse()

    async def run(job):
        seen.append(job.attempt)
        job.progress(60 if job.attempt == 1 else 10)
        await job.sleep(0.3)
        if job.attempt == 1:
            fuse.blown.set()
            await job.sleep(60)
        job.progress(70)

    world = await _world(tmp_path, registry=_registry(steps=run))
    await world.run(fuse)
    messages = world.check("c1", "r1")
    assert seen == [1, 2]
    assert [m["percentage"] for m in messages if m["type"] == "progress"] == [60, 60, 70]
    stored = await world.stored("r1")
    assert (stored.request.deaths, stored.request.failures) == (1, 0)


@virtual_time
async def test_deaths_end_a_request_after_the_fifth(tmp_path):
    """RECOV-5: alone after the first death, pauses between, PROCESSING_FAILED after the fifth."""
    world = await _world(tmp_path)
    begun = []

    async def run(job):
        begun.append(asyncio.get_running_loop().time())
        await job.sleep(60)

    world.registry = _registry(steps=run)
    events = []
    for death in range(5):
        await world.stream()
        event = world.invocations.pop(0)
        assert world.invocations == []
        events.append(event.get("alone", False))
        fuse = Fuse()
        worker = Worker(world.process(fuse), f"w{death}")
        task = asyncio.create_task(world.invoke(worker, fuse, event))
        while len(begun) == death:
            await pass_time(0.1)
        fuse.blown.set()
        assert not await task
    await world.stream()
    assert world.invocations == []
    assert events == [False, True, True, True, True]
    pauses = [later - earlier for earlier, later in itertools.pairwise(begun)]
    for pause_s, least_s in zip(pauses, (0.5, 1, 2, 4), strict=True):
        assert least_s <= pause_s < least_s + 0.5
    outcome = world.check("c1", "r1")[-1]
    assert outcome["error"]["code"] == "PROCESSING_FAILED"
    assert (await world.stored("r1")).request.status is Status.FAILED


@virtual_time
async def test_others_of_the_batch_are_unharmed_by_a_death(tmp_path):
    """Requests that ran beside a killer have their outcome, alone if need be."""
    world = await _world(tmp_path)
    for number in range(2, 6):
        await world.say("c1", "steps", id=f"r{number}")
    await world.run(Fuse(40, after=True))
    await world.settle(12)
    for number in range(1, 6):
        assert world.check("c1", f"r{number}")[-1]["type"] == "complete"


@virtual_time
async def test_a_retryable_error_backs_off_and_then_succeeds(tmp_path):
    """Attempts are counted, the pause is drawn below its ceiling, and nothing is sent twice."""
    runs = []

    async def run(job):
        runs.append(job.attempt)
        job.progress(10 * job.attempt)
        if job.attempt < 3:
            raise RetryableError("again")
        return job.attempt

    world = await _world(tmp_path, registry=_registry(steps=run))
    await world.run()
    messages = world.check("c1", "r1")
    assert runs == [1, 2, 3]
    assert messages[-1]["result"] == 3
    assert [m["percentage"] for m in messages if m["type"] == "progress"] == [10, 20, 30]
    assert world.repeats("c1") == 0
    assert asyncio.get_running_loop().time() < 0.5 + 1 + 0.5


@virtual_time
async def test_pauses_between_attempts_double_with_full_jitter(tmp_path):
    """ASYNC-5: half of 0.5 s and then half of 1 s, when the dice say a half."""
    runs_s = []

    async def run(job):
        runs_s.append(asyncio.get_running_loop().time())
        raise RetryableError("again")

    world = await _world(tmp_path, registry=_registry(steps=run))
    world.chance.random = lambda: 0.5
    await world.run()
    pauses_s = [later - earlier for earlier, later in itertools.pairwise(runs_s)]
    assert pauses_s == [pytest.approx(0.25, abs=0.1), pytest.approx(0.5, abs=0.1)]


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (RetryableError("again", {"why": "busy"}), "PROCESSING_FAILED", False),
        (HandlerError("TIMEOUT", "slow", retryable=True), "TIMEOUT", True),
    ],
)
def test_attempts_are_exhausted(tmp_path, error, code, retryable):
    """ASYNC-5: after three attempts the outcome is PROCESSING_FAILED or the handler's own code."""

    async def scenario():
        runs = []

        async def run(job):
            runs.append(job.attempt)
            raise error

        world = await _world(tmp_path, registry=_registry(steps=run))
        await world.run()
        outcome = world.check("c1", "r1")[-1]
        assert runs == [1, 2, 3]
        assert outcome["error"]["code"] == code
        assert outcome["error"]["message"] == error.message
        assert outcome["error"]["retry"]["retryable"] is retryable

    run_virtual(scenario())


async def _hang(job):
    await asyncio.get_running_loop().create_future()


async def _foreign(job):
    raise LookupError("/var/task: table streamer-requests")


async def _cancels_itself(job):
    inner = asyncio.create_task(_hang(job))
    inner.cancel()
    await inner


async def _leaves(job):
    raise SystemExit(3)


async def _no_json(job):
    return {1, 2}


async def _bad_metadata(job):
    job.set_metadata("k", object())


async def _bad_message(job):
    job.progress(1, "\ud800")


async def _bad_details(job):
    raise HandlerError("NOT_FOUND", "no", {"k": object()})


async def _huge_details(job):
    raise HandlerError("NOT_FOUND", "no", {"k": "x" * 200_000})


async def _huge_text(job):
    raise HandlerError("NOT_FOUND", "x" * 200_000)


def _sync(job):
    job.progress(50, "from a thread")
    raise OSError("disk")


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (_hang, "TIMEOUT"),
        (_foreign, "PROCESSING_FAILED"),
        (_cancels_itself, "PROCESSING_FAILED"),
        (_leaves, "PROCESSING_FAILED"),
        (_no_json, "PROCESSING_FAILED"),
        (_bad_metadata, "PROCESSING_FAILED"),
        (_bad_message, "PROCESSING_FAILED"),
        (_bad_details, "NOT_FOUND"),
        (_huge_details, "NOT_FOUND"),
        (_huge_text, "NOT_FOUND"),
        (_sync, "PROCESSING_FAILED"),
    ],
)
def test_a_handler_fails_in_every_way_and_ends_its_request_alone(tmp_path, run, code):
    """One error outcome that fits a message and shows nothing of the cause; others are unharmed."""

    async def scenario():
        world = await _world(tmp_path, registry=_registry(steps=run, good=_steps))
        await world.say("c1", "good", id="r2")
        await world.run()
        outcome = world.check("c1", "r1")[-1]
        assert outcome["error"]["code"] == code
        assert "/var" not in json.dumps(outcome)
        assert len(json.dumps(outcome)) < 131_072
        assert world.check("c1", "r2")[-1]["type"] == "complete"
        assert (await world.stored("r1")).request.attempt == 1

    run_virtual(scenario())


@virtual_time
async def test_an_action_that_the_worker_does_not_know_ends_the_request(tmp_path):
    """ASYNC-5: a worker of another release refuses with an outcome, not with silence."""
    world = await _world(tmp_path)
    world.registry = default_registry()
    await world.run()
    assert world.check("c1", "r1")[-1]["error"]["code"] == "INVALID_ACTION"


@virtual_time
async def test_a_payload_that_the_worker_finds_invalid_ends_the_request(tmp_path):
    """The worker validates too: it may be of another release than the router."""
    world = await _world(tmp_path)
    stricter = Registry()
    stricter.handler(
        "steps", estimated_duration_s=60, validate=lambda _: [FieldError("payload.x", "missing")]
    )(_steps)
    world.registry = stricter
    await world.run()
    error = world.check("c1", "r1")[-1]["error"]
    assert error["code"] == "VALIDATION_ERROR"
    assert error["details"]["fields"][0]["field"] == "payload.x"


@virtual_time
async def test_what_is_pending_is_flushed_before_the_outcome_without_sleeping(tmp_path):
    """PROG-3: the last update leaves at once, though its interval is not over."""

    async def run(job):
        job.progress(10)
        await job.sleep(0.03)
        job.progress(20)
        job.progress(99, "last")

    world = await _world(tmp_path, registry=_registry(steps=run))
    began_s = asyncio.get_running_loop().time()
    await world.run()
    messages = world.check("c1", "r1")
    assert [m.get("message") for m in messages[1:-1]] == [None, "last"]
    assert messages[-1]["timestamp"] - messages[0]["timestamp"] < 90
    assert asyncio.get_running_loop().time() - began_s < 0.15


@virtual_time
async def test_progress_keeps_its_interval_and_the_newest_wins(tmp_path):
    """PROG-2: 100 ms between timestamps, and none waits over 200 ms."""

    async def run(job):
        for step in range(1, 101):
            job.progress(step / 2)
            await job.sleep(0.01)

    world = await _world(tmp_path, registry=_registry(steps=run))
    await world.run()
    progress = [m for m in world.check("c1", "r1") if m["type"] == "progress"]
    stamps = [m["timestamp"] for m in progress[:-1]]
    gaps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
    assert 8 <= len(progress) <= 12
    assert all(100 <= gap <= 200 for gap in gaps)
    assert progress[-1]["percentage"] == 50


async def _hanging(directory, run, **options):
    """A world whose only receiver takes nothing until the gate opens, at work."""
    world = await _world(directory, registry=_registry(steps=run), **options)
    await world.connect("c2")
    gate = world.clients.hang("c1")
    await world.stream()
    fuse = Fuse()
    worker, event = Worker(world.process(fuse), "w"), world.invocations.pop()
    return world, gate, fuse, asyncio.create_task(world.invoke(worker, fuse, event))


async def _count_to_100(job):
    """For four seconds, at the handler's own pace."""
    began_s = asyncio.get_running_loop().time()
    for percentage in range(1, 101):
        job.set_metadata("at", percentage)
        job.progress(percentage, f"at {percentage}")
        await job.sleep(0.04)
    return {"took_s": asyncio.get_running_loop().time() - began_s}


@virtual_time
async def test_a_slow_receiver_still_gets_the_last_progress_before_the_outcome(tmp_path):
    """PROG-3 and PROG-7: stuck for eight seconds of which the handler worked four, none slower."""
    world, gate, _, work = await _hanging(tmp_path, _count_to_100)
    await pass_time(8)
    stored = await world.stored("r1")
    assert stored.request.status is Status.COMPLETED
    assert not stored.outbox.closed
    gate.set()
    await work
    messages = world.check("c1", "r1")
    assert kinds(messages) == ["acknowledgment", "progress", "progress", "complete"]
    assert [m["percentage"] for m in messages[1:3]] == [1, 100]
    assert (messages[2]["message"], messages[2]["metadata"]) == ("at 100", {"at": 100})
    assert messages[3]["result"]["took_s"] == pytest.approx(4, abs=0.01)


@virtual_time
async def test_status_is_an_interval_old_at_most_while_a_receiver_hangs(tmp_path):
    """PROG-4: what has no number yet is noted once per interval, not with each update."""
    world, gate, _, work = await _hanging(tmp_path, _count_to_100)
    await pass_time(0.5)
    before = world.store.writes
    for _ in range(30):
        await pass_time(0.1)
        began_s = (
            world.clock.now_ms() / 1000 - (await world.stored("r1")).request.changed_at_ms / 1000
        )
        answer = (await world.say("c2", "status", {"request_id": "r1"}))[-1]
        assert began_s / 0.04 - 4 <= answer["data"]["percentage"] <= began_s / 0.04 + 1
    assert world.store.writes - before <= 2 * 30 + 5  # the questions' own, and the lease's
    gate.set()
    await work
    assert world.check("c1", "r1")[-2]["percentage"] == 100


@virtual_time
async def test_a_store_that_takes_no_notes_costs_freshness_alone(tmp_path):
    """The next note says more, and the outcome has the last progress with it."""
    world, gate, fuse, killed = await _hanging(tmp_path, _count_to_100)
    fuse.blown.set()
    await killed
    await world.stream()
    services = world.process()
    services.store.failing["note"] = 5
    keys = world.invocations.pop()["request_keys"]
    work = asyncio.create_task(Worker(services, "w2").work("i", keys, alone=True))
    await pass_time(8)
    gate.set()
    await work
    assert services.store.failing["note"] == 0
    assert [m["percentage"] for m in world.check("c1", "r1")[1:-1]][-1] == 100


@pytest.mark.parametrize("ended", [False, True])
def test_a_worker_that_dies_beside_a_slow_receiver_loses_no_progress(tmp_path, ended):
    """PROG-3 and PROG-6: what it had noted, the next attempt or the sweeper numbers and sends."""

    async def scenario():
        async def run(job):
            if job.attempt == 1:
                job.progress(10)
                await job.sleep(0.1)
                job.set_metadata("k", "v")
                job.progress(90, "noted")
                await job.sleep(0 if ended else 60)

        world, gate, fuse, work = await _hanging(tmp_path, run)
        await pass_time(4)
        fuse.blown.set()
        assert not await work
        gate.set()
        assert ((await world.stored("r1")).request.status is Status.COMPLETED) is ended
        await world.settle(13)
        messages = world.check("c1", "r1")
        assert messages[-1]["type"] == "complete"
        progress = messages[1:-1]
        assert [m["percentage"] for m in progress] == [10, 90]
        assert (progress[1]["message"], progress[1]["metadata"]) == ("noted", {"k": "v"})

    run_virtual(scenario())


@virtual_time
async def test_a_note_finds_that_the_request_is_lost_and_cuts_nothing_off(tmp_path):
    """ASYNC-3: the attempt stops at that write; what is under way to a slow client comes once."""
    stopped = []

    async def run(job):
        job.progress(10)
        try:
            for percentage in range(11, 90):
                job.progress(percentage)
                await job.sleep(0.1)
        finally:
            stopped.append(asyncio.get_running_loop().time())

    world, gate, _, work = await _hanging(tmp_path, run)
    await pass_time(0.55)
    await world.say("c2", "cancel", {"request_id": "r1"})
    await pass_time(0.55)
    gate.set()
    await work
    messages = world.check("c1", "r1")
    assert kinds(messages) == ["acknowledgment", "progress", "progress", "error"]
    assert messages[-1]["error"]["code"] == "CANCELLED"
    assert world.repeats("c1") == 0
    assert stopped[0] < 1.2


@virtual_time
async def test_metadata_stays_until_it_is_set_again(tmp_path):
    """PROG-5: each update goes out with all that was set before it."""

    async def run(job):
        for step in (1, 2, 3):
            job.set_metadata(f"k{step}", step)
            job.progress(step)
            await job.sleep(0.2)

    world = await _world(tmp_path, registry=_registry(steps=run))
    await world.run()
    metadata = [m["metadata"] for m in world.check("c1", "r1") if m["type"] == "progress"]
    assert metadata == [{"k1": 1}, {"k1": 1, "k2": 2}, {"k1": 1, "k2": 2, "k3": 3}]


@virtual_time
async def test_metadata_is_copied_when_it_is_set(tmp_path):
    """PROG-5: neither a later set nor a later change reaches an earlier update."""

    async def run(job):
        value = ["a"]
        job.set_metadata("k", value)
        job.progress(10)
        value.append("b")
        job.set_metadata("other", 1)
        await job.sleep(0.2)
        job.progress(20)

    world = await _world(tmp_path, registry=_registry(steps=run))
    await world.run()
    progress = [m for m in world.check("c1", "r1") if m["type"] == "progress"]
    assert [m["metadata"] for m in progress] == [{"k": ["a"]}, {"k": ["a"], "other": 1}]


@virtual_time
async def test_progress_that_does_not_fit_leaves_no_gap(tmp_path):
    """It is sent without its text and metadata."""

    async def run(job):
        job.set_metadata("k", "x" * 200_000)
        job.progress(10, "much")

    world = await _world(tmp_path, registry=_registry(steps=run))
    await world.run()
    messages = world.check("c1", "r1")
    assert kinds(messages) == ["acknowledgment", "progress", "complete"]
    assert "metadata" not in messages[1]


@virtual_time
async def test_a_receiver_that_hangs_slows_no_handler_and_no_other_request(tmp_path):
    """PROG-7: the handler ends in its own time, and new work is taken while an outcome waits."""
    ended = []

    async def run(job):
        for step in range(20):
            job.progress(step)
            await job.sleep(0.01)
        ended.append(asyncio.get_running_loop().time())

    world = await _world(tmp_path, registry=_registry(steps=run))
    await world.connect("c2")
    gate = world.clients.hang("c1")
    services = world.process()
    await world.stream()
    worker = Worker(services, "w")
    work = asyncio.create_task(worker.work("i", world.invocations.pop()["request_keys"]))
    await pass_time(3)
    assert ended[0] < 0.5
    await world.say("c2", "steps", id="r2")
    await pass_time(1)
    assert world.check("c2", "r2")[-1]["type"] == "complete"
    gate.set()
    await work
    await world.settle(45)
    assert world.check("c1", "r1")[-1]["type"] == "complete"


@virtual_time
async def test_an_outcome_is_delivered_when_the_receiver_comes_back(tmp_path):
    """RECOV-2: the sweeper posts it again, unchanged, until it is taken."""
    world = await _world(tmp_path)
    world.clients.fail("c1", *[ServiceError] * 30)
    await world.run()
    assert kinds(world.of("c1", "r1")) != []
    await world.settle(60)
    assert world.check("c1", "r1")[-1]["type"] == "complete"
    assert (await world.stored("r1")).outbox.taken


@virtual_time
async def test_an_outcome_that_was_not_taken_is_posted_again_unchanged(tmp_path):
    """RECOV-2: by a sweeper, after its worker has given up and gone."""
    world = await _world(tmp_path)
    world.clients.fail("c1", *[None] * 3, then=ServiceError)
    await world.run()
    outbox = (await world.stored("r1")).outbox
    assert (outbox.closed, outbox.taken) == (True, False)
    del world.clients.faults["c1"]
    await world.settle(30)
    assert world.clients.arrived["c1"][-1].text == outbox.message
    assert (await world.stored("r1")).outbox.taken


@virtual_time
async def test_a_connection_that_is_gone_stops_nothing(tmp_path):
    """CONN-4: the request runs to its end, and the outcome waits for `status`."""
    world = await _world(tmp_path)
    world.clients.fail("c1", then=GoneError)
    await world.run()
    stored = await world.stored("r1")
    assert stored.request.status is Status.COMPLETED
    assert stored.outbox.taken
    await world.connect("c2")
    answer = (await world.say("c2", "status", {"request_id": "r1"}))[-1]
    assert answer["data"]["result"] == {"attempt": "any"}


@virtual_time
async def test_a_message_that_is_refused_for_what_it_is_is_not_posted_for_ever(tmp_path):
    """403 and its like are logged and settled: posting again would be refused again."""
    world = await _world(tmp_path)
    world.clients.fail("c1", then=ForbiddenError)
    await world.run()
    assert (await world.stored("r1")).outbox.taken


@virtual_time
async def test_a_large_result_becomes_an_object(tmp_path):
    """LIMIT-1: `result_url` in place of `result`, and the whole result behind it."""

    async def run(job):
        return "x" * 140_000

    objects = MemoryObjects()
    world = await _world(tmp_path, registry=_registry(steps=run), objects=objects)
    await world.run()
    outcome = world.check("c1", "r1")[-1]
    assert "result" not in outcome
    name = outcome["result_url"].split("/", 3)[3].split("?")[0]
    assert json.loads(objects.files[name]) == "x" * 140_000
    assert "?expires=900&" in outcome["result_url"]  # 15 minutes, contract section 5
    answer = (await world.say("c1", "status", {"request_id": "r1"}))[-1]
    assert answer["data"]["result_url"].split("?")[0] == outcome["result_url"].split("?")[0]
    assert answer["data"]["result_url"] != outcome["result_url"]


@virtual_time
async def test_without_an_object_store_a_large_result_is_an_error(tmp_path):
    """RESULT_TOO_LARGE is the outcome."""

    async def run(job):
        return "x" * 140_000

    world = await _world(tmp_path, registry=_registry(steps=run))
    await world.run()
    assert world.check("c1", "r1")[-1]["error"]["code"] == "RESULT_TOO_LARGE"
    body = outcome_message('{"result_object":"results/x.json"}', world.services)
    assert body == {"result_object": "results/x.json"}


@virtual_time
async def test_slots_bound_what_runs_and_waiting_requests_fill_them(tmp_path):
    """ASYNC-6: one invocation takes what waits, and never more at once than it has slots."""
    running, most = 0, 0

    async def run(job):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await job.sleep(0.2)
        running -= 1

    world = await _world(tmp_path, registry=_registry(steps=run), slots=2)
    for number in range(2, 8):
        await world.say("c1", "steps", id=f"r{number}")
    services = world.process()
    await Worker(services, "w").work("i", [world.key("r1")])
    assert most == 2
    for number in range(1, 8):
        assert world.check("c1", f"r{number}")[-1]["type"] == "complete"


@virtual_time
async def test_a_slow_request_delays_no_other(tmp_path):
    """ASYNC-6: five of 3 s, then fifty of 50 ms; each of the fifty ends before any of the five."""

    async def run(job):
        await job.sleep(job.payload["ms"] / 1000)

    world = await _world(tmp_path, "slow1", payload={"ms": 3000}, registry=_registry(steps=run))
    ids = [f"slow{n}" for n in range(2, 6)] + [f"quick{n}" for n in range(50)]
    for request_id in ids:
        await world.say("c1", "steps", {"ms": 3000 if "slow" in request_id else 50}, id=request_id)
    await world.run()
    ended = [m["request_id"] for m in world.got("c1") if m["type"] == "complete"]
    assert len(ended) == 55
    assert all("quick" in request_id for request_id in ended[:50])


@virtual_time
async def test_a_text_makes_no_error_retryable(tmp_path):
    """ASYNC-5: what may be tried again is decided by the type of what was raised."""
    runs = []

    async def run(job):
        runs.append(job.attempt)
        raise RuntimeError("timeout: the network is temporarily not there, connection timed out")

    world = await _world(tmp_path, registry=_registry(steps=run))
    await world.run()
    assert world.check("c1", "r1")[-1]["error"]["code"] == "PROCESSING_FAILED"
    assert runs == [1]


@virtual_time
async def test_near_its_end_an_invocation_takes_nothing_new(tmp_path):
    """What was handed over runs; what waits is another's."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r2")
    await Worker(world.services, "w").work("i", [world.key("r1")], remaining_ms=lambda: 50_000)
    assert (await world.stored("r1")).request.status is Status.COMPLETED
    assert (await world.stored("r2")).request.status is Status.PENDING


@virtual_time
async def test_keys_that_cannot_be_claimed_are_left(tmp_path):
    """Unknown, ended, held by another, or of one whose worker died: nothing runs."""
    world = await _world(tmp_path)
    key = world.key("r1")
    now_ms = world.clock.now_ms()
    await world.store.claim(key, "other", now_ms, alone=False)
    await Worker(world.services, "w").work("i", [key, "unknown", key])
    assert kinds(world.of("c1", "r1")) == ["acknowledgment"]
    await world.store.take_back(key, 1, now_ms, now_ms)
    await Worker(world.services, "w").work("i", [key])
    assert (await world.stored("r1")).request.status is Status.RETRYING
    await Worker(world.services, "w").work("i", [key], alone=True)
    assert world.check("c1", "r1")[-1]["type"] == "complete"


@virtual_time
async def test_the_lease_is_renewed_while_work_goes_on(tmp_path):
    """RECOV-1: a request that takes longer than a lease is not taken away; one failure is borne."""

    async def run(job):
        await job.sleep(12)

    world = await _world(tmp_path, registry=_registry(steps=run))
    await world.stream()
    services = world.process()
    task = asyncio.create_task(
        Worker(services, "w").work("i", world.invocations.pop()["request_keys"])
    )
    await pass_time(2)
    services.store.failing["renew"] = 1
    for _ in range(9):
        await pass_time(1)
        await sweep(world.services)
    await task
    stored = await world.stored("r1")
    assert (stored.request.attempt, stored.request.status) == (1, Status.COMPLETED)


@virtual_time
async def test_a_cancelled_request_stops_at_the_next_renewal(tmp_path):
    """CANCEL-1: the holder sends the outcome, after what it had under way, and sends it once."""
    stopped = []

    async def run(job):
        job.progress(30)
        try:
            await job.sleep(60)
        except asyncio.CancelledError:
            stopped.append(asyncio.get_running_loop().time())
            raise

    world = await _world(tmp_path, registry=_registry(steps=run))
    await world.stream()
    work = asyncio.create_task(
        Worker(world.process(), "w").work("i", world.invocations.pop()["request_keys"])
    )
    await pass_time(1)
    answer = (await world.say("c1", "cancel", {"request_id": "r1"}, id="x"))[-1]
    assert answer["data"] == {"request_id": "r1", "status": "CANCELLED"}
    await work
    assert stopped[0] < 1 + 1.6
    messages = world.check("c1", "r1")
    assert kinds(messages) == ["acknowledgment", "progress", "error"]
    assert messages[-1]["error"]["code"] == "CANCELLED"
    assert world.repeats("c1") == 0


@virtual_time
async def test_a_cancelled_request_stops_at_its_next_write(tmp_path):
    """Before a renewal tells it, progress or outcome finds that the request is lost."""
    for name, last in (("progress", True), ("outcome", False), ("retry", None)):

        async def run(job, last=last):
            job.progress(30)
            await job.sleep(0.5)
            if last is None:
                raise RetryableError
            if last:
                job.progress(40)
                await job.sleep(60)

        directory = tmp_path / name
        directory.mkdir()
        world = await _world(directory, registry=_registry(steps=run))
        await world.stream()
        work = asyncio.create_task(
            Worker(world.process(), "w").work("i", world.invocations.pop()["request_keys"])
        )
        await pass_time(0.4)
        await world.say("c1", "cancel", {"request_id": "r1"}, id="x")
        began_s = asyncio.get_running_loop().time()
        await work
        assert asyncio.get_running_loop().time() - began_s < 0.5
        messages = world.check("c1", "r1")
        assert messages[-1]["error"]["code"] == "CANCELLED"
        assert [m["percentage"] for m in messages[1:-1]] == [30]
        assert world.repeats("c1") == 0


@pytest.mark.parametrize("method", ["save_progress", "finish", "retry", "claim", "get", "taken"])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("done", [False, True])
def test_a_store_that_fails_delays_an_outcome_and_loses_none(tmp_path, method, times, done):
    """Each write may fail, made or not: the request ends all the same, with one story."""

    async def scenario():
        async def run(job):
            job.progress(10)
            await job.sleep(0.05)
            if job.attempt == 1 and method == "retry":
                raise RetryableError("again")
            return 1

        world = await _world(tmp_path, registry=_registry(steps=run))
        await world.stream()
        services = world.process()
        services.store.failing[method] = times
        services.store.after.update({method} if done else ())
        worker = Worker(services, "w")
        await worker.work("i", world.invocations.pop()["request_keys"])
        await world.settle(14)
        assert world.check("c1", "r1")[-1]["type"] == "complete"

    run_virtual(scenario())


@virtual_time
async def test_a_store_that_fails_for_long_is_left_to_the_sweeper(tmp_path):
    """Letting go ends after ten seconds; the lease has run out by then."""
    world = await _world(tmp_path)
    await world.stream()
    services = world.process()
    worker = Worker(services, "w")
    services.store.failing.update(save_progress=1, get=99, renew=99)
    services.store.failing["renew"] = 0
    work = asyncio.create_task(worker.work("i", world.invocations.pop()["request_keys"]))
    await pass_time(0.01)
    services.store.failing["renew"] = 99
    await work
    await world.settle(4)
    assert world.check("c1", "r1")[-1]["type"] == "complete"


@virtual_time
async def test_an_outcome_that_the_store_never_takes_ends_its_request(tmp_path):
    """ASYNC-5: ten attempts, with pauses between, and then PROCESSING_FAILED with what was last."""
    runs_s = []

    async def run(job):
        runs_s.append(asyncio.get_running_loop().time())
        job.progress(10 * job.attempt)

    world = await _world(tmp_path, registry=_registry(steps=run))
    finish = world.store.finish

    async def no_results(key, attempt, status, *args):
        if status is Status.COMPLETED:
            raise StoreError("the item is too large")
        return await finish(key, attempt, status, *args)

    world.store.finish = no_results
    await world.run()
    messages = world.check("c1", "r1")
    assert messages[-1]["error"]["code"] == "PROCESSING_FAILED"
    assert [m["percentage"] for m in messages[1:-1]] == [10 * n for n in range(1, 11)]
    assert len(runs_s) == 10
    assert runs_s[-1] - runs_s[0] > 5
    assert world.repeats("c1") == 0


@virtual_time
async def test_looking_for_work_survives_a_store_that_fails(tmp_path):
    """What runs goes on; the next look finds more."""
    world = await _world(tmp_path)
    services = world.process()
    services.store.failing["waiting"] = 3
    await Worker(services, "w").work("i", [world.key("r1")])
    assert world.check("c1", "r1")[-1]["type"] == "complete"


@virtual_time
async def test_a_slow_write_of_progress_gives_the_outcome_no_number_twice(tmp_path):
    """The outcome waits two seconds for it, is recorded unnumbered, and takes a number later."""
    hold = asyncio.Event()

    async def run(job):
        job.progress(10)

    world = await _world(tmp_path, registry=_registry(steps=run))
    await world.stream()
    services = world.process()
    save = world.store.save_progress

    async def slow(*args):
        subscribers = await save(*args)
        await hold.wait()
        return subscribers

    world.store.save_progress = slow
    work = asyncio.create_task(
        Worker(services, "w").work("i", world.invocations.pop()["request_keys"])
    )
    await pass_time(4)
    assert (await world.stored("r1")).request.status is Status.COMPLETED
    assert not (await world.stored("r1")).outbox.closed
    hold.set()
    await work
    assert kinds(world.check("c1", "r1")) == ["acknowledgment", "progress", "complete"]


@virtual_time
async def test_an_outcome_that_another_numbered_is_not_sent_by_its_worker(tmp_path):
    """Two that would close a request agree through the store: one number, one content."""
    world = await _world(tmp_path)
    gate = world.clients.hang("c1")
    await world.stream()
    work = asyncio.create_task(
        Worker(world.process(), "w").work("i", world.invocations.pop()["request_keys"])
    )
    await pass_time(4)
    key = world.key("r1")
    stored = await world.stored("r1")
    assert stored.request.status is Status.COMPLETED
    number, now_ms = stored.outbox.sequence + 1, world.clock.now_ms()
    text = json.dumps({"type": "complete", "request_id": "r1", "sequence": number})
    assert await world.store.close(key, number, text, now_ms) == ()
    gate.set()
    await work
    await world.settle(12)
    assert world.check("c1", "r1")[-1] == json.loads(text)


@virtual_time
async def test_a_cancel_is_found_by_an_outcome_that_has_no_number_yet(tmp_path):
    """The receiver hangs, the request is cancelled, and CANCELLED is the outcome it gets."""

    async def run(job):
        job.progress(10)
        await job.sleep(0.5)

    world = await _world(tmp_path, registry=_registry(steps=run))
    await world.connect("c2")
    gate = world.clients.hang("c1")
    await world.stream()
    work = asyncio.create_task(
        Worker(world.process(), "w").work("i", world.invocations.pop()["request_keys"])
    )
    await pass_time(1)
    await world.say("c2", "cancel", {"request_id": "r1"})
    await pass_time(2)
    gate.set()
    await work
    await world.settle(12)
    messages = world.check("c1", "r1")
    assert kinds(messages) == ["acknowledgment", "progress", "error"]
    assert messages[-1]["error"]["code"] == "CANCELLED"


@virtual_time
async def test_a_claim_whose_answer_was_lost_is_given_back_at_the_next_renewal(
    tmp_path, monkeypatch
):
    """ASYNC-1: in the worker's name, run by nobody, and no lease will ever run out for it."""

    async def run(job):
        await job.sleep(10)
        return job.attempt

    world = await _world(tmp_path, registry=_registry(steps=run))
    await world.say("c1", "steps", id="r2")
    await world.stream()
    services = world.process()
    claim, lost = services.store.claim, []

    async def claim_with_a_lost_answer(key, *args, **options):
        stored = await claim(key, *args, **options)
        if key == world.key("r2") and not lost:
            lost.append(key)
            raise StoreError("the answer was lost")
        return stored

    monkeypatch.setattr(services.store, "claim", claim_with_a_lost_answer, raising=False)
    keys = [key for event in world.invocations for key in event["request_keys"]]
    world.invocations.clear()
    await Worker(services, "w").work("i", keys)
    await world.run()
    assert lost == [world.key("r2")]
    assert [m["type"] for m in world.check("c1", "r1")] == ["acknowledgment", "complete"]
    messages = world.check("c1", "r2")
    assert messages[-1]["type"] == "complete"
    assert messages[-1]["result"] == 2
    assert (await world.stored("r2")).request.deaths == 0
