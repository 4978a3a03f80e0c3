"""When operations are meant to start: an absolute plan, drawn from a seed, blind to the target.

A plan that waits for answers stops asking when the target stalls, and so never sees the stall.
Here every moment is known before the first is due; latency is counted from it.
"""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

NS_PER_S = 1_000_000_000
RATE_PER_S_MAX = 100_000.0  # beyond what one process can send; a larger one is a slip


class Arrivals(Protocol):
    """A way to spread operations over time."""

    @property
    def rate_per_s(self) -> float:
        """How many operations per second on average."""
        ...

    def moments(self, seed: int) -> Iterator[int]:
        """Offsets from the start in nanoseconds, not decreasing, without end."""
        ...

    def at_rate(self, rate_per_s: float) -> Arrivals:
        """The same way at another rate."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Poisson:
    """Independent arrivals: exponential gaps, as many users who know nothing of each other make."""

    rate_per_s: float

    def __post_init__(self) -> None:
        if not 0 < self.rate_per_s <= RATE_PER_S_MAX:
            raise ValueError(f"a rate is above 0 and at most {RATE_PER_S_MAX:g} per second")

    def moments(self, seed: int) -> Iterator[int]:
        """Offsets in nanoseconds; equal seeds give equal plans on every machine."""
        draw = random.Random(seed).expovariate  # noqa: S311 - a plan to repeat, not a secret
        at_s = 0.0
        while True:
            at_s += draw(self.rate_per_s)
            yield round(at_s * NS_PER_S)

    def at_rate(self, rate_per_s: float) -> Poisson:
        """The same way at another rate."""
        return Poisson(rate_per_s)
