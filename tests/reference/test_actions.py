"""Built-in actions: what they answer, to whom, and what follows the answer."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest

from streamer_reference.actions import send_cancelled
from streamer_reference.connection.errors import ThrottledError
from streamer_reference.core.states import Status
from streamer_reference.handlers import Registry, default_registry
from streamer_reference.worker import Worker
from support.reference_world import MemoryObjects, World, kinds
from support.virtual_time import pass_time, virtual_time


def _registry():
    registry = Registry()
    registry.include(default_registry(probe=True))

    @registry.handler("steps", estimated_duration_s=60)
    async def steps(job):
        for percentage in (20, 40, 60, 80):
            job.progress(percentage)
            await job.sleep(0.5)
        return "done"

    @registry.handler("large", estimated_duration_s=60)
    async def large(job):
        return "x" * 130_100

    return registry


async def _world(directory, **options):
    world = World(directory, registry=_registry(), **options)
    await world.connect("c1")
    await world.connect("c2")
    await world.connect("stranger", user_id="other")
    await world.connect("abroad", tenant_id="other")
    return world


def _start(world):
    """A worker on what was handed over, in the background."""
    worker = Worker(world.process(), "w")
    keys = [key for event in world.invocations for key in event["request_keys"]]
    world.invocations.clear()
    return asyncio.create_task(worker.work("i", keys))


async def _ask(world, connection_id, action, request_id="r1"):
    return (await world.say(connection_id, action, {"request_id": request_id}, id="ask"))[0]


@virtual_time
async def test_status_follows_a_request_to_its_result(tmp_path):
    """PROG-4, RECOV-3: from any connection of the same user."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    expected = {"request_id": "r1", "action": "steps", "status": "PENDING", "percentage": 0.0}
    assert (await _ask(world, "c2", "status"))["data"] == expected
    await world.stream()
    work = _start(world)
    await pass_time(0.7)
    data = (await _ask(world, "c2", "status"))["data"]
    assert (data["status"], data["percentage"]) == ("PROCESSING", 40)
    await work
    data = (await _ask(world, "c2", "status"))["data"]
    assert data == {**expected, "status": "COMPLETED", "percentage": 100.0, "result": "done"}


@virtual_time
async def test_status_of_a_failed_request_has_the_error(tmp_path):
    """The stored outcome, as it was sent."""
    world = await _world(tmp_path)
    payload = {"end": "fail", "code": "TIMEOUT", "steps": [{"percentage": 30}]}
    await world.say("c1", "probe.async", payload, id="r1")
    await world.run()
    data = (await _ask(world, "c1", "status"))["data"]
    assert data["error"] == world.check("c1", "r1")[-1]["error"]
    assert (data["status"], data["percentage"]) == ("FAILED", 30)


@pytest.mark.parametrize("action", ["status", "cancel", "subscribe", "unsubscribe"])
def test_another_users_request_is_answered_as_none(tmp_path, action):
    """OWN-1: nobody can tell the two apart."""

    @virtual_time
    async def scenario():
        world = await _world(tmp_path)
        await world.say("c1", "steps", id="r1")
        for connection_id in ("stranger", "abroad"):
            foreign = await _ask(world, connection_id, action)
            missing = await _ask(world, connection_id, action, "r0")
            assert foreign["error"] == missing["error"]
            assert foreign["error"]["code"] == "NOT_FOUND"
        assert (await world.stored("r1")).request.status is Status.PENDING
        assert (await world.stored("r1")).subscribers == ()

    scenario()


@virtual_time
async def test_a_waiting_request_is_cancelled_by_the_canceller(tmp_path):
    """CANCEL-1: the outcome follows the answer, the worker then finds nothing to do."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    got = await world.say("c1", "cancel", {"request_id": "r1"}, id="x")
    assert kinds(got) == ["response", "error"]
    assert got[0]["data"] == {"request_id": "r1", "status": "CANCELLED"}
    assert got[1]["error"]["code"] == "CANCELLED"
    await world.run()
    assert kinds(world.check("c1", "r1")) == ["acknowledgment", "error"]
    again = await _ask(world, "c1", "cancel")
    assert again["error"]["code"] == "ALREADY_ENDED"
    assert again["error"]["details"] == {"status": "CANCELLED"}


@virtual_time
async def test_a_request_between_attempts_is_cancelled_by_the_canceller(tmp_path):
    """RETRYING is held by nobody."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    now_ms = world.clock.now_ms()
    await world.store.claim(world.key("r1"), "gone", now_ms, alone=False)
    await world.store.take_back(world.key("r1"), 1, now_ms, now_ms)
    assert kinds(await world.say("c1", "cancel", {"request_id": "r1"})) == ["response", "error"]
    await world.run()
    assert kinds(world.check("c1", "r1")) == ["acknowledgment", "error"]


