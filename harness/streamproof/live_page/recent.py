"""What happened in the last minute, second by second, in bounded memory."""

from __future__ import annotations

import collections
import dataclasses

from streamproof.load.histogram import NS_PER_MS, Histogram

SECONDS_KEPT = 60
WINDOW_S = 10  # what a quantile speaks of
BITS_KEPT = 6  # of a latency, 3 %: more would be more buckets to merge while the gateway waits


@dataclasses.dataclass(slots=True)
class Second:
    """One second's counts and latencies."""

    at_s: int
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    latencies: dict[str, Histogram] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Quantiles:
    """Of the last `WINDOW_S` seconds."""

    count: int
    p50_ms: float | None
    p99_ms: float | None


class Recent:
    """Counts and latencies by name; a moment is in whole seconds on any one clock."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self._seconds: collections.deque[Second] = collections.deque(maxlen=SECONDS_KEPT + 1)

    def count(self, name: str, now_s: int, amount: float = 1) -> None:
        """So many happened now."""
        self._second(now_s).counts[name] += int(amount)

    def took(self, name: str, now_s: int, latency_ns: int) -> None:
        """One took so long, and is counted."""
        second = self._second(now_s)
        second.counts[name] += 1
        histogram = second.latencies.get(name)
        if histogram is None:
            histogram = second.latencies[name] = Histogram()
        dropped = max(0, latency_ns.bit_length() - BITS_KEPT)
        histogram.record(latency_ns >> dropped << dropped)

    def rates(self, name: str, now_s: int) -> list[int]:
        """The counts of the last minute's whole seconds, the newest last."""
        by_second = {second.at_s: second.counts[name] for second in self._seconds}
        return [by_second.get(at_s, 0) for at_s in range(now_s - SECONDS_KEPT, now_s)]

    def quantiles(self, name: str, now_s: int) -> Quantiles:
        """p50 and p99 of the last seconds; None when nothing was measured in them."""
        merged = Histogram.merged(
            second.latencies[name]
            for second in self._seconds
            if second.at_s > now_s - WINDOW_S and name in second.latencies
        )
        if not merged.count:
            return Quantiles(0, None, None)
        p50_ns, p99_ns = merged.quantiles([0.5, 0.99])
        return Quantiles(merged.count, p50_ns / NS_PER_MS, p99_ns / NS_PER_MS)

    def _second(self, now_s: int) -> Second:
        if not self._seconds or self._seconds[-1].at_s < now_s:
            self._seconds.append(Second(now_s))
        return self._seconds[-1]
