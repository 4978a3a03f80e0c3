"""Latencies as counts in log-linear buckets: three digits from a nanosecond to an hour, mergeable.

The bucket of a value keeps its 11 leading bits, so that a bucket is at most 1/1024 of its value
wide. The index is HdrHistogram's for 3 significant digits and a lowest value of 1, so that its
counts can be exported as they are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SUB_BUCKET_BITS = 11  # 2048 sub-buckets: three significant digits
HALF = 1 << (SUB_BUCKET_BITS - 1)
VALUE_NS_MAX = 3_600 * 1_000_000_000  # longer ones count as an hour
NS_PER_MS = 1_000_000


def index_of(value_ns: int) -> int:
    """The bucket of a value; values below 0 count as 0, those beyond an hour as an hour."""
    value_ns = min(value_ns, VALUE_NS_MAX)
    shift = value_ns.bit_length() - SUB_BUCKET_BITS
    if shift <= 0:
        return max(0, value_ns)
    return shift * HALF + (value_ns >> shift)


def highest_of(index: int) -> int:
    """The largest value in nanoseconds that falls into a bucket."""
    if index < 2 * HALF:
        return index
    shift = index // HALF - 1
    return ((index - shift * HALF + 1) << shift) - 1


class Histogram:
    """Counts by bucket; `record` costs about 0.2 microseconds."""

    __slots__ = ("count", "counts", "max_ns")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        self.max_ns = 0

    def record(self, value_ns: int) -> None:
        """Count one value."""
        index = index_of(value_ns)
        self.counts[index] = self.counts.get(index, 0) + 1
        self.count += 1
        if value_ns > self.max_ns:
            self.max_ns = min(value_ns, VALUE_NS_MAX)

    def merge(self, other: Histogram) -> None:
        """Add another's counts to these."""
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count
        self.count += other.count
        self.max_ns = max(self.max_ns, other.max_ns)

    @classmethod
    def merged(cls, histograms: Iterable[Histogram]) -> Histogram:
        """All counts of several in a new one."""
        whole = cls()
        for histogram in histograms:
            whole.merge(histogram)
        return whole

    def quantile(self, share: float) -> int:
        """The value in nanoseconds that at least `share` (0 to 1) of the samples do not exceed.

        0 for no samples, as a plot needs a number; whoever judges looks at `count` first.
        """
        return self.quantiles([share])[0]

    def quantiles(self, shares: Iterable[float]) -> list[int]:
        """Several quantiles in one pass; `shares` rise."""
        buckets = iter(sorted(self.counts.items()))
        seen = 0
        value = 0
        found = []
        for share in shares:
            rank = rank_of(share, self.count)
            while seen < rank:
                index, count = next(buckets)
                seen += count
                value = min(highest_of(index), self.max_ns)
            found.append(value)
        return found

    def curve(self) -> tuple[tuple[float, float], ...]:
        """Points (quantile, milliseconds), dense towards 1, up to the last single sample."""
        shares = curve_shares(self.count)
        return tuple(
            (share, round(value / NS_PER_MS, 4))
            for share, value in zip(shares, self.quantiles(shares), strict=True)
        )


def rank_of(share: float, count: int) -> int:
    """Which sample, counted from 1 in rising order, is the quantile `share` of `count` samples."""
    # The product of a share such as 0.99 and a count can lie a rounding error above an integer.
    return min(count, max(1, math.ceil(share * count - 1e-9))) if count else 0


def curve_shares(count: int) -> list[float]:
    """Quantiles for a plot on a 1/(1-p) axis: ten steps per halving of what is left, then 1."""
    if count == 0:
        return []
    steps = 10 * max(1, math.ceil(math.log2(max(2, count))))
    shares = [round(1 - 2 ** (-step / 10), 7) for step in range(steps + 1)]
    named = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999]
    last = 1 - 1 / count
    return sorted({share for share in (*shares, *named) if share <= last} | {1.0})
