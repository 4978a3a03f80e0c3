"""Many seeds: in one process or several, with what occurred in them and what never did."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from streamproof.simulation.faults import KINDS
from streamproof.simulation.world import Played

T = TypeVar("T")
R = TypeVar("R")
CHUNK = 50  # seeds between two words of progress
SEEDS_FOR_ALL = 1_000  # so many seeds, and each class has occurred
PLAN_KINDS = ("client gone", "client deaf")  # drawn into the plan, not struck
CODES = (
    "VALIDATION_ERROR",
    "INVALID_ACTION",
    "NOT_FOUND",
    "ALREADY_ENDED",
    "UNAUTHORIZED",
    "FORBIDDEN",
    "RATE_LIMITED",
    "DUPLICATE_REQUEST",
    "INTERNAL_ERROR",
    "TIMEOUT",
    "SERVICE_UNAVAILABLE",
    "STORAGE_ERROR",
    "PROCESSING_FAILED",
    "CANCELLED",
    "RESULT_TOO_LARGE",
)
# What has to occur somewhere, or the seeds did not show what they are run for.
CLASSES = (
    *(f"got {kind}" for kind in ("acknowledgment", "progress", "complete", "response")),
    "got broadcast",
    *(f"got {code}" for code in CODES),
    *(f"fault: {kind}" for kind in KINDS if kind not in PLAN_KINDS),
    "fault: handler crash",
    "takeover",
    "status asked",
    "handshake 200",
    "handshake 500",
    "handshake 502",
    "connection closed by the client",
    "connection closed by the server",
    "post to a client that does not read",
    "post answered nothing",
    "post answered 410",
    "post answered 429",
    "post answered 500",
    *(f"ended {code}" for code in ("ok", "CANCELLED", "PROCESSING_FAILED", "TIMEOUT")),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Broken:
    """A seed that broke a rule, and the first thing that it broke."""

    seed: int
    rule: str
    what: str


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """What became of some seeds."""

    seeds: int
    broken: tuple[Broken, ...]
    classes: Counter[str]

    def __add__(self, other: Part) -> Part:
        return Part(
            self.seeds + other.seeds, self.broken + other.broken, self.classes + other.classes
        )


NOTHING = Part(0, (), Counter())


def part_of(played: Sequence[Played]) -> Part:
    """What a campaign keeps of its worlds."""
    broken = tuple(
        Broken(world.seed, world.violations[0].rule, str(world.violations[0]))
        for world in played
        if world.violations
    )
    return Part(len(played), broken, sum((world.classes for world in played), Counter()))


def missing(total: Part) -> list[str]:
    """The classes that never occurred."""
    return [name for name in CLASSES if not total.classes[name]]


def run(play: Callable[[Sequence[int]], Part], seeds: range, jobs: int = 1) -> Iterator[Part]:
    """What became of the seeds, part by part in any order; `play` is sent to the processes."""
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    yield from each(play, chunks, jobs)


def each(work: Callable[[T], R], pieces: Sequence[T], jobs: int) -> Iterator[R]:
    """The results of the pieces in their order; both travel between processes."""
    if jobs == 1 or len(pieces) == 1:
        yield from map(work, pieces)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_leave_interrupts_to_the_first) as pool:
        try:
            yield from pool.map(work, pieces)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _leave_interrupts_to_the_first() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
