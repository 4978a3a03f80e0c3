"""The loop of the simulation: time, and processes that are stopped and killed."""

from __future__ import annotations

import asyncio

import pytest

from streamproof.simulation import loop as loop_module
from streamproof.simulation.loop import DeadlockError, Process, SimulationLoop, current_process


@pytest.fixture
def loop():
    """A fresh one."""
    return SimulationLoop()


def start(loop, process, coroutine):
    """Begin a task in a process."""
    return loop.create_task(coroutine, context=process.context.copy())


def test_time_jumps_and_equal_moments_keep_their_order(loop):
    """Nothing waits for a wall clock."""
    seen = []

    async def main():
        for name in "abc":
            loop.call_later(7200, seen.append, (name, loop.time()))
        timer = loop.call_later(1, seen.append, "cancelled")
        timer.cancel()
        assert timer.cancelled()
        assert timer.when() == 1
        loop.call_soon_threadsafe(seen.append, "soon")
        await asyncio.sleep(7200)
        return loop.time()

    assert loop.run(main()) == 7200
    assert seen == ["soon", ("a", 0.0), ("b", 0.0), ("c", 0.0)]


def test_what_asyncio_offers_works_on_it(loop):
    """Timeouts, locks, gathering, and threads that are none."""

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await loop.create_future()
        lock = asyncio.Lock()
        async with lock:
            assert await asyncio.gather(asyncio.sleep(1, "x"), asyncio.to_thread(len, "ab")) == [
                "x",
                2,
            ]
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        return loop.time()

    assert loop.run(main()) == 4
    assert not loop.get_debug()
    assert loop.is_running()
    assert not loop.is_closed()


def test_a_stopped_process_is_late_and_a_killed_one_never_comes(loop):
    """SIGSTOP keeps its timers, SIGKILL runs nothing more, no `finally` either."""
    seen = []

    async def work(name):
        assert current_process().name == name
        try:
            await asyncio.sleep(1)
            seen.append((name, loop.time()))
        finally:
            if loop.time():
                seen.append((name, "finally"))

    async def main():
        stopped, killed = Process("stopped"), Process("killed")
        start(loop, stopped, work("stopped"))
        start(loop, killed, work("killed"))
        await loop.pass_time(0.5)
        loop.stop_process(stopped)
        loop.kill_process(killed)
        assert current_process() is None
        await loop.pass_time(4.5)
        assert seen == []
        loop.continue_process(stopped)
        await loop.pass_time(1)

    loop.run(main())
    assert [entry for entry in seen if entry[0] == "stopped"] == [
        ("stopped", 5.0),
        ("stopped", "finally"),
    ]
    assert ("killed", 1.0) not in seen


def test_a_call_outside_goes_on_when_its_process_is_killed(loop):
    """What was on its way arrives, and belongs to the world."""
    seen = []

    async def call():
        loop.outside(2, lambda: seen.append((loop.time(), current_process())))
        await loop.create_future()

    async def main():
        process = Process("p")
        start(loop, process, call())
        await loop.pass_time(1)
        loop.kill_process(process)
        await loop.pass_time(2)

    loop.run(main())
    assert seen == [(2, None)]


def test_waiting_for_nothing_is_a_deadlock(loop):
    """No timer, nothing ready: nothing can ever happen."""

    async def main():
        await loop.create_future()

    with pytest.raises(DeadlockError, match="no timer"):
        loop.run(main())


def test_a_loop_that_never_waits_ends(loop, monkeypatch):
    """The number of steps is bounded."""
    monkeypatch.setattr(loop_module, "STEPS_MAX", 100)

    async def main():
        for _ in range(1_000):
            await asyncio.sleep(0)

    with pytest.raises(DeadlockError, match="steps"):
        loop.run(main())


def test_what_a_task_of_the_world_raises_ends_the_run(loop):
    """A mistake of the harness is not silent."""

    async def fail():
        raise LookupError("of ours")

    async def main():
        loop.go(fail())
        await loop.pass_time(1)

    with pytest.raises(LookupError):
        loop.run(main())
    loop.call_exception_handler({})
