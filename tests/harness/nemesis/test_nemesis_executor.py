"""The executor on virtual time: each thing at its moment, and healing whatever happens."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from streamproof.nemesis.executor import Done, execute
from streamproof.nemesis.schedule import Arrival, Schedule, Step
from support.virtual_time import virtual_time


@dataclasses.dataclass(frozen=True)
class Noted:
    """A fault that notes when it was injected and healed."""

    number: int
    notes: list[Any] = dataclasses.field(default_factory=list, compare=False)
    injects: bool = True
    heals: bool = True
    wait_s: float = 0.0

    @property
    def name(self) -> str:
        """Its kind."""
        return "noted"

    async def inject(self, world: Any) -> str | None:
        """Note the moment, after a search for a victim."""
        await asyncio.sleep(self.wait_s)
        self.notes.append(("inject", asyncio.get_running_loop().time()))
        return "done" if self.injects else None

    async def heal(self, world: Any) -> str | None:
        """Note the moment."""
        self.notes.append(("heal", asyncio.get_running_loop().time()))
        return "undone" if self.heals else None


async def carried_out(schedule: Schedule, sent: list[Any], told: list[str]) -> Done:
    """Execute on no world at all."""

    async def send(arrival: Arrival) -> None:
        sent.append((arrival.request_id, asyncio.get_running_loop().time()))

    return await execute(schedule, None, send, lambda _, what: told.append(what))  # type: ignore[arg-type]  # the faults here need none


@virtual_time
async def test_requests_and_faults_come_at_their_moments() -> None:
    """By the schedule's clock; a fault is healed as long after its blow as was planned."""
    late = Noted(1, wait_s=2.0)
    plain = Noted(2)
    arrivals = tuple(Arrival(float(n), 0, f"r{n}", {}) for n in (1, 3))
    sent: list[Any] = []
    told: list[str] = []
    schedule = Schedule(1, arrivals, (Step(0.5, 1.0, plain), Step(2.0, 7.0, late)))
    done = await carried_out(schedule, sent, told)
    assert sent == [("r1", 1.0), ("r3", 3.0)]
    assert plain.notes == [("inject", 0.5), ("heal", 1.0)]
    assert late.notes == [("inject", 4.0), ("heal", 9.0)]
    assert done.counts == {"noted": 2}
    assert done.missed == []
    assert told == ["done", "undone"] * 2


@virtual_time
async def test_what_could_not_be_done_or_did_nothing_is_said() -> None:
    """Such a run has shown nothing about that fault."""
    steps = (Step(0.0, 1.0, Noted(1, injects=False)), Step(0.0, 1.0, Noted(2, heals=False)))
    done = await carried_out(Schedule(1, (), steps), [], [])
    assert done.missed == ["a noted found nothing to strike", "a noted had no effect: done"]
    assert done.counts == {"noted": 1}


@virtual_time
async def test_an_interrupted_run_heals_what_it_injected() -> None:
    """No process stays stopped after Ctrl-C."""
    fault = Noted(1)
    run = asyncio.create_task(carried_out(Schedule(1, (), (Step(0.0, 99.0, fault),)), [], []))
    await asyncio.sleep(1.0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert fault.notes == [("inject", 0.0), ("heal", 1.0)]
