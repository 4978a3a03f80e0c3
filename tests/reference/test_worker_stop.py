"""A worker that is told to stop: what runs is finished, or handed back no worse for it (GW-8)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from types import SimpleNamespace

import pytest

from streamer_reference.core.states import Status
from streamer_reference.handlers import Registry
from streamer_reference.lambdas import worker as worker_function
from streamer_reference.sweeper import after_failure
from streamer_reference.worker import FINISH_S, Worker
from support.reference_world import World
from support.virtual_time import pass_time, virtual_time


async def _wait(job):
    job.progress(10)
    await job.sleep(job.payload["s"])
    return job.attempt


async def _ignore_it(job):
    if job.attempt == 1:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1_000)
        await asyncio.sleep(1_000)  # the second time is the end of the test
    return job.attempt


async def _world(directory, *durations_s, action="wait", **options):
    """A deployment with a request for each duration, r0, r1 .., and their keys, handed over."""
    registry = Registry()
    for name, run in (("wait", _wait), ("ignore_it", _ignore_it)):
        registry.handler(name, estimated_duration_s=60, time_limit_s=100)(run)
    world = World(directory, registry=registry, **options)
    await world.connect("c1")
    for number, duration_s in enumerate(durations_s):
        await world.say("c1", action, {"s": duration_s}, id=f"r{number}")
    await world.stream()
    keys = [key for event in world.invocations for key in event["request_keys"]]
    world.invocations.clear()
    return world, keys


def _now_s():
    return asyncio.get_running_loop().time()


@virtual_time
async def test_what_ends_in_time_is_finished_and_the_rest_goes_back_at_once(tmp_path):
    """Nothing of an attempt that was not to blame counts, and the next one need not wait."""
    world, keys = await _world(tmp_path, 3, 60)
    worker = Worker(world.process(), "w")
    work = asyncio.create_task(worker.work("i", keys))
    await pass_time(1)
    told_s = _now_s()
    worker.stop()
    worker.stop()
    await work
    assert _now_s() - told_s == pytest.approx(FINISH_S, abs=0.5)
    assert world.check("c1", "r0")[-1]["result"] == 1
    request = (await world.stored("r1")).request
    assert request.status is Status.RETRYING
    assert (request.failures, request.deaths, request.attempt) == (0, 0, 2)
    assert request.not_before_ms <= world.clock.now_ms()
    await world.run()
    assert world.check("c1", "r1")[-1]["result"] == 2


@virtual_time
async def test_it_ends_as_soon_as_nothing_runs(tmp_path):
    """The bound is a bound: who has only short work left stops when that is done."""
    world, keys = await _world(tmp_path, 2)
    worker = Worker(world.process(), "w")
    work = asyncio.create_task(worker.work("i", keys))
    await pass_time(1)
    worker.stop()
    await work
    assert _now_s() < 3
    assert world.check("c1", "r0")[-1]["type"] == "complete"


@virtual_time
async def test_nothing_new_is_taken_and_what_was_not_begun_is_handed_over_again(tmp_path):
    """A key without a slot stays unclaimed; the failed invocation's destination passes it on."""
    world, keys = await _world(tmp_path, 2, 2, slots=1)
    worker = Worker(world.process(), "w")
    work = asyncio.create_task(worker.work("i", keys))
    await pass_time(1)
    worker.stop()
    await world.say("c1", "wait", {"s": 1}, id="late")
    await work
    statuses = [(await world.stored(name)).request.status for name in ("r0", "r1", "late")]
    assert statuses == [Status.COMPLETED, Status.PENDING, Status.PENDING]
    event = {"request_keys": keys}
    await after_failure(
        {"requestContext": {"requestId": "i"}, "requestPayload": event}, world.services
    )
    assert world.invocations == [{"request_keys": [world.key("r1")]}]
    await world.run()
    assert world.check("c1", "r1")[-1]["result"] == 1


@virtual_time
async def test_a_handler_that_ignores_everything_keeps_nobody(tmp_path):
    """Its request is handed back all the same: what it does later is an attempt that lost it."""
    world, keys = await _world(tmp_path, 0, action="ignore_it")
    worker = Worker(world.process(), "w")
    work = asyncio.create_task(worker.work("i", keys))
    await pass_time(1)
    worker.stop()
    await work
    assert _now_s() < 1 + FINISH_S + 0.5
    assert (await world.stored("r0")).request.status is Status.RETRYING
    await world.run()
    assert world.check("c1", "r0")[-1]["result"] == 2


@virtual_time
async def test_a_client_that_does_not_read_its_outcome_keeps_nobody(tmp_path):
    """The outcome is stored, so a sweeper posts it; the worker need not wait for its receiver."""
    world, keys = await _world(tmp_path, 2)
    worker = Worker(world.process(), "w")
    work = asyncio.create_task(worker.work("i", keys))
    await pass_time(1)
    gate = world.clients.hang("c1")
    worker.stop()
    await work
    assert _now_s() < 1 + FINISH_S + 0.5
    assert (await world.stored("r0")).request.status is Status.COMPLETED
    gate.set()
    await world.settle(40)
    assert world.check("c1", "r0")[-1]["type"] == "complete"


@virtual_time
async def test_a_retry_that_is_not_due_yet_is_not_waited_for(tmp_path):
    """It is nobody's, and stays so: its time comes in another worker."""
    world, keys = await _world(tmp_path, 1)
    now_ms = world.clock.now_ms()
    await world.store.claim(keys[0], "other", now_ms, alone=False)
    await world.store.retry(keys[0], 1, failures=1, not_before_ms=now_ms + 30_000, now_ms=now_ms)
    worker = Worker(world.process(), "w")
    work = asyncio.create_task(worker.work("i", keys))
    await pass_time(1)
    worker.stop()
    await work
    assert _now_s() < 2
    assert (await world.stored("r0")).request.status is Status.RETRYING


@virtual_time
async def test_a_store_that_fails_leaves_it_to_the_lease(tmp_path):
    """Handing back is a courtesy: without it the request costs a death, and is not lost."""
    world, keys = await _world(tmp_path, 60)
    services = world.process()
    worker = Worker(services, "w")
    work = asyncio.create_task(worker.work("i", keys))
    await pass_time(1)
    services.store.failing["retry"] = 1
    worker.stop()
    await work
    assert (await world.stored("r0")).request.status is Status.PROCESSING


@virtual_time
async def test_a_function_that_is_told_to_end_fails_its_invocation(tmp_path):
    """SIGTERM while it works; between invocations the signal is the system's again."""
    world, keys = await _world(tmp_path, 1)
    context = SimpleNamespace(aws_request_id="i1", get_remaining_time_in_millis=lambda: 900_000)
    asyncio.get_running_loop().call_later(0.5, os.kill, os.getpid(), signal.SIGTERM)
    with pytest.raises(SystemExit):
        # In a task, an exception of this kind would end the loop as well.
        await worker_function.worker({"request_keys": keys}, world.services, context)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert world.check("c1", "r0")[-1]["type"] == "complete"
    del worker_function._workers[id(world.services)]
