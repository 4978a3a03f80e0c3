"""Buckets of three digits, merging, quantiles and curves."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproof.load.histogram import (
    VALUE_NS_MAX,
    Histogram,
    curve_shares,
    highest_of,
    index_of,
    rank_of,
)


@given(st.integers(0, VALUE_NS_MAX))
def test_a_bucket_holds_three_digits(value):
    """The highest value of a value's bucket is at most a thousandth above it, never below."""
    highest = highest_of(index_of(value))
    assert value <= highest <= value + value / 1_000


@given(st.integers(0, VALUE_NS_MAX - 1))
def test_buckets_are_in_the_order_of_values(value):
    """A larger value never falls into a lower bucket, and buckets have no gaps."""
    assert index_of(value + 1) - index_of(value) in (0, 1)


def test_values_out_of_bounds_are_kept_at_the_bounds():
    """What is below 0 counts as 0, what is over an hour as an hour: nothing is dropped."""
    histogram = Histogram()
    histogram.record(-5)
    histogram.record(VALUE_NS_MAX * 2)
    assert histogram.count == 2
    assert histogram.quantile(0.5) == 0
    assert histogram.quantile(1) == VALUE_NS_MAX


def test_quantiles_equal_those_of_the_sorted_values():
    """Within three digits, a quantile is the value of its rank."""
    draw = random.Random(5)
    values = [round(draw.lognormvariate(14, 1)) for _ in range(5_000)]
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    values.sort()
    for share in (0.01, 0.5, 0.9, 0.99, 0.999, 1.0):
        exact = values[rank_of(share, len(values)) - 1]
        assert exact <= histogram.quantile(share) <= exact * 1.001


def test_merging_equals_recording_everything_in_one():
    """Merged histograms have the counts, the maximum and the quantiles of the whole."""
    draw = random.Random(6)
    parts = [Histogram() for _ in range(3)]
    whole = Histogram()
    for _ in range(3_000):
        value = draw.randrange(10**9)
        draw.choice(parts).record(value)
        whole.record(value)
    merged = Histogram.merged(parts)
    assert (merged.counts, merged.count, merged.max_ns) == (whole.counts, 3_000, whole.max_ns)


def test_no_samples_have_no_curve_and_quantiles_of_zero():
    """An empty histogram can be drawn, and says that it is empty."""
    histogram = Histogram()
    assert histogram.count == 0
    assert histogram.quantile(0.99) == 0
    assert histogram.curve() == ()


def test_a_curve_rises_and_ends_at_the_maximum():
    """Quantiles and milliseconds rise together up to the largest sample."""
    histogram = Histogram()
    for value in range(1, 10_001):
        histogram.record(value * 1_000)
    shares, milliseconds = zip(*histogram.curve(), strict=True)
    assert list(shares) == sorted(set(shares))
    assert list(milliseconds) == sorted(milliseconds)
    assert shares[-1] == 1.0
    assert milliseconds[-1] == 10.0
    assert {0.5, 0.99, 0.999} <= set(shares)


def test_a_curve_claims_no_quantile_that_the_samples_cannot_show():
    """With a hundred samples there is nothing between p99 and the maximum."""
    assert [share for share in curve_shares(100) if share > 0.99] == [1.0]


@pytest.mark.parametrize(
    ("share", "count", "rank"), [(0.99, 100, 99), (0.5, 1, 1), (0, 10, 1), (1, 10, 10), (0.9, 0, 0)]
)
def test_ranks(share, count, rank):
    """A quantile is the smallest sample that at least that share does not exceed."""
    assert rank_of(share, count) == rank
