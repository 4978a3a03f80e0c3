"""The processor: hands over, parks what it cannot read, and works on nothing."""

from __future__ import annotations

import asyncio

import pytest

from streamer_reference.core.states import Status
from streamer_reference.lambdas.processor import processor
from support.reference_world import World, kinds
from support.virtual_time import run_virtual, virtual_time


def _record(key, status="PENDING", deaths="0"):
    image = {"status": {"S": status}, "deaths": {"N": deaths}}
    return {"dynamodb": {"Keys": {"key": {"S": key}}, "NewImage": image}}


@virtual_time
async def test_what_waits_is_handed_over_together_or_alone(tmp_path):
    """One event for many; one each for those whose worker died; nothing for the rest."""
    world = World(tmp_path)
    records = [
        _record("a"),
        _record("b", "RETRYING"),
        _record("killer", "RETRYING", "1"),
        _record("running", "PROCESSING"),
        _record("done", "COMPLETED"),
        _record("accepted", "ACCEPTED"),
    ]
    assert await processor({"Records": records}, world.services) == {"batchItemFailures": []}
    assert world.invocations == [
        {"request_keys": ["a", "b"]},
        {"request_keys": ["killer"], "alone": True},
    ]
    assert asyncio.get_running_loop().time() == 0


@virtual_time
async def test_it_returns_before_the_work_is_done(tmp_path):
    """ASYNC-6: a lane of the stream is never busy with somebody's request."""
    world = World(tmp_path)
    await world.connect("c1")
    await world.say("c1", "delay", {"duration_ms": 60_000}, id="r1")
    async with asyncio.timeout(1):
        await world.stream()
    assert asyncio.get_running_loop().time() < 0.1
    assert len(world.invocations) == 1


@pytest.mark.parametrize(
    "record",
    [
        {"dynamodb": {"Keys": {"key": {"S": "KEY"}}}},
        {"dynamodb": {"Keys": {"key": {"S": "KEY"}}, "NewImage": None}},
        {"dynamodb": {"Keys": {"key": {"S": "KEY"}}, "NewImage": {"status": {"S": "PENDING"}}}},
        _record("KEY", "PENDING", "many"),
        _record("KEY", ["PENDING"]),
    ],
)
def test_an_unreadable_record_is_parked_and_its_request_fails(tmp_path, record):
    """RECOV-4: the others go on, and the client hears PROCESSING_FAILED."""

    async def scenario():
        world = World(tmp_path)
        await world.connect("c1")
        await world.say("c1", "delay", {"duration_ms": 1}, id="r1")
        record["dynamodb"]["Keys"]["key"]["S"] = world.key("r1")
        await processor({"Records": [record, _record("good")]}, world.services)
        assert world.invocations == [{"request_keys": ["good"]}]
        assert world.store.reader.execute("SELECT count(*) FROM dead_letters").fetchall() == [(1,)]
        messages = world.check("c1", "r1")
        assert kinds(messages) == ["acknowledgment", "error"]
        assert messages[-1]["error"]["code"] == "PROCESSING_FAILED"
        assert (await world.stored("r1")).request.status is Status.FAILED

    run_virtual(scenario())


@virtual_time
async def test_a_record_without_a_key_is_only_parked(tmp_path):
    """Nobody knows whose request it is."""
    world = World(tmp_path)
    records = [
        None,
        {},
        {"dynamodb": None},
        {"dynamodb": {"Keys": {}}},
        {"dynamodb": {"Keys": {"key": {"N": "7"}}}},
        {"dynamodb": {"Keys": {"key": {"S": ["a"]}}}},
        _record("good"),
    ]
    await processor({"Records": records}, world.services)
    assert world.invocations == [{"request_keys": ["good"]}]
    assert world.store.reader.execute("SELECT count(*) FROM dead_letters").fetchall() == [
        (len(records) - 1,)
    ]


@virtual_time
async def test_replayed_records_run_nothing_again(tmp_path):
    """ASYNC-3: whatever the stream repeats, an ended request stays ended."""
    world = World(tmp_path)
    await world.connect("c1")
    await world.say("c1", "probe.async", {"count_key": "n"}, id="r1")
    await world.run()
    before = world.got("c1")
    for _ in range(3):
        world._seen = 0
        await world.run()
    assert world.got("c1") == before
    assert (await world.say("c1", "probe.count", {"key": "n"}))[0]["data"] == {"count": 1}
