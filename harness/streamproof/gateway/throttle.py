"""The token bucket behind API Gateway's throttles."""

from __future__ import annotations

from streamproof.gateway.clock import Clock


class TokenBucket:
    """Refills `rate` tokens per second up to `burst`; a rate of None is no limit at all."""

    def __init__(self, clock: Clock, rate: float | None, burst: float) -> None:
        """Start full."""
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at_s = clock.monotonic_s()

    def take(self) -> bool:
        """Take one token, or say that there is none."""
        if self._rate is None:
            return True
        now_s = self._clock.monotonic_s()
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
