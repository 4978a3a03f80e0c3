"""How long to pause before the next attempt, and when to stop trying.

Exponential with full jitter: a pause is drawn evenly between nothing and a ceiling that doubles, so
that clients which failed together do not come back together.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Backoff:
    """At most `attempts_max` attempts within `total_s` seconds; the first ceiling is `first_s`."""

    first_s: float
    ceiling_s: float
    attempts_max: int
    total_s: float

    def longest_s(self, failures: int) -> float:
        """The ceiling of the pause after so many failures, 1 or more: `first_s`, doubling."""
        doublings = min(failures - 1, 64)  # a float holds 2**64, and no ceiling is that far away
        return min(self.ceiling_s, self.first_s * 2.0**doublings)

    def pause_s(self, failures: int, elapsed_s: float, fraction: float) -> float | None:
        """The pause before another attempt; None when there is to be none.

        `failures` counts those so far, `elapsed_s` runs from the first attempt's start, `fraction`
        is random in [0, 1). A pause that would end after `total_s` is not begun.
        """
        if failures >= self.attempts_max:
            return None
        pause_s = fraction * self.longest_s(failures)
        return pause_s if elapsed_s + pause_s < self.total_s else None
