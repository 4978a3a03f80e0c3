"""The message rate: burst and refill, in one number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamer_reference.core.rate import RateLimit, take

LIMITS = st.builds(RateLimit, st.integers(1, 10_000), st.integers(1, 200))


@given(LIMITS, st.lists(st.integers(0, 5_000), min_size=1, max_size=300))
def test_no_window_admits_more_than_burst_and_refill(limit, gaps):
    """In each stretch of time: at most burst + rate * length."""
    bucket, now_ms, admitted = 0.0, 1_000_000, []
    for gap_ms in gaps:
        now_ms += gap_ms
        bucket, early_ms = take(limit, bucket, now_ms)
        if not early_ms:
            admitted.append(now_ms)
    for first in range(0, len(admitted), 7):
        for last in range(first, len(admitted), 11):
            span_ms = admitted[last] - admitted[first]
            allowed = limit.burst + limit.per_minute * span_ms / 60_000
            assert last - first + 1 <= allowed + 1e-6


@given(LIMITS, st.integers(0, 500), st.integers(0, 2_000_000))
def test_the_wait_that_is_told_is_the_wait_that_it_is(limit, messages, start_ms):
    """A refused message changes nothing; after `early_ms` one is admitted, and not before."""
    bucket = 0.0
    for _ in range(messages):
        bucket, early_ms = take(limit, bucket, start_ms)
    bucket, early_ms = take(limit, bucket, start_ms)
    if early_ms:
        assert take(limit, bucket, start_ms) == (bucket, early_ms)
        assert take(limit, bucket, start_ms + early_ms)[1] == 0
        assert take(limit, bucket, start_ms + early_ms - 1.001)[1] > 0


def test_a_burst_of_a_hundred_and_no_more():
    """The default limit, counted; 0 is no limit."""
    bucket = 0.0
    for _ in range(100):
        bucket, early_ms = take(RateLimit(100, 100), bucket, 5_000)
        assert early_ms == 0
    assert take(RateLimit(100, 100), bucket, 5_000) == (bucket, 600)
    assert take(RateLimit(0, 0), bucket, 5_000) == (bucket, 0)
