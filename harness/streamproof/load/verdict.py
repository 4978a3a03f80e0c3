"""From latencies to a verdict that says how sure it is.

Tails cluster: one hiccup makes a hundred slow requests of one second, which are one observation
and not a hundred. So whole seconds are resampled, never single requests, and the report says how
many independent samples the measured ones are worth.

Each target is looked at once, and once more after an extension if the first look could not tell.
Either look uses bounds of 97.5 % on each side, so that both together err at most 5 times in 100:
the bounds shown are the 95 % interval.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from streamproof.load.histogram import NS_PER_MS, Histogram, highest_of, index_of, rank_of
from streamproof.results import LoadTarget, LoadVerdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from streamproof.load.selfcheck import Doubts
    from streamproof.load.thresholds import Threshold

RESAMPLES = 2_000  # the bounds' own error stays below a tenth of the interval's width
RESAMPLES_AT_ONCE = 200  # bounds the memory: rows times buckets times 8 bytes
CONFIDENCE = 0.95
SLICES_MIN = 5  # fewer seconds than this cannot be resampled


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """A quantile in milliseconds with its interval and what its samples are worth."""

    measured_ms: float
    low_ms: float
    high_ms: float
    samples: int
    effective_samples: float
    design_effect: float


def samples_needed(share: float) -> int:
    """How many independent samples an upper bound on the quantile `share` needs to exist.

    The largest of n samples is above the quantile with probability 1 - share^n; at 95 % that
    takes 299 for a p99.
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(share))


def estimate(slices: Sequence[Histogram], share: float, seed: int) -> Estimate:
    """The quantile `share` over all slices, by resampling slices; needs at least one sample."""
    whole = Histogram.merged(slices)
    if whole.count == 0:
        raise ValueError("no samples")
    measured = whole.quantile(share)
    filled = [histogram for histogram in slices if histogram.count]
    effect = design_effect(filled, measured)
    low, high = _bounds(filled, share, seed)
    return Estimate(
        measured_ms=measured / NS_PER_MS,
        low_ms=min(low, measured) / NS_PER_MS,
        high_ms=max(high, measured) / NS_PER_MS,
        samples=whole.count,
        effective_samples=whole.count / effect,
        design_effect=effect,
    )


def design_effect(slices: Sequence[Histogram], value_ns: int) -> float:
    """How much more the share from `value_ns` up varies over slices than independent samples would.

    1 when nothing clusters; never below, since a plan more even than chance earns no credit. The
    value itself counts as the tail: requests that ended at their time limit are all equally slow.
    """
    total = sum(histogram.count for histogram in slices)
    bucket = index_of(value_ns)
    above = [
        sum(count for index, count in histogram.counts.items() if index >= bucket)
        for histogram in slices
    ]
    share = sum(above) / total
    independent = share * (1 - share) / total
    if independent == 0 or len(slices) < 2:
        return 1.0
    spread = sum(
        (over - share * histogram.count) ** 2 for over, histogram in zip(above, slices, strict=True)
    )
    return max(1.0, spread * len(slices) / (len(slices) - 1) / total**2 / independent)


def _bounds(slices: Sequence[Histogram], share: float, seed: int) -> tuple[float, float]:
    """The 95 % interval of the quantile in nanoseconds, from resampled slices."""
    buckets = sorted({index for histogram in slices for index in histogram.counts})
    column = {index: position for position, index in enumerate(buckets)}
    counts = np.zeros((len(slices), len(buckets)))
    for row, histogram in enumerate(slices):
        for index, count in histogram.counts.items():
            counts[row, column[index]] = count
    values = np.array([highest_of(index) for index in buckets], dtype=float)
    draw = np.random.default_rng(seed)
    even = np.full(len(slices), 1 / len(slices))
    found: list[NDArray[np.float64]] = []
    for _ in range(RESAMPLES // RESAMPLES_AT_ONCE):
        weights = draw.multinomial(len(slices), even, size=RESAMPLES_AT_ONCE)
        rising = np.cumsum(weights @ counts, axis=1)
        ranks = np.array([rank_of(share, int(total)) for total in rising[:, -1]])
        found.append(values[np.argmax(rising >= ranks[:, None], axis=1)])
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(found), [tail, 100 - tail])
    return float(low), float(high)


def judge(
    threshold: Threshold, slices: Sequence[Histogram], seed: int, doubts: Doubts
) -> LoadTarget:
    """The verdict on one target, from latencies by second and the generator's own doubts."""
    invalid = "; ".join(words for words in (doubts.unplanned, doubts.late) if words)
    if not any(histogram.count for histogram in slices):
        verdict = LoadVerdict.INVALID if invalid else LoadVerdict.FAIL
        return _target(threshold, None, verdict, invalid or "nothing was measured")
    seen = estimate(slices, threshold.share, seed)
    verdict, reason = _of_interval(threshold, slices, seen)
    stands = verdict is LoadVerdict.PASS or (
        verdict is LoadVerdict.FAIL and seen.low_ms - doubts.late_ms > threshold.limit_ms
    )
    if invalid and (doubts.unplanned or not stands):
        return _target(threshold, seen, LoadVerdict.INVALID, invalid)
    if invalid and verdict is LoadVerdict.FAIL:
        reason = f"{reason} even without the generator's delays: {invalid}"
    elif invalid:
        reason = f"{reason} with the generator's delays on the target's account: {invalid}"
    return _target(threshold, seen, verdict, reason)


def _of_interval(
    threshold: Threshold, slices: Sequence[Histogram], seen: Estimate
) -> tuple[LoadVerdict, str]:
    """What the interval says, whoever is to blame for it."""
    needed = samples_needed(threshold.share)
    filled = sum(1 for histogram in slices if histogram.count)
    if filled < SLICES_MIN:
        reason = f"{filled} seconds are too few to resample; {SLICES_MIN} are needed"
        return LoadVerdict.INCONCLUSIVE, reason
    if seen.low_ms > threshold.limit_ms:
        return LoadVerdict.FAIL, "the whole interval is above the limit"
    if seen.effective_samples < needed:
        reason = (
            f"{seen.samples} samples are worth {seen.effective_samples:.0f} independent ones; "
            f"a bound on {threshold.statistic} needs {needed}"
        )
        return LoadVerdict.INCONCLUSIVE, reason
    if seen.high_ms < threshold.limit_ms:
        return LoadVerdict.PASS, "the whole interval is below the limit"
    return LoadVerdict.INCONCLUSIVE, "the limit lies in the interval"


def _target(
    threshold: Threshold, seen: Estimate | None, verdict: LoadVerdict, reason: str
) -> LoadTarget:
    return LoadTarget(
        name=threshold.name,
        limit_text=threshold.text,
        unit=threshold.unit,
        limit=threshold.limit,
        measured=round(seen.measured_ms, 4) if seen else 0.0,
        interval_low=round(seen.low_ms, 4) if seen else 0.0,
        interval_high=round(seen.high_ms, 4) if seen else 0.0,
        effective_samples=round(seen.effective_samples, 1) if seen else 0.0,
        verdict=verdict,
        reason=reason,
    )