@virtual_time
async def test_a_cancelled_request_of_a_dead_worker_is_ended_by_the_sweeper(tmp_path):
    """Nobody holds it, though it is PROCESSING: the outcome still comes, once."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    await world.store.claim(world.key("r1"), "dead", world.clock.now_ms(), alone=False)
    assert kinds(await world.say("c1", "cancel", {"request_id": "r1"})) == ["response"]
    await world.settle(3)
    assert kinds(world.check("c1", "r1")) == ["acknowledgment", "error"]


@virtual_time
async def test_a_completed_request_cannot_be_cancelled(tmp_path):
    """ALREADY_ENDED, and the outcome stays."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    await world.run()
    error = (await _ask(world, "c1", "cancel"))["error"]
    assert (error["code"], error["details"]) == ("ALREADY_ENDED", {"status": "COMPLETED"})
    assert (await world.stored("r1")).request.status is Status.COMPLETED


@virtual_time
async def test_a_subscriber_gets_every_later_message_unchanged(tmp_path):
    """Same numbers, same texts; the answer stands as `status` would."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    await world.stream()
    work = _start(world)
    await pass_time(0.7)
    answer = await _ask(world, "c2", "subscribe")
    assert answer["data"]["status"] == "PROCESSING"
    await work
    mine, theirs = world.check("c1", "r1"), world.of("c2", "r1")
    assert theirs == mine[-len(theirs) :]
    assert kinds(theirs) == ["progress", "progress", "complete"]


@virtual_time
async def test_a_subscriber_that_does_not_read_delays_nobody(tmp_path):
    """Progress goes on as the handler reports it, each half second, beside the stuck one."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    await world.stream()
    work = _start(world)
    await pass_time(0.3)
    await _ask(world, "c2", "subscribe")
    gate = world.clients.hang("c2")
    await pass_time(3)
    mine = world.check("c1", "r1")
    stamps = [m["timestamp"] for m in mine if m["type"] == "progress"]
    assert max(later - earlier for earlier, later in itertools.pairwise(stamps)) == 500
    gate.set()
    await work
    assert kinds(world.of("c2", "r1"))[-1] == "complete"


@virtual_time
async def test_unsubscribing_ends_it(tmp_path):
    """No later message comes."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    await _ask(world, "c2", "subscribe")
    await _ask(world, "c2", "subscribe")
    answer = await _ask(world, "c2", "unsubscribe")
    assert answer["data"] == {"request_id": "r1"}
    await world.run()
    assert world.of("c2", "r1") == []


@virtual_time
async def test_the_requests_own_connection_gets_nothing_twice_by_subscribing(tmp_path):
    """It is a receiver already."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    await _ask(world, "c1", "subscribe")
    await world.run()
    assert world.repeats("c1") == 0


