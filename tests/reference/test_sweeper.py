"""The sweeper: what it finds by time alone, once, and again without harm."""

from __future__ import annotations

import asyncio
import itertools
import json

from streamer_reference import sweeper as sweeper_module
from streamer_reference.connection.errors import ThrottledError
from streamer_reference.core.states import Status
from streamer_reference.lambdas.sweeper import sweeper
from streamer_reference.store.base import request_key
from streamer_reference.sweeper import HAND_OVER_MAX, fail, hand_over_keys, sweep
from streamer_reference.worker import Worker
from support.reference_world import Fuse, World, kinds
from support.virtual_time import pass_time, virtual_time


async def _world(directory, **options):
    world = World(directory, **options)
    await world.connect("c1")
    await world.say("c1", "delay", {"duration_ms": 1}, id="r1")
    return world


@virtual_time
async def test_what_nobody_took_is_handed_over_after_ten_seconds(tmp_path):
    """A stream record that was lost costs ten seconds, not the request."""
    world = await _world(tmp_path)
    await pass_time(9.9)
    await sweep(world.services)
    assert world.invocations == []
    await pass_time(0.3)
    await sweep(world.services)
    assert world.invocations == [{"request_keys": [world.key("r1")]}]
    await world.run()
    await sweep(world.services)
    assert world.invocations == []
    assert world.check("c1", "r1")[-1]["type"] == "complete"


@virtual_time
async def test_what_stays_unclaimed_is_handed_over_again_ever_more_rarely(tmp_path):
    """After 10 s, when it is twice as old, and each 30 s: not at every sweep."""
    world = await _world(tmp_path)
    moments = []
    for second in range(1, 90):
        await pass_time(1)
        await sweep(world.services)
        moments += [second] * len(world.invocations)
        world.invocations.clear()
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert moments[0] in (10, 11)
    assert pauses == sorted(pauses)
    assert 10 <= pauses[0] <= 12
    assert 29 <= pauses[-1] <= 31


@virtual_time
async def test_an_attempt_that_waited_long_sends_its_first_update_at_once(tmp_path):
    """PROG-2: what sweeps put off meanwhile is no progress that was just sent."""
    world = World(tmp_path)
    await world.connect("c1")
    steps = [{"percentage": 10}, {"ms": 300, "percentage": 20}]
    payload = {"steps": steps, "end": "retryable", "end_attempts": 1}
    await world.say("c1", "probe.async", payload, id="r1")
    await world.stream()
    await world.services.store.renew("w", "i", 0)
    key, store = world.key("r1"), world.services.store
    assert await store.claim(key, "w", world.clock.now_ms(), alone=False)
    message = json.dumps({"request_id": "r1", "sequence": 1, "type": "progress", "percentage": 5})
    await store.save_progress(key, 1, 1, message, 5.0, world.clock.now_ms())
    await store.retry(key, 1, failures=1, not_before_ms=0, now_ms=world.clock.now_ms(), taken=True)
    for _ in range(40):
        await pass_time(1)
        await sweep(world.services)
        world.invocations.clear()
    again_s = asyncio.get_running_loop().time()
    world.invocations.append({"request_keys": [key]})
    await world.run()
    messages = world.clients.arrived["c1"]
    updates = [arrival for arrival in messages if arrival.message["type"] == "progress"]
    assert [arrival.message["percentage"] for arrival in updates] == [10, 20]
    assert updates[0].at_s - again_s < 0.2


@virtual_time
async def test_what_cannot_be_delivered_hides_nothing_younger(tmp_path, monkeypatch):
    """A sweep takes so many at most, and the next one others."""
    monkeypatch.setattr(sweeper_module, "FOUND_MAX", 2)
    world = World(tmp_path)
    for number in range(5):
        await world.connect(f"c{number}")
        await world.say(f"c{number}", "delay", {"duration_ms": 1}, id=f"r{number}")
        key, now_ms = world.key(f"r{number}"), world.clock.now_ms()
        await world.store.claim(key, "w", now_ms, alone=False)
        message = (1, json.dumps({"type": "complete", "request_id": f"r{number}", "sequence": 1}))
        await world.store.finish(key, 1, Status.COMPLETED, "{}", message, now_ms)
        if number < 4:
            world.clients.fail(f"c{number}", then=ThrottledError)
    await pass_time(11)
    for _ in range(3):
        await sweep(world.services)
    assert kinds(world.of("c4", "r4")) == ["acknowledgment", "complete"]


@virtual_time
async def test_what_was_not_acknowledged_moves_on(tmp_path):
    """ACCEPTED of a router that died becomes PENDING, and the worker acknowledges."""
    world = World(tmp_path)
    await world.connect("c1")
    healthy = world.services
    world.services = world.process(Fuse(3))
    try:
        await world.say("c1", "delay", {"duration_ms": 1}, id="r1")
    except asyncio.CancelledError:
        world.services = healthy
    assert (await world.stored("r1")).request.status is Status.ACCEPTED
    await world.settle(12)
    assert kinds(world.check("c1", "r1")) == ["acknowledgment", "progress", "complete"]


