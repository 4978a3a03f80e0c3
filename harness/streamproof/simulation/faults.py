"""What can go wrong in a world, how often, and the dice that decide when it does.

Every world draws which kinds it has (swarm testing: a world with all of them at once finds less
than many worlds with a few each), and one in twelve has none. The dice are one seeded sequence, so
a world's faults are its seed's.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

# How often a kind happens where a world has it: per call, post, record or invocation.
KINDS: dict[str, tuple[float, float]] = {
    "store throttled": (0.01, 0.08),
    "store unanswered": (0.01, 0.06),
    "store slow": (0.01, 0.1),
    "index stale": (0.2, 0.9),
    "crash": (0.002, 0.02),
    "pause": (0.001, 0.01),
    "router crash": (0.005, 0.05),
    "sweeper crash": (0.005, 0.04),
    "post throttled": (0.05, 0.3),
    "post failed": (0.05, 0.4),
    "post lost": (0.03, 0.2),
    "post unanswered": (0.03, 0.25),
    "post late": (0.03, 0.2),
    "post slow": (0.05, 0.2),
    "record duplicated": (0.1, 0.6),
    "record replayed": (0.1, 0.6),
    "record late": (0.1, 0.5),
    "record unreadable": (0.02, 0.1),
    "invocation refused": (0.05, 0.3),
    "invocation doubled": (0.05, 0.4),
    "client gone": (0.2, 0.6),
    "client deaf": (0.2, 0.6),
    "disconnect unheard": (0.3, 0.9),
    "death untold": (0.5, 1.0),
}
KIND_IN_WORLD = 0.25
CALM_WORLD = 1 / 12
LAG_S_MAX = 1.5  # an index is behind by less than a lease that was renewed is ahead
PAUSE_S = (0.5, 14.0)  # shorter and longer than a lease
CRASHES_MAX = 12  # of one world: each death costs a request one of its five


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One that happened."""

    at_s: float
    kind: str
    where: str


class Faults:
    """The dice of one world; `stop` heals it for good."""

    def __init__(
        self, seed: int, now_s: Callable[[], float], note: Callable[[str, str], None]
    ) -> None:
        """`note` is told of each fault as it happens."""
        self._random = random.Random(f"{seed} faults")  # noqa: S311 - a seed's own dice
        self._now_s = now_s
        self._note = note
        self._rates: dict[str, float] = {}
        self.happened: list[Fault] = []
        self.active = True
        if self._random.random() < CALM_WORLD:
            return
        for kind, (low, high) in KINDS.items():
            if self._random.random() < KIND_IN_WORLD:
                self._rates[kind] = low + (high - low) * self._random.random() ** 2

    @property
    def kinds(self) -> list[str]:
        """What this world has."""
        return list(self._rates)

    def rate(self, kind: str) -> float:
        """How often it happens here; 0 where the world does not have it."""
        return self._rates.get(kind, 0.0)

    def stop(self) -> None:
        """Nothing goes wrong from here on."""
        self.active = False

    def strikes(self, kind: str, where: str) -> bool:
        """Whether it happens here and now; noted when it does."""
        hit = self.hits(kind)
        if hit:
            self.record(kind, where)
        return hit

    def hits(self, kind: str) -> bool:
        """Whether it happens here and now; whoever asks records what came of it."""
        rate = self._rates.get(kind)
        return rate is not None and self.active and self._random.random() < rate

    def record(self, kind: str, where: str) -> None:
        """Note one that happened."""
        self.happened.append(Fault(self._now_s(), kind, where))
        self._note(kind, where)

    def count(self, *kinds: str) -> int:
        """How often these happened so far."""
        return sum(fault.kind in kinds for fault in self.happened)

    def between(self, low: float, high: float) -> float:
        """A number that somebody's fate depends on."""
        return low + (high - low) * self._random.random()

    def choose(self, *ways: str) -> str:
        """One of several."""
        return ways[int(self._random.random() * len(ways))]
