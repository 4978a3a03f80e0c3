"""What a seed decides: which requests arrive when and what they do, and which faults strike when.

Pure: the same options and seed make the same schedule, everywhere. What a seed does not fix is how
real processes interleave: which requests a killed worker holds, and how often a message is posted.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from streamproof.nemesis.faults import (
    ISOLATED_WORKER,
    WORKER,
    Disconnect,
    FailPosts,
    Fault,
    KillWorker,
    PauseWorker,
    ReorderRecords,
    RepeatRecords,
    SlowPosts,
)

ARRIVALS_PER_S = 25.0
WINDOW_S_MIN = 4.0  # however few requests: faults need something to strike
LEASE_S = 5.0  # of the embedded stack
# A request is alone after its worker's first death, and ends PROCESSING_FAILED after the fifth. One
# death in a shared worker and at most three alone leave one: no request can be made to fail.
ISOLATED_KILLS_MAX = 3
FAIL_CODE = "NOT_FOUND"  # what a request ends with that is told to fail
SLOW_S = 1.5
STEP_MS = (100, 800)  # of one to four: some 25 requests are under way at any moment


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What is asked of every seed."""

    requests: int = 1000
    kills: int = 10
    pauses: int = 1
    error_rate: float = 0.1  # 429, and 500 as much again
    duplicates: int = 2  # how often each stream record is delivered
    disconnects: int = 4
    slow_rate: float = 0.02
    clients: int = 8

    @property
    def window_s(self) -> float:
        """How long requests arrive."""
        return max(WINDOW_S_MIN, self.requests / ARRIVALS_PER_S)


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """A long request: when it is sent by whom, and how it must end (`code` None: with `result`)."""

    at_s: float
    client: int
    request_id: str
    payload: dict[str, Any]
    result: Any = None
    code: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A fault that is injected at one moment and healed at a later one."""

    at_s: float
    heal_at_s: float
    fault: Fault


@dataclasses.dataclass(frozen=True, slots=True)
class Schedule:
    """All that happens in one run, in order of time."""

    seed: int
    arrivals: tuple[Arrival, ...]
    steps: tuple[Step, ...]

    @property
    def end_s(self) -> float:
        """When the last request has arrived and the last fault is healed."""
        return max([item.at_s for item in self.arrivals] + [s.heal_at_s for s in self.steps])


def make(options: Options, seed: int) -> Schedule:
    """The schedule of a seed."""
    draw = random.Random(f"nemesis {seed}")  # noqa: S311 - repeatable is what it must be
    arrivals = _arrivals(options, seed, draw)
    steps = _strikes(options, draw)
    end_s = max([options.window_s] + [step.heal_at_s for step in steps])
    lasting: list[Fault] = []
    if options.error_rate > 0:
        lasting.append(FailPosts(seed, ((429, options.error_rate), (500, options.error_rate))))
    if options.slow_rate > 0:
        lasting.append(SlowPosts(seed, options.slow_rate, SLOW_S))
    if options.duplicates > 1:
        lasting += [ReorderRecords(seed), RepeatRecords(seed, options.duplicates)]
    steps += [Step(0.0, end_s, fault) for fault in lasting]
    return Schedule(seed, arrivals, tuple(sorted(steps, key=lambda step: step.at_s)))


def _arrivals(options: Options, seed: int, draw: random.Random) -> tuple[Arrival, ...]:
    moments = sorted(draw.uniform(0, options.window_s) for _ in range(options.requests))
    return tuple(
        _arrival(at_s, draw.randrange(options.clients), f"s{seed}-{number}", draw)
        for number, at_s in enumerate(moments)
    )


def _arrival(at_s: float, client: int, request_id: str, draw: random.Random) -> Arrival:
    count = draw.randint(1, 4)
    steps = [
        {"percentage": round(100 * step / (count + 1), 1), "ms": draw.randint(*STEP_MS)}
        for step in range(1, count + 1)
    ]
    result = {"request": request_id, "value": draw.randrange(10**12)}
    payload: dict[str, Any] = {"steps": steps, "result": result, "time_limit_ms": 60_000}
    kind = draw.random()
    if kind < 0.03:
        ending = {"end": "fail", "code": FAIL_CODE}
        return Arrival(at_s, client, request_id, payload | ending, code=FAIL_CODE)
    if kind < 0.06:  # ends well at its second attempt
        payload |= {"end": "retryable", "end_attempts": 1}
    return Arrival(at_s, client, request_id, payload, result=result)


def _strikes(options: Options, draw: random.Random) -> list[Step]:
    """Kills, pauses and disconnects, each kind spread over the time in which requests arrive."""
    steps: list[Step] = []
    alone = set(draw.sample(range(options.kills), min(ISOLATED_KILLS_MAX, options.kills // 3)))
    for number, at_s in enumerate(_spread(options.kills, options.window_s, draw)):
        function = ISOLATED_WORKER if number in alone else WORKER
        steps.append(Step(at_s, at_s, KillWorker(number, function, draw.random())))
    for number, at_s in enumerate(_spread(options.pauses, options.window_s, draw)):
        # The lease was renewed at most one renewal before; then a sweep a second takes over.
        until_s = at_s + LEASE_S + draw.uniform(2.0, 4.0)
        steps.append(Step(at_s, until_s, PauseWorker(number, draw.random())))
    for number, at_s in enumerate(_spread(options.disconnects, options.window_s, draw)):
        # Not half-open: while the old connection takes posts, a subscriber may miss progress.
        how = draw.choice(("close", "reset"))
        steps.append(Step(at_s, at_s, Disconnect(number, draw.randrange(options.clients), how)))
    return steps


def _spread(count: int, window_s: float, draw: random.Random) -> list[float]:
    """Moments in the middle nine tenths of the window, one in each equal part."""
    part_s = 0.9 * window_s / max(count, 1)
    return [0.05 * window_s + part_s * (number + draw.random()) for number in range(count)]