@virtual_time
async def test_an_expired_lease_is_taken_back(tmp_path):
    """RECOV-1: RETRYING with one attempt and one death more, and the metric says so."""
    world = await _world(tmp_path)
    key, now_ms = world.key("r1"), world.clock.now_ms()
    await world.store.renew("w", "i", now_ms + 5000)
    await world.store.claim(key, "w", now_ms, alone=False)
    await pass_time(4.9)
    await sweep(world.services)
    assert (await world.stored("r1")).request.status is Status.PROCESSING
    await pass_time(0.2)
    await sweep(world.services)
    request = (await world.stored("r1")).request
    assert (request.status, request.attempt, request.deaths) == (Status.RETRYING, 2, 1)
    assert request.not_before_ms == world.clock.now_ms() + 500
    world.services.metrics.flush()
    assert any("LeaseExpired" in line for line in world.metrics)
    await world.run()
    assert world.check("c1", "r1")[-1]["type"] == "complete"


@virtual_time
async def test_a_worker_that_stands_still_loses_its_requests_after_five_seconds(tmp_path):
    """RECOV-1: the lease that it took itself, and not a moment before that has run out."""
    world = await _world(tmp_path)
    worker = Worker(world.process(), "w")
    await worker._renew("i")
    await world.store.claim(world.key("r1"), "w", world.clock.now_ms(), alone=False)
    await pass_time(4.9)
    await sweep(world.services)
    assert (await world.stored("r1")).request.status is Status.PROCESSING
    await pass_time(0.2)
    await sweep(world.services)
    assert (await world.stored("r1")).request.status is Status.RETRYING


@virtual_time
async def test_a_death_that_was_seen_is_taken_back_at_once(tmp_path):
    """RECOV-1: the lease does not have to run out first."""
    world = await _world(tmp_path)
    now_ms = world.clock.now_ms()
    await world.store.renew("w", "i", now_ms + 5000)
    await world.store.claim(world.key("r1"), "w", now_ms, alone=False)
    record = {"requestContext": {"requestId": "i"}, "requestPayload": {"request_keys": []}}
    assert await sweeper(record, world.services) == {"statusCode": 200}
    request = (await world.stored("r1")).request
    assert (request.status, request.deaths, request.failures) == (Status.RETRYING, 1, 0)


@virtual_time
async def test_two_sweepers_at_once_do_no_harm(tmp_path):
    """Each step is a conditional write."""
    world = await _world(tmp_path)
    await world.store.claim(world.key("r1"), "dead", world.clock.now_ms(), alone=False)
    await asyncio.gather(*(sweep(world.process()) for _ in range(3)))
    request = (await world.stored("r1")).request
    assert (request.attempt, request.deaths) == (2, 1)


@virtual_time
async def test_giving_up_is_done_once(tmp_path):
    """After the last death two sweepers record one outcome, and the loser says nothing."""
    world = await _world(tmp_path, deaths_max=1)
    await world.store.claim(world.key("r1"), "dead", world.clock.now_ms(), alone=False)
    await asyncio.gather(*(sweep(world.process()) for _ in range(3)))
    outcome = world.check("c1", "r1")[-1]
    assert outcome["error"]["code"] == "PROCESSING_FAILED"
    assert (await world.stored("r1")).outbox.taken


@virtual_time
async def test_giving_up_what_is_gone_meanwhile_is_quiet(tmp_path):
    """Retention may end between the two steps."""
    world = await _world(tmp_path, deaths_max=1)
    await world.store.claim(world.key("r1"), "dead", world.clock.now_ms(), alone=False)
    services = world.process()
    finish = world.store.finish

    async def then_forgotten(*args):
        answer = await finish(*args)
        await world.store.forget(world.clock.now_ms() + 8 * 86_400_000)
        return answer

    world.store.finish = then_forgotten
    await sweep(services)
    assert await world.store.get(world.key("r1")) is None


@virtual_time
async def test_slow_clients_do_not_add_up_in_a_sweep(tmp_path):
    """Outcomes are sent side by side: three that hang cost as much as one."""
    world = World(tmp_path)
    for number in range(3):
        connection_id = f"c{number}"
        await world.connect(connection_id)
        await world.say(connection_id, "delay", {"duration_ms": 1}, id=f"r{number}")
        await world.store.claim(world.key(f"r{number}"), "dead", world.clock.now_ms(), alone=False)
        await world.say(connection_id, "cancel", {"request_id": f"r{number}"})
        world.clients.hang(connection_id)
    await pass_time(2)
    began_s = asyncio.get_running_loop().time()
    await sweep(world.services)
    assert asyncio.get_running_loop().time() - began_s < 11