@virtual_time
async def test_a_slow_subscriber_may_miss_progress_and_never_the_outcome(tmp_path):
    """The request's own connection is not slowed for the length of a subscriber's silence."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    await _ask(world, "c2", "subscribe")
    gate = world.clients.hang("c2")
    await world.stream()
    work = _start(world)
    await pass_time(40)
    gate.set()
    await work
    await world.settle(45)
    assert world.check("c1", "r1")[-1]["type"] == "complete"
    assert world.of("c2", "r1")[-1]["type"] == "complete"


@virtual_time
async def test_who_came_back_on_another_connection_is_waited_for(tmp_path):
    """Its worker may die at any moment: the next number is not taken before this one arrived."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    await _ask(world, "c2", "subscribe")
    del world.clients.arrived["c1"]
    await world.stream()
    gate = world.clients.hang("c2")
    work = _start(world)
    await pass_time(1.8)  # three steps
    assert (await world.stored("r1")).outbox.sequence == 1
    gate.set()
    await work
    numbers = [message["sequence"] for message in world.of("c2", "r1")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert world.of("c2", "r1")[-1]["type"] == "complete"


@virtual_time
async def test_subscribing_to_an_ended_request_brings_its_outcome_once(tmp_path):
    """After the answer, as it was sent."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    await world.run()
    got = await world.say("c2", "subscribe", {"request_id": "r1"}, id="x")
    assert kinds(got) == ["response", "complete"]
    assert got[0]["data"]["result"] == "done"
    assert got[1] == world.check("c1", "r1")[-1]
    await world.settle(12)
    assert len(world.got("c2")) == 2


@virtual_time
async def test_the_outcome_of_an_ended_request_is_posted_until_the_subscriber_has_it(tmp_path):
    """The answer is taken, then a whole send fails with all its attempts."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    await world.run()
    world.clients.fail("c2", None, *[ThrottledError] * 7)
    await world.say("c2", "subscribe", {"request_id": "r1"}, id="x")
    assert kinds(world.got("c2")) == ["response", "complete"]


@virtual_time
async def test_what_a_subscriber_never_takes_is_given_up_after_a_while(tmp_path):
    """The router's invocation ends in time; the answer had the result already."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    await world.run()
    world.clients.fail("c2", None, then=ThrottledError)
    began_s = asyncio.get_running_loop().time()
    await world.say("c2", "subscribe", {"request_id": "r1"}, id="x")
    assert asyncio.get_running_loop().time() - began_s < 15
    assert kinds(world.got("c2")) == ["response"]


@virtual_time
async def test_a_result_that_fits_no_answer_is_given_as_an_object(tmp_path):
    """A `complete` message held it; an answer adds more."""
    objects = MemoryObjects()
    world = await _world(tmp_path, objects=objects)
    await world.say("c1", "large", id="r1")
    await world.run()
    assert "result" in world.check("c1", "r1")[-1]
    data = (await _ask(world, "c1", "status"))["data"]
    assert "result" not in data
    name = data["result_url"].split("/", 3)[3].split("?")[0]
    assert json.loads(objects.files[name]) == "x" * 130_100


@virtual_time
async def test_a_small_result_stays_in_the_answer_where_there_is_an_object_store(tmp_path):
    """Nothing is stored for it."""
    objects = MemoryObjects()
    world = await _world(tmp_path, objects=objects)
    await world.say("c1", "steps", id="r1")
    await world.run()
    assert (await _ask(world, "c1", "status"))["data"]["result"] == "done"
    assert objects.files == {}


@virtual_time
async def test_a_cancelled_outcome_that_another_sent_is_not_sent_again(tmp_path):
    """The sweeper may be faster than the canceller."""
    world = await _world(tmp_path)
    await world.say("c1", "steps", id="r1")
    await world.say("c1", "cancel", {"request_id": "r1"})
    before = world.got("c1")
    await send_cancelled(world.key("r1"), world.services)
    await send_cancelled("unknown", world.services)
    assert world.got("c1") == before


@virtual_time
async def test_a_broadcast_reaches_its_tenant_and_nobody_else(tmp_path):
    """BCAST-1: the sender too, each once, and the figures add up."""
    world = await _world(tmp_path)
    await world.connect("gone")
    del world.clients.arrived["gone"]
    got = await world.say("c1", "broadcast", {"payload": {"n": 1}}, id="b")
    data = got[-1]["data"]
    assert (data["delivered"], data["gone"], data["failed"]) == (3, 1, 0)
    for connection_id in ("c1", "c2", "stranger"):
        messages = [m for m in world.got(connection_id) if m["type"] == "broadcast"]
        assert [m["broadcast_id"] for m in messages] == [data["broadcast_id"]]
        assert messages[0]["payload"] == {"n": 1}
        assert messages[0]["from"] == {"user_id": "u"}
    assert world.got("abroad") == []


@virtual_time
async def test_a_broadcast_must_have_a_payload_that_fits(tmp_path):
    """VALIDATION_ERROR names it; null is a payload."""
    world = await _world(tmp_path)
    for payload in ({}, {"payload": "x" * 131_000}):
        error = (await world.say("c1", "broadcast", payload))[0]["error"]
        assert error["code"] == "VALIDATION_ERROR"
        assert error["details"]["fields"][0]["field"] == "payload.payload"
    assert (await world.say("c1", "broadcast", {"payload": None}))[-1]["type"] == "response"
