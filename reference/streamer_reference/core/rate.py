"""The message rate of a connection, in one number.

The generic cell rate algorithm: the number is the moment at which the bucket will be empty again.
One number needs one conditional write, where a counter with a window needs two and forgets the
burst at each window's edge.
"""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `burst` messages at once, refilled at `per_minute`; `per_minute` 0 is no limit."""

    per_minute: int
    burst: int


def take(limit: RateLimit, empty_at_ms: float, now_ms: float) -> tuple[float, int]:
    """The bucket after one message, and how many milliseconds too early the message is.

    0 admits the message; a refused one leaves the bucket as it was, so that the wait that a client
    is told is the wait that it has.
    """
    if limit.per_minute <= 0:
        return empty_at_ms, 0
    step_ms = 60_000 / limit.per_minute
    empty_after_ms = max(empty_at_ms, now_ms) + step_ms
    early_ms = empty_after_ms - now_ms - limit.burst * step_ms
    if early_ms > 1e-6:  # the sum of many steps is exact only to rounding
        return empty_at_ms, math.ceil(early_ms)
    return empty_after_ms, 0
