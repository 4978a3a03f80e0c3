"""Time as an argument: what the gateway asks for the hour, and for being called later.

A test gives a `ManualClock` and moves it ten minutes or two hours; nothing in the gateway reads
the machine's time in another way.
"""

from __future__ import annotations

import asyncio
import datetime
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Forget the call; harmless when it was made already."""
        ...


class Clock:
    """The gateway's only source of time: the machine's clocks and the running loop's timers."""

    def time_s(self) -> float:
        """Seconds since the Unix epoch."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back on the running loop once `delay_s` have passed."""
        return asyncio.get_running_loop().call_later(delay_s, callback)


class _ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock(Clock):
    """A clock that stands still until `advance` moves it, making the calls that become due."""

    def __init__(self, time_s: float = 1_700_000_000.0) -> None:
        """Start at `time_s` seconds since the epoch."""
        self._time_s = time_s
        self._monotonic_s = 0.0
        self._due: list[tuple[float, int, _ManualTimer]] = []
        self._order = itertools.count()

    def time_s(self) -> float:
        """Seconds since the Unix epoch, as far as the clock was moved."""
        return self._time_s + self._monotonic_s

    def monotonic_s(self) -> float:
        """Seconds that the clock was moved so far."""
        return self._monotonic_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back from within the `advance` that reaches `delay_s` from now."""
        timer = _ManualTimer(callback)
        due_s = self._monotonic_s + max(0.0, delay_s)
        heapq.heappush(self._due, (due_s, next(self._order), timer))
        return timer

    def timers(self) -> int:
        """How many calls are waiting for the clock."""
        return sum(1 for _, _, timer in self._due if timer.callback is not None)

    def advance(self, seconds: float) -> None:
        """Move the clock, making each call at the moment it is due."""
        end_s = self._monotonic_s + seconds
        while self._due and self._due[0][0] <= end_s:
            self._monotonic_s, _, timer = heapq.heappop(self._due)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
        self._monotonic_s = end_s


def iso_time(time_s: float, timespec: str = "milliseconds") -> str:
    """Write a moment in UTC as AWS does: `2025-11-25T15:47:40.123Z`."""
    at = datetime.datetime.fromtimestamp(time_s, datetime.UTC)
    return at.isoformat(timespec=timespec).replace("+00:00", "Z")


async def sleep(clock: Clock, delay_s: float) -> None:
    """Wait until `clock` has moved by `delay_s`."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    timer = clock.call_later(delay_s, wake)
    try:
        await future
    finally:
        timer.cancel()


class deadline:  # noqa: N801, read as a statement, like asyncio.timeout
    """`asyncio.timeout` on a clock that a test can move; None is no limit at all."""

    def __init__(self, clock: Clock, seconds: float | None) -> None:
        """Count from the moment the block is entered."""
        self._clock = clock
        self._seconds = seconds
        self._timer: Timer | None = None

    async def __aenter__(self) -> asyncio.Timeout:
        self._limit = limit = asyncio.timeout(None)
        if self._seconds is not None:
            self._timer = self._clock.call_later(self._seconds, lambda: limit.reschedule(0.0))
        return await limit.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._limit.__aexit__(*error)