@virtual_time
async def test_a_slow_client_keeps_nobodys_request_from_being_taken_over(tmp_path):
    """RECOV-1: lease and a second, while sweep after sweep finds an outcome that nobody takes."""
    world = await _world(tmp_path)
    await world.store.claim(world.key("r1"), "dead", world.clock.now_ms(), alone=False)
    await world.say("c1", "cancel", {"request_id": "r1"})
    gate = world.clients.hang("c1")
    await world.connect("c2")
    await world.say("c2", "delay", {"duration_ms": 1}, id="r2")
    await pass_time(2)
    await world.store.renew("w", "i", world.clock.now_ms() + 5000)
    await world.store.claim(world.key("r2"), "w", world.clock.now_ms(), alone=False)
    sweeps = []
    for _ in range(6):
        assert (await world.stored("r2")).request.status is Status.PROCESSING
        await pass_time(0.999)
        sweeps.append(asyncio.create_task(sweep(world.services)))
    await pass_time(0.01)
    assert (await world.stored("r2")).request.status is Status.RETRYING
    assert not sweeps[0].done()
    gate.set()
    await asyncio.gather(*sweeps)
    assert kinds(world.check("c1", "r1")) == ["acknowledgment", "error"]
    assert world.repeats("c1") == 0


@virtual_time
async def test_stale_connections_go_with_their_subscriptions(tmp_path):
    """CONN-3: a disconnect event that never comes."""
    world = await _world(tmp_path)
    await world.connect("c2", expires_at_s=world.clock.now_ms() // 1000 + 60)
    await world.say("c2", "subscribe", {"request_id": "r1"})
    await pass_time(62)
    await sweep(world.services)
    assert await world.store.get_connection("c2") is None
    assert (await world.stored("r1")).subscribers == ()
    assert await world.store.get_connection("c1") is not None


@virtual_time
async def test_results_are_kept_for_seven_days_and_then_forgotten(tmp_path):
    """RECOV-3: the id may come again after that."""
    world = await _world(tmp_path)
    await world.run()
    await world.store.forget(world.clock.now_ms() + 7 * 86_400_000 - 2000)
    assert await world.store.get(world.key("r1")) is not None
    await world.store.forget(world.clock.now_ms() + 7 * 86_400_000 + 2000)
    assert await world.store.get(world.key("r1")) is None
    assert kinds(await world.say("c1", "delay", {"duration_ms": 1}, id="r1")) == ["acknowledgment"]


@virtual_time
async def test_a_failed_invocation_hands_its_unclaimed_keys_over_again(tmp_path):
    """The destination record says which worker died and what it was given."""
    world = await _world(tmp_path)
    await world.stream()
    event = world.invocations.pop()
    record = {"requestContext": {"requestId": "unknown"}, "requestPayload": event}
    assert await sweeper(record, world.services) == {"statusCode": 200}
    assert world.invocations == [event]
    bare = {"requestContext": {"requestId": "unknown"}, "requestPayload": None}
    await sweeper(bare, world.services)
    gone = {"requestContext": {"requestId": "x"}, "requestPayload": {"request_keys": ["nope"]}}
    await sweeper(gone, world.services)
    assert world.invocations == [event]
    assert await sweeper({}, world.services) == {"statusCode": 200}


@virtual_time
async def test_keys_are_handed_over_in_bounded_events(tmp_path):
    """Together a hundred at a time; what runs alone, alone."""
    world = World(tmp_path)
    keys = [request_key("t", "u", str(n)) for n in range(HAND_OVER_MAX + 1)]
    hand_over_keys(keys, ["killer"], world.services)
    assert [len(event["request_keys"]) for event in world.invocations] == [HAND_OVER_MAX, 1, 1]
    assert [event.get("alone", False) for event in world.invocations] == [False, False, True]


@virtual_time
async def test_failing_from_outside_ends_a_request_once(tmp_path):
    """RECOV-4: with an outcome for the client; an ended or unknown one is left alone."""
    world = await _world(tmp_path)
    await fail(world.key("r1"), "PROCESSING_FAILED", world.services)
    await fail(world.key("r1"), "PROCESSING_FAILED", world.services)
    await fail("unknown", "PROCESSING_FAILED", world.services)
    assert kinds(world.check("c1", "r1")) == ["acknowledgment", "error"]
    end = world.store.end

    async def then_forgotten(*args):
        stored = await end(*args)
        await world.store.forget(world.clock.now_ms() + 8 * 86_400_000)
        return stored

    await world.say("c1", "delay", {"duration_ms": 1}, id="r2")
    world.store.end = then_forgotten
    await fail(world.key("r2"), "PROCESSING_FAILED", world.services)
    assert await world.store.get(world.key("r2")) is None


@virtual_time
async def test_an_outcome_that_cannot_be_sent_is_left_for_the_next_sweep(tmp_path):
    """A store that fails in between loses nothing."""
    world = await _world(tmp_path)
    await world.store.claim(world.key("r1"), "dead", world.clock.now_ms(), alone=False)
    await world.say("c1", "cancel", {"request_id": "r1"})
    await pass_time(2)
    services = world.process()
    services.store.failing["close"] = 1
    await sweep(services)
    assert kinds(world.of("c1", "r1")) == ["acknowledgment"]
    await sweep(services)
    assert kinds(world.check("c1", "r1")) == ["acknowledgment", "error"]
