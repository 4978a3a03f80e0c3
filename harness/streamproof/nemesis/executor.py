"""Carries a schedule out: each request at its moment, each fault injected and healed at its own.

What was injected is healed however the run ends; what cannot be done is said, not raised.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Awaitable, Callable

from streamproof.nemesis.faults import Fault, World
from streamproof.nemesis.schedule import Arrival, Schedule, Step

Send = Callable[[Arrival], Awaitable[None]]
Tell = Callable[[Fault, str], None]


@dataclasses.dataclass(slots=True)
class Done:
    """How often each kind of fault struck, and what could not be done or had no effect."""

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    missed: list[str] = dataclasses.field(default_factory=list)


async def execute(schedule: Schedule, world: World, send: Send, tell: Tell) -> Done:
    """Run the whole schedule; returns once everything has been sent and healed."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    done = Done()

    async def until(at_s: float) -> None:
        await asyncio.sleep(max(0.0, began_s + at_s - loop.time()))

    async def arrive() -> None:
        async with asyncio.TaskGroup() as sends:
            for arrival in schedule.arrivals:
                await until(arrival.at_s)
                sends.create_task(_awaited(send(arrival)))

    async def strike(step: Step) -> None:
        fault = step.fault
        await until(step.at_s)
        what = await fault.inject(world)
        injected_s = loop.time()
        if what is None:
            done.missed.append(f"a {fault.name} found nothing to strike")
            return
        done.counts[fault.name] += 1
        tell(fault, what)
        healed: str | None = "cut short"
        try:
            # From the moment it struck: a fault that waited for its victim lasts as long as asked.
            left_s = injected_s + step.heal_at_s - step.at_s - loop.time()
            await asyncio.sleep(max(0.0, left_s))
        finally:
            healed = await fault.heal(world)
        if healed is None:
            done.missed.append(f"a {fault.name} had no effect: {what}")
        else:
            tell(fault, healed)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(arrive())
        for step in schedule.steps:
            tasks.create_task(strike(step))
    return done


async def _awaited(work: Awaitable[None]) -> None:
    await work
