"""Time that a test moves, and what waits for it."""

from __future__ import annotations

import asyncio

import pytest

from streamproof.gateway.clock import Clock, ManualClock, deadline, iso_time, sleep
from support.gateway_host import turns


async def test_calls_are_made_in_order_when_the_clock_reaches_them():
    """Calls are due in the order of their moments, and of their making at the same moment."""
    clock, seen = ManualClock(), []
    for delay_s, name in [(2, "late"), (1, "a"), (1, "b"), (9, "never")]:
        clock.call_later(delay_s, lambda name=name: seen.append((name, clock.monotonic_s())))
    clock.call_later(1, lambda: seen.append(("cancelled", 0))).cancel()
    clock.advance(3)
    assert seen == [("a", 1), ("b", 1), ("late", 2)]
    assert clock.monotonic_s() == 3
    assert clock.timers() == 1


async def test_sleep_ends_with_the_clock_and_leaves_no_timer():
    """A sleep ends when its moment comes; one that is cancelled takes its timer with it."""
    clock = ManualClock()
    sleeping, dropped = (asyncio.ensure_future(sleep(clock, 600)) for _ in range(2))
    await turns()
    dropped.cancel()
    await turns()
    assert clock.timers() == 1
    clock.advance(600)
    await sleeping


async def test_a_deadline_cancels_only_what_runs_longer():
    """What ends in time passes; what does not is cancelled and becomes a TimeoutError."""
    clock = ManualClock()
    async with deadline(clock, 1):
        pass
    assert clock.timers() == 0

    async def run() -> None:
        async with deadline(clock, 1):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(run())
    await turns()
    clock.advance(1)
    with pytest.raises(TimeoutError):
        await task


async def test_a_deadline_leaves_a_foreign_cancellation_alone():
    """A task that is cancelled by somebody else stays cancelled."""

    async def run() -> None:
        async with deadline(ManualClock(), 1):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(run())
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_at_the_deadline_is_not_hidden():
    """An exception of the block's own passes, also when the time ran out meanwhile."""
    clock = ManualClock()

    async def run() -> None:
        async with deadline(clock, 1):
            try:
                await asyncio.Event().wait()
            finally:
                raise KeyError

    task = asyncio.ensure_future(run())
    await turns()
    clock.advance(2)
    with pytest.raises(KeyError):
        await task


async def test_the_system_clock_calls_back_on_the_loop():
    """The real clock is the loop's timer and two clocks of the machine."""
    called = asyncio.Event()
    clock = Clock()
    clock.call_later(0, called.set)
    await called.wait()
    assert clock.time_s() > 1_600_000_000
    assert clock.monotonic_s() >= 0


def test_moments_are_written_as_aws_writes_them():
    """Milliseconds and a Z, or whole seconds where asked."""
    assert iso_time(1_764_085_660.123) == "2025-11-25T15:47:40.123Z"
    assert iso_time(1_764_085_660.123, "seconds") == "2025-11-25T15:47:40Z"
