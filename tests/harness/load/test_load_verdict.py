"""Verdicts: the interval against the limit, and what the samples are worth."""

from __future__ import annotations

import random

import pytest

from streamproof.load.histogram import Histogram
from streamproof.load.selfcheck import Doubts
from streamproof.load.thresholds import parse
from streamproof.load.verdict import design_effect, estimate, judge, samples_needed
from streamproof.results import LoadVerdict

MS = 1_000_000
LIMIT = parse("request.latency_ms", "p(99) < 10")


def seconds(count, per_second, draw_ms):
    """Slices of `per_second` latencies each; `draw_ms(second)` gives one in milliseconds."""
    slices = []
    for second in range(count):
        histogram = Histogram()
        for _ in range(per_second):
            histogram.record(round(draw_ms(second) * MS))
        slices.append(histogram)
    return slices


def independent(seed, scale):
    """Exponential latencies without any clustering: p99 is 4.6 times `scale`."""
    draw = random.Random(seed)
    return lambda _: draw.expovariate(1 / scale)


def test_an_interval_below_the_limit_passes():
    """p99 of 4.6 ms against 10 ms, with thousands of samples."""
    target = judge(LIMIT, seconds(20, 200, independent(1, 1)), 1, Doubts())
    assert target.verdict is LoadVerdict.PASS
    assert target.interval_low <= target.measured <= target.interval_high < 10
    assert target.effective_samples > 1_000
    assert (target.name, target.limit_text) == ("request.latency_ms", "p(99) < 10")


def test_an_interval_above_the_limit_fails():
    """p99 of 46 ms against 10 ms."""
    target = judge(LIMIT, seconds(20, 200, independent(2, 10)), 1, Doubts())
    assert target.verdict is LoadVerdict.FAIL
    assert target.interval_low > 10


def test_a_limit_within_the_interval_is_inconclusive():
    """A true p99 at the limit is nobody's pass and nobody's failure."""
    target = judge(LIMIT, seconds(10, 100, independent(3, 10 / 4.6052)), 1, Doubts())
    assert target.verdict is LoadVerdict.INCONCLUSIVE
    assert "lies in the interval" in target.reason


def test_too_few_effective_samples_give_no_pass():
    """Two hundred samples cannot bound a p99, however fast they are."""
    target = judge(LIMIT, seconds(10, 20, independent(4, 1)), 1, Doubts())
    assert target.verdict is LoadVerdict.INCONCLUSIVE
    assert "needs 299" in target.reason


def test_too_few_seconds_are_not_resampled():
    """Four seconds do not say how seconds differ."""
    target = judge(LIMIT, seconds(4, 1_000, independent(5, 1)), 1, Doubts())
    assert target.verdict is LoadVerdict.INCONCLUSIVE
    assert "too few" in target.reason


def test_a_late_generator_blames_nobody():
    """A failure and a doubt are void when the generator did not keep up."""
    late = Doubts(late="send lag p99 9 ms, at most 1 ms allowed")
    for scale in (100, 10 / 4.6052):
        target = judge(LIMIT, seconds(20, 200, independent(6, scale)), 1, late)
        assert target.verdict is LoadVerdict.INVALID
        assert "send lag" in target.reason
    assert judge(LIMIT, [Histogram()], 1, late).verdict is LoadVerdict.INVALID


def test_a_late_generator_does_not_void_a_pass():
    """Its lateness is on the target's account; who passes with it passes without."""
    late = Doubts(late="send lag p99 2 ms, at most 1 ms allowed")
    target = judge(LIMIT, seconds(20, 200, independent(6, 1)), 1, late)
    assert target.verdict is LoadVerdict.PASS
    assert "send lag" in target.reason


def test_a_late_generator_does_not_void_a_failure_that_is_one_without_it():
    """Four hundred milliseconds against ten are not the fault of a lag of nine."""
    late = Doubts(late="send lag p99 9 ms, at most 1 ms allowed", late_ms=9)
    target = judge(LIMIT, seconds(20, 200, independent(6, 100)), 1, late)
    assert target.verdict is LoadVerdict.FAIL
    assert "even without the generator's delays" in target.reason
    near = judge(LIMIT, seconds(20, 200, independent(6, 3)), 1, late)
    assert near.interval_low > 10
    assert near.verdict is LoadVerdict.INVALID


def test_a_lighter_load_than_planned_voids_every_verdict():
    """Nobody passes a test that was not held."""
    lighter = Doubts(unplanned="arrivals sent 80 %, at least 99 % allowed")
    target = judge(LIMIT, seconds(20, 200, independent(6, 1)), 1, lighter)
    assert target.verdict is LoadVerdict.INVALID
    assert target.reason == lighter.unplanned


def test_no_samples_are_a_failure():
    """Silence is not a pass."""
    assert judge(LIMIT, [Histogram()], 1, Doubts()).verdict is LoadVerdict.FAIL
    assert judge(LIMIT, [], 1, Doubts()).verdict is LoadVerdict.FAIL
    with pytest.raises(ValueError, match="no samples"):
        estimate([Histogram()], 0.99, 1)


def test_clustered_tails_are_worth_less():
    """The same slow requests all in one second are about one observation."""
    spread = seconds(60, 200, independent(7, 1))
    draw = independent(8, 1)
    clustered = seconds(60, 200, lambda second: 50.0 if second == 30 else draw(second))
    even = estimate(spread, 0.99, 1)
    uneven = estimate(clustered, 0.99, 1)
    assert even.design_effect < 2
    assert uneven.effective_samples < even.effective_samples / 5
    assert uneven.high_ms - uneven.low_ms > 5 * (even.high_ms - even.low_ms)


def test_a_design_effect_is_never_below_one():
    """A plan more even than chance earns no credit, nor does a single slice."""
    even = seconds(10, 100, lambda _: 1.0)
    for histogram in even:
        histogram.record(100 * MS)
    assert design_effect(even, 50 * MS) == 1.0
    assert design_effect(even[:1], 50 * MS) == 1.0


def test_equal_seeds_give_equal_intervals():
    """A verdict can be computed again from the results."""
    slices = seconds(10, 100, independent(9, 1))
    assert estimate(slices, 0.99, 5) == estimate(slices, 0.99, 5)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Of 60 runs with a true p99 of 4.605 ms, about 95 % of intervals hold it."""
    covered = 0
    for seed in range(60):
        seen = estimate(seconds(30, 60, independent(seed + 100, 1)), 0.99, seed)
        covered += seen.low_ms <= 4.605 <= seen.high_ms
    # Thirty slices and quantiles of a histogram cost a few points of coverage.
    assert covered >= 50


def test_the_number_of_samples_that_a_bound_needs():
    """An upper bound at 95 % on a p99 exists from 299 samples on, on a median from 5."""
    assert samples_needed(0.99) == 299
    assert samples_needed(0.5) == 5
