"""Which progress is sent, and when: a handler reports as often as it likes.

At most one message per interval leaves, and it is the newest: a batch that keeps the first update
and drops the last shows a client a figure that was true long ago. Percentages never fall, whatever
a handler or a second attempt reports, and after 100 only the outcome is left to say.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

INTERVAL_MS = 100  # PROG-2


@dataclasses.dataclass(frozen=True, slots=True)
class Update:
    """One report of a handler, with the metadata that was set before it."""

    percentage: float
    message: str | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Coalescing:
    """What was sent last and what waits; `floor` is the highest percentage ever stored."""

    floor: float = 0.0
    last_sent_ms: int | None = None
    waiting: Update | None = None

    def report(self, update: Update) -> Coalescing:
        """With a newer update waiting; anything after a stored 100 is dropped."""
        if self.floor >= 100:
            return self
        percentage = update.percentage if math.isfinite(update.percentage) else self.floor
        newest = max(self.floor, min(100.0, percentage))
        if self.waiting is not None:
            newest = max(newest, self.waiting.percentage)
        return dataclasses.replace(self, waiting=dataclasses.replace(update, percentage=newest))

    def due_in_ms(self, now_ms: int) -> int | None:
        """How long the waiting update has to wait: 0 is now, None is that nothing waits."""
        if self.waiting is None:
            return None
        if self.last_sent_ms is None:
            return 0
        return max(0, self.last_sent_ms + INTERVAL_MS - now_ms)

    def sent(self, update: Update, now_ms: int) -> Coalescing:
        """After `update` was numbered at `now_ms`; what was reported meanwhile still waits."""
        waiting = None if self.waiting is update else self.waiting
        floor = max(self.floor, update.percentage)
        return Coalescing(floor, now_ms, None if floor >= 100 else waiting)
